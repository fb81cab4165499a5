"""Whether what several concepts contribute together is what the score loses without them."""

from typing import Any

from torch import Tensor

from semexplain.metrics.base import PreciseMetric
from semexplain.metrics.measure import Measure

EQUAL = 1e-6  # values of a row that differ by less, as a share of the largest, differ by rounding


class FaithfulnessCorrelation(PreciseMetric):
    r"""Correlation, and squared difference, of summed contributions and drops of the score over random subsets.

    For every image, with :math:`S_1, \dots, S_K` subsets of its concepts
    (:func:`semexplain.attributions.faithfulness.subset_effects`),

    .. math:: \rho = \mathrm{corr}_k \Bigl(\sum_{i \in S_k} \phi_i,\; v(\mathrm{all}) - v(\overline{S_k})\Bigr), \qquad
              \mathrm{infidelity} = \frac1K \sum_k \Bigl(\sum_{i \in S_k} \phi_i
                                    - v(\mathrm{all}) + v(\overline{S_k})\Bigr)^2

    ``compute`` returns means over images: ``faithfulness_correlation`` (Pearson's; Bhatt et al. 2020,
    arXiv:2005.00631), which does not see the scale of the contributions, and ``infidelity`` (Yeh et al. 2019,
    arXiv:1901.09392, with subsets as its perturbation), which does, in squared units of the score. An image whose sums
    or drops are all equal has no correlation; it is left out and counted in ``faithfulness_correlation_skipped``.

    Example:
        >>> import torch
        >>> metric = FaithfulnessCorrelation()
        >>> metric.update(
        ...     subset_contributions=torch.tensor([[1.0, 2.0, 3.0]]), subset_drops=torch.tensor([[2.0, 4.0, 6.0]])
        ... )
        >>> {name: round(value.item(), 4) for name, value in metric.compute().items()}
        {'faithfulness_correlation': 1.0, 'infidelity': 4.6667, 'faithfulness_correlation_skipped': 0.0}
    """

    reports = (
        Measure("faithfulness_correlation", unit="correlation", better="higher").means(
            "Correlation, over random subsets of an image's concepts, of their summed contributions with the drop of "
            "the score without them: mean over the images."
        ),
        Measure("infidelity", unit="score²", better="lower").means(
            "Mean squared difference between the summed contributions of such subsets and the drop of the score."
        ),
        Measure("faithfulness_correlation_skipped", "images without faithfulness correlation", "images").means(
            "Images left out because all their subsets have equal contributions or equal drops."
        ),
    )
    in_validation = False  # it needs a pass through the head for every subset; reported once, on test
    faithfulness_correlation_skipped: Tensor

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.add_mean("faithfulness_correlation")
        self.add_mean("infidelity")
        self.add_sum("faithfulness_correlation_skipped")

    def update(self, subset_contributions: Tensor, subset_drops: Tensor) -> None:
        """Add a batch.

        Args:
            subset_contributions: ``(B, K)``. Sum of the contributions of each subset of concepts.
            subset_drops: ``(B, K)``. What the score loses without each.
        """
        sums, drops = subset_contributions.detach().double(), subset_drops.detach().double()
        self.add_to_mean("infidelity", (sums - drops).square().mean(1))
        one, other = sums - sums.mean(1, keepdim=True), drops - drops.mean(1, keepdim=True)
        correlation = (one * other).sum(1) / (one.square().sum(1) * other.square().sum(1)).sqrt()
        equal = _equal(sums) | _equal(drops)
        self.add_to_mean("faithfulness_correlation", correlation, ~equal)
        self.faithfulness_correlation_skipped = self.faithfulness_correlation_skipped + equal.sum()

    def compute(self) -> dict[str, Tensor]:
        """Both means, nan without an image, and how many images have no correlation."""
        return {
            "faithfulness_correlation": self.mean("faithfulness_correlation"),
            "infidelity": self.mean("infidelity"),
            "faithfulness_correlation_skipped": self.faithfulness_correlation_skipped,
        }


def _equal(rows: Tensor) -> Tensor:
    return rows.amax(1) - rows.amin(1) <= EQUAL * rows.abs().amax(1)
