"""Shapley values by sampling: what a concept adds when it comes after others, averaged over random orders (captum)."""

from typing import Annotated

import torch
from annotated_types import Ge
from torch import Tensor

from semexplain.attributions.base import EfficientAttribution, needed
from semexplain.attributions.question import Question
from semexplain.system.seed import Seed


class ShapleySampling(EfficientAttribution):
    r"""The mean rise of the score when a concept joins those before it (Castro et al. 2009, as in captum).

    .. math:: \phi_i = \frac{1}{K} \sum_{\pi} \bigl(v(m^{\pi, i} + e_i) - v(m^{\pi, i})\bigr)

    with :math:`m^{\pi, i}` the concepts before i in the order :math:`\pi`. ``n_samples`` times n passes through the
    head per image. The orders are the same for every batch, so that an image's numbers can be had again.

    Args:
        n_samples: Random orders K.
        seed: Of the orders.
    """

    def __init__(self, n_samples: Annotated[int, Ge(1)] = 25, seed: Seed = 0) -> None:
        self.n_samples = n_samples
        self.seed = seed
        self.captum = needed("captum.attr", "captum")

    def contributions(self, question: Question) -> Tensor:
        """``(B, n)``."""
        present = torch.ones_like(question.performance.concepts)

        def score(states: Tensor) -> Tensor:
            return question.scores(states.view(-1, *present.shape)).flatten()

        with torch.random.fork_rng(devices=[]), torch.no_grad():
            torch.default_generator.manual_seed(self.seed)
            return self.captum.ShapleyValueSampling(score).attribute(
                present, n_samples=self.n_samples, perturbations_per_eval=question.states_at_once
            )
