"""A start from outside the package: every concept weighs one half."""

import torch
from torch import Tensor

from semexplain.attributions.base import Start
from semexplain.attributions.question import Question


class Half(Start):
    """Weights of 1/2 for all images."""

    def __init__(self, n_concepts: int = 0) -> None:
        super().__init__()
        self.register_buffer("coefficients", torch.full((n_concepts,), 0.5))

    def contributions(self, question: Question) -> Tensor:
        return self.coefficients * question.performance.concepts
