"""The least explainer that sees the image: weights that are linear in what the performer has computed."""

from math import prod
from typing import Annotated

import torch
from annotated_types import Ge
from torch import Tensor, nn

from semexplain.explainers.base import Explainer, Output


class LinearExplainer(Explainer):
    r"""One layer from features to weights, ``u = G z + c``.

    Features are centred and brought to a mean square of 1 over the training images, by one factor for all of them,
    before the layer. With the performer's last hidden layer as input (``module.reads=hidden``) the explanation is
    bilinear in features and concepts, and finding it a convex problem: no initialisation, no local minimum.

    Args:
        map_shape: ``(C, H, W)`` of the features; ``(d, 1, 1)`` for a hidden layer.
        n_concepts: ``n``.
        output: ``identity`` gives signed weights, ``softplus`` positive ones.

    Example:
        >>> explainer = LinearExplainer(map_shape=(8, 1, 1), n_concepts=3)
        >>> explainer(torch.randn(2, 8, 1, 1)).shape
        torch.Size([2, 3])
    """

    standardises = True
    mean: Tensor
    scale: Tensor

    def __init__(
        self,
        map_shape: tuple[int, int, int],
        n_concepts: Annotated[int, Ge(1)],
        output: Output = "identity",
    ) -> None:
        super().__init__(output)
        size = prod(map_shape)
        self.layer = nn.Linear(size, n_concepts)
        self.register_buffer("mean", torch.zeros(size))
        self.register_buffer("scale", torch.ones(()))

    def forward(self, feature_map: Tensor) -> Tensor:
        """``u`` ``(B, n)``."""
        return self.layer((feature_map.flatten(1) - self.mean) * self.scale)

    def standardise(self, mean: Tensor, mean_square: Tensor) -> None:
        """Bring features to mean 0 and a mean square norm of 1.

        Args:
            mean: ``(d,)``, of the flattened features over the training images.
            mean_square: ``()``. Mean of their squared norms.
        """
        self.mean.copy_(mean)
        self.scale.copy_((mean_square - mean.square().sum()).clamp_min(1e-12).rsqrt())

    def last_layer(self) -> tuple[Tensor, Tensor]:
        """The layer's kernel ``(n, d)`` and bias ``(n,)``."""
        return self.layer.weight, self.layer.bias
