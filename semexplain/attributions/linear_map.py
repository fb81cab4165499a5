"""One global linear map from the concepts to the score, the same for all images."""

from collections.abc import Iterable

from torch import Tensor

from semexplain.attributions.base import Question, Rival
from semexplain.metrics.moments import least_squares, moments, pooled


class GlobalLinearMap(Rival):
    r"""Least squares on the training images.

    .. math:: \phi_i = a_i y_i, \qquad \min_{a, b} \sum_I \Bigl(\hat y_I - \sum_i a_i y_{I,i} - b\Bigr)^2
    """

    training_images = None
    coefficients: Tensor

    def fit(self, questions: Iterable[Question]) -> None:
        """Find the coefficients ``(n,)`` and the base value."""
        total = pooled(moments(q.performance.score, q.performance.concepts) for q in questions)
        coefficients, base_value = least_squares(total)
        self.coefficients, self.base_value = coefficients.float(), base_value.float()

    def contributions(self, question: Question) -> Tensor:
        """``(B, n)``."""
        return self.coefficients * question.performance.concepts
