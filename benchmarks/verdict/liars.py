"""The gallery of liars: explanations that add up, or look as if, and do not say why the network decided.

Each is made from what a liar could know: the scores, the strengths of concepts, other images' truth, or the truth that
it distorts. ``(N, n + 1)`` contributions have a last column for everything else.
"""

import torch
from torch import Tensor

from benchmarks.verdict.facts import Facts, explained, with_rest
from semexplain.explanation import Explanation


def liars(facts: Facts, seed: int = 0) -> dict[str, Explanation]:
    """Every liar that makes sense in a regime, by its kind.

    Args:
        facts: What is known of the score.
        seed: Of what is drawn at random.
    """
    contributions = {
        **_without_network(facts, seed),
        **_of_others(facts, seed),
        **_remembered(facts),
        **_distorted(facts, seed),
    }
    return {
        kind: _explanation(facts, table, None if kind in ALPHA else torch.ones_like(table))
        for kind, table in contributions.items()
    }


# Their lie is in the weights: values are the raw strengths.
ALPHA = ("equal shares as weights", "weights of another image", "shuffled concepts", "shares by strength")


def _explanation(facts: Facts, contributions: Tensor, values: Tensor | None) -> Explanation:
    return explained(facts.interventions, contributions, facts.base, facts.target, values)


def _without_network(facts: Facts, seed: int) -> dict[str, Tensor]:
    """What needs the score and the strengths alone."""
    total, strengths = _total(facts), _strengths(facts)
    size, n = strengths.shape
    equal = total[:, None].expand(-1, n) / n
    one = torch.zeros(size, n, dtype=total.dtype)
    one[:, _important(facts)[0]] = total
    random = torch.rand(size, n, generator=torch.Generator().manual_seed(seed), dtype=total.dtype).log()
    noise = torch.randn(size, n, generator=torch.Generator().manual_seed(seed + 1), dtype=total.dtype)
    noise *= _truth(facts)[:, :n].std()
    share = strengths.abs() / strengths.abs().sum(1, keepdim=True).clamp_min(1e-12)
    return {
        "equal shares": _closed(equal),
        "equal shares as weights": _closed(equal),
        "all on one concept": _closed(one),
        "random shares": _closed(random / random.sum(1, keepdim=True) * total[:, None]),
        "random contributions": _levelled(noise, total),
        "shares by strength": _closed(share * total[:, None]),
    }


def _of_others(facts: Facts, seed: int) -> dict[str, Tensor]:
    """What is true of another image, another network or another score."""
    total, truth, strengths = _total(facts), _truth(facts), _strengths(facts)
    size, n = strengths.shape
    order = torch.randperm(size, generator=torch.Generator().manual_seed(seed))
    another = torch.empty_like(order).scatter_(0, order, order.roll(1))  # never itself
    own = torch.where(strengths == 0, 1.0, strengths)
    weights = truth[:, :n] / own
    centred = strengths - strengths.mean(0)
    slopes = truth[:, :n] / torch.where(centred.abs() < 1e-9, 1.0, centred)
    nearest = _nearest(strengths, strengths, itself=True)
    means = torch.stack([truth[facts.labels == label].mean(0) for label in (False, True)])[facts.labels.long()]
    found = {
        "shuffled concepts": _closed(weights * strengths[another]),
        "shuffled concepts, centred": _closed(slopes * centred[another]),
        "a redrawn network": _levelled(_rescaled(facts.redrawn[:, :n], total), total),
        "means of the label": _levelled(means[:, :n], total),
        "the mean explanation": _closed(truth[:, :n].mean(0).expand(size, -1)),
        "the mean explanation, made to add up": with_rest(truth[:, :n].mean(0).expand(size, -1), total),
        "the neighbour's": truth[nearest],
        "the neighbour's, made to add up": with_rest(truth[nearest][:, :n], total),
        "another image's": truth[another],
    }
    if len(torch.unique(weights.round(decimals=9), dim=0)) > 1:  # a linear map has the same weights everywhere
        found["weights of another image"] = _closed(weights[another] * strengths)
    for kind, shares in facts.others.items():
        found[f"{kind}'s"] = _levelled(_rescaled(shares[:, :n], total), total)
    return found


def _remembered(facts: Facts) -> dict[str, Tensor]:
    """The truth of the nearest of many other images."""
    strengths = _strengths(facts)
    n = strengths.shape[1]
    found = facts.remembered[_nearest(strengths, facts.memory)]
    return {
        "a memorised table": found,
        "a memorised table, made to add up": with_rest(found[:, :n], _total(facts)),
    }


def _distorted(facts: Facts, seed: int) -> dict[str, Tensor]:
    """The truth, and not quite."""
    total, truth = _total(facts), _truth(facts)
    n = truth.shape[1] - 1
    first, second = _important(facts)[:2]
    exchanged = truth.clone()
    exchanged[:, [first, second]] = truth[:, [second, first]]
    columns = torch.randperm(n, generator=torch.Generator().manual_seed(seed))
    mixed = torch.cat([truth[:, columns], truth[:, n:]], 1)
    return {
        "two concepts exchanged": exchanged,
        "all concepts mixed up": mixed,
        "twice the truth": 2 * truth,
        "twice the truth, made to add up": with_rest(2 * truth[:, :n], total),
        "half the truth": truth / 2,
        "half the truth, made to add up": with_rest(truth[:, :n] / 2, total),
        "the sign flipped": -truth,
        "the sign flipped, made to add up": with_rest(-truth[:, :n], total),
    }


def _truth(facts: Facts) -> Tensor:
    return next(iter(facts.truths.values())).contributions


def _strengths(facts: Facts) -> Tensor:
    """Without everything else."""
    return facts.interventions.strengths[:, :-1]


def _total(facts: Facts) -> Tensor:
    return facts.interventions.score - facts.base


def _important(facts: Facts) -> list[int]:
    """Concepts in the order of what they contribute, in absolute terms and over all images."""
    order: list[int] = _truth(facts)[:, :-1].abs().mean(0).argsort(descending=True).tolist()
    return order


def _closed(contributions: Tensor) -> Tensor:
    """With nothing for everything else."""
    return torch.cat([contributions, torch.zeros_like(contributions[:, :1])], 1)


def _levelled(contributions: Tensor, total: Tensor) -> Tensor:
    """Made to add up by the same number for every concept of an image."""
    n = contributions.shape[1]
    return _closed(contributions + ((total - contributions.sum(1)) / n)[:, None])


def _rescaled(contributions: Tensor, total: Tensor) -> Tensor:
    """Scaled so that sums differ from image to image as much as the scores do."""
    spread = contributions.sum(1).std()
    return contributions * (total.std() / spread if spread > 0 else 1.0)


def _nearest(strengths: Tensor, among: Tensor, itself: bool = False) -> Tensor:
    """Which row is nearest in concept space, each concept in units of its spread."""
    spread = among.std(0)
    scale = torch.where(spread > 0, spread, 1.0)
    distances = torch.cdist(strengths / scale, among / scale)
    if itself:
        distances.fill_diagonal_(torch.inf)
    return distances.argmin(1)
