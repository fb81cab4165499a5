"""The prior on its own: what the performer's gradients suggest, taken for an explanation without any training."""

from torch import Tensor

from semexplain.attributions.base import Question, Rival


class PriorOnly(Rival):
    r"""The run's prior weights in place of the explainer's.

    .. math:: \phi_i = w_i y_i

    The prior means a direction only, so the contributions need not add up to anything.
    """

    def contributions(self, question: Question) -> Tensor:
        """``(B, n)``."""
        return question.prior * question.performance.concepts
