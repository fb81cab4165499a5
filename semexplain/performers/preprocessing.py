"""From uint8 pixels to what pretrained weights expect: a property of the weights, kept with them."""

from typing import NamedTuple

import torch
from torch import Tensor, nn


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


class Preprocessing(nn.Module):
    """Normalise uint8 images on the device where the network is.

    The constants are buffers, so they are saved, hashed and loaded with the weights that need them.

    Raises:
        TypeError: If images are not uint8: a network trained on 0..255 that is fed 0..1 fails silently.

    Example:
        >>> Preprocessing("caffe_rgb255")(torch.full((1, 3, 1, 1), 124, dtype=torch.uint8)).flatten()
        tensor([ 0.3200,  7.2210, 20.0610])
    """

    divisor: Tensor
    mean: Tensor
    std: Tensor

    def __init__(self, name: str) -> None:
        super().__init__()
        recipe = RECIPES[name]
        self.register_buffer("divisor", torch.tensor(recipe.divisor))
        self.register_buffer("mean", torch.tensor(recipe.mean).view(3, 1, 1))
        self.register_buffer("std", torch.tensor(recipe.std).view(3, 1, 1))

    def forward(self, image: Tensor) -> Tensor:
        """Normalised float images ``(B, 3, S, S)`` from uint8 ones."""
        if image.dtype != torch.uint8:
            raise TypeError(f"Expected images as uint8 RGB 0..255 of shape (B, 3, S, S), got {image.dtype}.")
        return (image / self.divisor - self.mean) / self.std
