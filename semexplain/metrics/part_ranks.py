"""Whether contributions of object parts agree with what removing their filters does: order, signs, across images."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from semexplain.metrics.across_images import mean_across_images
from semexplain.metrics.base import PreciseMetric
from semexplain.metrics.measure import Measure
from semexplain.metrics.ranks import rank_correlation, sign_agreement


class PartRanks(PreciseMetric):
    r"""Agreement of parts' contributions with the drops of the score without their filters.

    Image by image, with a rank correlation and an agreement of signs. Unlike the error of Table 3 neither depends on
    how the bias b is shared out, nor on the scale of the contributions:

    .. math:: \rho = \mathrm{corr}(\mathrm{rank}(\mathrm{Contri}_p), \mathrm{rank}(\Delta_p)), \qquad
              s = \frac{\sum_p |\Delta_p|\, [\mathrm{Contri}_p \Delta_p > 0]}{\sum_p |\Delta_p|}

    Equal values share their rank. An image whose contributions or drops are all equal has no order, and one whose drops
    are all 0 no signs; they are left out.

    Where images are alike, a constant has a high rank correlation as well. So that of the best constant stands beside
    it, the mean drop of each part over the same images, and the correlation of each part *across* images after taking
    away its mean, mean over the parts, which is 0 for any constant. A part whose drops do not vary is left out there.

    Beside all stands the same for gradient times activation, which needs no training.

    Args:
        parts: Names of the ``P`` parts, in the order of the columns.

    Example:
        >>> metric = PartRanks(parts=("torso", "leg", "ear"))
        >>> metric.update(
        ...     label=torch.tensor([True, True]),
        ...     part_effects=torch.tensor([[3.0, 1.0, -1.0], [2.0, 1.5, 0.0]]),
        ...     part_contributions=torch.tensor([[2.0, 1.0, 0.5], [1.0, 2.0, 1.0]]),
        ...     part_attributions=torch.tensor([[-3.0, -1.0, 1.0], [-3.0, -1.0, 1.0]]),
        ... )
        >>> {name: round(value.item(), 2) for name, value in metric.compute().items()}  # doctest: +NORMALIZE_WHITESPACE
        {'part_rank_correlation': 0.5, 'part_sign_agreement': 0.9, 'part_image_correlation': 1.0,
         'gradient_activation_part_rank_correlation': -1.0, 'gradient_activation_part_sign_agreement': 0.0,
         'gradient_activation_part_image_correlation': 0.0, 'constant_part_rank_correlation': 1.0}
    """

    reports = (
        Measure("part_rank_correlation", "rank correlation of parts", "correlation", "higher").means(
            "Spearman's correlation of the parts' contributions with the drops of the score without their filters: "
            "mean over the images of the target."
        ),
        Measure("part_sign_agreement", "agreement of signs of parts", better="higher").means(
            "Share of the parts, weighed by the drops of the score without them, whose contribution has the drop's "
            "sign."
        ),
        Measure("part_image_correlation", "correlation of parts across images", "correlation", "higher").means(
            "Pearson's correlation of a part's contributions with the drops of the score without its filters, over the "
            "images of the target: mean over the parts. What is the same for every image has 0."
        ),
        Measure(
            "gradient_activation_part_rank_correlation", "rank correlation of gradient × activation", "correlation"
        ).means("The same rank correlation for gradient times activation, which needs no training: the control."),
        Measure("gradient_activation_part_sign_agreement", "agreement of signs of gradient × activation").means(
            "The same share for gradient times activation: the control."
        ),
        Measure(
            "gradient_activation_part_image_correlation",
            "correlation across images of gradient × activation",
            "correlation",
        ).means("The same correlation across images for gradient times activation: the control."),
        Measure("constant_part_rank_correlation", "rank correlation of a constant", "correlation").means(
            "The same rank correlation for the mean drop of each part, without looking at the image: the control. Its "
            "correlation across images is 0."
        ),
    )
    in_validation = False  # it needs the effects of removing every part, see PartError
    evaluated: list[Tensor]

    def __init__(self, parts: Sequence[str], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.parts = tuple(parts)
        self.add_rows("evaluated")

    def update(
        self, label: Tensor, part_effects: Tensor, part_contributions: Tensor, part_attributions: Tensor
    ) -> None:
        """Add a batch.

        Args:
            label: bool ``(B,)``; images without the target are left out.
            part_effects: ``(B, P)``. Drop of the score without each part's filters.
            part_contributions: ``(B, P)``. What the explanation gives each part.
            part_attributions: ``(B, P)``. What gradient times activation gives each part.
        """
        table = torch.stack([part_effects, part_contributions, part_attributions], dim=1)
        self.evaluated.append(table.detach().double()[label.bool()].flatten())

    def compute(self) -> dict[str, Tensor]:
        """All means; nan where there is no image, or no part, to compare."""
        effects, *estimates = self.rows("evaluated").view(-1, 3, len(self.parts)).unbind(1)
        result: dict[str, Tensor] = {}
        for prefix, values in zip(("", "gradient_activation_"), estimates, strict=True):
            result |= {
                f"{prefix}part_rank_correlation": _mean_of_finite(rank_correlation(values, effects)),
                f"{prefix}part_sign_agreement": _mean_of_finite(sign_agreement(values, effects)),
                f"{prefix}part_image_correlation": mean_across_images(values, effects),
            }
        constant = effects.mean(0).expand_as(effects)
        return result | {"constant_part_rank_correlation": _mean_of_finite(rank_correlation(constant, effects))}


def _mean_of_finite(values: Tensor) -> Tensor:
    return values[values.isfinite()].mean()
