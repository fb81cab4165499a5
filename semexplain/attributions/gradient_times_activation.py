"""Gradient times activation: what the score loses, to first order, as a concept is taken away. No training."""

from typing import Annotated

import torch
from annotated_types import Ge
from torch import Tensor

from semexplain.attributions.base import Start
from semexplain.attributions.question import Question


class GradientTimesActivation(Start):
    r"""The slope of the game where all concepts are present, or a mean of slopes on the way there.

    .. math:: \phi_i = \frac{1}{K} \sum_{k=1}^{K} \left.\frac{\partial v}{\partial m_i}\right|_{m = k/K}

    For filters and K = 1 this is :math:`\sum_{h,w} x_{h,w,i}\, \partial \hat y/\partial x_{h,w,i}`: nearly right where
    the head is nearly linear. One backward pass through the head per image and step; more steps are integrated
    gradients by a sum of right ends. As a start, a concept without contribution gets no correction.

    Args:
        n_concepts: ``n``; only for the sake of other starts, which keep something of each.
        steps: ``K``.
    """

    def __init__(self, n_concepts: int = 0, steps: Annotated[int, Ge(1)] = 1) -> None:
        super().__init__()
        del n_concepts
        self.steps = steps

    def contributions(self, question: Question) -> Tensor:
        """``(B, n)``."""
        n = question.performance.concepts.shape[1]
        places = torch.arange(1, self.steps + 1)[:, None].expand(-1, n) / self.steps
        return question.slopes(question.states(places)).mean(0)
