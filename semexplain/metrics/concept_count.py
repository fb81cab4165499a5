"""How many concepts a reader must look at."""

from typing import Any

import torch
from torch import Tensor

from semexplain.metrics.base import PreciseMetric
from semexplain.metrics.measure import Measure

ROUNDING = 1e-9


def concept_count(contributions: Tensor, share: float = 0.95) -> Tensor:
    r"""The fewest concepts whose contributions cover a share of an image's total size.

    .. math:: \min \Bigl\{ |S| : \sum_{i \in S} |\phi_i| \ge \tau \sum_i |\phi_i| \Bigr\}

    NCC of M-CBM with :math:`\tau` the share; at 1 it counts the contributions that are not 0 (NEC of VLG-CBM,
    arXiv:2408.01432).

    Args:
        contributions: ``(B, n)``.
        share: Of the total, above 0 and at most 1.

    Returns:
        ``(B,)``, float64; nan for an image without any contribution, and where one is nan.

    Example:
        >>> concept_count(torch.tensor([[5.0, -4.0, 1.0, 0.0], [0.0, 3.0, 0.0, 0.0]]), share=0.9)
        tensor([2., 1.], dtype=torch.float64)
    """
    sums = contributions.double().abs().sort(dim=1, descending=True).values.cumsum(1)
    total = sums[:, -1:]
    count = (sums < share * (1 - ROUNDING) * total).sum(1) + 1
    return torch.where(total[:, 0] > 0, count.double(), torch.nan)


class ConceptCount(PreciseMetric):
    """Mean over images of the fewest concepts that cover a share of the contributions, see :func:`concept_count`.

    Images without any contribution are left out.

    Args:
        share: Of the total size of an image's contributions, above 0 and at most 1.

    Raises:
        ValueError: If the share is not one.

    Example:
        >>> metric = ConceptCount(share=0.9)
        >>> metric.update(torch.tensor([[5.0, -4.0, 1.0, 0.0], [0.0, 3.0, 0.0, 0.0]]))
        >>> metric.compute()
        tensor(1.5000, dtype=torch.float64)
    """

    reports = (
        Measure("concept_count", "concepts that cover 95 %", "concepts", "lower").means(
            "How many concepts, largest contributions first, cover 95 % (or another share) of an image's total: mean."
        ),
    )

    def __init__(self, share: float = 0.95, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if not 0 < share <= 1:
            raise ValueError(f"`share` must be above 0 and at most 1, got {share}. The field's value is 0.95.")
        self.share = share
        self.add_mean("count")

    def update(self, contributions: Tensor) -> None:
        """Add a batch of contributions ``(B, n)``."""
        contributions = contributions.detach()
        count = concept_count(contributions, self.share)
        self.add_to_mean("count", count, ~count.isnan() | contributions.isnan().any(1))

    def compute(self) -> Tensor:
        """The mean; nan without an image."""
        return self.mean("count")
