"""Random contributions: the floor under every comparison."""

import hashlib

import torch
from torch import Tensor

from semexplain.attributions.base import EfficientAttribution, made_efficient
from semexplain.attributions.question import Question
from semexplain.system.seed import Seed


class RandomContributions(EfficientAttribution):
    r"""Normal numbers, moved so that they add up to :math:`v(1) - v(0)`.

    They are as large as they would be if each concept gave its share of the score by chance. The same batch gets the
    same numbers.

    Args:
        seed: Of the numbers.
    """

    def __init__(self, seed: Seed = 0) -> None:
        self.seed = seed

    def contributions(self, question: Question) -> Tensor:
        """``(B, n)``."""
        concepts = question.performance.concepts
        digest = hashlib.sha256(question.performance.score.cpu().numpy().tobytes() + str(self.seed).encode()).digest()
        generator = torch.Generator().manual_seed(int.from_bytes(digest[:7], "big"))
        numbers = torch.randn(concepts.shape, generator=generator).to(concepts)
        return made_efficient(numbers * question.worth.abs()[:, None] / concepts.shape[1] ** 0.5, question)
