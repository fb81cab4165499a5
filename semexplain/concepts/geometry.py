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

    Example:
        >>> MapGeometry(stride=16, first=7.5, receptive_field=228).centre(2)
        39.5
    """

    stride: int
    first: float
    receptive_field: int

    @classmethod
    def of(cls, layers: Iterable[tuple[int, int, int]]) -> "MapGeometry":
        """Compose layers, each ``(kernel, stride, padding on the left)``.

        Example:
            >>> MapGeometry.of([(3, 1, 1), (2, 2, 0)])
            MapGeometry(stride=2, first=0.5, receptive_field=4)
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
            >>> MapGeometry.even((32, 32), (4, 4))
            MapGeometry(stride=8, first=3.5, receptive_field=8)
        """
        stride = max(1, image[0] // cells[0])
        return cls(stride, (stride - 1) / 2, stride)

    def centre(self, cell: float) -> float:
        """Pixel at the centre of a cell."""
        return self.first + self.stride * cell

    def cell(self, pixel: float) -> float:
        """Cell, with fraction, whose centre is a pixel: the inverse of ``centre``."""
        return (pixel - self.first) / self.stride

    def window(self, row: int, column: int, size: int) -> tuple[int, int, int, int]:
        """Left, top, right and bottom (exclusive) of the pixels that influence a cell, clipped to the image.

        Args:
            row: The cell's row.
            column: The cell's column.
            size: Side of the image.

        Example:
            >>> MapGeometry(stride=16, first=17.0, receptive_field=171).window(0, 6, 224)
            (28, 0, 199, 103)
        """
        reach = (self.receptive_field - 1) / 2
        top, left = (self.centre(cell) - reach for cell in (row, column))
        edges = (left, top, left + self.receptive_field, top + self.receptive_field)
        left, top, right, bottom = (min(max(int(edge), 0), size) for edge in edges)
        return left, top, right, bottom

    def upsample(self, maps: Tensor, size: int) -> Tensor:
        """Maps at the resolution of the image, each cell's value at the pixel of its centre, bilinear in between.

        Outside the centres of the outermost cells their values go on. Interpolation that spreads the cells evenly over
        the image instead (``torch.nn.functional.interpolate``) is up to 14 pixels off for some networks.

        Args:
            maps: ``(..., m, m)``.
            size: Side ``S`` of the image.

        Returns:
            ``(..., S, S)``.

        Example:
            >>> maps = torch.tensor([[1.0, 3.0], [1.0, 3.0]])
            >>> MapGeometry(stride=2, first=1.0, receptive_field=3).upsample(maps, 5)[0]
            tensor([1., 1., 2., 3., 3.])
        """
        pixels = torch.arange(size, dtype=maps.dtype, device=maps.device)
        cells = torch.arange(maps.shape[-1], dtype=maps.dtype, device=maps.device)
        position = ((pixels - self.first) / self.stride).clamp(0, maps.shape[-1] - 1)
        share = (1 - (position[:, None] - cells).abs()).clamp_min(0)  # (S, m): of each cell in each pixel
        return share @ maps @ share.T
