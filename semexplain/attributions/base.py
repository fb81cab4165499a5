"""Ways to share a score out among concepts: an explainer's rivals and its starts."""

import importlib
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from semexplain.attributions.question import Question
from semexplain.concepts.base import ConceptKind
from semexplain.system.processes import of_all_processes


class Attribution(ABC):
    """A way to give every concept of an image a contribution, so that with a base value they add up to the score.

    Attributes:
        base_value: One number for all images: what the contributions leave of the score on average.
        training_images: How many images of the training split, spread evenly over it, it is fitted on, by all processes
            together; None: all.
        timings: Seconds and milliseconds by name, where they are taken.
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
        """Learn from training images what is needed: here the base value.

        Args:
            questions: Batches of the training split; every iteration starts it again.
        """
        remainders = [question.performance.score - self.total(question) for question in questions]
        self.base_value = torch.cat(remainders).double().mean().float()

    def check(self, kind: ConceptKind) -> None:
        """Refuse a kind of concept that cannot be explained in this way.

        Raises:
            ValueError: Saying why, and what to use.
        """
        del kind  # most attributions can explain any


class EfficientAttribution(Attribution):
    r"""Its contributions add up to the worth of all concepts, :math:`\sum_i \phi_i = v(1) - v(0)`."""

    def total(self, question: Question) -> Tensor:
        """What all concepts are worth ``(B,)``."""
        return question.worth


class Start(Attribution, nn.Module):
    r"""An attribution that is right already, from which an explainer learns only the correction.

    The explainer's output ``u`` corrects its weights, each in a size that suits it:

    .. math:: \alpha_i(I) = \alpha^0_i(I) + s_i(I)\, u_i(I)

    One whose weights are the same for all images may be ``taken_over`` instead: the explainer's own last layer begins
    with them, and nothing is added. What a start has learned lies in its buffers and travels with the checkpoint.

    Attributes:
        taken_over: Whether the explainer's last layer begins with the weights.
        strengths_suffice: Whether it is fitted to scores and strengths alone, without feature maps.
        needs_prior: Whether its weights are made of the prior's.
        coefficients: ``(n,)``, its weights.
    """

    coefficients: Tensor

    training_images: int | None = 512  # enough for a bias; one that is fitted says None
    taken_over: bool = False
    strengths_suffice: bool = False
    needs_prior: bool = False

    def weights(self, question: Question) -> Tensor:
        """Weights ``(B, n)`` of each image: contributions over strengths, 0 where there is nothing to weigh."""
        strengths = question.performance.concepts
        return torch.where(strengths == 0, 0, self.contributions(question) / strengths)

    def scale(self, question: Question, weights: Tensor) -> Tensor:
        """Sizes of corrections ``(B, n)``: by default the weights, so that 0.1 makes a contribution a tenth larger."""
        del question
        return weights

    @torch.no_grad()
    def begin(self, questions: Iterable[Question]) -> Tensor:
        """Learn from ``training_images``, a batch at a time; returns the bias ``b`` ``()`` that fits best.

        Every process gets its share of the same images, and all return the same bias.
        """
        remainders = [q.performance.score - (self.weights(q) * q.performance.concepts).sum(1) for q in questions]
        return of_all_processes(torch.cat(remainders)).double().mean().float()


def made_efficient(contributions: Tensor, question: Question) -> Tensor:
    r"""Contributions shifted by one number per image, so that they add up to the worth of all concepts.

    .. math:: \phi_i + \frac1n \Bigl(v(1) - v(0) - \sum_j \phi_j\Bigr)

    A concept whose strength is exactly 0 gets nothing, because a weight could not give it anything.

    Args:
        contributions: ``(B, n)``.
        question: The batch.
    """
    mask = question.performance.concepts != 0
    contributions = contributions * mask
    remainder = question.worth - contributions.sum(1)
    return contributions + mask * (remainder / mask.sum(1).clamp(min=1))[:, None]


def needed(module: str, package: str) -> Any:
    """A module of a package that only some attributions need.

    Raises:
        ImportError: If it is not installed.

    Example:
        >>> needed("nowhere.attr", "nowhere")
        Traceback (most recent call last):
            ...
        ImportError: This attribution needs the package nowhere, which is not installed: `pip install .[rivals]`.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        raise ImportError(
            f"This attribution needs the package {package}, which is not installed: `pip install .[rivals]`."
        ) from error
