"""Whether contributions are the true ones, where the truth is known."""

from typing import Any

import torch
from torch import Tensor

from semexplain.metrics.base import PreciseMetric
from semexplain.metrics.measure import Measure
from semexplain.metrics.ranks import rank_correlation, sign_agreement


class TruthAgreement(PreciseMetric):
    r"""Order, signs and size of the contributions against the true ones.

    With t the truth: the rank correlation, mean over the images whose contributions and truth have an order; the
    agreement of signs :math:`\sum_i |t_i| [\phi_i t_i > 0] / \sum_i |t_i|`, mean over the images with a truth; and the
    error :math:`\sum_{I,i} |\phi_{I,i} - t_{I,i}| / \sum_{I,i} |t_{I,i}|`, one ratio of totals.

    The first two do not depend on the contributions' scale. A truth that is nan is not known, be it of one concept or
    of a whole image, and left out; a contribution that is nan is wrong, and shows.

    Example:
        >>> metric = TruthAgreement()
        >>> metric.update(
        ...     contributions=torch.tensor([[1.0, 2.0, -5.0, 9.0]]), truth=torch.tensor([[1.0, 3.0, -1.0, torch.nan]])
        ... )
        >>> {name: value.item() for name, value in metric.compute().items()}
        {'rank_correlation': 1.0, 'sign_agreement': 1.0, 'contribution_error': 1.0}
    """

    reports = (
        Measure("rank_correlation", "rank correlation with the truth", "correlation", "higher").means(
            "Mean over the images of Spearman's correlation between the contributions and the true ones."
        ),
        Measure("sign_agreement", "agreement of signs with the truth", better="higher").means(
            "Share of the concepts, weighed by their true contributions, whose contribution has the true sign."
        ),
        Measure("contribution_error", better="lower").means(
            "Total absolute difference between the contributions and the true ones, as a share of the total size of "
            "the true ones."
        ),
    )
    in_validation = False  # a truth costs far more than an explanation
    wrong: Tensor
    total: Tensor

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.add_mean("rank_correlation")
        self.add_mean("sign_agreement")
        self.add_sum("wrong")
        self.add_sum("total")

    def update(self, contributions: Tensor, truth: Tensor) -> None:
        """Add a batch.

        Args:
            contributions: ``(B, n)``.
            truth: ``(B, n)``; nan where it is not known.

        Raises:
            ValueError: If there is not one true contribution for each.
        """
        if contributions.shape != truth.shape:
            raise ValueError(
                "`truth` must have the shape (B, n) of `contributions`, with nan for what is not known, got "
                f"{tuple(truth.shape)} and {tuple(contributions.shape)}."
            )
        contributions, truth = contributions.detach().double(), truth.detach().double()
        mask = ~truth.isnan()
        truth = torch.where(mask, truth, 0)
        diverged = (contributions.isnan() & mask).any(1)
        for quantity, values in {
            "rank_correlation": rank_correlation(contributions, truth, mask),
            "sign_agreement": sign_agreement(contributions, truth),
        }.items():
            self.add_to_mean(quantity, torch.where(diverged, torch.nan, values), ~values.isnan() | diverged)
        self.wrong = self.wrong + torch.where(mask, (contributions - truth).abs(), 0).sum()
        self.total = self.total + truth.abs().sum()

    def compute(self) -> dict[str, Tensor]:
        """Order, signs and size; nan without an image whose truth is known."""
        return {
            "rank_correlation": self.mean("rank_correlation"),
            "sign_agreement": self.mean("sign_agreement"),
            "contribution_error": self.wrong / self.total,
        }
