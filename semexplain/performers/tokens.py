"""Values of layers as grids of cells over the image: maps, maps with channels last, and tokens.

Only what an explainer, a filter or a heat map sees becomes a grid. The network's own value stays as it is.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

MOST_PREFIXES = 16  # tokens that belong to no place: the class token, that of distillation, registers


@dataclass(frozen=True)
class Grid:
    """How the value ``(B, ...)`` of a layer is a grid ``(B, C, h, w)``.

    Attributes:
        kind: ``maps`` ``(B, C, h, w)``; ``last`` ``(B, h, w, C)``; ``tokens`` ``(B, P + h w, C)``, row by row, after
            ``P`` tokens that belong to no place; ``flat``: no grid, every number is a channel of one cell.
        channels: ``C``.
        height: ``h``.
        width: ``w``.
        prefix: ``P``.
    """

    kind: Literal["maps", "last", "tokens", "flat"]
    channels: int
    height: int = 1
    width: int = 1
    prefix: int = 0

    @property
    def shape(self) -> tuple[int, int, int]:
        """``(C, h, w)``."""
        return self.channels, self.height, self.width

    def seen(self, value: Tensor) -> Tensor:
        """The grid ``(B, C, h, w)`` of a value ``(B, ...)``.

        Example:
            >>> Grid("tokens", 1, 1, 2, prefix=1).seen(torch.tensor([[[9.0], [1.0], [2.0]]]))
            tensor([[[[1., 2.]]]])
        """
        if self.kind == "maps":
            return value
        if self.kind == "last":
            return value.movedim(-1, 1)
        if self.kind == "tokens":
            return value[:, self.prefix :].transpose(1, 2).unflatten(2, (self.height, self.width))
        return value.flatten(1)[:, :, None, None]

    def rest(self, value: Tensor) -> Tensor:
        """What of a value is in no cell, ``(B, d)``.

        Example:
            >>> Grid("tokens", 1, 1, 2, prefix=1).rest(torch.tensor([[[9.0], [1.0], [2.0]]]))
            tensor([[9.]])
        """
        return value[:, : self.prefix].flatten(1) if self.kind == "tokens" else value.flatten(1)[:, :0]

    def put(self, value: Tensor, grid: Tensor) -> Tensor:
        """The value with another grid; tokens that belong to no place stay as they are.

        Args:
            value: ``(B, ...)``.
            grid: ``(k B, C, h, w)``, of all images in one state after the other.

        Example:
            >>> tokens, grid = torch.tensor([[[9.0], [1.0], [2.0]]]), torch.tensor([[[[3.0, 4.0]]]])
            >>> Grid("tokens", 1, 1, 2, prefix=1).put(tokens, grid).flatten()
            tensor([9., 3., 4.])
        """
        if self.kind == "maps":
            return grid
        if self.kind == "last":
            return grid.movedim(1, -1)
        if self.kind == "tokens":
            prefix = value[:, : self.prefix].repeat(len(grid) // len(value), 1, 1)
            return torch.cat([prefix, grid.flatten(2).transpose(1, 2)], 1)
        return grid.flatten(1).view(-1, *value.shape[1:])


def grid_of(shape: Sequence[int], image: Sequence[int]) -> Grid:
    """How values of a shape are most likely a grid: the one whose cells are as square as the pixels.

    Args:
        shape: Of the value of one image.
        image: Its height and width in pixels.

    Example:
        >>> grid_of((197, 768), (224, 224))
        Grid(kind='tokens', channels=768, height=14, width=14, prefix=1)
        >>> grid_of((7, 7, 768), (224, 224)).kind, grid_of((8, 7, 7), (224, 224)).kind, grid_of((512,), (224, 224)).kind
        ('last', 'maps', 'flat')
        >>> grid_of((16, 1), (32, 32)).kind  # channels that were pooled, not a token for each
        'flat'
    """
    if len(shape) == 3:
        first, second, third = shape
        if _skew((first, second), image) < _skew((second, third), image):
            return Grid("last", third, first, second)
        return Grid("maps", first, second, third)
    if len(shape) == 2 and shape[1] > 1 and (found := _tokens(shape[0], image)):
        height, width, prefix = found
        return Grid("tokens", shape[1], height, width, prefix)
    return Grid("flat", torch.Size(shape).numel())


def _skew(cells: Sequence[int], image: Sequence[int]) -> float:
    """How far cells are from square: 0 if as many pixels high as wide."""
    ratio = (image[0] / cells[0]) / (image[1] / cells[1])
    return max(ratio, 1 / ratio) - 1


def _tokens(count: int, image: Sequence[int]) -> tuple[int, int, int] | None:
    """Height, width and prefix of so many tokens: as few as possible belong to no place."""
    for prefix in range(min(MOST_PREFIXES, count - 3) + 1):
        cells = count - prefix
        heights = [height for height in range(1, cells + 1) if cells % height == 0]
        height = min(heights, key=lambda height: _skew((height, cells // height), image))
        if _skew((height, cells // height), image) < 0.2 * (image[0] != image[1]) + 1e-9:
            return height, cells // height, prefix
    return None
