"""Whether an explanation depends on what the performer has learnt."""

from typing import Any

from torch import Tensor

from semexplain.metrics.base import PreciseMetric
from semexplain.metrics.measure import Measure
from semexplain.metrics.ranks import rank_correlation


class RandomisationSimilarity(PreciseMetric):
    r"""Similarity of the contributions before and after the performer's weights are drawn anew.

    .. math:: \frac1N \sum_I \mathrm{corr}\bigl(\mathrm{rank}\,|\phi_{I,i}|,\; \mathrm{rank}\,|\phi'_{I,i}|\bigr)

    The model parameter randomisation test (Adebayo et al. 2018, arXiv:1810.03292) with Spearman's correlation of the
    sizes, as there. It must fall: at 1 the explanation is the same whatever the performer computes. Around 0 the two
    have nothing to do with each other. An image whose contributions are all of one size has no order; it is left out.

    Example:
        >>> import torch
        >>> metric = RandomisationSimilarity()
        >>> metric.update(torch.tensor([[3.0, -2.0, 1.0]]), randomised_contributions=torch.tensor([[0.1, 0.2, 0.3]]))
        >>> metric.compute()
        tensor(-1., dtype=torch.float64)
    """

    reports = (
        Measure("randomisation_similarity", "similarity after randomisation", "correlation", "lower").means(
            "Mean rank correlation between the sizes of the contributions and those for a performer whose weights were "
            "drawn anew: near 1 means that what the performer has learnt does not matter."
        ),
    )
    in_validation = False  # it needs the explanations of another performer

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.add_mean("similarity")

    def update(self, contributions: Tensor, randomised_contributions: Tensor) -> None:
        """Add a batch of contributions and those of the re-drawn performer, both ``(B, n)``."""
        contributions, randomised_contributions = contributions.detach(), randomised_contributions.detach()
        similarity = rank_correlation(contributions.abs(), randomised_contributions.abs())
        diverged = contributions.isnan().any(1) | randomised_contributions.isnan().any(1)
        self.add_to_mean("similarity", similarity, ~similarity.isnan() | diverged)

    def compute(self) -> Tensor:
        """The mean; nan without an image."""
        return self.mean("similarity")
