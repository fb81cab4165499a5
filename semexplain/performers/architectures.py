"""The trunks of AlexNet, VGG-M, VGG-S and VGG-16, layer by layer."""

from collections.abc import Sequence
from typing import NamedTuple

from torch import nn


class Conv(NamedTuple):
    """A convolution and its ReLU; channels are those of the full network."""

    channels: int
    kernel: int = 3
    stride: int = 1
    padding: int = 1
    groups: int = 1


class Norm(NamedTuple):
    """Local response normalisation over five channels with exponent 0.75; ``alpha`` as PyTorch divides it."""

    k: float
    alpha: float


class Pool(NamedTuple):
    """A max-pool; ``ceil`` lets its last window reach over the right and lower border."""

    kernel: int
    stride: int
    ceil: bool = False


class Architecture(NamedTuple):
    """Layers up to relu5, the network's own last pool, and how many cells a side it leaves for fc7."""

    trunk: tuple[Conv | Norm | Pool, ...]
    pool6: Pool
    fc7_kernel: int
    name: str


HALF = Pool(2, 2)
CAFFE_NORM, OXFORD_NORM = Norm(1, 1e-4), Norm(2, 5e-4)

ARCHITECTURES = {
    "alexnet": Architecture(
        (
            *(Conv(96, 11, stride=4, padding=0), CAFFE_NORM, Pool(3, 2)),
            *(Conv(256, 5, padding=2, groups=2), CAFFE_NORM, Pool(3, 2)),
            *(Conv(384), Conv(384, groups=2), Conv(256, groups=2)),
        ),
        Pool(3, 2),
        6,
        "Caffe's AlexNet",
    ),
    "vgg_m": Architecture(
        (
            *(Conv(96, 7, stride=2, padding=0), OXFORD_NORM, Pool(3, 2)),
            *(Conv(256, 5, stride=2, padding=1), OXFORD_NORM, Pool(3, 2, ceil=True)),
            *(Conv(512), Conv(512), Conv(512)),
        ),
        Pool(3, 2),
        6,
        "VGG-M",
    ),
    "vgg_s": Architecture(
        (
            *(Conv(96, 7, stride=2, padding=0), OXFORD_NORM, Pool(3, 3, ceil=True)),
            *(Conv(256, 5, padding=0), Pool(2, 2, ceil=True)),  # the released weights have no second normalisation
            *(Conv(512), Conv(512), Conv(512)),
        ),
        Pool(3, 3, ceil=True),
        6,
        "VGG-S",
    ),
    "vgg16": Architecture(
        (
            *(Conv(64), Conv(64), HALF),
            *(Conv(128), Conv(128), HALF),
            *(Conv(256), Conv(256), Conv(256), HALF),
            *(Conv(512), Conv(512), Conv(512), HALF),
            *(Conv(512), Conv(512), Conv(512)),
        ),
        HALF,
        7,
        "VGG-16",
    ),
}

FULL_WIDTH, FULL_HIDDEN = 64, 4096


def trunk_layers(plan: Sequence[Conv | Norm | Pool], width: int) -> nn.Sequential:
    """Layers of a plan, numbered as a network's ``features``, their channels those of the plan times width / 64."""
    layers: list[nn.Module] = []
    channels = 3
    for layer in plan:
        if isinstance(layer, Conv):
            inputs, channels = channels, narrowed(layer.channels, width)
            window = layer.kernel, layer.stride, layer.padding
            layers += [nn.Conv2d(inputs, channels, *window, groups=layer.groups), nn.ReLU()]
        elif isinstance(layer, Norm):
            layers.append(nn.LocalResponseNorm(5, alpha=layer.alpha, beta=0.75, k=layer.k))
        else:
            layers.append(nn.MaxPool2d(layer.kernel, layer.stride, ceil_mode=layer.ceil))
    return nn.Sequential(*layers)


def side_after(plan: Sequence[Conv | Norm | Pool], side: int) -> int:
    """Cells a side that a plan leaves of an image's pixels; less than 1 where they are too few.

    Example:
        >>> side_after(ARCHITECTURES["vgg_s"].trunk, 224)
        17
    """
    for layer in plan:
        if isinstance(layer, Conv):
            side = (side + 2 * layer.padding - layer.kernel) // layer.stride + 1
        elif isinstance(layer, Pool):
            beyond = layer.stride - 1 if layer.ceil else 0
            side = (side - layer.kernel + beyond) // layer.stride + 1
    return side


def channels_after(plan: Sequence[Conv | Norm | Pool]) -> int:
    """Channels of the last convolution of a plan, at full width.

    Example:
        >>> channels_after(ARCHITECTURES["alexnet"].trunk)
        256
    """
    return [layer.channels for layer in plan if isinstance(layer, Conv)][-1]


def check_size(architecture: str, image_size: int, fc7_kernel: int) -> None:
    """Refuse an image size that leaves another number of cells than fc7 needs.

    Raises:
        ValueError: Naming the nearest size that fits this kernel, and the kernel that fits this size.
    """
    plan = ARCHITECTURES[architecture]
    layers = (*plan.trunk, plan.pool6)
    side = side_after(layers, image_size)
    if side == fc7_kernel:
        return
    sizes = [size for size in range(32, 40 * (fc7_kernel + 8)) if side_after(layers, size) == fc7_kernel]
    nearest = min(sizes, key=lambda size: abs(size - image_size))
    note = " (a smaller fc7 than the architecture's own)" if side < plan.fc7_kernel else ""
    advice = f", or `performer.fc7_kernel={side}`{note}" if side >= 1 else ""
    raise ValueError(
        f"{plan.name} leaves {max(side, 0)} x {max(side, 0)} cells of an image of {image_size} pixels, but fc7 needs "
        f"{fc7_kernel} x {fc7_kernel}. Use `performer.image_size={nearest}`{advice}."
    )


def narrowed(channels: int, width: int) -> int:
    """Channels of a network whose first convolution has ``width`` of them."""
    return channels * width // FULL_WIDTH
