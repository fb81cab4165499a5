"""What is kept of a network's answers about an image, and how score, concepts and prior come back from it."""

from collections.abc import Mapping
from typing import Protocol

from torch import Tensor

from semexplain.concepts.network import Network, Prior
from semexplain.system.rows import Derived, Rows


class Answers(Protocol):
    """What is kept of each image.

    Attributes:
        variant: What the performer's weights do not tell but they depend on.
        names: Of its arrays.
    """

    variant: str
    names: tuple[str, ...]

    def compute(self, feature_map: Tensor) -> dict[str, Tensor]:
        """The arrays, float32, for feature maps ``(B, C, H, W)``."""

    def recall(self, rows: Mapping[str, Rows]) -> dict[str, Rows | Derived]:
        """``score`` ``(N,)``, ``concepts`` and ``prior`` ``(N, n)`` from the arrays."""


class TargetAnswers:
    """Score, concepts and prior weights as a training step computes them, for one target.

    Args:
        network: The frozen network.
        prior: Its prior.
    """

    names: tuple[str, ...] = ("score", "concepts", "prior")

    def __init__(self, network: Network, prior: Prior) -> None:
        self.network = network
        self.prior = prior
        self.variant = f"{network.variant} {_name(prior)}"

    def compute(self, feature_map: Tensor) -> dict[str, Tensor]:
        """One pass through the head and one gradient of the score."""
        performance, weights = self.network.perform(feature_map, self.prior)
        assert weights is not None
        return {"score": performance.score, "concepts": performance.concepts, "prior": weights}

    def recall(self, rows: Mapping[str, Rows]) -> dict[str, Rows | Derived]:
        """The arrays themselves."""
        return dict(rows)


def _name(prior: Prior) -> str:
    """A prior's function and options, but for the memory it may use, which does not change its result."""
    function = getattr(prior, "func", prior)
    options = sorted((key, value) for key, value in getattr(prior, "keywords", {}).items() if key != "chunk_bytes")
    return f"{function.__module__}.{function.__qualname__} {options}"
