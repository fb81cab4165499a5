"""The explainer g: a ResNet on the performer's feature map, without its two pools (Sec. 4.1)."""

from abc import ABC, abstractmethod
from typing import Annotated, Literal, cast

import torchvision
from annotated_types import Ge
from torch import Tensor, nn

from semexplain.explainers.base import Explainer, Output


class Residual(Explainer, ABC):
    """A residual network without its two pools: a body, and one convolution over the extent that is left of the map.

    Args:
        body: Layers that halve the map four times, rounding up.
        width: Channels that they end with.
        map_shape: ``(C, H, W)`` of the feature map.
        n_concepts: ``n``.
        output: See :class:`~semexplain.explainers.base.Explainer`.
    """

    @abstractmethod
    def __init__(
        self, body: nn.Sequential, width: int, map_shape: tuple[int, int, int], n_concepts: int, output: Output
    ) -> None:
        super().__init__(output)
        self.body = body
        _, *extent = map_shape
        for _ in range(4):  # the first layer and the stages 2, 3 and 4
            extent = [-(-side // 2) for side in extent]
        self.head = nn.Conv2d(width, n_concepts, kernel_size=(extent[0], extent[1]))

    def forward(self, feature_map: Tensor) -> Tensor:
        """``u``, the last convolution's output ``(B, n)``, before the output function."""
        return self.head(self.body(feature_map)).flatten(1)

    def last_layer(self) -> tuple[Tensor, Tensor]:
        """Kernel ``(n, C', h', w')`` and bias ``(n,)`` of the last convolution."""
        return self.head.weight, cast(Tensor, self.head.bias)


class ResNetExplainer(Residual):
    """Weights α of the concepts for each image, read off the performer's feature map.

    A torchvision ResNet whose first convolution takes the feature map's channels, without the first max-pool and the
    last average-pool (the map is small), and whose last layer is one convolution over the remaining extent, so no
    position is averaged away. The bias ``b`` of Eq. (1) is learned with it.

    Args:
        map_shape: ``(C, H, W)`` of the feature map.
        n_concepts: ``n``.
        depth: 18, 34, 50, 101 or 152 layers; 152 in the paper.
        output: ``identity`` gives signed weights (Case 2), ``softplus`` positive ones (Case 1).

    Example:
        >>> import torch
        >>> explainer = ResNetExplainer(map_shape=(8, 6, 6), n_concepts=3, depth=18).eval()
        >>> explainer(torch.randn(2, 8, 6, 6)).shape
        torch.Size([2, 3])
    """

    def __init__(
        self,
        map_shape: tuple[int, int, int],
        n_concepts: Annotated[int, Ge(1)],
        depth: Literal[18, 34, 50, 101, 152] = 152,
        output: Output = "identity",
    ) -> None:
        net = torchvision.models.get_model(f"resnet{depth}", weights=None)
        net.conv1 = nn.Conv2d(map_shape[0], 64, kernel_size=7, stride=2, padding=3, bias=False)
        nn.init.kaiming_normal_(net.conv1.weight, mode="fan_out", nonlinearity="relu")
        body = nn.Sequential(net.conv1, net.bn1, net.relu, net.layer1, net.layer2, net.layer3, net.layer4)
        super().__init__(body, net.fc.in_features, map_shape, n_concepts, output)
