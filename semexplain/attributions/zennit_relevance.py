"""Layer-wise relevance propagation from the score down to the filters: what concept relevance propagation ranks."""

from typing import Annotated

import torch
from annotated_types import Gt
from torch import Tensor

from semexplain.attributions.base import Attribution, needed
from semexplain.attributions.question import Question
from semexplain.concepts.base import ConceptKind


class ZennitRelevance(Attribution):
    r"""Relevance of each map of x by zennit's composite EpsilonPlus, summed over the map.

    Fully-connected layers hand relevance down by the epsilon rule, convolutions by the z-plus rule:

    .. math:: R_j = \sum_k \frac{a_j w_{jk}}{\sum_l a_l w_{lk} + b_k + \epsilon\, \mathrm{sign}(\cdot)} R_k, \qquad
              \phi_i = \sum_{h,w} R_{h,w,i}

    Biases keep their share of the relevance. Of a head of fully-connected layers, max-pools and ReLUs this is gradient
    times activation but for ε; convolutions in the head make the difference.

    Args:
        epsilon: ε.
    """

    def __init__(self, epsilon: Annotated[float, Gt(0)] = 1e-6) -> None:
        self.epsilon = epsilon
        self.composites = needed("zennit.composites", "zennit")

    def check(self, kind: ConceptKind) -> None:
        """Relevance belongs to the maps of x: outputs of a head have none."""
        if not kind.own_maps:
            raise ValueError(
                f"zennit_relevance hands the score down to maps, but no {kind.noun} of this performer is a map of its "
                "own. Use another rival, for example concept_vectors."
            )

    def contributions(self, question: Question) -> Tensor:
        """``(B, n)``."""
        self.check(question.kind)
        with torch.inference_mode(False), torch.enable_grad():
            leaf = question.feature.clone().requires_grad_()
            with self.composites.EpsilonPlus(epsilon=self.epsilon).context(question.network):
                score, _ = question.network.head(leaf)
                (relevance,) = torch.autograd.grad(score, leaf, score.detach())
        return question.network.grid(relevance).sum((2, 3))[:, question.columns]
