"""A world that is known: strengths, true contributions, effects, and what liars say of it."""

from typing import NamedTuple

import torch
from torch import Tensor

from semexplain.explanation import Explanation
from semexplain.judgement.interventions import Interventions

N, CONCEPTS, BASE = 120, 10, 0.7


class World(NamedTuple):
    """Interventions on a network whose score is Σ aᵢ(I) zᵢ + b, with aᵢ that vary from image to image."""

    interventions: Interventions
    strengths: Tensor
    weights: Tensor

    @property
    def truth(self) -> Tensor:
        return self.weights * self.strengths

    @property
    def total(self) -> Tensor:
        return self.interventions.score - BASE


def world(seed: int = 0) -> World:
    """One with effects that are nearly the true contributions."""
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    strengths = normal(N, CONCEPTS) + 0.3
    mean = normal(CONCEPTS)
    weights = mean * (1 + 0.5 * normal(N, CONCEPTS))
    truth = weights * strengths
    effects = truth + 0.05 * truth.std() * normal(N, CONCEPTS)
    redrawn = normal(3, 1, CONCEPTS) * strengths
    ids, names = tuple(map(str, range(N))), tuple(f"concept {i}" for i in range(CONCEPTS))
    facts = Interventions("a known world", ids, names, truth.sum(1) + BASE, effects, redrawn, strengths)
    return World(facts, strengths, weights)


def explained(facts: Interventions, contributions: Tensor, base: float = BASE) -> Explanation:
    """An explanation that says so."""
    ones, names = torch.ones_like(contributions), facts.names
    return Explanation(facts.score, ones, contributions, torch.tensor(base), names, ids=facts.ids)


def liars(known: World) -> dict[str, Tensor]:
    """Contributions that add up, or look as if, and do not say why."""
    facts, truth, total = known.interventions, known.truth, known.total
    generator = torch.Generator().manual_seed(9)
    random = torch.rand(N, CONCEPTS, generator=generator, dtype=torch.float64)
    one = torch.zeros_like(truth)
    one[:, 0] = total
    order = torch.arange(N).roll(1)
    first, second = truth.std(0).argsort(descending=True)[:2].tolist()
    exchanged = truth.clone()
    exchanged[:, [first, second]] = truth[:, [second, first]]
    distances = torch.cdist(known.strengths, known.strengths).fill_diagonal_(torch.inf)
    label = facts.score > facts.score.median()
    of_label = torch.where(label[:, None], truth[label].mean(0), truth[~label].mean(0))
    centred = known.strengths - known.strengths.mean(0)

    def level(table: Tensor) -> Tensor:
        return table + ((total - table.sum(1)) / CONCEPTS)[:, None]

    return {
        "equal shares": total[:, None].expand(-1, CONCEPTS) / CONCEPTS,
        "all on one concept": one,
        "random shares": random / random.sum(1, keepdim=True) * total[:, None],
        "weights of another image": known.weights[order] * known.strengths,
        "another image's": truth[order],
        "a redrawn network": level(facts.redrawn[0]),
        "means of the label": level(of_label),
        "the mean explanation": level(truth.mean(0).expand(N, -1)),
        "the neighbour's": truth[distances.argmin(1)],
        "the neighbour's, made to add up": level(truth[distances.argmin(1)]),
        "two concepts exchanged": exchanged,
        "shuffled concepts": known.weights * known.strengths[order],
        "shuffled concepts, centred": known.weights * centred[order],
        "twice the truth": 2 * truth,
        "half the truth": truth / 2,
        "the sign flipped": -truth,
        "shares by strength": known.strengths.abs() / known.strengths.abs().sum(1, keepdim=True) * total[:, None],
    }
