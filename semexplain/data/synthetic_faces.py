"""Drawn faces in the on-disk layout of CelebA, whose four global attributes follow a known formula (Sec. 4.2).

A real face data set says *that* a face is attractive, not *why*. Here the why is known. Three latent factors cause
36 local attributes, which are drawn; the local attributes cause the four global ones, which are not drawn. An
explanation of a global attribute by the local ones can therefore be compared with the truth.
"""

from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from annotated_types import Ge
from numpy.typing import NDArray
from torch import Tensor
from tqdm import tqdm

from semexplain.data.attributes import ATTRIBUTES
from semexplain.data.celeba import CelebADataModule
from semexplain.data.drawn.face_causes import DRAWN_AS, DRAWN_COLUMNS, ground_truth, sample_attributes
from semexplain.data.drawn.faces import SMALLEST_SIZE, draw_face
from semexplain.data.drawn.folder import jpeg, require_at_least, write_once
from semexplain.data.drawn.scenes import Redrawable, Scene, as_read
from semexplain.data.framing import Framing
from semexplain.data.images import Split
from semexplain.system.config import suggest
from semexplain.system.seed import Seed


def write_faces(
    root: str | Path, *, train: int, valid: int, test: int, size: int = 96, seed: int = 0, progress: bool = True
) -> None:
    """Write a data set of drawn faces that a reader of CelebA reads.

    The folder holds ``img_align_celeba/000001.jpg`` and so on, ``list_attr_celeba.txt``, ``list_eval_partition.txt``
    (0 training, 1 validation, 2 test, in this order) and ``ground_truth.json`` with `ground_truth` and the settings.
    It appears at ``root`` complete or not at all, and only one of several processes writes it. Faces that are already
    there with the same settings are left alone.

    Args:
        root: Folder to make.
        train: Number of training images.
        valid: Number of validation images.
        test: Number of test images.
        size: Height and width of the images in pixels.
        seed: Seed of attributes and pictures.
        progress: Whether to show a progress bar.

    Raises:
        ValueError: If ``root`` holds something else than these faces, or a number is too small.
    """
    require_at_least(1, train=train, valid=valid, test=test)
    require_at_least(0, seed=seed)
    require_at_least(SMALLEST_SIZE, size=size)
    settings = {"train": train, "valid": valid, "test": test, "size": size, "seed": seed}
    truth = {**ground_truth(), "settings": settings}
    write_once(Path(root), truth, "faces", partial(_write_folder, truth=truth, progress=progress))


def _write_folder(folder: Path, truth: dict[str, Any], *, progress: bool) -> None:
    settings = truth["settings"]
    size, seed = settings["size"], settings["seed"]
    partition = [number for number, name in enumerate(("train", "valid", "test")) for _ in range(settings[name])]
    attributes = sample_attributes(len(partition), seed)
    names = [f"{i + 1:06d}.jpg" for i in range(len(partition))]

    images = folder / "img_align_celeba"
    images.mkdir()
    for i, name in enumerate(tqdm(names, desc="Drawing faces", unit="image", disable=not progress)):
        (images / name).write_bytes(jpeg(draw_face(attributes[i], index=i, seed=seed, size=size)))

    rows = (" ".join(f"{1 if value else -1:2d}" for value in row) for row in attributes.tolist())
    lines = [str(len(names)), " ".join(ATTRIBUTES) + " ", *map(" ".join, zip(names, rows, strict=True))]
    _write_lines(folder / "list_attr_celeba.txt", lines)
    _write_lines(folder / "list_eval_partition.txt", [f"{name} {p}" for name, p in zip(names, partition, strict=True)])


def _write_lines(path: Path, lines: Iterable[str]) -> None:
    path.write_text("".join(f"{line}\n" for line in lines), newline="\n")


class SyntheticFacesDataModule(Redrawable, CelebADataModule):
    """Drawn faces with known causes, written on first use and then read like CelebA.

    Any face can be drawn again with other local attributes. The global ones and No_Beard have no picture of their own,
    see `NOT_DRAWN`.

    Args:
        root: Folder of the faces, see `write_faces`.
        train: Number of training images.
        valid: Number of validation images.
        test: Number of test images.
        draw_size: Height and width in pixels at which faces are drawn; ``image_size`` is the size they are read at.
        draw_seed: Seed of attributes and pictures.
        **kwargs: Everything else of `CelebADataModule`.
    """

    redrawable = tuple(DRAWN_AS)

    def __init__(
        self,
        *,
        root: str,
        train: Annotated[int, Ge(1)] = 4000,
        valid: Annotated[int, Ge(1)] = 500,
        test: Annotated[int, Ge(1)] = 500,
        draw_size: Annotated[int, Ge(SMALLEST_SIZE)] = 96,
        draw_seed: Seed = 0,
        **kwargs: Any,
    ) -> None:
        super().__init__(root=root, **kwargs)
        self.draw_size = draw_size
        self.draw_seed = draw_seed
        self.write = partial(
            write_faces, self.root, train=train, valid=valid, test=test, size=draw_size, seed=draw_seed
        )

    def read(self) -> dict[str, Split]:
        """As CelebA, with all of its attributes: a face is drawn by them.

        Raises:
            ValueError: If the table has other ones.
        """
        splits = super().read()
        if self.names != ATTRIBUTES:
            problems = [f"unknown: {n}{suggest(n, ATTRIBUTES)}" for n in self.names if n not in ATTRIBUTES]
            problems += [f"missing: {name}" for name in ATTRIBUTES if name not in self.names]
            raise ValueError(
                f"{self.root / self.attributes} must name each of the 40 attributes that faces are drawn by; "
                f"{'; '.join(problems)}. Delete the folder: it will be drawn again."
            )
        return splits

    def prepare_data(self) -> None:
        """Draw the faces unless they are there, then prepare them like CelebA."""
        self.write()
        super().prepare_data()

    def rates(self) -> NDArray[np.float64]:
        """``(35,)``. Share of the training faces that have each attribute."""
        rates: NDArray[np.float64] = self._split("train").labels[:, DRAWN_COLUMNS].mean(axis=0)
        return rates

    def scenes(self, split: str) -> list[Scene]:
        """All faces of a split."""
        faces = self._split(split)
        settings: dict[str, Any] = {"seed": self.draw_seed, "size": self.draw_size, "framing": self.framing}
        return [
            Scene(at, labels[DRAWN_COLUMNS], partial(_redrawn, attributes=labels, index=int(path.stem) - 1, **settings))
            for at, (path, labels) in enumerate(zip(faces.paths, faces.labels, strict=True))
        ]


def _redrawn(
    present: NDArray[np.bool_], attributes: NDArray[np.bool_], index: int, seed: int, size: int, framing: Framing
) -> Tensor:
    values = attributes.copy()
    values[DRAWN_COLUMNS] = present
    return as_read(draw_face(values, index=index, seed=seed, size=size), framing)
