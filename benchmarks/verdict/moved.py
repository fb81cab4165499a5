"""Facts where concepts are taken away at x: outputs get their mean over other images, filters are set to 0."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import NamedTuple

import torch
from torch import Tensor

from benchmarks.verdict.drawn import Scores
from benchmarks.verdict.facts import REST, Facts, explained, unknown_rest, with_rest
from benchmarks.verdict.performers import other_scores
from semexplain.concepts.base import Game
from semexplain.concepts.filters import filter_game
from semexplain.concepts.outputs import Outputs, output_game
from semexplain.judgement.interventions import Interventions
from semexplain.judgement.moved import moved
from semexplain.performers.base import Performer
from semexplain.performers.redrawn import beside_redrawn

AT_ONCE = 2**24  # numbers in the features that a game is played on at once
PAIRS = 20  # random orders, each with its reverse, of which Shapley values are means
FEWEST = 3  # concepts that can be taken away, for a regime to be one
OFFSET = 0.5  # of the scores that are linear in the concepts
Head = Callable[[Tensor], tuple[Tensor, Tensor]]


class Layers(NamedTuple):
    """The layers above the feature map, and what they see.

    Attributes:
        head: From x to score and concepts.
        x: Of the explained images.
        memory: x of other images.
        filters: Whether the concepts are maps of x.
    """

    head: Head
    x: Tensor
    memory: Tensor
    filters: bool

    def game(self, x: Tensor) -> Game:
        """Scores of images without some of their concepts."""
        with torch.no_grad():
            means = self.head(self.memory)[1].mean(0)
        columns = range(len(means))
        return filter_game(self.head, x, columns) if self.filters else output_game(self.head, x, columns, means)

    def removals(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Scores ``(N,)``, what they are without any concept, and what they lose without each ``(N, n)``."""
        n = self.strengths(x[:1]).shape[1]
        found = played(self.game(x), torch.cat([torch.ones(1, n), torch.zeros(1, n), 1 - torch.eye(n)]), x)
        return found[0], found[1], (found[0] - found[2:]).T

    @torch.no_grad()
    def strengths(self, x: Tensor) -> Tensor:
        """Concepts ``(N, n)``, never centred."""
        return self.head(x)[1].double()


class Line(NamedTuple):
    """A score that is linear in concepts: its weights ``(n,)``."""

    layers: Layers
    weights: Tensor


@torch.no_grad()
def played(game: Game, states: Tensor, x: Tensor) -> Tensor:
    """Scores ``(S, N)`` of the same states ``(S, n)`` of each of ``N`` images."""
    at_once = max(1, AT_ONCE // x.numel())
    return torch.cat([game(some[:, None].expand(-1, len(x), -1)) for some in states.split(at_once)]).double()


def sampled_shapley(
    game: Game, x: Tensor, n: int, pairs: int = PAIRS, columns: Sequence[int] | None = None
) -> tuple[Tensor, float]:
    """Shapley values ``(N, n)`` from random orders, each with its reverse, and how sure they are.

    Args:
        game: Scores of images without some of their ``n`` concepts.
        x: Of the ``N`` images.
        n: Number of concepts.
        pairs: Orders, without their reverses.
        columns: The concepts that share the score out; the others stay and get 0. All by default.

    Returns:
        The values, and the mean of their standard errors over their standard deviation.
    """
    players = torch.arange(n) if columns is None else torch.tensor(list(columns))
    random = torch.Generator().manual_seed(0)
    samples = []
    for _ in range(pairs):
        order = players[torch.randperm(len(players), generator=random)]
        values = torch.zeros(len(x), n, dtype=torch.float64)
        for one in (order, order.flip(0)):
            rank = torch.full((n,), -1).scatter_(0, one, torch.arange(len(one)))  # who stays was there before
            found = played(game, (rank < torch.arange(len(one) + 1)[:, None]).float(), x)
            values[:, one] += (found[1:] - found[:-1]).T / 2
        samples.append(values)
    table = torch.stack(samples)
    error = table.std(0)[:, players].mean() / pairs**0.5
    return table.mean(0), float(error / table.mean(0)[:, players].std())


def layers_of(network: Performer, scores: Scores) -> Layers:
    """The layers above the feature map of a performer."""
    filters = not isinstance(network.kind, Outputs)
    with torch.no_grad():
        return Layers(network.head, network.feature(scores.maps), network.feature(scores.memory_maps), filters)


def moved_facts(
    performers: dict[str, Performer], target: str, scores: Scores, ids: tuple[str, ...]
) -> tuple[dict[str, Facts], float]:
    """What is true of a score, and of one that is linear in the same concepts, by regime; how sure the first is.

    The first is left out, and nan is how sure it is, if fewer than three of the concepts can be taken away at x.
    """
    performer = performers[target]
    networks = [layers_of(one, scores) for one in beside_redrawn(performer)]
    lines = [line_of(layers, seed) for seed, layers in enumerate(networks)]
    found = {"moved, linear head": linear_facts(lines, performer.concept_names, ids, target)}
    known = networks[0]
    means = known.strengths(known.memory).mean(0).float()
    n = len(means)
    facts = moved(performer, scores.maps, range(n), ids, means)
    columns = facts.effects.isfinite().all(0).nonzero()[:, 0].tolist()
    if len(columns) < FEWEST:
        return found, torch.nan

    game, states = known.game(known.x), torch.ones(1, n)
    states[:, columns] = 0
    bare = played(game, states, known.x)[0]
    base, score = float(bare.mean()), facts.score.double()
    shares, error = sampled_shapley(game, known.x, n, columns=columns)
    effects = facts.effects.double()
    interventions = replace(
        facts,
        names=(*facts.names, REST),
        score=score,
        effects=unknown_rest(effects),
        redrawn=unknown_rest(facts.redrawn.double()),
        strengths=unknown_rest(facts.strengths.double()),
    )
    truths = {"Shapley values": shares, "single removals": effects.nan_to_num(0.0)}
    whole, _, removed = known.removals(known.memory)
    found["moved"] = Facts(
        interventions=interventions,
        target=target,
        base=base,
        truths={
            name: explained(interventions, with_rest(table, score - base), base, target)
            for name, table in truths.items()
        },
        labels=score > score.median(),
        redrawn=_removals(networks[1]),
        others={
            kind: _others(performers[name], scores, performer.concept_names)
            for kind, name in other_scores(target).items()
            if name in performers
        },
        memory=known.strengths(known.memory),
        remembered=with_rest(removed, whole - base),
    )
    return found, error


def linear_facts(lines: list[Line], names: tuple[str, ...], ids: tuple[str, ...], target: str) -> Facts:
    """What is true of a score that is linear in its concepts: its weights, times strengths as they are or centred."""
    layers, weights = lines[0]
    interventions, _ = interventions_of([line.layers for line in lines], names, ids)
    memory, score = layers.strengths(layers.memory), interventions.score
    means = memory.mean(0)
    centred = interventions.strengths[:, :-1] - means
    base = OFFSET + float(means @ weights)
    raw = with_rest(interventions.strengths[:, :-1] * weights, score - OFFSET)
    truths = {
        "true weights": explained(interventions, raw, OFFSET, target),
        "true weights, centred": explained(
            interventions, with_rest(centred * weights, score - base), base, target, unknown_rest(centred)
        ),
    }
    return Facts(
        interventions=interventions,
        target=target,
        base=OFFSET,
        truths=truths,
        labels=score > score.median(),
        redrawn=_line_shares(lines[1]),
        others={"another score": _line_shares(line_of(layers, seed=10))},
        memory=memory,
        remembered=with_rest(memory * weights, memory @ weights),
    )


@torch.no_grad()
def line_of(layers: Layers, seed: int) -> Line:
    """A network whose score is a random linear map of the same concepts.

    Maps of x stay where they are. Outputs become the feature themselves, a bottleneck: there each can be taken away
    and all others left alone, which at x holds to first order only.
    """
    if not layers.filters:
        x, memory = layers.head(layers.x)[1], layers.head(layers.memory)[1]
        layers = layers._replace(head=lambda y: (y.sum(1), y), x=x, memory=memory)
    concepts = layers.head
    spread = concepts(layers.memory)[1].std(0)
    random = torch.randn(len(spread), generator=torch.Generator().manual_seed(seed))
    weights = random / spread.clamp_min(1e-3 * float(spread.max())) / len(spread) ** 0.5

    def head(x: Tensor) -> tuple[Tensor, Tensor]:
        y = concepts(x)[1]
        return y @ weights + OFFSET, y

    return Line(layers._replace(head=head), weights.double())


def interventions_of(
    networks: list[Layers], names: tuple[str, ...], ids: tuple[str, ...]
) -> tuple[Interventions, Tensor]:
    """Those of a network and redrawn ones, and its scores without any concept ``(N,)``."""
    (score, bare, effects), *redrawn = [layers.removals(layers.x) for layers in networks]
    interventions = Interventions(
        means="taking concepts away at x",
        ids=ids,
        names=(*names, REST),
        score=score,
        effects=unknown_rest(effects),
        redrawn=unknown_rest(torch.stack([lost for _, _, lost in redrawn])),
        strengths=unknown_rest(networks[0].strengths(networks[0].x)),
    )
    return interventions, bare


def _removals(layers: Layers) -> Tensor:
    """Single removals, and everything else."""
    score, bare, effects = layers.removals(layers.x)
    return with_rest(effects, score - bare.mean())


def _line_shares(line: Line) -> Tensor:
    """Weights times strengths, and nothing else."""
    strengths = line.layers.strengths(line.layers.x) * line.weights
    return with_rest(strengths, strengths.sum(1))


def _others(other: Performer, scores: Scores, names: tuple[str, ...]) -> Tensor:
    """Single removals of another score, in the columns of these concepts; what is not its concept has 0."""
    layers = layers_of(other, scores)
    score, bare, effects = layers.removals(layers.x)
    table = torch.zeros(len(effects), len(names), dtype=effects.dtype)
    for column, name in enumerate(names):
        if name in other.concept_names:
            table[:, column] = effects[:, other.concept_names.index(name)]
    return with_rest(table, score - bare.mean())
