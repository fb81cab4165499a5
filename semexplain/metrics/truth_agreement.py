"""Whether contributions are the true ones, where the truth is known."""

from typing import Any

import torch
from torch import Tensor

from semexplain.metrics.across_images import mean_across_images
from semexplain.metrics.base import PreciseMetric
from semexplain.metrics.measure import Measure
from semexplain.metrics.ranks import rank_correlation, sign_agreement


class TruthAgreement(PreciseMetric):
    r"""Order, signs and size of the contributions against the true ones.

    With t the truth: the rank correlation, mean over the images whose contributions and truth have an order; the
    agreement of signs :math:`\sum_i |t_i| [\phi_i t_i > 0] / \sum_i |t_i|`, mean over the images with a truth; and the
    error :math:`\sum_{I,i} |\phi_{I,i} - t_{I,i}| / \sum_{I,i} |t_{I,i}|`, one ratio of totals.

    Where images are alike, a constant has a high rank correlation as well: beside it stands that of the mean truth of
    the same images. The correlation *across* images, of each concept after taking away its mean, mean over the concepts
    whose truth varies, is 0 for any constant.

    Only the error depends on the contributions' scale. A truth that is nan is not known, be it of one concept or of a
    whole image, and left out; a contribution that is nan is wrong, and shows.

    Example:
        >>> metric = TruthAgreement()
        >>> metric.update(
        ...     contributions=torch.tensor([[1.0, 2.0, -5.0, 9.0], [0.0, 1.0, -4.0, 7.0]]),
        ...     truth=torch.tensor([[1.0, 3.0, -1.0, torch.nan], [0.5, 2.0, -0.5, torch.nan]]),
        ... )
        >>> {name: round(value.item(), 2) for name, value in metric.compute().items()}  # doctest: +NORMALIZE_WHITESPACE
        {'rank_correlation': 1.0, 'sign_agreement': 0.92, 'contribution_error': 1.25,
         'image_correlation': 1.0, 'constant_rank_correlation': 1.0}
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
        Measure("image_correlation", "correlation with the truth across images", "correlation", "higher").means(
            "Pearson's correlation of a concept's contributions with the true ones over the images: mean over the "
            "concepts. What is the same for every image has 0."
        ),
        Measure("constant_rank_correlation", "rank correlation of a constant with the truth", "correlation").means(
            "The rank correlation of the mean true contributions, without looking at the image: the control. Its "
            "correlation across images is 0."
        ),
    )
    in_validation = False  # a truth costs far more than an explanation
    size: Tensor
    evaluated: list[Tensor]

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.add_state("size", torch.tensor(0), dist_reduce_fx="max")
        self.add_rows("evaluated")

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
        self.size = self.size.clamp_min(contributions.shape[1])
        self.evaluated.append(torch.stack([contributions, truth], dim=1).detach().double().flatten())

    def compute(self) -> dict[str, Tensor]:
        """Order, signs, size and what is special about an image; nan without an image whose truth is known."""
        contributions, truth = self.rows("evaluated").view(-1, 2, max(1, int(self.size))).unbind(1)
        mask = ~truth.isnan()
        truth = torch.where(mask, truth, 0)
        diverged = (contributions.isnan() & mask).any(1)

        def mean(values: Tensor) -> Tensor:
            return torch.where(diverged, torch.nan, values)[~values.isnan() | diverged].mean()

        average = truth.sum(0) / mask.sum(0)
        constant = rank_correlation(average.expand_as(truth), truth, mask)
        return {
            "rank_correlation": mean(rank_correlation(contributions, truth, mask)),
            "sign_agreement": mean(sign_agreement(contributions, truth)),
            "contribution_error": torch.where(mask, (contributions - truth).abs(), 0).sum() / truth.abs().sum(),
            "image_correlation": mean_across_images(contributions, truth, mask),
            "constant_rank_correlation": constant[~constant.isnan()].mean(),
        }
