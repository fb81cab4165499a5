"""The four statements that an explanation has to stand by, each with its numbers and their intervals."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor

from semexplain.judgement.agreement import along, apart_from, cosine, residual
from semexplain.judgement.best_predictor import predicted
from semexplain.judgement.resampling import Estimate, Resampling

AS_CLOSE = 1.5  # times the deviation of the best predictor from the concepts alone
NEARLY_ALL = 0.1  # of the score's mean distance from its mean: so little may always be left
OWN = 0.85  # least agreement of contributions with their own concepts' effects across images, of what can be asked
NEAR = 0.85  # least agreement of what sets an image's contributions apart from those of the nearest image
ALTOGETHER = 0.9  # least agreement of whole contributions with whole effects, means and all, of what can be asked
BETWEEN = 0.95  # least agreement with the nearest values between removal and standing alone, where exact shares lie
LEFT = 1e-9  # share of the effects below which what is left of them is rounding
STEEP = 1.25  # the score's slope over the sums of contributions, and 1 over it
SIZES = 1.5  # the effects' slope over the contributions, and 1 over it
ONE_FOR_ANOTHER = 0.1  # by how much a contribution may agree better with another concept's effects than with its own
MOST = 16  # concepts with the largest effects, that are looked at by themselves
RANDOM_DRAWS = 8


class Statement(NamedTuple):
    """One statement about explanations.

    Attributes:
        name: ``adds_up``, ``own_concepts``, ``shares`` or ``learned``.
        holds: Whether it surely holds, surely does not, or (none) nobody can tell from these images.
        reason: In one sentence.
        estimates: Its numbers, by name.
    """

    name: str
    holds: bool | None
    reason: str
    estimates: Mapping[str, Estimate]


@dataclass(frozen=True, eq=False)
class Evidence:
    """Contributions beside what interventions tell, in the same order of images and concepts.

    Attributes:
        names: Of the ``n`` concepts.
        score: ``(N,)``.
        contributions: ``(S, N, n)``, of each seed.
        base_value: ``(S,)``.
        effects: ``(N, n)``; nan columns are not known.
        ends: ``(2, N, n)`` of which effects are the mean, or none.
        redrawn: ``(R, N, n)``.
        strengths: ``(N, n)``; nan columns are not known.
        resampling: Draws of images and seeds.
        asked: Concepts of which it was asked what becomes of scores without them: all, unless some were drawn.
    """

    names: tuple[str, ...]
    score: Tensor
    contributions: Tensor
    base_value: Tensor
    effects: Tensor
    ends: Tensor | None
    redrawn: Tensor
    strengths: Tensor
    resampling: Resampling
    asked: list[int]

    @property
    def columns(self) -> list[int]:
        """Concepts that could be taken away from every image."""
        return self.effects.isfinite().all(0).nonzero()[:, 0].tolist()

    def of_seed(self, seed: int) -> "Evidence":
        """The same of one seed alone."""
        one, images = slice(seed, seed + 1), self.resampling.images
        resampling = Resampling(images.shape[1], draws=len(images))
        return replace(
            self, contributions=self.contributions[one], base_value=self.base_value[one], resampling=resampling
        )


def adds_up(evidence: Evidence) -> Statement:
    r"""Contributions and base value add up to the score: as closely as the concepts alone can tell it.

    .. math:: d = \operatorname{mean}_I |\hat y - \textstyle\sum_i \phi_i - b| \le
              1.5 \operatorname{mean}_I |\hat y - h(y)|

    with h the best predictor from the concepts alone, cross-fitted. Or closer than a tenth of what a constant leaves.
    What an explanation is closer than h comes through its weights, not its concepts; that is told as ``below_best``.
    And the slope of the scores over the sums must lie between 4/5 and 5/4: half of the truth does not add up.
    """
    score = evidence.score
    deviation = (score - evidence.contributions.sum(2) - evidence.base_value[:, None]).abs()
    constant = (score - score.mean()).abs()[None]
    z = evidence.strengths[:, evidence.strengths.isfinite().all(0)]
    best = (score - predicted(z, score)).abs()[None] if z.shape[1] else constant
    spread = score.max() - score.min()
    resample = evidence.resampling
    excess = resample.of(
        lambda w: w @ deviation.T - torch.maximum(AS_CLOSE * (w @ best.T), NEARLY_ALL * (w @ constant.T))
    )
    estimates = {
        "deviation": resample.mean(deviation / spread),
        "best_deviation": resample.mean((best / spread).expand_as(deviation)),
        "below_best": resample.of(lambda w: 1 - (w @ deviation.T) / (w @ best.T).clamp_min(1e-12)),
        "slope": slope(resample, evidence.contributions.sum(2, keepdim=True), score[:, None]),
    }
    holds = _both(_not(excess.above(0)), estimates["slope"].within(STEEP))
    said = f"it leaves {estimates['deviation']} of the range of scores; the best predictor from the concepts alone "
    said += f"leaves {estimates['best_deviation']}; the scores' slope over the sums is {estimates['slope']}"
    words = {True: "it adds up", False: "it does not add up", None: "whether it adds up is not sure"}
    return Statement("adds_up", holds, f"{words[holds]}: {said}", estimates)


def own_concepts(evidence: Evidence) -> Statement:
    r"""What a concept contributes to an image goes with what becomes of that image without that concept.

    Over the images, and apart from what the score alone tells: with :math:`e_i, d_i` what is left of the
    contributions and the effects of concept i after a regression on the score,

    .. math:: r = \frac{\sum_i e_i \cdot d_i}{\sqrt{\sum_i |e_i|^2 \sum_i |d_i|^2}}

    A swap test that divides by no strength. r must be at least 0.85 of what can be asked: 1, or where the effects are
    the mean of two kinds, what the one of the two that agrees less with it has. No large concept's contributions may
    agree better with another concept's effects than with its own. The effects' slope over the contributions must lie
    between 2/3 and 3/2. And what leaks from an image like this one is no reason: with J the image that is nearest to I
    in concept space, the differences :math:`\phi_I - \phi_J` must be correlated with :math:`\Delta_I - \Delta_J`, over
    all images and concepts, by 0.85 of what can be asked.
    """
    columns = evidence.columns
    if len(columns) < 2:
        return _unknown("own_concepts", "fewer than two concepts can be taken away")
    e = apart_from(evidence.score, evidence.contributions[:, :, columns])
    d = apart_from(evidence.score, evidence.effects[:, columns])
    resample, n = evidence.resampling, len(columns)
    if float(d.square().sum()) <= LEFT * float(evidence.effects[:, columns].square().sum()):
        return _unknown("own_concepts", "apart from the score nothing is left of the effects")
    told = bool(evidence.strengths.isfinite().all(0).any())
    size, other = d.square().sum(1)[None], nearest(evidence.strengths if told else evidence.effects)
    pairs = (e.sum(2) * d.sum(1) - (e * d).sum(2)) / (n - 1)
    near_e, near_d = (
        table[..., columns] - table[..., other, :][..., columns] for table in (evidence.contributions, evidence.effects)
    )
    own, near = correlation(resample, e, d[None]), correlation(resample, near_e, near_d[None])
    estimates = {
        "own_agreement": own,
        "swapped_agreement": resample.of(lambda w: along(w, pairs, e.square().sum(2), size)),
        "near_agreement": near,
        "size": slope(resample, evidence.contributions[:, :, columns], evidence.effects[:, columns]),
    }
    asked, asked_near = OWN, NEAR
    if evidence.ends is not None:
        ends = evidence.ends[:, :, columns]
        asked *= _least(apart_from(evidence.score, ends), d)
        asked_near *= _least(ends - ends[:, other], near_d)
    holds = own.above(asked)
    reason = f"apart from the score, contributions agree with their own concepts' effects: {own}, {asked:.2f} is asked"
    if holds and (close := near.above(asked_near)) is not True:
        holds, reason = (
            close,
            "the nearest image would get this explanation: what sets them apart agrees with effects by",
        )
        reason += f" {near}, {asked_near:.2f} is asked"
    if holds and (fits := estimates["size"].within(SIZES)) is not True:
        holds, reason = fits, f"contributions and effects differ in size: the slope is {estimates['size']}"
    if pair := _followed(evidence, e, d, columns):
        holds, reason = False, f"what it says of {pair[0]} follows {pair[1]}"
    return Statement("own_concepts", holds, reason, estimates)


def nearest(table: Tensor) -> Tensor:
    """The image that is nearest to each and not the same, every known column in units of its spread, ``(N,)``."""
    z = table[:, table.isfinite().all(0)].double()
    z = z / z.std(0, correction=0).clamp_min(1e-12)
    distances = torch.cdist(z, z, compute_mode="donot_use_mm_for_euclid_dist")  # the other way rounds what is 0
    distances[distances <= 1e-9] = torch.inf
    least, other = distances.min(1)
    return torch.where(least.isfinite(), other, torch.arange(len(z)))


def _least(ends: Tensor, middle: Tensor) -> float:
    """How far the one of two tables ``(2, N, n)`` that agrees less with their mean agrees with it."""
    sizes = ends.square().sum((1, 2)) * middle.square().sum()
    return float(((ends * middle).sum((1, 2)) / sizes.clamp_min(1e-300).sqrt()).min())


def correlation(resample: Resampling, first: Tensor, second: Tensor) -> Estimate:
    """Of two tables ``(S, N, n)``, the second perhaps the same for all seeds ``(1, N, n)``, over images and columns."""
    products, squares = (first * second).sum(2), [table.square().sum(2) for table in (first, second)]
    return resample.of(lambda weights: along(weights, products, *squares))


def slope(resample: Resampling, first: Tensor, second: Tensor) -> Estimate:
    """Slope of a regression of the second table ``(N, n)`` on the first ``(S, N, n)``, every column from its mean."""
    x, y = first - first.mean(1, keepdim=True), second - second.mean(0)

    def statistic(weights: Tensor) -> Tensor:
        return (weights @ (x * y).sum(2).T) / (weights @ x.square().sum(2).T).clamp_min(1e-300)

    return resample.of(statistic)


def shares(evidence: Evidence) -> Statement:
    r"""Each image's score is shared out as interventions say.

    The correlation, over an image's concepts, of contributions and effects must be above that of random shares that
    add up. Measured from their means over the images, it must be above that of the mean explanation: the effects that
    the other images with this score have on average. (Where a concept's zero lies is a convention: raw strengths and
    effects measured from a mean differ by a constant of each concept.)

    And altogether, over images and concepts and with no mean taken away, they must agree by 0.9 of what can be asked,
    in one of the conventions of :func:`conventions`: a constant that is added to each concept is no explanation.
    Where two kinds of effects are known, contributions apart from the score must agree by 0.95 with the values nearest
    to them that lie between the two, where all exact shares lie.
    """
    columns = evidence.columns
    if len(columns) < 3:
        return _unknown("shares", "fewer than three concepts can be taken away")
    contributions, effects = evidence.contributions[:, :, columns], evidence.effects[:, columns]
    agreement = cosine(contributions, effects)
    total = evidence.contributions.sum(2).mean(0)
    generator = torch.Generator().manual_seed(0)
    noise = torch.rand(RANDOM_DRAWS, *effects.shape, generator=generator, dtype=torch.float64)
    random = cosine(noise / noise.sum(2, keepdim=True) * total[:, None], effects).mean(0)
    centred = effects - effects.mean(0)
    above_mean = cosine(contributions - contributions.mean(1, keepdim=True), centred)
    above_mean = above_mean - cosine(centred - residual(evidence.score, effects), centred)
    resample = evidence.resampling
    whole, told = _altogether(evidence, columns)
    estimates = {
        **whole,
        "share_agreement": resample.mean(agreement),
        "above_random_shares": resample.mean(agreement - random),
        "above_mean_explanation": resample.mean(above_mean),
    }
    holds = _both(estimates["above_random_shares"].above(0), estimates["above_mean_explanation"].above(0))
    reason = f"shares agree with the effects of taking concepts away: {estimates['share_agreement']}, above random "
    reason += f"shares by {estimates['above_random_shares']}, above the mean explanation by "
    reason += f"{estimates['above_mean_explanation']}"
    if holds and told[0] is not True:
        holds, reason = told
    return Statement("shares", holds, reason, estimates)


def _altogether(evidence: Evidence, columns: list[int]) -> tuple[dict[str, Estimate], tuple[bool | None, str]]:
    """Agreement with no mean taken away, and with what lies between two kinds of effects; whether both suffice."""
    contributions, effects = evidence.contributions[:, :, columns], evidence.effects[:, columns]
    agreement = partial(correlation, evidence.resampling)
    asked = ALTOGETHER
    tables = conventions(effects, evidence.strengths[:, columns])
    estimates, between = {}, None
    if evidence.ends is not None:
        ends = evidence.ends[:, :, columns]
        asked *= _least(ends, effects)
        nearest_to = contributions.clamp(ends.amin(0), ends.amax(0))
        between = agreement(apart_from(evidence.score, contributions), apart_from(evidence.score, nearest_to))
        estimates["between_agreement"] = between
    whole = max((agreement(contributions, table[None]) for table in tables), key=lambda estimate: estimate.value)
    estimates["altogether_agreement"] = whole
    if (holds := whole.above(asked)) is not True or between is None:
        return estimates, (holds, f"means and all, contributions agree with effects by {whole}, {asked:.2f} is asked")
    reason = "contributions agree with what lies between the effects of removal and of standing alone by "
    return estimates, (between.above(BETWEEN), f"{reason}{between}, {BETWEEN} is asked")


def conventions(effects: Tensor, strengths: Tensor) -> list[Tensor]:
    r"""Effects ``(N, n)``, and what they are if a concept's zero lies elsewhere.

    Taken away is a concept at 0 or at its mean, and strengths are multiplied as they are or from their mean. With
    :math:`w_i` the slope of effects over strengths, effects are measured from the other zero by adding or taking
    :math:`w_i \bar y_i`, the same for all concepts.
    """
    y = torch.where(strengths.isfinite().all(0), strengths.double(), 0)
    mean = y.mean(0)
    w = ((y - mean) * effects).sum(0) / (y - mean).square().sum(0).clamp_min(1e-300)
    return [effects, effects + w * mean, effects - w * mean]


def learned(evidence: Evidence) -> Statement:
    """Contributions agree with this network's interventions more than with those of networks whose head is redrawn.

    The part of both that is activation alone, what is in proportion to the concepts' strengths, is taken out first.
    """
    columns = evidence.columns
    if not len(evidence.redrawn) or len(columns) < 3:
        return _unknown("learned", "nothing is known of redrawn networks")
    if not bool(evidence.redrawn[:, :, columns].isfinite().all()):
        return _unknown("learned", "effects on redrawn networks are not numbers")
    if bool((evidence.redrawn[:, :, columns] == evidence.effects[:, columns]).all()):
        return _unknown("learned", "nothing above the feature map has weights that could be drawn anew")
    strengths = evidence.strengths[:, columns].double()
    strengths = torch.where(strengths.isfinite().all(0), strengths, 0)

    def rest(table: Tensor) -> Tensor:
        table = table.double() - table.double().mean(-1, keepdim=True)
        z = strengths - strengths.mean(-1, keepdim=True)
        share = (table * z).sum(-1, keepdim=True) / z.square().sum(-1, keepdim=True).clamp_min(1e-12)
        return table - share * z

    given = rest(evidence.contributions[:, :, columns])
    own = cosine(given, rest(evidence.effects[:, columns]))
    redrawn = torch.stack([cosine(given, rest(effects)) for effects in evidence.redrawn[:, :, columns]])
    resample = evidence.resampling
    estimates = {
        "agreement_without_activation": resample.mean(own),
        "above_redrawn_head": resample.mean(own - redrawn.mean(0)),
    }
    holds = estimates["above_redrawn_head"].above(0)
    reason = "apart from activation, it agrees better with this network than with redrawn ones by "
    reason += str(estimates["above_redrawn_head"])
    return Statement("learned", holds, reason, estimates)


def _followed(evidence: Evidence, e: Tensor, d: Tensor, columns: list[int]) -> tuple[str, str] | None:
    """A large concept and the other one whose effects its contributions follow, surely."""
    sizes = (
        d.square().sum(0),
        evidence.effects[:, columns].abs().sum(0),
    )  # where effects vary, and where they are large
    large = list(dict.fromkeys(i for size in sizes for i in size.argsort(descending=True)[:MOST].tolist()))

    def gain(weights: Tensor, i: int, j: int) -> Tensor:
        """By how much contributions of i agree better with effects of j than with their own."""
        own, other = (along(weights, e[:, :, i] * d[:, k], e[:, :, i].square(), d[None, :, k].square()) for k in (i, j))
        return other - own

    for i in large:
        for j in large:
            if i != j and evidence.resampling.of(partial(gain, i=i, j=j)).above(ONE_FOR_ANOTHER):
                return evidence.names[columns[i]], evidence.names[columns[j]]
    return None


def _unknown(name: str, reason: str) -> Statement:
    return Statement(name, None, reason, {})


def _both(one: bool | None, other: bool | None) -> bool | None:
    return False if one is False or other is False else None if one is None or other is None else True


def _not(known: bool | None) -> bool | None:
    return None if known is None else not known
