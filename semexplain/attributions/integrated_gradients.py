"""Integrated gradients: gradient times activation, averaged on the way from no concept to all of them."""

from typing import Annotated

import numpy as np
import torch
from annotated_types import Ge
from torch import Tensor

from semexplain.attributions.base import Attribution
from semexplain.attributions.question import Question


class IntegratedGradients(Attribution):
    r"""The slope of the game along the straight line from nothing to everything (Sundararajan et al. 2017).

    .. math:: \phi_i = \int_0^1 \left.\frac{\partial v}{\partial m_i}\right|_{m = t\mathbf 1} dt

    The contributions add up to :math:`v(1) - v(0)`, but for the error of the Gauss-Legendre sum in place of the
    integral, which is exact for polynomials.

    Args:
        steps: Terms of the sum, each a backward pass per image.
    """

    def __init__(self, steps: Annotated[int, Ge(1)] = 32) -> None:
        self.steps = steps

    def contributions(self, question: Question) -> Tensor:
        """``(B, n)``."""
        places, shares = (torch.from_numpy(values) for values in np.polynomial.legendre.leggauss(self.steps))
        n = question.performance.concepts.shape[1]
        slopes = question.slopes(question.states((places[:, None] + 1).expand(-1, n) / 2))
        return torch.tensordot(shares.to(slopes) / 2, slopes, dims=1)
