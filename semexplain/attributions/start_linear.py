"""Start from one linear map for all images, its weights shared out among concepts that go together (Case 2)."""

from collections.abc import Iterable
from typing import Annotated

import torch
from annotated_types import Ge
from torch import Tensor

from semexplain.attributions.base import Question
from semexplain.attributions.start import Start
from semexplain.metrics.moments import least_squares, moments, pool, pooled
from semexplain.system.processes import of_all_processes


class LinearMapStart(Start):
    r"""Ridge regression of the score on the concepts, each in units of its standard deviation.

    .. math:: \min_{a, b} \frac{1}{N} \sum_I \Bigl(\hat y - \sum_i a_i y_i - b\Bigr)^2
              + \rho \sum_i \sigma_i^2 a_i^2, \qquad \alpha^0_i = a_i, \quad s_i = 1 / \sigma_i

    Plain least squares decides between two concepts that go together by the smallest advantage and often gives them
    weights of opposite signs; the ridge :math:`\rho` lets them share. A correction of 1 moves the score by 1 where the
    concept is a standard deviation from 0.

    Args:
        n_concepts: ``n``.
        shrinkage: The ridge :math:`\rho`; 0 is least squares.

    Example:
        >>> start = LinearMapStart(n_concepts=2, shrinkage=0.0)
        >>> start.weights
        tensor([0., 0.])
    """

    weights: Tensor
    scale: Tensor

    def __init__(self, n_concepts: int, shrinkage: Annotated[float, Ge(0)] = 0.25) -> None:
        super().__init__(n_concepts)
        self.shrinkage = shrinkage
        self.register_buffer("weights", torch.zeros(n_concepts))
        self.register_buffer("scale", torch.ones(n_concepts))

    def fit(self, questions: Iterable[Question]) -> Tensor:
        """Over all training images."""
        total = pooled(moments(q.performance.score, q.performance.concepts) for q in questions)
        return self.fit_moments(pool(of_all_processes(total[None])))

    def fit_moments(self, total: Tensor) -> Tensor:
        """From the :func:`~semexplain.metrics.moments.moments` of the training images, ``(n + 2, n + 2)``."""
        a, b = least_squares(total, self.shrinkage)
        deviation = (total.diagonal()[2:] / total[0, 0]).sqrt()
        self.weights.copy_(a)
        self.scale.copy_(torch.where(deviation > 0, 1 / deviation, 0))
        return b.float()

    def forward(self, question: Question) -> tuple[Tensor, Tensor]:
        """The same for every image."""
        shape = question.performance.concepts.shape
        return self.weights.expand(shape), self.scale.expand(shape)
