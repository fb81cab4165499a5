"""Anyone's pictures as a data set, with labels or without."""

import hashlib
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from semexplain.data.collections import SPLIT_NAMES, Collection, Labels, collection
from semexplain.data.framing import picture_size
from semexplain.data.images import SPLITS, Split
from semexplain.data.module import ImageDataModule
from semexplain.data.part_masks import PartMasks, Size, framed_part_map
from semexplain.data.text_files import first_few
from semexplain.system.seed import Seed
from semexplain.system.trouble import Trouble

log = logging.getLogger(__name__)


class PicturesDataModule(ImageDataModule):
    """Pictures from a folder, class folders, a table, memory, or a Hugging Face data set.

    Labels are optional. Splits are those of folders ``train``, ``val`` and ``test``, of a column ``split``, of a
    Hugging Face ``DatasetDict``, or of separate sources; what is not said is drawn from the training images, each by
    its name alone, so that further images move none from one split to another.

    Args:
        root: A folder of images, or a ``.csv`` or ``.parquet`` table of them, see
            :func:`~semexplain.data.collections.of_folder` and :func:`~semexplain.data.collections.of_table`.
        images: In place of it, from Python: an array ``(N, H, W, C)``, a tensor ``(N, C, H, W)``, a list of pictures or
            files, or a Hugging Face data set with a column of images.
        train: In place of both, the images of a split alone: any of these.
        val: Likewise.
        test: Likewise.
        labels: Of images in memory: bool ``(N, K)``, or the class of each, its name or its number; of separate sources
            by split.
        label_names: Names of the labels, or of the classes that numbers stand for.
        image_column: Of a table.
        numbers: Columns of a table whose numbers a network takes with the pixels, see
            :class:`~semexplain.data.framing.WithNumbers`.
        shares: Of training, validation and test images where they are drawn.
        split_seed: Of the draw.
        parts: Where parts of the images are seen, so that filters get names from them: a file or a folder, see
            :class:`~semexplain.data.part_masks.PartMasks`.
        **kwargs: What every :class:`ImageDataModule` takes: sizes, workers, seed, flips, cache.

    Attributes:
        classes: Those of its names that exclude one another; none before ``setup``.
        parts: Names of the parts; none if nothing is known of them, or before ``setup``.
        naming: The training images with parts, by which filters are named.

    Example:
        >>> pixels = np.random.default_rng(0).integers(0, 256, (40, 8, 8, 3), dtype=np.uint8)
        >>> data = PicturesDataModule(images=pixels, image_size=8, batch_size=4, num_workers=0)
        >>> data.setup()
        >>> {name: len(split.ids) for name, split in data.splits.items()}, data.names
        ({'train': 26, 'val': 8, 'test': 6}, ())
    """

    def __init__(
        self,
        root: str | None = None,
        *,
        images: Any = None,
        train: Any = None,
        val: Any = None,
        test: Any = None,
        labels: Labels | Mapping[str, Labels] | None = None,
        label_names: list[str] | None = None,
        image_column: str = "image",
        numbers: list[str] | None = None,
        shares: list[float] | tuple[float, ...] = (0.7, 0.15, 0.15),
        split_seed: Seed = 0,
        parts: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.parts_at = parts
        self.parts: tuple[str, ...] = ()
        self.naming: Split | None = None
        self._masks: PartMasks | None = None
        self._marked: dict[str, str] = {}  # what images with parts are called there
        self.classes: tuple[str, ...] = ()
        self.whole = images if root is None else root
        self.apart = {name: s for name, s in zip(SPLITS, (train, val, test), strict=True) if s is not None}
        if (root is not None) + (images is not None) + bool(self.apart) != 1:
            raise ValueError("Expected one source of images: `root`, `images`, or `train`, perhaps with `val`, `test`.")
        if len(shares) != 3 or min(shares) < 0 or shares[0] <= 0:
            raise ValueError(f"shares: expected those of train, val and test, such as [0.7, 0.15, 0.15], got {shares}.")
        self.labels = labels
        self.label_names = label_names
        self.image_column = image_column
        self.numbers = tuple(numbers or ())
        self.shares = dict(zip(SPLITS, shares, strict=True))
        self.split_seed = split_seed

    def setup(self, stage: str | None = None) -> None:
        """Read the splits, and what parts they show; calling it again changes nothing.

        Raises:
            FileNotFoundError: If a folder, a table, a listed image, or the file of parts is not there.
            Trouble: If there are no images, or a split has none, or parts are not of these images.
        """
        if self.splits:
            return
        super().setup(stage)
        if self._masks is not None:
            train = self.splits["train"]
            shown = [at for at in range(len(train.ids)) if _key(train, at) in self._marked]
            if not shown:
                raise Trouble(
                    f"{self._masks.source} is about none of the {len(train.ids)} training images, by which filters are "
                    "named. Mark some of them."
                )
            self.naming = train.at(shown)

    def part_map(self, split: Split, index: int) -> np.ndarray:
        """Which part is seen at each pixel of an image as a network takes it.

        Args:
            split: ``naming`` or one of ``splits``.
            index: Position of the image in the split.

        Returns:
            int32 ``(H, W)``: position in ``parts``, or -1 where there is none.
        """
        name = self._marked.get(_key(split, index))
        if self._masks is None or name is None:
            return np.full(self.framing.shape[1:], -1, dtype=np.int32)
        return framed_part_map(self._masks.part_map(name, self._size(split, index)), self.framing)

    def _size(self, split: Split, index: int) -> Size:
        held = split.sources[index]
        return picture_size(held() if callable(held) else held, self.framing)

    def read(self) -> dict[str, Split]:
        """Find the images and what is known of them.

        Raises:
            FileNotFoundError: If a folder, a table or a listed image is not there.
            Trouble: If there are no images, or a split has none.
        """
        found = self._drawn(self._found())
        self.classes = _classes(found)
        self.names = (*self.classes, *_attributes(found))
        if self.parts_at is not None:
            self._masks = PartMasks.of(self.parts_at)
            self.parts = self._masks.names
            self._marked = self._among(self._masks, [_split(some, ()) for some in found.values()])
        return {name: _split(self._few(some), self.names) for name, some in found.items()}

    def _few(self, part: Collection) -> Collection:
        """At most ``limit`` images, drawn by their names: the first ones may all be of one class."""
        places = np.array([_place(self.split_seed, f"few {name}") for name in part.ids])
        few = np.zeros(len(places), dtype=np.bool_)
        few[places.argsort(kind="stable")[: self.limit]] = True
        return part.part(few)

    def _among(self, masks: PartMasks, splits: Sequence[Split]) -> dict[str, str]:
        """What images are called in the file of parts, as far as they are there; refused if areas do not fit."""
        images = [(split, at) for split in splits for at in range(len(split.ids))]
        keys = [_key(*image) for image in images]
        found, places = masks.among(keys), dict(zip(keys, images, strict=True))
        unknown = [name for name in masks.areas if name not in set(found.values())]
        if not found:
            raise Trouble(
                f"{masks.source} is about {first_few(unknown, 3)}, and none of the {len(places)} images is "
                f"called so; they are {first_few(list(places), 3)}."
            )
        if unknown:
            log.warning(
                "%s: %d of the %d pictures it is about are not among the images: %s.",
                masks.source,
                len(unknown),
                len(masks.areas),
                first_few(unknown, 3),
            )
        for key, name in found.items():
            size = self._size(*places[key])
            for area in masks.areas[name]:
                area.require_inside(f"{name} in {masks.source}", size)
        return found

    def _found(self) -> dict[str, Collection]:
        """Images by split, as far as splits are known; all are training images where nothing is."""
        options: dict[str, Any] = {
            "names": self.label_names,
            "image_column": self.image_column,
            "numbers": self.numbers,
        }
        by_split = isinstance(self.labels, Mapping)
        sources, labels = self.apart, self.labels if by_split else {}
        if not sources and isinstance(self.whole, Mapping):  # a DatasetDict
            sources = {SPLIT_NAMES[name]: part for name, part in self.whole.items() if name in SPLIT_NAMES}
        if sources:
            assert isinstance(labels, Mapping)
            return {name: collection(part, labels=labels.get(name), **options) for name, part in sources.items()}
        found = collection(self.whole, labels=None if by_split else self.labels, **options)  # type: ignore[arg-type]
        if found.splits is None:
            return {"train": found}
        splits = np.array(found.splits)
        return {name: found.part(splits == name) for name in SPLITS if (splits == name).any()}

    def _drawn(self, parts: dict[str, Collection]) -> dict[str, Collection]:
        """All three splits: what is missing is drawn from the training images."""
        missing = [name for name in ("test", "val") if name not in parts]
        if "train" not in parts:
            raise Trouble(f"There are images to {' and '.join(parts) or 'use'}, but none to train on: give `train`.")
        whole = parts["train"]
        total = self.shares["train"] + sum(self.shares[name] for name in missing)
        places = np.array([_place(self.split_seed, name) for name in whole.ids])
        start = 0.0
        for name in missing:
            end = start + self.shares[name] / total
            parts[name] = whole.part((places >= start) & (places < end))
            start = end
        parts["train"] = whole.part(places >= start)
        for name in SPLITS:
            if not parts[name].ids:
                raise Trouble(
                    f"The split {name!r} is empty: none of {len(whole.ids)} images fell into it. Use more images, "
                    f"other `data.shares` or `data.split_seed`, or say which images it has: `data.{name}`."
                )
        return {name: parts[name] for name in SPLITS}


def _place(seed: int, name: str) -> float:
    """Where in 0..1 an image lies: by its name alone."""
    return int.from_bytes(hashlib.sha256(f"{seed}\n{name}".encode(errors="surrogateescape")).digest()[:8]) / 2**64


def _key(split: Split, index: int) -> str:
    """By which an image is known among all splits: its file, or its name if it has none."""
    return str(split.paths[index]) if split.paths else split.ids[index]


def _split(part: Collection, names: Sequence[str]) -> Split:
    nothing = np.zeros(len(part.ids), dtype=np.bool_)
    labels = np.stack([part.labels.get(name, nothing) for name in names], 1) if names else nothing[:, None][:, :0]
    if isinstance(part.images[0], Path):
        return Split(part.ids, part.images, labels)  # type: ignore[arg-type]
    return Split(part.ids, (), labels, pictures=part.images)


def _attributes(parts: Mapping[str, Collection]) -> list[str]:
    """Labels that do not exclude one another: those of the training images, which all have to have."""
    names = [name for name in parts["train"].labels if name not in parts["train"].classes]
    for split, part in parts.items():
        if absent := [name for name in names if name not in part.labels]:
            raise Trouble(f"The split {split!r} has no labels of {absent[0]!r}, which the training images have.")
    return names


def _classes(parts: Mapping[str, Collection]) -> tuple[str, ...]:
    """Classes of all splits: in the order of one that has all of them, or of their names as text."""
    longest = max((part.classes for part in parts.values()), key=len)
    known = {name for part in parts.values() for name in part.classes}
    classes = longest if len(longest) == len(known) else tuple(sorted(known))
    if len(classes) == 1:
        log.info("All images are of one class, %r, which tells nothing: they count as images without labels.", *classes)
        return ()
    for split, part in parts.items():
        if classes and not part.classes:
            raise Trouble(f"The images of split {split!r} have no classes, those of others have. Sort them likewise.")
    _warn_of_numbers(classes)
    return classes


def _warn_of_numbers(classes: Sequence[str]) -> None:
    """Of classes whose order is another one as text than as numbers."""
    if all(name.isdecimal() for name in classes) and list(classes) != sorted(classes, key=int):
        log.warning(
            "The classes are numbers in the order of text, %s, as torchvision's ImageFolder has them. If the network's "
            "outputs are in the order of numbers, pad the names with zeros.",
            ", ".join(repr(name) for name in classes[:3]),
        )
