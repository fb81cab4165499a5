"""From stored pixels to what pretrained weights expect: a property of the weights, kept with them."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from semexplain.data.framing import TOPS


class Recipe(NamedTuple):
    """``(image / divisor - mean) / std`` on RGB values 0..255, and how weight files describe it."""

    divisor: float
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    description: str


RECIPES = {
    "torchvision": Recipe(
        255.0,
        (0.485, 0.456, 0.406),
        (0.229, 0.224, 0.225),
        "RGB 0-1 minus (0.485, 0.456, 0.406) over (0.229, 0.224, 0.225)",
    ),
    "caffe_rgb255": Recipe(
        1.0, (123.68, 116.779, 103.939), (1.0, 1.0, 1.0), "RGB 0-255 minus (123.68, 116.779, 103.939)"
    ),
}


class Normalisation(nn.Module):
    """``(image / divisor - mean) / std`` of any number of channels, on the device where the network is.

    The constants are buffers, so they are saved, hashed and loaded with the weights that need them. The operations are
    those of torchvision's ``ToTensor`` and ``Normalize``, in their order, so results are equal to the bit.

    Args:
        divisor: What stored values are divided by: 255 brings uint8 to 0..1.
        mean: A number for each channel.
        std: A number for each channel, as many as of ``mean``.
        dtype: Of stored values: ``uint8``, ``uint16`` or ``float32``.
        top: What stands for full brightness; by default 255, 65535 or 1.

    Raises:
        TypeError: If images are of another type: a network trained on 0..255 that is fed 0..1 fails silently.

    Example:
        >>> grey = Normalisation(65535.0, [0.5], [0.25], "uint16")
        >>> grey(torch.tensor([0, 65535], dtype=torch.uint16).view(2, 1, 1, 1)).flatten()
        tensor([-2.,  2.])
    """

    divisor: Tensor
    mean: Tensor
    std: Tensor

    def __init__(
        self,
        divisor: float,
        mean: Sequence[float],
        std: Sequence[float],
        dtype: str = "uint8",
        top: float | None = None,
    ) -> None:
        super().__init__()
        self.dtype: torch.dtype = getattr(torch, dtype)
        self.top = TOPS[dtype] if top is None else top
        self.register_buffer("divisor", torch.tensor(float(divisor)))
        self.register_buffer("mean", torch.tensor(mean, dtype=torch.float32).view(-1, 1, 1))
        self.register_buffer("std", torch.tensor(std, dtype=torch.float32).view(-1, 1, 1))

    def forward(self, image: Tensor) -> Tensor:
        """Normalised float images ``(B, C, H, W)`` from stored ones."""
        if image.dtype != self.dtype:
            raise TypeError(f"Expected images as {self._described}, got {image.dtype}.")
        if image.dtype == torch.uint16:  # for which torch has few operations; float32 holds its values exactly
            image = image.float()
        return (image / self.divisor - self.mean) / self.std

    def stored(self, shares: Tensor) -> Tensor:
        """Values as they are stored, of brightness from 0 to 1.

        Example:
            >>> Normalisation(255.0, [0.0], [1.0]).stored(torch.tensor([0.0, 0.5, 1.0]))
            tensor([  0, 127, 255], dtype=torch.uint8)
        """
        return (shares * self.top).to(self.dtype)

    def shares(self, image: Tensor) -> Tensor:
        """Brightness from 0 to 1 of stored values."""
        return image.float() / self.top

    @property
    def _described(self) -> str:
        name = str(self.dtype).removeprefix("torch.")
        return f"{name} 0..{self.top:g} of shape (B, {len(self.mean)}, H, W)"


class Preprocessing(Normalisation):
    """The normalisation of uint8 RGB images by a recipe of ``RECIPES``.

    Example:
        >>> Preprocessing("caffe_rgb255")(torch.full((1, 3, 1, 1), 124, dtype=torch.uint8)).flatten()
        tensor([ 0.3200,  7.2210, 20.0610])
    """

    def __init__(self, name: str) -> None:
        recipe = RECIPES[name]
        super().__init__(recipe.divisor, recipe.mean, recipe.std)

    @property
    def _described(self) -> str:
        return "uint8 RGB 0..255 of shape (B, 3, S, S)"
