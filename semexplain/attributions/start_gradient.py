"""Start from gradient times activation, which is nearly right where the head is nearly linear (Case 1)."""

from collections.abc import Iterable
from typing import Annotated

import torch
from annotated_types import Ge
from torch import Tensor

from semexplain.attributions.base import Question
from semexplain.attributions.start import Start
from semexplain.system.processes import of_all_processes

IMAGES = 512


class GradientTimesActivationStart(Start):
    r"""The slope of the game, shared over the concept's strength, and corrections in proportion to it.

    .. math:: \alpha^0_i = \frac{1}{y_i} \frac{1}{K} \sum_{k=1}^{K}
              \left.\frac{\partial v}{\partial m_i}\right|_{m = k/K}, \qquad s_i = \alpha^0_i

    With one step this is gradient times activation over y, one backward pass through the head per image; with more,
    integrated gradients. A correction of 0.1 makes a contribution larger by a tenth; a concept without any gets none.

    Args:
        n_concepts: ``n``.
        steps: ``K``.
    """

    def __init__(self, n_concepts: int, steps: Annotated[int, Ge(1)] = 1) -> None:
        super().__init__(n_concepts)
        self.steps = steps

    def fit(self, questions: Iterable[Question]) -> Tensor:
        """Only the bias, from some images."""
        left: list[Tensor] = []
        for question in questions:
            performance = question.performance
            left.append(performance.score - (self(question)[0] * performance.concepts).sum(1))
            if sum(map(len, left)) >= IMAGES:
                break
        return of_all_processes(torch.cat(left)).double().mean().float()

    def forward(self, question: Question) -> tuple[Tensor, Tensor]:
        """Weights of each image, and they again as scale."""
        strengths = question.performance.concepts
        places = torch.arange(1, self.steps + 1)[:, None].expand(-1, self.n_concepts) / self.steps
        attribution = question.slopes(question.states(places)).mean(0)
        weights = torch.where(strengths == 0, 0, attribution / strengths)
        return weights, weights
