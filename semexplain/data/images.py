"""Labelled images on disk, and the data module that turns any such collection into batches."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from semexplain.data.framing import Framing, Held, ImageSize, read_image
from semexplain.data.loading import generator
from semexplain.system.image_files import ImageError

SPLITS = ("train", "val", "test")
LEAVE_OUT = "or leave the image out of the data set's list"


class Split(NamedTuple):
    """Images of one split with their labels; ``N`` images, ``K`` attributes."""

    ids: tuple[str, ...]
    """Name of each image, independent of where the data lie."""
    paths: tuple[Path, ...]
    """File of each image."""
    labels: np.ndarray
    """bool ``(N, K)``: whether image and attribute go together. The only coding of labels from here on."""
    boxes: np.ndarray | None = None
    """int ``(N, 4)``: left, top, right and bottom (exclusive) of the part of the file that is the image; None: all."""
    mirrored: np.ndarray | None = None
    """bool ``(N,)``: whether the image is the file's mirror image; None: never."""
    repeats: np.ndarray | None = None
    """int ``(N,)``: how often the image occurs in one pass over the split; None: once."""
    groups: np.ndarray | None = None
    """int ``(N,)``: images with the same number show the same object; None: all differ."""
    pictures: tuple[Held, ...] | None = None
    """The images themselves, or functions that get them, where ``paths`` is empty; None: they are in files."""

    @property
    def sources(self) -> Sequence[Held]:
        """What each image is read from."""
        return self.paths if self.pictures is None else self.pictures

    def first(self, count: int | None) -> "Split":
        """The first ``count`` images; all by default."""
        return Split._make(None if field is None else field[:count] for field in self)

    def at(self, positions: Sequence[int]) -> "Split":
        """The images at some positions."""
        rows = list(positions)
        return Split._make(
            field[rows] if isinstance(field, np.ndarray) else field and tuple(field[row] for row in rows)
            for field in self
        )

    def order(self) -> np.ndarray:
        """Positions of the images in one pass over the split."""
        positions = np.arange(len(self.ids))
        return positions if self.repeats is None else np.repeat(positions, self.repeats)

    def read(self, index: int, size: Framing | ImageSize) -> Tensor:
        """The image at a position as a network takes it, see :func:`~semexplain.data.framing.read_image`.

        Raises:
            ImageError: If it is gone or cannot be read; the message says how a data set does without it.
        """
        box = None if self.boxes is None else self.boxes[index]
        source = self.sources[index]
        try:
            image = read_image(source() if callable(source) else source, size, box)
        except FileNotFoundError as error:
            raise ImageError(f"The image {source} is gone. Put it back, {LEAVE_OUT}.") from error
        except (TypeError, ValueError) as error:
            where = "" if isinstance(source, Path) else f"The image {self.ids[index]!r}: "
            raise ImageError(f"{where}{str(error).removesuffix('.')}, {LEAVE_OUT}.") from error
        return image.flip(2) if self.mirrored is not None and self.mirrored[index] else image


class ImageDataset(Dataset[dict[str, Tensor]]):
    """Images of a split, framed.

    With ``flip`` each image is mirrored in half of the epochs; which ones depends on seed, epoch and index alone, not
    on the worker process that reads the image.

    Args:
        split: Files and labels.
        size: How images are framed, or the side of square RGB images, or channels, height and width.
        flip: Mirror images at random.
        seed: Seed of the flips.

    Raises:
        ValueError: If a file is not a readable image.
    """

    def __init__(self, split: Split, size: Framing | ImageSize, *, flip: bool = False, seed: int = 0) -> None:
        self.split = split
        self.framing = Framing.of(size)
        self.flip = flip
        self.seed = seed
        # shared, because worker processes that outlive an epoch hold a copy of everything else
        self._epoch = torch.zeros((), dtype=torch.int64).share_memory_()

    def set_epoch(self, epoch: int) -> None:
        """Choose the flips; :class:`ResumableLoader` calls this before every epoch."""
        self._epoch.fill_(epoch)

    def __len__(self) -> int:
        return len(self.split.ids)

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        """``image``: ``(C, H, W)``; ``label``: bool ``(K,)``; ``index``, ``object_id``: int64 ``()``."""
        image = self.split.read(index, self.framing)
        if self.flip and mirrored(self.seed, int(self._epoch), index):
            image = image.flip(2)
        number = index if self.split.groups is None else int(self.split.groups[index])
        return {
            "image": image,
            "label": torch.from_numpy(self.split.labels[index]),
            "index": torch.tensor(index),
            "object_id": torch.tensor(number),
        }


def mirrored(seed: int, epoch: int, index: int) -> bool:
    """Whether an image is seen mirrored in an epoch: a fair coin for every (seed, epoch, index)."""
    return bool(torch.rand((), generator=generator(seed, epoch, index)) < 0.5)
