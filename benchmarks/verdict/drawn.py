"""Facts where concepts are taken away by drawing the image again: exact, for every state was drawn."""

from typing import NamedTuple

import torch
from torch import Tensor

from benchmarks.head_to_head.shapley import interventional, shapley_values
from benchmarks.verdict.facts import REST, Facts, explained, unknown_rest, with_rest
from benchmarks.verdict.performers import other_scores
from benchmarks.verdict.pictures import Pictures
from semexplain.judgement.drawn import MEANS, change_when_drawn_anew
from semexplain.judgement.interventions import Interventions
from semexplain.performers.base import Performer
from semexplain.performers.redrawn import beside_redrawn


class Scores(NamedTuple):
    """What a network and ``R`` redrawn ones say of the pictures.

    Attributes:
        explained: By target, ``(1 + R, N, 2**k)``.
        memory: By target, ``(M, 1 + k)``, of the network itself.
        maps: Feature maps ``(N, C, h, w)`` of the explained images.
        memory_maps: ``(M, C, h, w)``.
    """

    explained: dict[str, Tensor]
    memory: dict[str, Tensor]
    maps: Tensor
    memory_maps: Tensor


@torch.no_grad()
def scored(performers: dict[str, Performer], images: Pictures, memory: Pictures, batch_size: int = 256) -> Scores:
    """Scores of all pictures; each is encoded once for all targets and heads."""
    encode = next(iter(performers.values())).encode
    networks = {score: beside_redrawn(one) for score, one in performers.items()}
    own = (images.own.long() @ 2 ** torch.arange(images.own.shape[1])).tolist()
    scores: dict[str, list[Tensor]] = {target: [] for target in networks}
    maps = []
    for number, pixels in enumerate(images.pixels):
        encoded = torch.cat([encode(part) for part in torch.from_numpy(pixels.copy()).split(batch_size)])
        maps.append(encoded[own[number]])
        for target, every in networks.items():
            scores[target].append(torch.stack([network.head(network.feature(encoded))[0] for network in every]))

    states = memory.pixels.shape[1]
    remembered: dict[str, list[Tensor]] = {target: [] for target in networks}
    memory_maps = []
    for start in range(0, len(memory.pixels), max(1, batch_size // states)):
        pixels = memory.pixels[start : start + max(1, batch_size // states)]
        encoded = encode(torch.from_numpy(pixels.copy()).flatten(0, 1))
        memory_maps.append(encoded[::states].clone())
        for target, every in networks.items():
            remembered[target].append(every[0].head(every[0].feature(encoded))[0].unflatten(0, (-1, states)))
    return Scores(
        explained={target: torch.stack(rows, 1).double() for target, rows in scores.items()},
        memory={target: torch.cat(rows).double() for target, rows in remembered.items()},
        maps=torch.stack(maps),
        memory_maps=torch.cat(memory_maps),
    )


def drawn_facts(performer: Performer, scores: Scores, images: Pictures, memory: Pictures) -> Facts:
    """What is true of a score, with exact Shapley values and single removals.

    Parts are as strong as they are large, attributes as strong as the network finds them.
    """
    target, names = performer.target_name, images.concepts
    strengths, remembered = images.strengths, memory.strengths
    if set(names) <= set(performer.concept_names):
        columns = [performer.concept_names.index(name) for name in names]
        with torch.no_grad():
            strengths, remembered = (
                performer.head(performer.feature(maps))[1][:, columns].double()
                for maps in (scores.maps, scores.memory_maps)
            )
    own, rates, tables = images.own, images.rates, scores.explained[target]
    games = [interventional(table, own, rates) for table in tables]
    score, base = games[0][:, -1], float(games[0][:, 0].mean())
    ends = torch.stack([torch.stack(_ends(table, own, rates)) for table in tables])  # (1 + R, 1 or 2, N, k)
    effects = ends.mean(1)
    interventions = Interventions(
        means=MEANS,
        ids=images.ids,
        names=(*names, REST),
        score=score,
        effects=unknown_rest(effects[0]),
        redrawn=unknown_rest(effects[1:]),
        strengths=unknown_rest(strengths),
        ends=unknown_rest(ends[0]) if ends.shape[1] > 1 else None,
    )
    truths = {"Shapley values": shapley_values(games[0]), "single removals": ends[0, 0]}
    others = {
        kind: _shared(interventional(scores.explained[name][0], own, rates))
        for kind, name in other_scores(target).items()
        if name in scores.explained
    }
    whole, changed = scores.memory[target][:, :1], scores.memory[target][:, 1:]
    removed = change_when_drawn_anew(memory.own, rates, whole, changed)
    return Facts(
        interventions=interventions,
        target=target,
        base=base,
        truths={
            name: explained(interventions, with_rest(shares, score - base), base, target)
            for name, shares in truths.items()
        },
        labels=score > score.median(),
        redrawn=_shared(games[1]),
        others=others,
        memory=remembered,
        remembered=with_rest(removed, whole[:, 0] - base),
    )


def single_removals(scores: Tensor, own: Tensor, rates: Tensor) -> Tensor:
    """How much scores ``(N, 2**k)`` fall when one concept is drawn anew, on average, ``(N, k)``.

    Example:
        A score that counts; the image has the first concept only.

        >>> scores, own = torch.tensor([[0.0, 1.0, 1.0, 2.0]]), torch.tensor([[True, False]])
        >>> single_removals(scores, own, torch.tensor([0.5, 0.25]))
        tensor([[ 0.5000, -0.2500]])
    """
    bits = 2 ** torch.arange(own.shape[1])
    state = (own.long() @ bits)[:, None]
    return change_when_drawn_anew(own, rates, scores.gather(1, state), scores.gather(1, state ^ bits))


def _ends(scores: Tensor, own: Tensor, rates: Tensor) -> list[Tensor]:
    """Single removals; where concepts are absent that are taken away, also what each adds when it is alone."""
    removals = [single_removals(scores, own, rates)]
    if not rates.any():
        removals.append(change_when_drawn_anew(own, rates, scores[:, 2 ** torch.arange(own.shape[1])], scores[:, :1]))
    return removals


def _shared(game: Tensor) -> Tensor:
    """Shapley values of a game ``(N, 2**k)``, and everything else."""
    return with_rest(shapley_values(game), game[:, -1] - game[:, 0].mean())
