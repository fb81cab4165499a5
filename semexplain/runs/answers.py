"""What is kept of a performer's answer about an image, and how score, concepts and prior come back from it."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from semexplain.concepts.priors import feature_ratio, gradient_products, ratio_of_products
from semexplain.explanation import Performance
from semexplain.performers.base import Performer, SharedOutputs
from semexplain.system.row_store import Derived, Rows

Prior = Callable[[Performance], Tensor]
GRADIENT_BYTES = 512 * 2**20


class Record(Protocol):
    """What is kept of each image.

    Attributes:
        variant: What the performer's weights do not tell but the record depends on.
        names: Of its arrays.
    """

    variant: str
    names: tuple[str, ...]

    def compute(self, feature_map: Tensor) -> dict[str, Tensor]:
        """The arrays, float32, for feature maps ``(B, C, H, W)``."""

    def recall(self, rows: Mapping[str, Rows]) -> dict[str, Rows | Derived]:
        """``score`` ``(N,)``, ``concepts`` and ``prior`` ``(N, n)`` from the arrays."""


def record_of(performer: Performer, prior: Prior) -> Record:
    """The record that serves most: of every target and concept where the prior allows it, otherwise of one target."""
    if isinstance(performer, SharedOutputs) and getattr(prior, "func", prior) is feature_ratio:
        return OutputsRecord(performer)
    return TargetRecord(performer, prior)


class TargetRecord:
    """Score, concepts and prior weights as a training step computes them, for one target.

    Args:
        performer: The frozen performer.
        prior: Its prior.
    """

    names: tuple[str, ...] = ("score", "concepts", "prior")

    def __init__(self, performer: Performer, prior: Prior) -> None:
        self.performer = performer
        self.prior = prior
        self.variant = f"{performer.variant} {_name(prior)}"

    def compute(self, feature_map: Tensor) -> dict[str, Tensor]:
        """One pass through the head and one gradient of the score."""
        performance, weights = self.performer.perform(feature_map, self.prior)
        assert weights is not None
        return {"score": performance.score, "concepts": performance.concepts, "prior": weights}

    def recall(self, rows: Mapping[str, Rows]) -> dict[str, Rows | Derived]:
        """The arrays themselves."""
        return dict(rows)


class OutputsRecord:
    """All outputs of a head and the inner products of their gradients: the priors of every target and concept subset.

    Only one triangle of the products is kept.

    Args:
        performer: The frozen performer.
    """

    names: tuple[str, ...] = ("outputs", "products")

    def __init__(self, performer: Performer) -> None:
        assert isinstance(performer, SharedOutputs)
        self.performer = performer
        self.shared: SharedOutputs = performer
        self.variant = f"{performer.outputs_variant} all outputs"

    def compute(self, feature_map: Tensor) -> dict[str, Tensor]:
        """One pass through the head and the gradient of every output, for as many images at once as memory allows."""
        with torch.inference_mode(False), torch.autocast(feature_map.device.type, enabled=False):
            with torch.no_grad():
                feature = self.performer.feature(feature_map.float().clone())
                count = self.shared.outputs(feature[:1]).shape[1]
            parts = []
            for x in feature.split(max(1, GRADIENT_BYTES // (count * feature[0].nbytes))):
                leaf = x.detach().requires_grad_()
                with torch.enable_grad():
                    outputs = self.shared.outputs(leaf)
                    products = gradient_products(outputs, leaf)
                lower, upper = torch.triu_indices(count, count)
                parts.append((outputs.detach(), products[:, lower, upper]))
        return {name: torch.cat(part) for name, part in zip(self.names, zip(*parts, strict=True), strict=True)}

    def recall(self, rows: Mapping[str, Rows]) -> dict[str, Rows | Derived]:
        """Columns of the outputs, and the ratio of each concept's two products."""
        target, concepts = self.shared.target_index, self.shared.concept_indices
        return {
            "score": Derived(partial(_columns, columns=target), rows["outputs"]),
            "concepts": Derived(partial(_columns, columns=concepts), rows["outputs"]),
            "prior": Derived(partial(_prior, target=target, concepts=concepts), rows["products"]),
        }


def _columns(outputs: np.ndarray, columns: Any) -> np.ndarray:
    return outputs[:, columns]


def _prior(triangle: np.ndarray, target: int, concepts: list[int]) -> np.ndarray:
    count = int((2 * triangle.shape[1]) ** 0.5)
    lower, upper = torch.triu_indices(count, count)
    products = torch.zeros(len(triangle), count, count)
    products[:, lower, upper] = products[:, upper, lower] = torch.from_numpy(triangle)
    return ratio_of_products(products, target, concepts).numpy()


def _name(prior: Prior) -> str:
    """A prior's function and options, but for the memory it may use, which does not change its result."""
    function = getattr(prior, "func", prior)
    options = sorted((key, value) for key, value in getattr(prior, "keywords", {}).items() if key != "chunk_bytes")
    return f"{function.__module__}.{function.__qualname__} {options}"
