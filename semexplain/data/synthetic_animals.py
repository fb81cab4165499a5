"""Drawn animals with exact part masks, in the on-disk layout of Pascal-Part (Sec. 4.1).

Every animal is put together from parts, so that it can be drawn again without one of them and with every other pixel
as it was: what a part contributes to a score is then known by experiment, not by annotation alone.
"""

import json
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from annotated_types import Ge
from numpy.typing import NDArray
from scipy.io import savemat
from torch import Tensor
from tqdm import tqdm

from semexplain.data.drawn.animals import CLASS_NUMBERS, SMALLEST_SIZE, VERSION, Drawing, render, render_negative
from semexplain.data.drawn.folder import jpeg, require_at_least, write_once
from semexplain.data.drawn.scenes import Redrawable, Scene, as_read
from semexplain.data.framing import Framing
from semexplain.data.pascal_annotations import PARTS, Category
from semexplain.data.pascal_part import PascalPartDataModule
from semexplain.system.seed import Seed

# ---------------------------------------------------------------------------------------------------------------------
# Chance, figures and the pen
# ---------------------------------------------------------------------------------------------------------------------


# ---------------------------------------------------------------------------------------------------------------------
# Animals, facing right, so that it is their right side that one sees
# ---------------------------------------------------------------------------------------------------------------------


# ---------------------------------------------------------------------------------------------------------------------
# Things
# ---------------------------------------------------------------------------------------------------------------------


# ---------------------------------------------------------------------------------------------------------------------
# Files
# ---------------------------------------------------------------------------------------------------------------------


def write_animals(
    root: str | Path,
    *,
    train: int,
    valid: int,
    negatives: int,
    size: int = 160,
    seed: int = 0,
    progress: bool = True,
) -> None:
    """Write drawn animals that a reader of Pascal-Part reads.

    The folder holds ``JPEGImages/000001.jpg`` and so on, where image ``i`` is ``render(i - 1, seed=seed, size=size)``,
    ``Annotations_Part/000001.mat`` with its objects and parts, ``ImageSets/Main/train.txt`` and ``val.txt`` (the
    training images come first), ``negatives/000001.jpg`` and so on, and ``ground_truth.json`` with the settings.
    It appears at ``root`` complete or not at all, and only one of several processes writes it. Animals that are
    already there with the same settings are left alone.

    Args:
        root: Folder to make.
        train: Number of training images, each category in turn.
        valid: Number of validation images.
        negatives: Number of images without animal; without any there is no such folder.
        size: Height and width of the images in pixels.
        seed: Seed of the pictures.
        progress: Whether to show a progress bar.

    Raises:
        ValueError: If ``root`` holds something else than these animals, or a number is too small.
    """
    require_at_least(1, train=train, valid=valid)
    require_at_least(0, negatives=negatives, seed=seed)
    require_at_least(SMALLEST_SIZE, size=size)
    truth = {
        "pictures": "semexplain.data.drawn.animals.render(number of the image - 1, seed, size)",
        "version": VERSION,
        "parts": json.loads(json.dumps(PARTS)),
        "settings": {"train": train, "valid": valid, "negatives": negatives, "size": size, "seed": seed},
    }
    write_once(Path(root), truth, "animals", partial(_write_folder, truth=truth, progress=progress))


def _write_folder(folder: Path, truth: dict[str, Any], *, progress: bool) -> None:
    train, valid, negatives, size, seed = truth["settings"].values()
    images, annotations, lists = folder / "JPEGImages", folder / "Annotations_Part", folder / "ImageSets" / "Main"
    for directory in (images, annotations, lists):
        directory.mkdir(parents=True)
    names = [f"{i + 1:06d}" for i in range(max(train + valid, negatives))]
    for i, name in enumerate(tqdm(names[: train + valid], desc="Drawing animals", unit="image", disable=not progress)):
        drawing = render(i, seed=seed, size=size)
        _write_image(images / f"{name}.jpg", drawing.image)
        savemat(annotations / f"{name}.mat", {"anno": _annotation(name, drawing)}, do_compression=True)
    (lists / "train.txt").write_text("".join(f"{name}\n" for name in names[:train]), newline="\n")
    (lists / "val.txt").write_text("".join(f"{name}\n" for name in names[train : train + valid]), newline="\n")
    for i, name in enumerate(names[:negatives]):
        _write_image(folder / "negatives" / f"{name}.jpg", render_negative(i, seed=seed, size=size))


def _write_image(path: Path, pixels: NDArray[np.uint8]) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(jpeg(pixels))


def _annotation(name: str, drawing: Drawing) -> NDArray[np.void]:
    """``anno.objects{class, class_ind, mask, parts{part_name, mask}}`` as MATLAB nests it."""
    objects = []
    for category, masks in drawing.animals:
        parts = [{"part_name": leaf, "mask": mask.astype(np.uint8)} for leaf, mask in masks.items()]
        silhouette = np.logical_or.reduce([*masks.values()]).astype(np.uint8)
        number = np.uint8(CLASS_NUMBERS[category])
        objects.append({"class": category, "class_ind": number, "mask": silhouette, "parts": _structs(parts)})
    return _structs([{"imname": name, "objects": _structs(objects)}])


def _structs(records: Sequence[Mapping[str, Any]]) -> NDArray[np.void]:
    """A row of MATLAB structs."""
    row = np.empty((1, len(records)), dtype=[(field, object) for field in records[0]])
    for i, record in enumerate(records):
        row[0, i] = tuple(record.values())
    return row


class SyntheticAnimalsDataModule(Redrawable, PascalPartDataModule):
    """Drawn animals with exact part masks, written on first use and then read like Pascal-Part.

    An animal can be drawn again without some of its coarse parts, unless it is the second one of its picture.

    Args:
        root: Folder of the animals, see `write_animals`.
        category: The animal to recognise.
        train: Number of training images, each category in turn; in one of five there is a second animal.
        valid: Number of validation images.
        negatives_count: Number of images without animal; with none, the other five categories are the negatives.
        draw_size: Height and width in pixels at which animals are drawn; ``image_size`` is the size that their crops
            are read at.
        draw_seed: Seed of the pictures.
        **kwargs: Everything else of `PascalPartDataModule`.
    """

    def __init__(
        self,
        *,
        root: str,
        category: Category,
        train: Annotated[int, Ge(1)] = 600,
        valid: Annotated[int, Ge(1)] = 300,
        negatives_count: Annotated[int, Ge(0)] = 400,
        draw_size: Annotated[int, Ge(SMALLEST_SIZE)] = 160,
        draw_seed: Seed = 0,
        **kwargs: Any,
    ) -> None:
        super().__init__(root=root, category=category, **kwargs)
        self.draw_size = draw_size
        self.draw_seed = draw_seed
        self.redrawable = self.parts
        self.write = partial(
            write_animals,
            self.root,
            train=train,
            valid=valid,
            negatives=negatives_count,
            size=draw_size,
            seed=draw_seed,
        )

    def prepare_data(self) -> None:
        """Draw the animals unless they are there, then prepare them like Pascal-Part."""
        self.write()
        super().prepare_data()

    def rates(self) -> NDArray[np.float64]:
        """``(P,)``. A part that is taken away is absent."""
        return np.zeros(len(self.parts))

    def scenes(self, split: str) -> list[Scene]:
        """The images that show the animal their picture was made for, cut out where the whole animal was."""
        views = self._split(split)
        settings: dict[str, Any] = {"seed": self.draw_seed, "size": self.draw_size, "framing": self.framing}
        scenes = []
        for at, name in enumerate(views.ids):
            photo, _, number = name.removesuffix("/mirrored").rpartition("/")
            if number != "1" or not views.labels[at, 0] or views.boxes is None:
                continue
            mirrored = views.mirrored is not None and bool(views.mirrored[at])
            view = {"index": int(photo) - 1, "box": views.boxes[at], "mirrored": mirrored}
            draw = partial(_redrawn, parts=self.parts, **view, **settings)
            scenes.append(Scene(at, np.ones(len(self.parts), dtype=np.bool_), draw))
        return scenes


def _redrawn(
    present: NDArray[np.bool_],
    parts: Sequence[str],
    index: int,
    seed: int,
    size: int,
    framing: Framing,
    box: NDArray[np.int64],
    mirrored: bool,
) -> Tensor:
    absent = [part for part, is_present in zip(parts, present, strict=True) if not is_present]
    picture = as_read(render(index, seed=seed, size=size, without=absent).image, framing, box)
    return picture.flip(2) if mirrored else picture
