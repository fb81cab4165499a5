"""What every rival answers: how much each concept contributed to the scores of a batch of images."""

import importlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from semexplain.concepts.removal import Game
from semexplain.explanation import Performance
from semexplain.performers.base import Performer

CHUNK = 2**26  # numbers in the feature maps that a game is played on at once: 256 MB


@dataclass(frozen=True)
class Question:
    """A batch of images to be explained, as every rival gets it.

    Attributes:
        performer: The frozen network.
        performance: What it said of the batch, without graph: score ``(B,)``, concepts ``(B, n)``, feature ``x``, map.
            Where a cache said it, ``x`` is not there: ask for ``feature``. Where a run centres its concepts, these are
            centred: ask for ``strengths``.
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

    @cached_property
    def feature(self) -> Tensor:
        """``x`` ``(B, ...)``, a leaf without graph."""
        with torch.inference_mode(False), torch.no_grad():
            return self.performer.feature(self.performance.feature_map.float().clone())

    @cached_property
    def strengths(self) -> Tensor:
        """The concepts ``(B, n)`` as the head says them, never centred."""
        with torch.inference_mode(False), torch.no_grad():
            return self.performer.head(self.feature)[1][:, self.columns]

    @property
    def states_at_once(self) -> int:
        """How many states of all concepts a game is played on at once, so that they fit into memory."""
        return max(1, CHUNK // max(1, self.performance.feature_map.numel()))

    def states(self, present: Tensor) -> Tensor:
        """The same states ``(k, n)`` for every image, ``(k, B, n)``."""
        concepts = self.performance.concepts
        return present.to(concepts)[:, None].expand(-1, len(concepts), -1)

    def scores(self, states: Tensor) -> Tensor:
        """Scores ``(k, B)`` of states ``(k, B, n)``, without graph, as many at a time as fit into memory."""
        with torch.inference_mode(False), torch.no_grad():
            return torch.cat([self.game(some) for some in states.split(self.states_at_once)])

    def slopes(self, states: Tensor) -> Tensor:
        """Gradient of the score with respect to the states ``(k, B, n)``, of the same shape."""
        slopes = []
        with torch.inference_mode(False), torch.enable_grad():
            for some in states.split(self.states_at_once):
                leaf = some.clone().requires_grad_()
                slopes += torch.autograd.grad(self.game(leaf).sum(), leaf)
        return torch.cat(slopes)

    @cached_property
    def ends(self) -> tuple[Tensor, Tensor]:
        """Scores with all concepts, v(1), and with none, v(0), both ``(B,)``."""
        n = self.performance.concepts.shape[1]
        everything, nothing = self.scores(self.states(torch.tensor([[1.0], [0.0]]).expand(2, n)))
        return everything, nothing

    @property
    def worth(self) -> Tensor:
        """What all concepts are worth together, v(1) - v(0), ``(B,)``."""
        everything, nothing = self.ends
        return everything - nothing


class Rival(ABC):
    """A way to give every concept of an image a contribution, so that with a base value they add up to the score.

    Attributes:
        base_value: One number for all images: what the contributions leave of the score on average.
        training_images: How many images of the training split, spread evenly over it, it is fitted on; None: all.
        timings: Seconds and milliseconds by name, of a rival that is timed.
    """

    base_value: Tensor = torch.zeros(())
    training_images: int | None = 256
    timings: Mapping[str, float] = {}

    @abstractmethod
    def contributions(self, question: Question) -> Tensor:
        """``(B, n)``, of every concept to the score."""

    def total(self, question: Question) -> Tensor:
        """The sum of the contributions ``(B,)``; overridden where it is known without them."""
        return self.contributions(question).sum(1)

    def fit(self, questions: Iterable[Question]) -> None:
        """Learn from training images what the rival needs: here the base value.

        Args:
            questions: Batches of the training split; every iteration starts it again.
        """
        left = [question.performance.score - self.total(question) for question in questions]
        self.base_value = torch.cat(left).double().mean().float()

    def check(self, performer: Performer) -> None:
        """Refuse a performer that cannot be explained in this way.

        Raises:
            ValueError: Saying why, and what to use.
        """
        del performer  # most rivals can explain any


class EfficientRival(Rival):
    r"""One whose contributions add up to what all concepts are worth, :math:`\sum_i \phi_i = v(1) - v(0)`."""

    def total(self, question: Question) -> Tensor:
        """What all concepts are worth ``(B,)``."""
        return question.worth


def made_efficient(contributions: Tensor, question: Question) -> Tensor:
    r"""Contributions moved by one number an image, so that they add up to what all concepts are worth.

    .. math:: \phi_i + \frac1n \Bigl(v(1) - v(0) - \sum_j \phi_j\Bigr)

    A concept whose strength is exactly 0 gets nothing, because a weight could not give it anything.

    Args:
        contributions: ``(B, n)``.
        question: The batch.
    """
    there = question.performance.concepts != 0
    given = contributions * there
    missing = question.worth - given.sum(1)
    return given + there * (missing / there.sum(1).clamp(min=1))[:, None]


def needed(module: str, package: str) -> Any:
    """A module of a package that only some rivals need.

    Raises:
        ImportError: If it is not installed.

    Example:
        >>> needed("nowhere.attr", "nowhere")
        Traceback (most recent call last):
            ...
        ImportError: This rival needs the package nowhere, which is not installed: `pip install .[rivals]`.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        raise ImportError(
            f"This rival needs the package {package}, which is not installed: `pip install .[rivals]`."
        ) from error
