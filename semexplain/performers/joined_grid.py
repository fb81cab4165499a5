"""Several layers as one grid: every cell at its place over the image."""

from collections.abc import Sequence

import torch
from torch import Tensor

from semexplain.performers.tokens import Grid, grid_of


class JoinedGrid:
    """How the joined values of several layers are one grid ``(B, C, h, w)``, as fine as the finest of them.

    The channels are those of the first layer, then those of the second, and so on. A cell of a coarse layer is once in
    the grid, at the place that its middle has in the image; the cells between are 0. So the sum of a channel's cells,
    and of a gradient's, is what it is in the layer itself.

    Args:
        shapes: Of the layers' values of one image.
        image: Its height and width in pixels.

    Example:
        >>> joined = JoinedGrid([(1, 2, 2), (2, 1, 1)], (8, 8))
        >>> joined.shape
        (3, 2, 2)
        >>> joined.seen(torch.tensor([[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]]))[0, 1]
        tensor([[0., 0.],
                [0., 5.]])
    """

    def __init__(self, shapes: Sequence[tuple[int, ...]], image: Sequence[int]) -> None:
        self.layer_shapes = [shape or (1,) for shape in shapes]
        self.grids = [grid_of(shape, image) for shape in self.layer_shapes]
        self.sizes = [torch.Size(shape).numel() for shape in self.layer_shapes]
        self.channels = sum(grid.channels for grid in self.grids)
        self.height, self.width = (max(getattr(grid, side) for grid in self.grids) for side in ("height", "width"))

    @property
    def shape(self) -> tuple[int, int, int]:
        """``(C, h, w)``."""
        return self.channels, self.height, self.width

    def seen(self, value: Tensor) -> Tensor:
        """The grid ``(B, C, h, w)`` of values ``(B, d)``."""
        found = value.new_zeros(len(value), *self.shape)
        for part, grid, channels in self._layers(value):
            rows, columns = self._places(grid)
            found[:, channels, rows, columns] = grid.seen(part)
        return found

    def rest(self, value: Tensor) -> Tensor:
        """What of the values is in no cell, ``(B, d')``."""
        return torch.cat([grid.rest(part) for part, grid, _ in self._layers(value)], 1)

    def put(self, value: Tensor, grid: Tensor) -> Tensor:
        """The values with another grid ``(k B, C, h, w)``; tokens that belong to no place stay as they are."""
        parts = []
        for part, own, channels in self._layers(value):
            rows, columns = self._places(own)
            parts.append(own.put(part, grid[:, channels, rows, columns]).flatten(1))
        return torch.cat(parts, 1)

    def _layers(self, value: Tensor) -> list[tuple[Tensor, Grid, slice]]:
        """Of each layer its value, its grid, and where its channels are."""
        found, begin = [], 0
        parts = value.split(self.sizes, 1)
        for part, grid, shape in zip(parts, self.grids, self.layer_shapes, strict=True):
            found.append((part.unflatten(1, shape), grid, slice(begin, begin + grid.channels)))
            begin += grid.channels
        return found

    def _places(self, grid: Grid) -> tuple[Tensor, Tensor]:
        """Rows ``(h', 1)`` and columns ``(w',)`` of a layer's cells."""
        sizes = ((self.height, grid.height), (self.width, grid.width))
        rows, columns = ((2 * torch.arange(few) + 1) * many // (2 * few) for many, few in sizes)
        return rows[:, None], columns
