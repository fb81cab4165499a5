"""What a kind of concept says: what its concepts are called, how strong they are, and an image without one (Sec. 3)."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from semexplain.concepts.answers import Answers, TargetAnswers
from semexplain.concepts.network import Network, Prior
from semexplain.explanation import Performance

# From how much of each concept is present ``(..., B, n)``, 1 as in the image and 0 taken away, to scores ``(..., B)``.
# Differentiable: present may be anything between.
Game = Callable[[Tensor], Tensor]


class ConceptKind(ABC):
    """A kind of concept: one file that answers all that depends on what a concept is.

    Attributes:
        noun: What one concept is called in a sentence.
        needs_means: Whether a concept that is taken away has its mean over the training images instead, its reference.
        own_maps: Whether each concept is a map of ``x`` by itself, so that what is spread over ``x`` is shared out: a
            prior sees the maps ``(B, C, h, w)`` in place of ``x``.
    """

    noun: str = "concept"
    needs_means: bool = False
    own_maps: bool = False

    @property
    def variant(self) -> str:
        """What determines the concepts beside the network: part of their address in a cache."""
        return type(self).__qualname__

    @abstractmethod
    def names(self, network: Network) -> tuple[str, ...]:
        """Names of the ``n`` concepts."""

    @abstractmethod
    def strengths(self, network: Network, feature: Tensor, outputs: Tensor) -> Tensor:
        """How strong each concept is ``(B, n)``, a differentiable function of ``x`` and of the outputs ``(B, K)``."""

    @abstractmethod
    def game(self, network: Network, feature: Tensor, columns: Sequence[int], reference: Tensor | None) -> Game:
        """Scores of images with some of their concepts taken away.

        Args:
            network: Frozen.
            feature: ``x`` ``(B, ...)``, without graph.
            columns: The ``n`` concepts that may be taken away.
            reference: ``(n,)``, their means over the training images, if the kind ``needs_means``.
        """

    @abstractmethod
    def prior(self, performance: Performance) -> Tensor:
        """Prior weights ``(B, n)`` where a configuration names none: what the network's own gradients suggest."""

    @abstractmethod
    def prior_loss(self, raw: Tensor, weights: Tensor, prior: Tensor) -> Tensor:
        """Disagreement of weights with that prior, Eq. (4), where a configuration names none."""

    def require_feature(self, feature: Tensor, image: Tensor) -> None:
        """Refuse a network whose ``x`` concepts cannot be read of; asked with the first images that it gets.

        Args:
            feature: ``x`` ``(B, ...)``.
            image: Its images ``(B, C, H, W)``, as they are stored.
        """
        del feature, image

    def strengths_without(
        self, network: Network, feature: Tensor, columns: Sequence[int], reference: Tensor | None
    ) -> Tensor | None:
        """How strong all concepts are when each in turn is taken away in :meth:`game`, ``(B, n, n)``.

        Element ``[:, i, j]`` is of concept j without concept i. None if a game takes concepts away exactly.
        """
        del network, feature, columns, reference
        return None

    def maps(self, grid: Tensor) -> Tensor | None:
        """Where in the image each concept is ``(B, n, h, w)``, not negative; None if concepts have no place.

        Args:
            grid: The maps ``(B, C, h, w)`` of ``x``.
        """
        del grid
        return None

    def answers(self, network: Network, prior: Prior) -> Answers:
        """What may be kept of the network's answers about an image, and under which address."""
        return TargetAnswers(network, prior)


def random_presence(times: int, batch: int, groups: Tensor) -> Tensor:
    """Random subsets of groups of concepts: every size is as likely as any other.

    Args:
        times: ``K`` subsets for each image.
        batch: ``B``.
        groups: ``(P, n)``. Share of each concept that belongs to each group; a concept's shares add up to 1.

    Returns:
        How much of each concept is present ``(K, B, n)``, from 0 to 1.

    Example:
        >>> _ = torch.manual_seed(1)
        >>> random_presence(1, 2, torch.tensor([[1.0, 1.0, 0.0], [0.0, 0.0, 1.0]]))
        tensor([[[1., 1., 1.],
                 [1., 1., 0.]]])
    """
    share = torch.rand(times, batch, 1, device=groups.device)
    picks = torch.rand(times, batch, len(groups), device=groups.device) < share
    return picks.to(groups.dtype) @ groups
