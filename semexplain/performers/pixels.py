"""From stored pixels to what a network takes, as ``{size, mean, std, scale}`` or a preset says it."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from semexplain.data.framing import DTYPES, Framing
from semexplain.system.trouble import Trouble

FORM = "`transform={'size': [3, 224, 224], 'mean': ..., 'std': ..., 'scale': 255}`"


class Pixels(nn.Module):
    """``(pixels / scale - mean) / std``, on the device where the network is.

    Args:
        transform: ``{size, mean, std, scale}``, if wanted with ``shorter``, ``interpolation``, ``dtype`` and ``top`` of
            :class:`~semexplain.data.framing.Framing`; or anything with a ``framing`` and a ``normalisation()``, the
            module from stored pixels to what the network takes.

    Attributes:
        framing: How pictures are brought to their size and stored.

    Example:
        >>> pixels = Pixels({"size": [1, 8, 8], "mean": 0.5, "std": 0.5})
        >>> pixels(torch.full((1, 1, 8, 8), 255, dtype=torch.uint8)).unique()
        tensor([1.])
    """

    def __init__(self, transform: Any) -> None:
        super().__init__()
        if hasattr(transform, "framing") and hasattr(transform, "normalisation"):
            self.framing, self.normalise = transform.framing, transform.normalisation()
            return
        if not isinstance(transform, Mapping) or "size" not in transform:
            raise Trouble(f"transform: expected {FORM}, got {transform!r:.80}.")
        rest = {name: value for name, value in transform.items() if name not in ("size", "mean", "std", "scale")}
        try:
            self.framing = Framing.of(transform["size"], rest)
        except ValueError as error:
            raise Trouble(f"transform: {error}") from error
        self.normalise = Normalise(self.framing, *(transform.get(name) for name in ("mean", "std", "scale")))

    def forward(self, image: Tensor) -> Tensor:
        """What the network takes, for stored pixels ``(B, C, H, W)``."""
        normalised: Tensor = self.normalise(image)
        return normalised

    def stored(self, shares: Tensor) -> Tensor:
        """Pixels as they are stored, of brightness from 0 to 1."""
        return (shares * self.framing.full).to(DTYPES[self.framing.dtype])

    def shares(self, image: Tensor) -> Tensor:
        """Brightness from 0 to 1 of stored pixels."""
        return image.float() / self.framing.full


class Normalise(nn.Module):
    """``(pixels / scale - mean) / std``; scale brings pixels to 0..1 by default."""

    scale: Tensor
    mean: Tensor
    std: Tensor

    def __init__(self, framing: Framing, mean: Any, std: Any, scale: float | None) -> None:
        super().__init__()
        self.framing = framing
        self.register_buffer("scale", torch.tensor(float(framing.full if scale is None else scale)))
        for name, value, default in (("mean", mean, 0.0), ("std", std, 1.0)):
            values = torch.as_tensor(default if value is None else value, dtype=torch.float32).view(-1, 1, 1)
            self.register_buffer(name, values.expand(framing.channels, 1, 1).clone())

    def forward(self, image: Tensor) -> Tensor:
        """What the network takes, for stored pixels ``(B, C, H, W)``."""
        if image.dtype != DTYPES[self.framing.dtype]:
            raise TypeError(f"Expected images as {self.framing.dtype} 0..{self.framing.full:g}, got {image.dtype}.")
        return (image.float() / self.scale - self.mean) / self.std
