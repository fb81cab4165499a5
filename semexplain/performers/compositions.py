"""torchvision's ``Compose`` of resizing, crop, conversion and normalisation, taken apart."""

from collections.abc import Iterable
from typing import Any, cast, get_args

import torch
from torch import nn
from torchvision.transforms import transforms as v1
from torchvision.transforms import v2

from semexplain.data.framing import Framing, Interpolation

Step = tuple[str, Any]  # what one transform does, and to which value


def composition(transform: Any) -> dict[str, Any] | None:
    """Framing, scale, mean and std of a composition; ``None`` if it does anything else, or in another order.

    Pictures have to be resized and cropped before they become tensors: a tensor is resized to other values.

    Example:
        >>> steps = [v1.Resize(40), v1.CenterCrop(32), v1.ToTensor(), v1.Normalize([0.5] * 3, [0.5] * 3)]
        >>> composition(v1.Compose(steps))["framing"].shorter
        40
    """
    if not isinstance(transform, v1.Compose | v2.Compose | nn.Sequential):
        return None
    steps = [_step(part) for part in cast(Iterable, getattr(transform, "transforms", transform))]
    if None in steps:
        return None
    said = [step for step in cast(list[Step], steps) if step[0] != "same"]
    names = [name for name, _ in said]
    values = dict(said)
    order: list[str] = [name for name in ("grey", "resize", "crop", "tensor", "float", "normalise") if name in values]
    if sorted(names, key=order.index) != names or len(set(names)) < len(names) or "tensor" not in values:
        return None
    scaled = values.get("float", values["tensor"])
    sides = _sides(values)
    if sides is None or scaled is None:  # None: it stays uint8
        return None
    height, width, shorter, interpolation = sides
    channels = 1 if "grey" in values else 3
    framing = Framing(channels, height, width, shorter, interpolation)
    mean, std = values.get("normalise", (None, None))
    return {"framing": framing, "scale": scaled, "mean": mean, "std": std}


def _sides(
    values: dict[str, Any],
) -> tuple[int, int, int | None, Interpolation] | None:
    if "resize" not in values:
        return None
    size, interpolation = values["resize"]
    crop = values.get("crop")
    if len(size) == 1 and crop is not None and size[0] >= max(crop):
        return (*crop, size[0], interpolation)
    if len(size) == 2 and crop in (None, tuple(size)):
        return (*size, None, interpolation)
    return None


def _step(part: Any) -> Step | None:
    """What one transform does; ``None`` if nothing that a framing and a normalisation can say."""
    match part:
        case v1.Resize() | v2.Resize():
            size = [part.size] if isinstance(part.size, int) else list(part.size or ())
            name = getattr(part.interpolation, "value", part.interpolation)
            whole = name in get_args(Interpolation) and part.max_size is None
            return ("resize", (size, name)) if whole and size else None
        case v1.CenterCrop() | v2.CenterCrop():
            size = [part.size] * 2 if isinstance(part.size, int) else list(part.size)
            return ("crop", tuple(size * (2 // len(size))))
        case v1.Grayscale() | v2.Grayscale():
            return ("grey", None) if part.num_output_channels == 1 else None
        case v1.ToTensor() | v2.ToTensor():
            return ("tensor", 255.0)
        case v1.PILToTensor() | v2.PILToTensor() | v2.ToImage():
            return ("tensor", None)
        case v1.ConvertImageDtype():
            return ("float", 255.0) if part.dtype == torch.float32 else None
        case v2.ToDtype():
            return ("float", 255.0 if part.scale else 1.0) if part.dtype == torch.float32 else None
        case v1.Normalize() | v2.Normalize():
            return ("normalise", tuple(torch.as_tensor(value).tolist() for value in (part.mean, part.std)))
        case v2.ToPureTensor() | nn.Identity() | v2.Identity():
            return ("same", None)
    return None
