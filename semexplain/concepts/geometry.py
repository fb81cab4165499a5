"""Where in an image the cells of a feature map look."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor


class MapGeometry(NamedTuple):
    """Cell ``k`` along an axis looks at ``receptive_field`` pixels around pixel ``first + stride * k``.

    Attributes:
        stride: Pixels between neighbouring cells.
        first: Centre of cell 0, in pixels counted from 0.
        receptive_field: Side of the square that influences a cell, in pixels.
        across: The same along the rows, where it differs from that along the columns.

    Example:
        >>> MapGeometry(stride=16, first=7.5, receptive_field=228).centre(2)
        39.5
    """

    stride: float
    first: float
    receptive_field: float
    across: "MapGeometry | None" = None

    @classmethod
    def of(cls, layers: Iterable[tuple[int, int, int]]) -> "MapGeometry":
        """Compose layers, each ``(kernel, stride, padding on the left)``.

        Example:
            >>> MapGeometry.of([(3, 1, 1), (2, 2, 0)])
            MapGeometry(stride=2, first=0.5, receptive_field=4, across=None)
        """
        jump, first, field = 1, 0.0, 1
        for kernel, stride, padding in layers:
            first += ((kernel - 1) / 2 - padding) * jump
            field += (kernel - 1) * jump
            jump *= stride
        return cls(jump, first, field)

    @classmethod
    def even(cls, image: Sequence[int], cells: Sequence[int]) -> "MapGeometry":
        """Cells that share the image evenly among them and do not overlap.

        Args:
            image: Height and width in pixels.
            cells: Height and width of the map.

        Example:
            >>> [axis[:3] for axis in MapGeometry.even((32, 24), (4, 4)).axes]
            [(8.0, 3.5, 8.0), (6.0, 2.5, 6.0)]
        """
        down, across = (
            cls(pixels / n, (pixels / n - 1) / 2, pixels / n) for pixels, n in zip(image, cells, strict=True)
        )
        return down._replace(across=across)

    @property
    def axes(self) -> "tuple[MapGeometry, MapGeometry]":
        """Along the columns, from row to row, and along the rows, from column to column."""
        return self, self.across or self

    def centre(self, cell: float) -> float:
        """Pixel at the centre of a cell."""
        return self.first + self.stride * cell

    def cell(self, pixel: float) -> float:
        """Cell, with fraction, whose centre is a pixel: the inverse of ``centre``."""
        return (pixel - self.first) / self.stride

    def window(self, row: int, column: int, size: int | Sequence[int]) -> tuple[int, int, int, int]:
        """Left, top, right and bottom (exclusive) of the pixels that influence a cell, clipped to the image.

        Args:
            row: The cell's row.
            column: The cell's column.
            size: Side of the image, or height and width.

        Example:
            >>> MapGeometry(stride=16, first=17.0, receptive_field=171).window(0, 6, 224)
            (28, 0, 199, 103)
        """
        spans = []
        for axis, cell, side in zip(self.axes, (row, column), _sides(size), strict=True):
            first = axis.centre(cell) - (axis.receptive_field - 1) / 2
            spans.append([min(max(int(edge), 0), side) for edge in (first, first + axis.receptive_field)])
        (top, bottom), (left, right) = spans
        return left, top, right, bottom

    def upsample(self, maps: Tensor, size: int | Sequence[int]) -> Tensor:
        """Maps at the resolution of the image, each cell's value at the pixel of its centre, bilinear in between.

        Outside the centres of the outermost cells their values go on. Interpolation that spreads the cells evenly over
        the image instead (``torch.nn.functional.interpolate``) is up to 14 pixels off for some networks.

        Args:
            maps: ``(..., h, w)``.
            size: Side of the image, or height and width.

        Returns:
            ``(..., H, W)``.

        Example:
            >>> maps = torch.tensor([[1.0, 3.0], [1.0, 3.0]])
            >>> MapGeometry(stride=2, first=1.0, receptive_field=3).upsample(maps, 5)[0]
            tensor([1., 1., 2., 3., 3.])
        """
        down, across = (
            axis._shares(side, count, maps)
            for axis, side, count in zip(self.axes, _sides(size), maps.shape[-2:], strict=True)
        )
        return down @ maps @ across.T

    def _shares(self, side: int, count: int, like: Tensor) -> Tensor:
        """Share of each cell in each pixel along an axis ``(side, count)``."""
        pixels = torch.arange(side, dtype=like.dtype, device=like.device)
        cells = torch.arange(count, dtype=like.dtype, device=like.device)
        position = ((pixels - self.first) / self.stride).clamp(0, count - 1)
        return (1 - (position[:, None] - cells).abs()).clamp_min(0)


def _sides(size: int | Sequence[int]) -> Sequence[int]:
    return (size, size) if isinstance(size, int) else size
