"""Drawn images that can be drawn again with other concepts: there the truth about an image is found by experiment."""

import io
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from semexplain.data.drawn.folder import jpeg
from semexplain.data.framing import Framing, ImageSize, read_image


class Scene(NamedTuple):
    """One image of a split, and how to draw it again."""

    position: int
    """Of the image in its split."""
    present: NDArray[np.bool_]
    """``(K,)``. Which concepts it has."""
    draw: Callable[[NDArray[np.bool_]], Tensor]
    """From which concepts are present ``(K,)`` to the picture as it is read, all else as in the image."""


class Redrawable(ABC):
    """Mixed into a data module whose images can be drawn again.

    Attributes:
        redrawable: Names of the ``K`` concepts that have a picture of their own.
    """

    redrawable: tuple[str, ...]

    @abstractmethod
    def rates(self) -> NDArray[np.float64]:
        """``(K,)``. How often a concept that is taken away is present nevertheless, by chance; 0: it is then absent."""

    @abstractmethod
    def scenes(self, split: str) -> list[Scene]:
        """The images of a split that can be drawn again, in order."""


def as_read(pixels: NDArray[np.uint8], size: Framing | ImageSize, box: NDArray[np.int64] | None = None) -> Tensor:
    """What reading a picture gives once it is written to a file.

    Args:
        pixels: Red, green and blue bytes ``(H, W, 3)``.
        size: A framing, or the side of a square RGB image, or channels, height and width.
        box: Left, top, right and bottom (exclusive) of the part to take; the whole by default.

    Example:
        >>> as_read(np.full((40, 40, 3), 128, dtype=np.uint8), 2)[0]
        tensor([[128, 128],
                [128, 128]], dtype=torch.uint8)
    """
    return read_image(io.BytesIO(jpeg(pixels)), size, box)
