"""The prior on its own: what the performer's gradients suggest, taken for an explanation without any training."""

from collections.abc import Callable

from torch import Tensor

from semexplain.explanation import Performance
from semexplain.rivals.base import Question, Rival


class PriorOnly(Rival):
    r"""Prior weights in place of the explainer's.

    .. math:: \phi_i = w_i y_i

    The prior means a direction only, so the contributions need not add up to anything.

    Args:
        prior: Function from a performance to prior weights ``(B, n)``.
    """

    def __init__(self, prior: Callable[[Performance], Tensor]) -> None:
        self.prior = prior

    def contributions(self, question: Question) -> Tensor:
        """``(B, n)``."""
        _, prior = question.performer.perform(question.performance.feature_map, self.prior)
        assert prior is not None
        return prior[:, question.columns] * question.performance.concepts
