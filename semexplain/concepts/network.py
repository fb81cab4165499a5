"""What kinds of concepts may ask of the network that is explained; every performer is one."""

from collections.abc import Callable, Sequence
from typing import Protocol

import torch
from torch import Tensor

from semexplain.explanation import Performance

Prior = Callable[[Performance], Tensor]


class Network(Protocol):
    """What a kind of concept may ask of the network that is explained.

    Attributes:
        target_name: What the score stands for.
        target_index: Which of the outputs is the score.
        output_names: Names of the ``K`` outputs.
        feature_shape: Shape of ``x`` without the images, such as ``(C, H, W)``.
        variant: What the weights do not tell but scores, concepts and priors depend on.
        head_variant: What the weights do not tell but the outputs, as functions of ``x``, depend on.
    """

    target_name: str
    output_names: tuple[str, ...]

    @property
    def target_index(self) -> int: ...  # noqa: D102

    @property
    def feature_shape(self) -> tuple[int, ...]: ...  # noqa: D102

    @property
    def variant(self) -> str: ...  # noqa: D102

    @property
    def head_variant(self) -> str: ...  # noqa: D102

    def feature(self, feature_map: Tensor) -> Tensor:
        """``x`` ``(B, ...)`` of feature maps ``(B, C, H, W)``."""

    def outputs(self, feature: Tensor) -> Tensor:
        """All outputs ``(B, K)``, functions of ``x``."""

    def view(self, feature_map: Tensor) -> Tensor:
        """What is seen of feature maps, ``(B, C, h, w)``."""

    def grid(self, feature: Tensor) -> Tensor:
        """The maps ``(B, C, h, w)`` in ``x``."""

    def with_grid(self, feature: Tensor, grid: Tensor) -> Tensor:
        """``x`` with other maps ``(k B, C, h, w)``, of all images in one state after the other."""

    def head(self, feature: Tensor) -> tuple[Tensor, Tensor]:
        """Score ``(B,)`` and concepts ``(B, n)``, functions of ``x``."""

    def perform(
        self, feature_map: Tensor, prior: Prior | None = None, columns: Sequence[int] | None = None
    ) -> tuple[Performance, Tensor | None]:
        """Score, concepts and perhaps prior weights of a batch."""


class EncodingNetwork(Network, Protocol):
    """A network that reads images itself, whose outputs may be concepts of another one."""

    device: torch.device

    def to(self, device: torch.device) -> object:
        """Move its parameters."""

    def digest(self) -> str:
        """SHA-256 of its parameters and buffers."""

    def encode(self, image: Tensor) -> Tensor:
        """Feature maps of images, as they are stored."""
