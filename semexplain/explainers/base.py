"""What an explainer g must offer (Sec. 3): weights per image, a learned bias, and a place to start."""

from abc import ABC, abstractmethod
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

Output = Literal["identity", "softplus"]


class Explainer(nn.Module, ABC):
    """Weights α of the concepts for each image, and the bias ``b`` of Eq. (1).

    Args:
        output: ``identity`` gives signed weights (Case 2), ``softplus`` positive ones (Case 1).

    Attributes:
        standardises: Whether it has to be told mean and size of what it sees of the training images first.
    """

    standardises: bool = False

    def __init__(self, output: Output) -> None:
        super().__init__()
        self.output = output
        self.bias = nn.Parameter(torch.zeros(()))

    @abstractmethod
    def forward(self, feature_map: Tensor) -> Tensor:
        """``u`` ``(B, n)``, before the output function, from a feature map ``(B, C, H, W)``."""

    @abstractmethod
    def last_layer(self) -> tuple[Tensor, Tensor]:
        """Kernel and bias ``(n,)`` of the layer that produces ``u``."""

    def weights(self, raw: Tensor) -> Tensor:
        """α ``(B, n)`` from ``u``, in float32."""
        return raw.float() if self.output == "identity" else F.softplus(raw.float())

    def standardise(self, mean: Tensor, mean_square: Tensor) -> None:
        """Be told the mean ``(d,)`` of the flattened features and the mean ``()`` of their squared norms."""
        raise NotImplementedError(f"{type(self).__name__} does not standardise what it sees.")

    @torch.no_grad()
    def start_at(self, weights: Tensor, bias: Tensor) -> None:
        """Let every image begin with the same weights ``(n,)`` and the bias ``()``.

        The last layer's kernel becomes zero and its own bias the inverse of the output function.

        Raises:
            ValueError: If a softplus would have to start at a weight that is not positive.
        """
        if self.output == "softplus" and not bool((weights > 0).all()):
            raise ValueError(
                f"A softplus explainer cannot start at weights that are not positive, the least is {weights.min():g}. "
                "Start without: `start=none`."
            )
        kernel, own_bias = self.last_layer()
        kernel.zero_()
        own_bias.copy_(weights if self.output == "identity" else weights + torch.log(-torch.expm1(-weights)))
        self.bias.copy_(bias)
