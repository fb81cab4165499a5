"""Whether the contributions account for what all concepts together do to the score."""

from typing import Any

import torch
from torch import Tensor

from semexplain.metrics.base import PreciseMetric
from semexplain.metrics.measure import Measure


class CompletenessGap(PreciseMetric):
    r"""How far contributions are from adding up to what the score loses without any concept, as a share of that.

    .. math:: \frac{\sum_I \bigl|\sum_i \phi_{I,i} - (v_I(\mathrm{all}) - v_I(\mathrm{none}))\bigr|}
                   {\sum_I |v_I(\mathrm{all}) - v_I(\mathrm{none})|}

    The axiom of completeness (Sundararajan et al. 2017, arXiv:1703.01365) asks for 0. Contributions that are all 0 have
    a gap of 1. Contributions that with a base value b make up the score are complete exactly if b is v(none).

    Example:
        >>> metric = CompletenessGap()
        >>> metric.update(
        ...     contributions=torch.tensor([[2.0, 1.0], [-1.0, 0.0]]),
        ...     score_with_all=torch.tensor([5.0, 0.0]),
        ...     score_with_none=torch.tensor([1.0, 1.0]),
        ... )
        >>> metric.compute()
        tensor(0.2000, dtype=torch.float64)
    """

    reports = (
        Measure("completeness_gap", better="lower").means(
            "Mean absolute difference between the sum of contributions and the drop of the score without any concept, "
            "divided by the mean drop."
        ),
    )
    in_validation = False  # like all that takes concepts away
    gap: Tensor
    change: Tensor

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.add_sum("gap")
        self.add_sum("change")

    def update(self, contributions: Tensor, score_with_all: Tensor, score_with_none: Tensor) -> None:
        """Add a batch of contributions ``(B, n)`` and scores ``(B,)`` with all concepts and with none."""
        change = score_with_all.detach().double() - score_with_none.detach().double()
        self.gap = self.gap + (contributions.detach().double().sum(1) - change).abs().sum()
        self.change = self.change + change.abs().sum()

    def compute(self) -> Tensor:
        """The gap; nan without an image, or if all concepts together change no score."""
        return torch.where(self.change > 0, self.gap / self.change, torch.nan)
