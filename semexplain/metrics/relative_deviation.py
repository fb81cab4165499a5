"""How far explanations miss the performer's score (Table 2)."""

from typing import Any

import torch
from torch import Tensor
from torchmetrics.utilities import rank_zero_warn

from semexplain.metrics.base import PreciseMetric
from semexplain.metrics.logits import at_ends, doubt
from semexplain.metrics.measure import Measure


def relative_deviation(prediction: Tensor, score: Tensor) -> Tensor:
    """Mean absolute error of predictions ``(N,)``, as a fraction of the range of scores ``(N,)``.

    Returns:
        A scalar; nan if there is no score or all are equal.

    Example:
        >>> relative_deviation(torch.tensor([1.0, 2.0, 5.0]), torch.tensor([1.0, 3.0, 6.0]))
        tensor(0.1333)
    """
    if score.numel() == 0:
        return score.new_full((), torch.nan)
    return _fraction((prediction - score).abs().mean(), score.max() - score.min())


class RelativeDeviation(PreciseMetric):
    r"""Mean absolute error of the explainer, as a fraction of the performer's range of scores.

    .. math:: \frac{1}{N} \sum_I \frac{|\hat y_I - \sum_i \alpha_{I,i} y_{I,i} - b|}
                                    {\max_{I'} \hat y_{I'} - \min_{I'} \hat y_{I'}}

    The range is taken over the whole data set, so the metric keeps a sum, a count, a maximum and a minimum, and divides
    once, in ``compute``; averaging per-batch ratios would be a different number. If all scores are equal there is no
    range: the result is nan and a warning says so. Another one says, once, if the scores can hardly be logits, such as
    those in [0, 1] and percentages, see :func:`~semexplain.metrics.logits.doubt`.

    Example:
        >>> metric = RelativeDeviation()
        >>> metric.update(prediction=torch.tensor([1.0, 2.0]), score=torch.tensor([1.0, 3.0]))
        >>> metric.update(prediction=torch.tensor([5.0]), score=torch.tensor([6.0]))
        >>> metric.compute()
        tensor(0.1333, dtype=torch.float64)
    """

    reports = (
        Measure("relative_deviation", better="lower", column="rel. deviation", first=True).means(
            "Mean absolute difference between score and prediction, as a share of the range of the scores."
        ),
    )
    error: Tensor
    count: Tensor
    highest: Tensor
    lowest: Tensor
    ends_of_one: Tensor
    ends_of_hundred: Tensor

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.add_sum("error")
        self.add_sum("count")
        self.add_sum("ends_of_one")
        self.add_sum("ends_of_hundred")
        self.add_state("highest", torch.tensor(-torch.inf, dtype=torch.float64), dist_reduce_fx="max")
        self.add_state("lowest", torch.tensor(torch.inf, dtype=torch.float64), dist_reduce_fx="min")
        self.doubted = False

    def update(self, prediction: Tensor, score: Tensor) -> None:
        """Add a batch of explainer predictions and performer scores, both ``(B,)``."""
        if score.numel() == 0:
            return
        prediction, score = prediction.detach().double(), score.detach().double()
        self.error = self.error + (prediction - score).abs().sum()
        self.count = self.count + score.numel()
        self.highest = torch.maximum(self.highest, score.max())
        self.lowest = torch.minimum(self.lowest, score.min())
        self.ends_of_one = self.ends_of_one + at_ends(score, 1)
        self.ends_of_hundred = self.ends_of_hundred + at_ends(score, 100)

    def compute(self) -> Tensor:
        """The mean relative deviation."""
        if self.count > 0 and self.highest == self.lowest:
            rank_zero_warn(
                f"The relative deviation is nan: all {int(self.count)} scores of the performer are "
                f"{self.highest:.4g}, so there is no range to divide by.",
                UserWarning,
            )
        elif not self.doubted and (reason := self._doubt()):
            self.doubted = True
            rank_zero_warn(
                f"{reason}. Explain the value before it: a probability is not a sum of contributions.", UserWarning
            )
        return _fraction(self.error / self.count, self.highest - self.lowest)

    def _doubt(self) -> str:
        """Why the scores can hardly be logits."""
        counts = [int(number) for number in (self.count, self.ends_of_one, self.ends_of_hundred)]
        return doubt(counts[0], float(self.lowest), float(self.highest), *counts[1:])


def _fraction(error: Tensor, extent: Tensor) -> Tensor:
    return torch.where(extent > 0, error / extent, torch.nan)
