"""Whether contributions of object parts are in the order, and of the sign, of what removing their filters does."""

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from semexplain.metrics.base import PreciseMetric
from semexplain.metrics.measure import Measure
from semexplain.metrics.ranks import rank_correlation, sign_agreement


class PartRanks(PreciseMetric):
    r"""Agreement of parts' contributions with the drops of the score without their filters, image by image.

    Unlike the error of Table 3 neither depends on how the bias b is shared out, nor on the scale of the contributions:

    .. math:: \rho = \mathrm{corr}(\mathrm{rank}(\mathrm{Contri}_p), \mathrm{rank}(\Delta_p)), \qquad
              s = \frac{\sum_p |\Delta_p|\, [\mathrm{Contri}_p \Delta_p > 0]}{\sum_p |\Delta_p|}

    Equal values share their rank. Beside both stands the same for gradient times activation, which needs no training.
    An image whose contributions or drops are all equal has no order, and one whose drops are all 0 no signs; they are
    left out.

    Args:
        parts: Names of the ``P`` parts, in the order of the columns.

    Example:
        >>> import torch
        >>> metric = PartRanks(parts=("torso", "leg", "ear"))
        >>> metric.update(
        ...     label=torch.tensor([True]),
        ...     part_effects=torch.tensor([[3.0, 1.0, -1.0]]),
        ...     part_contributions=torch.tensor([[2.0, 1.0, 0.5]]),
        ...     part_attributions=torch.tensor([[-3.0, -1.0, 1.0]]),
        ... )
        >>> {name: round(value.item(), 4) for name, value in metric.compute().items()}  # doctest: +NORMALIZE_WHITESPACE
        {'part_rank_correlation': 1.0, 'part_sign_agreement': 0.8,
         'gradient_activation_part_rank_correlation': -1.0, 'gradient_activation_part_sign_agreement': 0.0}
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
        Measure(
            "gradient_activation_part_rank_correlation", "rank correlation of gradient × activation", "correlation"
        ).means("The same correlation for gradient times activation, which needs no training: the control."),
        Measure("gradient_activation_part_sign_agreement", "agreement of signs of gradient × activation").means(
            "The same share for gradient times activation: the control."
        ),
    )
    in_validation = False  # it needs the effects of removing every part, see PartError

    def __init__(self, parts: Sequence[str], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.parts = tuple(parts)
        for prefix in ("", "gradient_activation_"):
            for quantity in ("part_rank_correlation", "part_sign_agreement"):
                self.add_mean(f"{prefix}{quantity}")

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
        positive = label.bool()
        effects = part_effects.detach().double()[positive]
        for prefix, tensor in {"": part_contributions, "gradient_activation_": part_attributions}.items():
            estimates = tensor.detach().double()[positive]
            for quantity, values in {
                "part_rank_correlation": rank_correlation(estimates, effects),
                "part_sign_agreement": sign_agreement(estimates, effects),
            }.items():
                self.add_to_mean(f"{prefix}{quantity}", values, values.isfinite())

    def compute(self) -> dict[str, Tensor]:
        """All means; nan where there is no image."""
        return {quantity: self.mean(quantity) for quantity in self.metric_state}
