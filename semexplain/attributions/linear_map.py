"""One linear map from the concepts to the score, the same for all images."""

from collections.abc import Iterable
from typing import Annotated

import torch
from annotated_types import Ge
from torch import Tensor

from semexplain.attributions.base import Start
from semexplain.attributions.question import Question
from semexplain.metrics.moments import least_squares, moments, pool, pooled
from semexplain.system.processes import of_all_processes


class LinearMap(Start):
    r"""Least squares, or ridge regression, of the score on the concepts of the training images.

    .. math:: \phi_i = a_i y_i, \qquad \min_{a, b} \frac{1}{N} \sum_I \Bigl(\hat y - \sum_i a_i y_i - b\Bigr)^2
              + \rho \sum_i \sigma_i^2 a_i^2

    Plain least squares decides between two concepts that go together by the smallest advantage and often gives them
    weights of opposite signs; the ridge :math:`\rho` lets them share. As a start, a correction of 1 moves the score by
    1 where the concept is a standard deviation from 0, :math:`s_i = 1 / \sigma_i`.

    Args:
        n_concepts: ``n``, where it has to be known before the fit.
        shrinkage: The ridge :math:`\rho` in units of the concepts' variances; 0 is least squares.

    Example:
        >>> LinearMap(n_concepts=2).coefficients
        tensor([0., 0.])
    """

    training_images = None
    strengths_suffice = True
    coefficients: Tensor
    sizes: Tensor

    def __init__(self, n_concepts: int = 0, shrinkage: Annotated[float, Ge(0)] = 0.0) -> None:
        super().__init__()
        self.shrinkage = shrinkage
        self.register_buffer("coefficients", torch.zeros(n_concepts))
        self.register_buffer("sizes", torch.ones(n_concepts))

    def fit(self, questions: Iterable[Question]) -> None:
        """Find the coefficients ``(n,)`` and the base value."""
        self.base_value = self.begin(questions)

    @torch.no_grad()
    def begin(self, questions: Iterable[Question]) -> Tensor:
        """Over all training images."""
        total = pooled(moments(q.performance.score, q.performance.concepts) for q in questions)
        return self.fit_moments(pool(of_all_processes(total[None])))

    def fit_moments(self, total: Tensor) -> Tensor:
        """From the :func:`~semexplain.metrics.moments.moments` of the training images, ``(n + 2, n + 2)``."""
        a, b = least_squares(total, self.shrinkage)
        deviation = (total.diagonal()[2:] / total[0, 0]).sqrt()
        self.coefficients = a.float()
        self.sizes = torch.where(deviation > 0, 1 / deviation, 0).float()
        return b.float()

    def contributions(self, question: Question) -> Tensor:
        """``(B, n)``."""
        return self.coefficients * question.performance.concepts

    def weights(self, question: Question) -> Tensor:
        """The same for every image."""
        return self.coefficients.expand(question.performance.concepts.shape)

    def scale(self, question: Question, weights: Tensor) -> Tensor:
        """The same for every image."""
        return self.sizes.expand(weights.shape)


class LeastSquares(LinearMap):
    """The best image-independent explanation, with which the explainer's own last layer begins.

    Where a softplus makes the layer's weights positive, it begins with a :class:`CommonWeight` in its place.
    """

    taken_over = True


class CommonWeight(Start):
    r"""One weight for all concepts, with which the explainer's own last layer begins.

    It fits the scores best in least squares. Where that one is not positive, as the output of a softplus must be, it
    is the one that makes contributions as large as the scores vary,
    :math:`\mathrm{std}(\hat y) / \mathrm{mean} \sum_i |y_i|`.

    Args:
        n_concepts: ``n``.
    """

    training_images = None
    taken_over = True
    strengths_suffice = True
    coefficients: Tensor

    def __init__(self, n_concepts: int = 0) -> None:
        super().__init__()
        self.register_buffer("coefficients", torch.zeros(n_concepts))

    @torch.no_grad()
    def begin(self, questions: Iterable[Question]) -> Tensor:
        """Over all training images."""
        parts, rows = [], []
        for question in questions:
            score, concepts = question.performance.score, question.performance.concepts
            total = concepts.sum(1)
            parts.append(moments(score, total[:, None]))
            rows.append(torch.stack([score.double(), total.double(), concepts.abs().sum(1).double()]))
        weight, bias = least_squares(pool(of_all_processes(pooled(parts)[None])))
        if not bool(weight > 0):
            score, total, size = of_all_processes(torch.cat(rows, 1).T).T
            weight = score.std() / size.mean()
            bias = score.mean() - weight * total.mean()
        self.coefficients = weight.float().expand(len(self.coefficients)).clone()
        return bias.float()

    def contributions(self, question: Question) -> Tensor:
        """``(B, n)``."""
        return self.coefficients * question.performance.concepts
