"""Numbers of single images, so that two methods can be compared on the same images."""

import math

import torch
from torch import Tensor

from benchmarks.head_to_head.truth import Truth
from semexplain.explanation import Explanation
from semexplain.metrics.ranks import rank_correlation


def shared_out(explanation: Explanation, shared: bool) -> tuple[tuple[str, ...], Tensor]:
    """Names and contributions that a truth is compared with: of concepts from their means, or of parts as they are."""
    if shared:
        return explanation.concepts, explanation.contributions - explanation.contributions.mean(0)
    assert explanation.part_contributions is not None
    return explanation.parts, explanation.part_contributions


def by_image(explanation: Explanation, truth: Truth | None, shared: bool) -> dict[str, list[float | None]]:
    """What a mean over the images is made of, by the name of the number; None where an image has none.

    Numbers over a denominator of all images, the deviation and the contribution error, are divided by it here.

    Args:
        explanation: ``N`` images.
        truth: Of these images, if it is known.
        shared: Whether concepts share a feature, or filters have parts.
    """
    score = explanation.score.double()
    values = {"relative_deviation": explanation.residual.double().abs() / (score.max() - score.min())}
    if truth is not None:
        names, given = shared_out(explanation, shared)
        for prefix, removal in (("", False), ("removal_", True)):
            true = truth.aligned(explanation.ids, names, removal=removal).double()
            known = ~true.isnan()
            true = torch.where(known, true, 0)
            error = torch.where(known, (given - true).abs(), 0).sum(1)
            values[f"{prefix}rank_correlation"] = rank_correlation(given, true, known)
            values[f"{prefix}contribution_error"] = error / true.abs().sum() * known.any(1).sum()
            values[f"{prefix}contribution_error"][~known.any(1)] = torch.nan
    return {
        name: [None if math.isnan(value) else value for value in of_images.tolist()]
        for name, of_images in values.items()
    }
