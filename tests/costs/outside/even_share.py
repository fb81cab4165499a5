"""A rival from outside the package: every concept gets the same."""

from torch import Tensor

from semexplain.attributions.base import EfficientAttribution
from semexplain.attributions.question import Question


class EvenShare(EfficientAttribution):
    """What all concepts are worth together, shared out evenly."""

    def contributions(self, question: Question) -> Tensor:
        n = question.performance.concepts.shape[1]
        return (question.worth / n)[:, None].expand(-1, n)
