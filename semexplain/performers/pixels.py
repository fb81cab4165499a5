"""From stored pixels to what a network takes, as ``{size, mean, std, scale}`` says it."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from semexplain.system.trouble import Trouble

FORM = "`transform={'size': [3, 224, 224], 'mean': ..., 'std': ..., 'scale': 255}`"


class Pixels(nn.Module):
    """``(pixels / scale - mean) / std`` of uint8 pixels, on the device where the network is."""

    scale: Tensor
    mean: Tensor
    std: Tensor

    def __init__(self, transform: Any) -> None:
        super().__init__()
        if not isinstance(transform, Mapping) or "size" not in transform:
            raise Trouble(f"transform: expected {FORM}, got {transform!r:.80}.")
        channels, height, width = transform["size"]
        self.shape = (int(channels), int(height), int(width))
        self.register_buffer("scale", torch.tensor(float(transform.get("scale", 255))))
        for name, default in (("mean", 0.0), ("std", 1.0)):
            values = torch.as_tensor(transform.get(name, default), dtype=torch.float32).view(-1, 1, 1)
            self.register_buffer(name, values.expand(channels, 1, 1).clone())

    def forward(self, image: Tensor) -> Tensor:
        """What the network takes, for stored pixels ``(B, C, H, W)``."""
        if image.dtype != torch.uint8:
            raise TypeError(f"Expected images as uint8 0..255 of shape (B, *{self.shape}), got {image.dtype}.")
        return (image / self.scale - self.mean) / self.std

    def stored(self, shares: Tensor) -> Tensor:
        """Pixels as they are stored, of brightness from 0 to 1."""
        return (shares * 255).to(torch.uint8)

    def shares(self, image: Tensor) -> Tensor:
        """Brightness from 0 to 1 of stored pixels."""
        return image / 255
