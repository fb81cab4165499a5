"""Feature ablation: what the score loses when one concept is taken away, really and not to first order."""

import torch
from torch import Tensor

from semexplain.attributions.base import Attribution
from semexplain.attributions.question import Question


class FeatureAblation(Attribution):
    r"""The fall of the score from all concepts to all but one.

    .. math:: \phi_i = v(1) - v(1 - e_i)

    One pass through the head per concept and image. Concepts that can stand in for one another get little, so the
    contributions need not add up.
    """

    def contributions(self, question: Question) -> Tensor:
        """``(B, n)``."""
        n = question.performance.concepts.shape[1]
        with_all, *without = question.scores(question.states(torch.cat([torch.ones(1, n), 1 - torch.eye(n)])))
        return (with_all - torch.stack(without)).T
