"""A small explainer for small images: a ResNet-18 with fewer channels."""

from typing import Annotated

from annotated_types import Ge
from torch import nn
from torchvision.models.resnet import BasicBlock, conv1x1

from semexplain.explainers.base import Output
from semexplain.explainers.resnet import Residual


class NarrowResNetExplainer(Residual):
    """ResNet-18 as :class:`~semexplain.explainers.resnet.ResNetExplainer` has it, with fewer channels in every layer.

    With 16 instead of 64 channels in its first layer it has a sixteenth of the parameters and costs a sixth: for
    many explainers of small maps on a CPU. It is not the paper's.

    Args:
        map_shape: ``(C, H, W)`` of the feature map.
        n_concepts: ``n``.
        width: Channels of the first layer; those of the four stages are 1, 2, 4 and 8 times as many.
        output: ``identity`` gives signed weights (Case 2), ``softplus`` positive ones (Case 1).

    Example:
        >>> import torch
        >>> explainer = NarrowResNetExplainer(map_shape=(8, 6, 6), n_concepts=3).eval()
        >>> explainer(torch.randn(2, 8, 6, 6)).shape
        torch.Size([2, 3])
    """

    def __init__(
        self,
        map_shape: tuple[int, int, int],
        n_concepts: Annotated[int, Ge(1)],
        width: Annotated[int, Ge(1)] = 16,
        output: Output = "identity",
    ) -> None:
        conv1 = nn.Conv2d(map_shape[0], width, kernel_size=7, stride=2, padding=3, bias=False)
        stages = [_stage(width * before, width * size, stride) for before, size, stride in STAGES]
        body = nn.Sequential(conv1, nn.BatchNorm2d(width), nn.ReLU(inplace=True), *stages)
        for layer in body.modules():
            if isinstance(layer, nn.Conv2d):
                nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
        super().__init__(body, 8 * width, map_shape, n_concepts, output)


STAGES = ((1, 1, 1), (1, 2, 2), (2, 4, 2), (4, 8, 2))  # channels before and after in widths, and the stride


def _stage(before: int, channels: int, stride: int) -> nn.Sequential:
    """Two blocks of two convolutions."""
    shortcut = None
    if stride > 1:
        shortcut = nn.Sequential(conv1x1(before, channels, stride), nn.BatchNorm2d(channels))
    return nn.Sequential(BasicBlock(before, channels, stride, shortcut), BasicBlock(channels, channels))
