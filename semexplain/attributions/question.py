"""The question that every attribution answers: how much did each concept contribute to the scores of these images?"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from semexplain.concepts.base import ConceptKind, Game
from semexplain.concepts.network import Network
from semexplain.explanation import Performance

CHUNK = 2**26  # numbers in the feature maps that a game is played on at once: 256 MB


@dataclass(frozen=True)
class Question:
    """A batch of images to be explained, as every attribution gets it.

    Attributes:
        network: The frozen network.
        performance: What it said of the batch, without graph: score ``(B,)``, concepts ``(B, n)``, feature ``x``, map.
            Where a cache said it, ``x`` is not there: ask for ``feature``. Where a run centres its concepts, these are
            centred: ask for ``strengths``.
        columns: Which of the network's concepts the ``n`` are.
        reference: ``(n,)``. Their mean over the training images.
        kind: What the concepts are.
        make_game: Makes the game when it is first asked for.
        make_prior: Makes the prior weights when they are first asked for.
    """

    network: Network
    performance: Performance
    columns: list[int]
    reference: Tensor
    kind: ConceptKind
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
            return self.network.feature(self.performance.feature_map.float().clone())

    @cached_property
    def strengths(self) -> Tensor:
        """The concepts ``(B, n)`` as the head says them, never centred."""
        with torch.inference_mode(False), torch.no_grad():
            return self.network.head(self.feature)[1][:, self.columns]

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
        with_all, with_none = self.scores(self.states(torch.tensor([[1.0], [0.0]]).expand(2, n)))
        return with_all, with_none

    @property
    def worth(self) -> Tensor:
        """What all concepts are worth together, v(1) - v(0), ``(B,)``."""
        with_all, with_none = self.ends
        return with_all - with_none
