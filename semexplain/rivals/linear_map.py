"""One global linear map from the concepts to the score, the same for all images."""

from collections.abc import Iterable

import torch
from torch import Tensor

from semexplain.metrics.linear_map import least_squares, moments, pool
from semexplain.rivals.base import Question, Rival


class GlobalLinearMap(Rival):
    r"""Least squares on the training images.

    .. math:: \phi_i = a_i y_i, \qquad \min_{a, b} \sum_I \Bigl(\hat y_I - \sum_i a_i y_{I,i} - b\Bigr)^2
    """

    training_images = None
    coefficients: Tensor

    def fit(self, questions: Iterable[Question]) -> None:
        """Find the coefficients ``(n,)`` and the base value."""
        parts = [moments(question.performance.score, question.performance.concepts) for question in questions]
        coefficients, base_value = least_squares(pool(torch.stack(parts)))
        self.coefficients, self.base_value = coefficients.float(), base_value.float()

    def contributions(self, question: Question) -> Tensor:
        """``(B, n)``."""
        return self.coefficients * question.performance.concepts
