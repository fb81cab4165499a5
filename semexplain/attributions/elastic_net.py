"""A sparse global linear map from the concepts to the score, as post-hoc concept bottlenecks are trained."""

from collections.abc import Iterable
from typing import Annotated

import torch
from annotated_types import Ge, Gt, Interval
from torch import Tensor

from semexplain.attributions.base import Attribution, needed
from semexplain.attributions.question import Question


class ElasticNet(Attribution):
    r"""Elastic net of the score on standardised concepts :math:`z` (Yuksekgonul et al. 2023; scikit-learn).

    .. math:: \phi_i = a_i y_i, \qquad \min_{a, b} \frac{1}{2N} \sum_I \Bigl(\hat y_I - \sum_i c_i z_{I,i} - b'\Bigr)^2
              + \lambda \Bigl(\rho \lVert c \rVert_1 + \frac{1 - \rho}{2} \lVert c \rVert_2^2\Bigr)

    and :math:`a_i = c_i / \sigma_i`, so that contributions are those of the concepts as they are.

    Args:
        strength: λ; by default the best of 30 in five-fold cross-validation.
        l1_ratio: ρ, 1 for the lasso.
        iterations: Passes over the concepts at most.
    """

    training_images = None
    coefficients: Tensor

    def __init__(
        self,
        strength: Annotated[float, Gt(0)] | None = None,
        l1_ratio: Annotated[float, Interval(gt=0, le=1)] = 0.5,
        iterations: Annotated[int, Ge(1)] = 10_000,
    ) -> None:
        linear = needed("sklearn.linear_model", "scikit-learn")
        options = {"l1_ratio": l1_ratio, "max_iter": iterations}
        if strength is None:
            self.model = linear.ElasticNetCV(alphas=30, cv=5, **options)
        else:
            self.model = linear.ElasticNet(alpha=strength, **options)

    def fit(self, questions: Iterable[Question]) -> None:
        """Find the coefficients ``(n,)`` and the base value."""
        performances = [question.performance for question in questions]
        concepts = torch.cat([performance.concepts for performance in performances]).double()
        score = torch.cat([performance.score for performance in performances]).double()
        mean, scale = concepts.mean(0), concepts.std(0, correction=0)
        scale = torch.where(scale > 0, scale, 1)
        self.model.fit(((concepts - mean) / scale).cpu().numpy(), score.cpu().numpy())
        coefficients = torch.from_numpy(self.model.coef_).to(scale) / scale
        self.coefficients = coefficients.float()
        self.base_value = (float(self.model.intercept_) - coefficients @ mean).float()

    def contributions(self, question: Question) -> Tensor:
        """``(B, n)``."""
        return self.coefficients * question.performance.concepts
