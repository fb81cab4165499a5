"""How often each output of an attribute performer has the right sign (Table 2, performers)."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torchmetrics import Metric

from semexplain.metrics.measure import Measure


class AttributeAccuracy(Metric):
    """Share of images for which ``logit > 0`` agrees with the label, per attribute and on average.

    The balanced accuracy is the mean of the shares among the images that have the attribute and among those that have
    not: 0.5 for an answer that is always the same. It is left out where there is no image of one kind.

    Args:
        names: Names of the ``K`` attributes.

    Example:
        >>> metric = AttributeAccuracy(["Male"])
        >>> metric.update(torch.tensor([[1.0], [2.0], [1.0], [-1.0]]), torch.tensor([[True], [True], [False], [False]]))
        >>> {name: round(value.item(), 2) for name, value in metric.compute().items() if "/" not in name}
        {'accuracy': 0.75, 'balanced_accuracy': 0.75}
    """

    right: Tensor
    count: Tensor
    is_differentiable = False
    reports = tuple(
        Measure(f"{kind}{one}", f"{kind.replace('_', ' ')}{name}", better="higher", of="the performer").means(meaning)
        for kind, meaning in (
            ("accuracy", "Share of images on which logit > 0 agrees with the label, of an attribute or their mean."),
            ("balanced_accuracy", "Mean of the accuracies on the images with and without the attribute, likewise."),
        )
        for one, name in (("", ""), ("/*", ", {}"))
    )
    full_state_update = False

    def __init__(self, names: Sequence[str], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.names = tuple(names)
        for state in ("right", "count"):  # of images without and with each attribute
            self.add_state(state, torch.zeros(2, len(self.names), dtype=torch.long), dist_reduce_fx="sum")

    def update(self, logits: Tensor, label: Tensor) -> None:
        """Add a batch of logits ``(B, K)`` and labels ``(B, K)``, bool."""
        kind = torch.stack([~label, label])
        # not in place: a state touched in inference mode could not be changed outside it
        self.right = self.right + (kind & ((logits > 0) == label)).sum(1)
        self.count = self.count + kind.sum(1)

    def compute(self) -> dict[str, Tensor]:
        """Accuracy and balanced accuracy, of every attribute and their means, as fractions."""
        accuracy = self.right.sum(0).double() / self.count.sum(0)
        balanced_accuracy = (self.right.double() / self.count).mean(0)
        mask = balanced_accuracy.isfinite()
        result = {"accuracy": accuracy.mean()}
        if mask.any():
            result["balanced_accuracy"] = balanced_accuracy[mask].mean()
        for column, name in enumerate(self.names):
            result[f"accuracy/{name}"] = accuracy[column]
            if mask[column]:
                result[f"balanced_accuracy/{name}"] = balanced_accuracy[column]
        return result
