"""The four statements: restated image by image, and what they say of a known world's truth and of its liars."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from judgement.worlds import BASE, CONCEPTS, N, explained, liars, world

from semexplain.judgement.interventions import Interventions
from semexplain.judgement.verdict import Verdict, judged
from semexplain.system.trouble import Trouble

WORLDS = [world(seed) for seed in range(3)]
KINDS = list(liars(WORLDS[0]))


def said(verdict: Verdict, name: str) -> dict[str, float]:
    (statement,) = (s for s in verdict.statements if s.name == name)
    return {key: estimate.value for key, estimate in statement.estimates.items()}


@pytest.mark.parametrize("known", WORLDS)
def test_the_truth_is_faithful(known):
    verdict = judged(explained(known.interventions, known.truth), known.interventions)
    assert verdict.word == "FAITHFUL", str(verdict)
    assert [statement.holds for statement in verdict.statements] == [True] * 4
    assert str(verdict) == (f"FAITHFUL: all four statements hold. It rests on a known world, {N} images and one seed.")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("known", WORLDS)
def test_liars_are_not(known, kind: str):
    verdict = judged(explained(known.interventions, liars(known)[kind]), known.interventions)
    assert verdict.word != "FAITHFUL", str(verdict)


@pytest.mark.parametrize("kind", ["equal shares", "all on one concept", "random shares"])
def test_the_liars_of_the_audit_add_up_and_are_refuted(kind: str):
    """Concept reliance is 1 for all of them, since they were divided by the concepts' own strengths."""
    known = WORLDS[0]
    verdict = judged(explained(known.interventions, liars(known)[kind]), known.interventions)
    assert verdict.word == "NOT FAITHFUL"
    assert verdict.statements[0].holds is True
    assert verdict.statements[1].holds is False


def test_what_follows_another_concept_is_named():
    known = WORLDS[0]
    truth = known.truth
    first, second = truth.std(0).argsort(descending=True)[:2].tolist()
    verdict = judged(explained(known.interventions, liars(known)["two concepts exchanged"]), known.interventions)
    reasons = [statement.reason for statement in verdict.statements]
    names = {f"what it says of concept {i} follows concept {j}" for i, j in ((first, second), (second, first))}
    assert names & set(reasons)


def test_the_numbers_are_those_of_a_slower_way():
    known = WORLDS[1]
    generator = torch.Generator().manual_seed(2)
    noise = torch.randn(N, CONCEPTS, generator=generator, dtype=torch.float64)
    facts, table = known.interventions, known.truth + 0.3 * noise
    verdict = judged(explained(facts, table), facts)
    score, effects, phi = facts.score.numpy(), facts.effects.numpy(), table.numpy()
    error = np.abs(score - phi.sum(1) - BASE)
    assert said(verdict, "adds_up")["deviation"] == pytest.approx(error.mean() / np.ptp(score), rel=1e-6)
    assert said(verdict, "adds_up")["slope"] == pytest.approx(np.polyfit(phi.sum(1), score, 1)[0], rel=1e-6)
    s = (score - score.mean()) / score.std(ddof=1)
    basis = np.stack([np.ones(N), s, s**2, score > 0], 1).astype(float)

    def rest(columns: np.ndarray) -> np.ndarray:
        return columns - basis @ np.linalg.lstsq(basis, columns, rcond=None)[0]

    e, d = rest(phi), rest(effects)
    own = sum(e[:, i] @ d[:, i] for i in range(CONCEPTS)) / np.sqrt((e**2).sum() * (d**2).sum())
    assert said(verdict, "own_concepts")["own_agreement"] == pytest.approx(own, rel=1e-6)
    others = [e[:, i] @ d[:, j] for i in range(CONCEPTS) for j in range(CONCEPTS) if i != j]
    swapped = sum(others) / (CONCEPTS - 1) / np.sqrt((e**2).sum() * (d**2).sum())
    assert said(verdict, "own_concepts")["swapped_agreement"] == pytest.approx(swapped, rel=1e-6, abs=1e-9)
    x, y = phi - phi.mean(0), effects - effects.mean(0)
    assert said(verdict, "own_concepts")["size"] == pytest.approx((x * y).sum() / (x**2).sum(), rel=1e-6)
    rows = [np.corrcoef(phi[i], effects[i])[0, 1] for i in range(N)]
    assert said(verdict, "shares")["share_agreement"] == pytest.approx(np.mean(rows), rel=1e-6)
    centred_phi, centred, means = phi - phi.mean(0), effects - effects.mean(0), []
    for i in range(N):  # effects of the other images with this score
        others = np.arange(N) != i
        weights = np.linalg.lstsq(basis[others], effects[others], rcond=None)[0]
        means.append(np.corrcoef(basis[i] @ weights - effects.mean(0), centred[i])[0, 1])
    rows = [np.corrcoef(centred_phi[i], centred[i])[0, 1] for i in range(N)]
    above = said(verdict, "shares")["above_mean_explanation"]
    assert above == pytest.approx(np.mean(rows) - np.mean(means), rel=1e-5)
    spread = facts.strengths.numpy() / facts.strengths.numpy().std(0, ddof=1)
    x, y = [], []
    for i in range(N):
        distances = [np.inf if k == i else np.linalg.norm(spread[i] - spread[k]) for k in range(N)]
        neighbour = int(np.argmin(distances))
        x.append(phi[i] - phi[neighbour])
        y.append(effects[i] - effects[neighbour])
    x, y = np.ravel(x), np.ravel(y)
    near = said(verdict, "own_concepts")["near_agreement"]
    assert near == pytest.approx(x @ y / np.sqrt((x @ x) * (y @ y)), rel=1e-6)

    def inactive(row: np.ndarray, z: np.ndarray) -> np.ndarray:
        columns = np.stack([np.ones(CONCEPTS), z], 1)
        return row - columns @ np.linalg.lstsq(columns, row, rcond=None)[0]

    z, redrawn = facts.strengths.numpy(), facts.redrawn.numpy()

    def agreement(of: np.ndarray) -> float:
        return float(np.mean([np.corrcoef(inactive(phi[i], z[i]), inactive(of[i], z[i]))[0, 1] for i in range(N)]))

    expected = agreement(effects) - np.mean([agreement(one) for one in redrawn])
    assert said(verdict, "learned")["above_redrawn_head"] == pytest.approx(expected, rel=1e-5)


def test_where_concepts_interact_as_much_is_asked_as_two_kinds_of_effects_agree():
    known = WORLDS[0]
    generator = torch.Generator().manual_seed(1)
    noise = 0.8 * known.truth.std() * torch.randn(2, N, CONCEPTS, generator=generator, dtype=torch.float64)
    ends = known.truth + torch.stack([noise[0], -noise[0]])
    facts = replace(known.interventions, effects=known.truth, ends=ends)
    between = 0.75**2 * known.truth + 0.75 * (1 - 0.75**2) ** 0.5 / 0.8 * noise[1]  # correlation 0.75, slope 1
    assert judged(explained(facts, known.truth), facts).word == "FAITHFUL"
    strict = judged(explained(facts, between), replace(facts, ends=None))
    lenient = judged(explained(facts, between), facts)
    assert strict.statements[1].holds is False
    assert lenient.statements[1].holds is True


def test_seeds_widen_the_intervals_and_are_told():
    known = WORLDS[0]
    facts = known.interventions
    several = [explained(facts, known.truth * scale) for scale in (0.9, 1.0, 1.1)]
    verdict = judged(several, facts)
    one = judged(several[1], facts)
    assert verdict.seeds == 3
    assert str(verdict).endswith(f"{N} images and 3 seeds.")
    wide, narrow = (v.statements[0].estimates["slope"] for v in (verdict, one))
    assert wide.high - wide.low > narrow.high - narrow.low


def test_columns_that_nobody_can_take_away_are_not_compared():
    known = WORLDS[0]
    effects = known.interventions.effects.clone()
    effects[3, 2:] = torch.nan
    facts = replace(known.interventions, effects=effects)
    verdict = judged(explained(facts, known.truth), facts)
    assert facts.known == ("concept 0", "concept 1")
    assert verdict.word == "NOT SHOWN"
    assert "fewer than three concepts can be taken away" in verdict.statements[2].reason


def test_what_cannot_be_judged_is_told():
    known = WORLDS[0]
    facts, good = known.interventions, explained(known.interventions, known.truth)
    few = judged(good[:10], facts)
    assert (few.word, few.reason) == ("NOT SHOWN", "10 images are too few, at least 20 are needed")
    broken = known.truth.clone()
    broken[5, 1] = torch.nan
    assert judged(explained(facts, broken), facts).reason == "some contributions are not numbers"
    equal = replace(facts, score=torch.ones(N, dtype=torch.float64))
    assert judged(explained(equal, known.truth), equal).reason == "all scores are equal, so there is nothing to explain"
    with pytest.raises(Trouble, match="There are no explanations to judge"):
        judged([], facts)
    with pytest.raises(Trouble, match="of the same images and concepts, in the same order"):
        judged([good, good[1:]], facts)
    with pytest.raises(Trouble, match="The explanations are of another network: an image's score differs by 50"):
        judged(explained(replace(facts, score=facts.score + 50), known.truth), facts)
    with pytest.raises(Trouble, match=r"Nothing is known of what becomes of 0 without its concepts \(120 of 120"):
        judged(good, replace(facts, ids=tuple(f"x{i}" for i in range(N))))
    two = {name: getattr(facts, name)[..., :2] for name in ("effects", "redrawn", "strengths")}
    with pytest.raises(Trouble, match="The interventions are on left, right.* none of which is explained"):
        judged(good, Interventions("another", facts.ids, ("left", "right"), facts.score, **two))
