"""How often each output of an attribute performer has the right sign (Table 2, performers)."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torchmetrics import Metric


class AttributeAccuracy(Metric):
    """Share of images for which ``logit > 0`` agrees with the label, per attribute and on average.

    Args:
        names: Names of the ``K`` attributes.

    Example:
        >>> metric = AttributeAccuracy(["Male", "Young"])
        >>> metric.update(torch.tensor([[1.0, -1.0], [2.0, 3.0]]), torch.tensor([[True, True], [False, True]]))
        >>> {name: round(value.item(), 2) for name, value in metric.compute().items()}
        {'accuracy': 0.5, 'accuracy/Male': 0.5, 'accuracy/Young': 0.5}
    """

    correct: Tensor
    count: Tensor
    is_differentiable = False
    higher_is_better = True
    full_state_update = False

    def __init__(self, names: Sequence[str], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.names = tuple(names)
        self.add_state("correct", torch.zeros(len(self.names), dtype=torch.long), dist_reduce_fx="sum")
        self.add_state("count", torch.tensor(0), dist_reduce_fx="sum")

    def update(self, logits: Tensor, label: Tensor) -> None:
        """Add a batch of logits ``(B, K)`` and labels ``(B, K)``, bool."""
        # not in place: a state touched in inference mode could not be changed outside it
        self.correct = self.correct + ((logits > 0) == label).sum(0)
        self.count = self.count + len(label)

    def compute(self) -> dict[str, Tensor]:
        """Mean accuracy, and each attribute's, as fractions."""
        accuracy = self.correct.double() / self.count
        return {"accuracy": accuracy.mean(), **{f"accuracy/{name}": accuracy[i] for i, name in enumerate(self.names)}}
