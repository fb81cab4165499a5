"""Gradient times activation: what the score loses, to first order, as a concept is taken away. No training."""

import torch
from torch import Tensor

from semexplain.attributions.base import Question, Rival


class GradientTimesActivation(Rival):
    r"""The slope of the game where all concepts are present.

    .. math:: \phi_i = \left.\frac{\partial v}{\partial m_i}\right|_{m = 1}

    For filters this is :math:`\sum_{h,w} x_{h,w,i}\, \partial \hat y/\partial x_{h,w,i}`. One backward pass per image.
    """

    def contributions(self, question: Question) -> Tensor:
        """``(B, n)``."""
        (slope,) = question.slopes(torch.ones_like(question.performance.concepts)[None])
        return slope
