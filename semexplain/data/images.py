"""Labelled images on disk, and the data module that turns any such collection into batches."""

from collections.abc import Sequence
from pathlib import Path
from typing import IO, NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset

from semexplain.data.loading import generator
from semexplain.system.image_files import ImageError, Mode, decoded

SPLITS = ("train", "val", "test")
ImageSize = int | Sequence[int]  # side of a square RGB image, or channels, height and width
MODES: dict[int, Mode] = {1: "L", 3: "RGB"}  # of Pillow, by channels


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

    def first(self, count: int | None) -> "Split":
        """The first ``count`` images; all by default."""
        return Split._make(None if field is None else field[:count] for field in self)

    def order(self) -> np.ndarray:
        """Positions of the images in one pass over the split."""
        positions = np.arange(len(self.ids))
        return positions if self.repeats is None else np.repeat(positions, self.repeats)

    def read(self, index: int, size: ImageSize) -> Tensor:
        """The image at a position as uint8, see :func:`read_image`.

        Raises:
            ImageError: If the file is gone or cannot be read; the message says how a data set does without it.
        """
        box = None if self.boxes is None else self.boxes[index]
        try:
            image = read_image(self.paths[index], size, box)
        except FileNotFoundError as error:
            raise ImageError(f"The image {self.paths[index]} is gone. Put it back, {LEAVE_OUT}.") from error
        except ImageError as error:
            raise ImageError(f"{str(error).removesuffix('.')}, {LEAVE_OUT}.") from error
        return image.flip(2) if self.mirrored is not None and self.mirrored[index] else image


class ImageDataset(Dataset[dict[str, Tensor]]):
    """Images of a split as uint8.

    Resizing is bilinear and does not keep the aspect ratio. With ``flip`` each image is mirrored in half of the
    epochs; which ones depends on seed, epoch and index alone, not on the worker process that reads the image.

    Args:
        split: Files and labels.
        image_size: Side of the square RGB images returned, or channels, height and width.
        flip: Mirror images at random.
        seed: Seed of the flips.

    Raises:
        ValueError: If a file is not a readable image.
    """

    def __init__(self, split: Split, image_size: ImageSize, *, flip: bool = False, seed: int = 0) -> None:
        self.split = split
        self.image_size = image_size
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
        """``image``: uint8 ``(3, S, S)``; ``label``: bool ``(K,)``; ``index``, ``object_id``: int64 ``()``."""
        image = self.split.read(index, self.image_size)
        if self.flip and mirrored(self.seed, int(self._epoch), index):
            image = image.flip(2)
        number = index if self.split.groups is None else int(self.split.groups[index])
        return {
            "image": image,
            "label": torch.from_numpy(self.split.labels[index]),
            "index": torch.tensor(index),
            "object_id": torch.tensor(number),
        }


def image_shape(size: ImageSize) -> tuple[int, int, int]:
    """Channels, height and width of an image.

    Example:
        >>> image_shape(32), image_shape((1, 24, 40))
        ((3, 32, 32), (1, 24, 40))
    """
    if not isinstance(size, int) and len(size) != 3:
        raise ValueError(f"Expected the side of an image, or its channels, height and width, got {size}.")
    channels, height, width = (3, size, size) if isinstance(size, int) else size
    if channels not in MODES:
        raise ValueError(f"Images are read with {' or '.join(map(str, MODES))} channels, not {channels}.")
    return channels, height, width


def read_image(path: Path | IO[bytes], size: ImageSize, box: Sequence[int] | np.ndarray | None = None) -> Tensor:
    """Decode an image file to uint8, RGB or grey, see :func:`semexplain.system.image_files.decoded`.

    Args:
        path: The file, or one that is open.
        size: Side of a square RGB image, or channels, height and width; the aspect ratio is not kept.
        box: Left, top, right and bottom (exclusive) of the part to take, clipped to the image; the whole by default.

    Raises:
        FileNotFoundError: If there is no such file.
        ImageError: If the file is damaged or not an image, or the box lies outside it.
    """
    image = decoded(path, MODES[image_shape(size)[0]])
    if box is not None:
        left, top, right, bottom = (int(edge) for edge in box)
        edges = (max(left, 0), max(top, 0), min(right, image.width), min(bottom, image.height))
        if edges[0] >= edges[2] or edges[1] >= edges[3]:
            raise ImageError(
                f"The box {left}, {top}, {right}, {bottom} (left, top, right, bottom) holds nothing of {path}, which "
                f"is {image.width} wide and {image.height} high. Mend the box."
            )
        image = image.crop(edges)
    return pixels(image, size)


def pixels(image: Image.Image, size: ImageSize) -> Tensor:
    """A picture, grey or RGB, as uint8 ``(C, H, W)``: resized bilinearly, the aspect ratio not kept."""
    channels, height, width = image_shape(size)
    if image.size != (width, height):
        image = image.resize((width, height), Image.Resampling.BILINEAR)
    return torch.from_numpy(np.array(image)).view(height, width, channels).permute(2, 0, 1).contiguous()


def mirrored(seed: int, epoch: int, index: int) -> bool:
    """Whether an image is seen mirrored in an epoch: a fair coin for every (seed, epoch, index)."""
    return bool(torch.rand((), generator=generator(seed, epoch, index)) < 0.5)
