"""What every rival answers: how much each concept contributed to the scores of a batch of images."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from semexplain.explanation import Performance
from semexplain.games import Game
from semexplain.performers.base import Performer


@dataclass(frozen=True)
class Question:
    """A batch of images to be explained, as every rival gets it.

    Attributes:
        performer: The frozen network.
        performance: What it said of the batch, without graph: score ``(B,)``, concepts ``(B, n)``, feature ``x``, map.
        columns: Which of the performer's concepts the ``n`` are.
        reference: ``(n,)``. Their mean over the training images.
        make_game: Makes the game when it is first asked for.
        make_prior: Makes the prior weights when they are first asked for.
    """

    performer: Performer
    performance: Performance
    columns: list[int]
    reference: Tensor
    make_game: Callable[[], Game]
    make_prior: Callable[[], Tensor]

    @cached_property
    def game(self) -> Game:
        """From how much of each concept is present ``(..., B, n)`` to scores ``(..., B)``."""
        return self.make_game()

    @cached_property
    def prior(self) -> Tensor:
        """Prior weights of the run ``(B, n)``."""
        return self.make_prior()


class Rival(ABC):
    """A way to give every concept of an image a contribution, so that with a base value they add up to the score.

    Attributes:
        base_value: One number for all images: what the contributions leave of the score on average.
    """

    base_value: Tensor = torch.zeros(())

    @abstractmethod
    def contributions(self, question: Question) -> Tensor:
        """``(B, n)``, of every concept to the score."""

    def fit(self, questions: Iterable[Question]) -> None:
        """Learn from training images what the rival needs, and then the base value from as many of them as it takes.

        Args:
            questions: Batches of the training split; every iteration starts it again.
        """
        left, seen = [], 0
        for question in questions:
            left.append(question.performance.score - self.contributions(question).sum(1))
            seen += len(left[-1])
            if seen >= self.images_for_base:
                break
        self.base_value = torch.cat(left).double().mean().float()

    @property
    def images_for_base(self) -> int:
        """Training images that the base value is taken from."""
        return 256
