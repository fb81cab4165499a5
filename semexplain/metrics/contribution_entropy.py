"""How evenly an explanation spreads over concepts (Table 1)."""

import math
from typing import Any

import torch
from torch import Tensor

from semexplain.metrics.base import PreciseMetric
from semexplain.metrics.measure import Measure


def contribution_entropy(contributions: Tensor) -> Tensor:
    r"""Entropy of each image's shares of contribution, in nats.

    .. math:: H = -\sum_i c_i \ln c_i, \qquad c_i = \frac{|\alpha_i y_i|}{\sum_j |\alpha_j y_j|}

    0 if one concept explains everything, :math:`\ln n` if all n explain equally. The bias has no share. A contribution
    counts by its size, for or against the target. The shares are computed in float32 or better.

    Args:
        contributions: ``(B, n)``. They need not be contributions: the shares of any n numbers have an entropy.

    Returns:
        ``(B,)``; nan for an image without any contribution, which has no shares.

    Example:
        >>> contribution_entropy(torch.tensor([[1.0, -1.0, 2.0], [0.0, 5.0, 0.0]]))
        tensor([1.0397, 0.0000])
    """
    size = contributions.to(torch.promote_types(contributions.dtype, torch.float32)).abs()
    return torch.special.entr(size / size.sum(1, keepdim=True)).sum(1)


class ContributionEntropy(PreciseMetric):
    """Mean entropy of the explanations, over all images and by label; normalised, it is nan for a single concept.

    Images without any contribution have no entropy; they are left out of the means and counted.

    Example:
        >>> metric = ContributionEntropy()
        >>> metric.update(contributions=torch.tensor([[1.0, 1.0], [0.0, 3.0]]), label=torch.tensor([True, False]))
        >>> {name: round(value.item(), 4) for name, value in metric.compute().items()}  # doctest: +NORMALIZE_WHITESPACE
        {'contribution_entropy': 0.3466, 'contribution_entropy_normalized': 0.5, 'effective_concepts': 1.4142,
         'contribution_entropy_positive': 0.6931, 'contribution_entropy_negative': 0.0,
         'contribution_entropy_skipped': 0.0}
    """

    reports = (
        Measure("contribution_entropy", unit="nats", better="higher", column="entropy", first=True).means(
            "Mean over the images of the entropy of |αᵢyᵢ| / Σ|αⱼyⱼ| in nats: low means that few concepts explain "
            "everything."
        ),
        Measure("contribution_entropy_normalized", "entropy, of at most 1", better="higher").means(
            "The entropy as a share of its largest value, ln n."
        ),
        Measure("effective_concepts", unit="concepts", better="higher").means(
            "The exponential of the entropy: this many equal contributions would have the same entropy."
        ),
        Measure("contribution_entropy_positive", "entropy, images with the label", "nats").means(
            "The entropy over the images with the target's label alone."
        ),
        Measure("contribution_entropy_negative", "entropy, images without the label", "nats").means(
            "The entropy over the other images alone."
        ),
        Measure("contribution_entropy_skipped", "images without contributions", "images").means(
            "Images whose contributions are all 0: they have no entropy."
        ),
    )
    entropy: Tensor
    count: Tensor
    skipped: Tensor
    size: Tensor

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.add_sum("entropy", (3,))  # of images without the label, with it, and of which that is not known
        self.add_sum("count", (3,))
        self.add_sum("skipped")
        self.add_state("size", torch.tensor(0), dist_reduce_fx="max")

    def update(self, contributions: Tensor, label: Tensor | None = None) -> None:
        """Add a batch of contributions ``(B, n)`` and, where they are known, labels of the target ``(B,)``."""
        contributions = contributions.detach().double()
        mask = contributions.abs().sum(1) != 0
        entropy = contribution_entropy(contributions[mask])
        kind = torch.full_like(mask, 2, dtype=torch.long) if label is None else label.long()
        kinds = torch.arange(3, device=kind.device)[:, None] == kind[mask]
        self.entropy = self.entropy + torch.stack([entropy[one].sum() for one in kinds])
        self.count = self.count + kinds.sum(1)
        self.skipped = self.skipped + (~mask).sum()
        self.size = self.size.clamp_min(contributions.shape[1])

    def compute(self) -> dict[str, Tensor]:
        """All means; nan where there is no image. Those by label are left out where labels are not known."""
        mean = self.entropy.sum() / self.count.sum()
        negative, positive, _ = self.entropy / self.count
        by_label = {"contribution_entropy_positive": positive, "contribution_entropy_negative": negative}
        size = int(self.size)
        return {
            "contribution_entropy": mean,
            "contribution_entropy_normalized": mean / math.log(size) if size > 1 else torch.full_like(mean, torch.nan),
            "effective_concepts": mean.exp(),
            **(by_label if self.count[2] == 0 else {}),
            "contribution_entropy_skipped": self.skipped,
        }
