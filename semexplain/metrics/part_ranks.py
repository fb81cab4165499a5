"""Whether contributions of object parts are in the order, and of the sign, of what removing their filters does."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from semexplain.metrics.base import PreciseMetric


class PartRanks(PreciseMetric):
    r"""Agreement of parts' contributions with the drops of the score without their filters, image by image.

    Unlike the error of Table 3 neither depends on how the bias b is shared out, nor on the scale of the contributions:

    .. math:: \rho = \mathrm{corr}(\mathrm{rank}(\mathrm{Contri}_p), \mathrm{rank}(\Delta_p)), \qquad
              s = \frac{\sum_p |\Delta_p|\, [\mathrm{Contri}_p \Delta_p > 0]}{\sum_p |\Delta_p|}

    ``compute`` returns means over the images that show the target: ``part_rank_correlation`` (Spearman's, equal values
    share their rank) and ``part_sign_agreement``; beside them the same for gradient times activation, which needs no
    training (``gradient_activation_part_rank_correlation``, ``gradient_activation_part_sign_agreement``). An image
    whose contributions or drops are all equal has no order, and one whose drops are all 0 no signs; they are left out.

    Args:
        parts: Names of the ``P`` parts, in the order of the columns.

    Example:
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

    higher_is_better = True
    in_validation = False  # it needs the effects of removing every part, see PartError

    def __init__(self, parts: Sequence[str], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.parts = tuple(parts)
        for prefix in ("", "gradient_activation_"):
            for quantity in ("part_rank_correlation", "part_sign_agreement"):
                self.add_sum(f"{prefix}{quantity}", (2,))  # sum, and number of images that have it

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
        for prefix, given in {"": part_contributions, "gradient_activation_": part_attributions}.items():
            own = given.detach().double()[positive]
            for quantity, values in {
                "part_rank_correlation": rank_correlation(own, effects),
                "part_sign_agreement": _sign_agreement(own, effects),
            }.items():
                known = values.isfinite()
                total = torch.stack([torch.where(known, values, 0).sum(), known.double().sum()])
                setattr(self, f"{prefix}{quantity}", getattr(self, f"{prefix}{quantity}") + total)

    def compute(self) -> dict[str, Tensor]:
        """All means; nan where there is no image."""
        return {quantity: total / count for quantity, (total, count) in self.metric_state.items()}


def rank_correlation(first: Tensor, second: Tensor) -> Tensor:
    """Spearman's correlation of two rows of values, for every row ``(B,)``; nan where a row has no order.

    Args:
        first: ``(B, P)``.
        second: ``(B, P)``.

    Example:
        >>> rank_correlation(torch.tensor([[1.0, 5.0, 9.0], [2.0, 2.0, 2.0]]), torch.tensor([[0.0, 1.0, 1.5]] * 2))
        tensor([1., nan], dtype=torch.float64)
    """
    centred = [_ranks(rows) - (rows.shape[1] + 1) / 2 for rows in (first, second)]
    product = (centred[0] * centred[1]).sum(1)
    return product / (centred[0].square().sum(1) * centred[1].square().sum(1)).sqrt()


def _ranks(rows: Tensor) -> Tensor:
    """1 for the least value of a row; equal values share the mean of their ranks."""
    less = (rows[:, None, :] < rows[:, :, None]).double().sum(2)
    equal = (rows[:, None, :] == rows[:, :, None]).double().sum(2)
    return less + (equal + 1) / 2


def _sign_agreement(given: Tensor, effects: Tensor) -> Tensor:
    weight = effects.abs()
    return (weight * (given * effects > 0)).sum(1) / weight.sum(1)
