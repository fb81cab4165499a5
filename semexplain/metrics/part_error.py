"""How wrong the contributions of object parts are, measured by removing the parts' filters (Table 3)."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from semexplain.metrics.base import PreciseMetric
from semexplain.metrics.measure import Measure

TABLE_3 = ("eye", "mouth_and_nose", "ear", "torso", "leg")


def scaled_effects(score: Tensor, effects: Tensor) -> tuple[Tensor, Tensor]:
    r"""Effects of removing parts, scaled so that all parts together account for the score.

    .. math:: y^*_p = \hat y\, \frac{\Delta_p}{\sum_{p'} \Delta_{p'}}

    Args:
        score: ``(B,)``.
        effects: ``(B, P)``.

    Returns:
        Scaled effects ``(B, P)``, and bool ``(B,)``: whether an image has a scale; where effects cancel,
        :math:`|\sum_p \Delta_p| < 10^{-3} |\hat y|`, its scaled effects are 0.

    Example:
        >>> scaled_effects(torch.tensor([4.0, 4.0]), torch.tensor([[1.0, 1.0], [1.0, -1.0]]))
        (tensor([[2., 2.],
                [0., -0.]]), tensor([ True, False]))
    """
    total = effects.sum(1)
    usable = (total.abs() >= 1e-3 * score.abs()) & (total != 0)
    return torch.where(usable, score / torch.where(usable, total, 1), 0)[:, None] * effects, usable


class PartError(PreciseMetric):
    r"""Mean absolute error of each part's contribution, as a fraction of the mean score of the images.

    The true effect of part p on an image is taken to be how much the score drops when the part's filters are set to 0,
    scaled so that all parts together account for the score:

    .. math:: y^*_p = \hat y\, \frac{\Delta_p}{\sum_{p'} \Delta_{p'}}, \qquad
              \mathrm{error}_p = \frac{\sum_I |\mathrm{Contri}_p - y^*_p|}{\sum_I \hat y}

    Only images of the target count: the mean score of others is near 0 or negative. Images whose effects cancel,
    :math:`|\sum_p \Delta_p| < 10^{-3} |\hat y|`, have no scale; they are skipped and counted.

    Beside every part's error stands that of gradient times activation, which needs no training. Means are over the
    parts of Table 3 (eye, mouth and nose, ear, torso, leg) that have filters; a part that no filter belongs to, not
    even in part, has no error: contribution and effect would agree at 0.

    Args:
        parts: Names of the ``P`` parts, in the order of the columns; ``background`` is what belongs to no part.

    Example:
        >>> metric = PartError(parts=("torso", "leg"))
        >>> metric.update(
        ...     score=torch.tensor([4.0]),
        ...     label=torch.tensor([True]),
        ...     part_effects=torch.tensor([[3.0, 1.0]]),
        ...     part_contributions=torch.tensor([[2.0, 1.0]]),
        ...     part_attributions=torch.tensor([[3.0, 1.0]]),
        ... )
        >>> result = metric.compute()
        >>> result["part_error/torso"].item(), result["gradient_activation_part_error_mean"].item()
        (0.25, 0.0)
    """

    reports = (
        Measure("part_error_mean", "part error", better="lower", column="part error", first=True).means(
            "Mean of the errors of the five parts of the paper's Table 3, as far as filters stand for them, as a share "
            "of the mean score."
        ),
        Measure(
            "gradient_activation_part_error_mean",
            "part error",
            of="gradient × activation",
            column="grad x act.",
            first=True,
        ).means("The same mean error for gradient times activation, which needs no training: the control."),
        Measure("part_error/*", "error for {}", better="lower", first=True).means(
            "Mean absolute difference between the part's contribution and the drop of the score when its filters are "
            "removed, as a share of the mean score."
        ),
        Measure("gradient_activation_part_error/*", "error of gradient × activation for {}").means(
            "Mean absolute difference between the part's contribution and the drop of the score when its filters are "
            "removed, for gradient times activation: the control."
        ),
        Measure("part_share/*", "share of {} by removal").means(
            "Mean drop of the score when the part's filters are removed, as a share of the mean score."
        ),
        Measure("part_error_images", "images with part errors", "images").means(
            "How many images of the target the part errors are measured on."
        ),
        Measure("part_error_skipped", "images without part errors", "images").means(
            "How many images were left out, because removing their filters does not change the score."
        ),
        Measure("part_error_parts", "parts in the part error", "parts").means("How many parts the mean is over."),
    )
    in_validation = False  # removing every part costs a pass through the head for each; reported once, on test
    wrong: Tensor
    attribution_wrong: Tensor
    effect: Tensor
    score: Tensor
    images: Tensor
    skipped: Tensor

    def __init__(self, parts: Sequence[str], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.parts = tuple(parts)
        for name in ("wrong", "attribution_wrong", "effect"):
            self.add_sum(name, (len(self.parts),))
        for name in ("score", "images", "skipped"):
            self.add_sum(name)

    def update(
        self, score: Tensor, label: Tensor, part_effects: Tensor, part_contributions: Tensor, part_attributions: Tensor
    ) -> None:
        """Add a batch.

        Args:
            score: ``(B,)``.
            label: bool ``(B,)``; images without the target are left out.
            part_effects: ``(B, P)``. Drop of the score without each part's filters.
            part_contributions: ``(B, P)``. What the explanation gives each part.
            part_attributions: ``(B, P)``. What gradient times activation gives each part.
        """
        positive = label.bool()
        score, effects = score.detach().double()[positive], part_effects.detach().double()[positive]
        true, usable = scaled_effects(score, effects)

        def error(values: Tensor) -> Tensor:
            distance = (values.detach().double()[positive] - true).abs()
            return torch.where(usable[:, None], distance, 0).sum(0)

        self.wrong = self.wrong + error(part_contributions)
        self.attribution_wrong = self.attribution_wrong + error(part_attributions)
        self.effect = self.effect + true.sum(0)
        self.score = self.score + torch.where(usable, score, 0).sum()
        self.images = self.images + usable.sum()
        self.skipped = self.skipped + (~usable).sum()

    def compute(self) -> dict[str, Tensor]:
        """Errors and shares of every part, their means, and counts; nan without an image."""
        score = torch.where(self.images > 0, self.score, torch.nan)
        measured = (self.wrong + self.attribution_wrong + self.effect.abs() > 0) | (self.images == 0)
        columns = {name: column for column, name in enumerate(self.parts) if measured[column]}
        table = [column for name, column in columns.items() if name in TABLE_3]
        result = {"part_error_images": self.images, "part_error_skipped": self.skipped}
        result["part_error_parts"] = self.score.new_tensor(len(table))
        for prefix, wrong in {
            "part_error": self.wrong,
            "gradient_activation_part_error": self.attribution_wrong,
        }.items():
            result |= {f"{prefix}/{name}": wrong[column] / score for name, column in columns.items()}
            result[f"{prefix}_mean"] = wrong[table].mean() / score
        return result | {f"part_share/{name}": self.effect[column] / score for name, column in columns.items()}
