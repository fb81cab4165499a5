"""The prior as an explanation: alone, or with a linear map over all images (Case 2)."""

from collections.abc import Iterable
from typing import Annotated

import torch
from annotated_types import Ge, Interval
from torch import Tensor

from semexplain.attributions.base import Attribution
from semexplain.attributions.linear_map import LinearMap
from semexplain.attributions.question import Question
from semexplain.metrics.moments import moments, pool, pooled
from semexplain.system.processes import of_all_processes


class PriorOnly(Attribution):
    r"""The run's prior weights in place of the explainer's.

    .. math:: \phi_i = w_i y_i

    The prior means a direction only, so the contributions need not add up to anything.
    """

    def contributions(self, question: Question) -> Tensor:
        """``(B, n)``."""
        return question.prior * question.performance.concepts


class PriorAndMap(LinearMap):
    r"""The prior's weights, scaled to fit, and a ridge regression of what they leave.

    .. math:: \alpha^0_i(I) = \eta\, \kappa\, w_i(I) + a_i, \qquad
              \kappa = \frac{\mathrm{cov}(\hat y, \sum_i w_i y_i)}{\mathrm{var}(\sum_i w_i y_i)}, \qquad
              s_i = 1 / \sigma_i

    where a minimises the mean squared error of what is left plus :math:`\rho \sum_i \sigma_i^2 a_i^2`. Gradients know
    what this network does near this image, but not further away; a regression knows how the scores of many images go
    with their concepts, but not why. They err in different ways.

    Args:
        n_concepts: ``n``.
        share: :math:`\eta`, of the score's fit to the prior.
        shrinkage: :math:`\rho`, in units of the concepts' variances.

    Example:
        >>> PriorAndMap(n_concepts=2).coefficients
        tensor([0., 0.])
    """

    needs_prior = True
    strengths_suffice = False
    factor: Tensor

    def __init__(
        self,
        n_concepts: int = 0,
        share: Annotated[float, Interval(ge=0, le=1)] = 0.35,
        shrinkage: Annotated[float, Ge(0)] = 0.7,
    ) -> None:
        super().__init__(n_concepts, shrinkage)
        self.share = share
        self.register_buffer("factor", torch.zeros(()))

    @torch.no_grad()
    def begin(self, questions: Iterable[Question]) -> Tensor:
        """Over all training images."""
        total = pooled(_moments_with_suggestion(question) for question in questions)
        total = pool(of_all_processes(total[None]))
        variation = total[2, 2]
        factor = self.share * torch.where(variation > 0, total[1, 2] / variation, 0)
        # Moments of (score - factor * suggested, concepts) from those of (score, suggested, concepts).
        change = torch.eye(len(total) - 1).to(total)
        change[0, 1] = -factor
        change = change[[0, *range(2, len(change))]]
        remainder = total.new_zeros(len(total) - 1, len(total) - 1)
        remainder[0, 0] = total[0, 0]
        remainder[0, 1:] = remainder[1:, 0] = change @ total[0, 1:]
        remainder[1:, 1:] = change @ total[1:, 1:] @ change.T
        self.factor.copy_(factor)
        return self.fit_moments(remainder)

    def contributions(self, question: Question) -> Tensor:
        """``(B, n)``."""
        return self.weights(question) * question.performance.concepts

    def weights(self, question: Question) -> Tensor:
        """Weights of each image."""
        return self.factor * question.prior + super().weights(question)


def _moments_with_suggestion(question: Question) -> Tensor:
    """Moments of the score, the prior's prediction of it, and the concepts."""
    score, concepts = question.performance.score, question.performance.concepts
    return moments(score, torch.cat([(question.prior * concepts).sum(1, keepdim=True), concepts], 1))
