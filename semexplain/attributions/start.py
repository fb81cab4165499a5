"""What an explainer can start from."""

from abc import ABC, abstractmethod
from collections.abc import Iterable

from torch import Tensor, nn

from semexplain.attributions.base import Question


class Start(nn.Module, ABC):
    r"""Weights of every concept that need no explainer, and how large a correction to each is to be thought of.

    The explainer's output ``u`` corrects them:

    .. math:: \alpha_i(I) = \alpha^0_i(I) + s_i(I)\, u_i(I)

    What the start has learned lies in its buffers and travels with the explainer's checkpoint.

    Args:
        n_concepts: ``n``.
    """

    def __init__(self, n_concepts: int) -> None:
        super().__init__()
        self.n_concepts = n_concepts

    @abstractmethod
    def fit(self, questions: Iterable[Question]) -> Tensor:
        """Learn from the training images, a batch at a time; returns the bias ``b`` ``()`` that fits best."""

    @abstractmethod
    def forward(self, question: Question) -> tuple[Tensor, Tensor]:
        """The weights and the scale of corrections to them, both ``(B, n)``, without gradient."""
