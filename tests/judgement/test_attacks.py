"""Liars that keep what varies and lie in what does not, hide in columns, or hide among seeds."""

from dataclasses import replace

import pytest
import torch
from judgement.worlds import CONCEPTS, N, explained, world

from semexplain.judgement.verdict import judged
from semexplain.system.trouble import Trouble


@pytest.fixture(scope="module")
def known():
    return world()


def word(known, *tables: torch.Tensor, facts=None):
    facts = known.interventions if facts is None else facts
    return judged([explained(facts, table) for table in tables], facts, draws=500).word


def shifted(known, size: float):
    """The truth with a constant of its own for each concept; the constants add up to 0."""
    offset = torch.zeros(CONCEPTS, dtype=torch.float64)
    offset[0], offset[1] = size, -size
    return known.truth + offset * known.total.std()


def test_constants_of_concepts_that_add_up_to_zero_are_no_explanation(known):
    assert word(known, known.truth) == "FAITHFUL"
    assert word(known, shifted(known, 1.0)) == "NOT FAITHFUL"


@pytest.mark.parametrize("zero", [0, 1])
def test_where_a_zero_lies_is_a_convention(known, zero: int):
    weights = known.weights.mean(0)
    facts = known.interventions
    strengths = known.strengths
    effects = weights * (strengths - zero * strengths.mean(0))
    said = weights * (strengths - (1 - zero) * strengths.mean(0))
    base = float((weights * strengths.mean(0)).sum()) * (1 - zero)
    linear = replace(facts, score=(weights * strengths).sum(1), effects=effects)
    assert judged(explained(linear, said, base), linear, draws=500).word == "FAITHFUL"


def test_one_lie_among_ten_truths_is_found(known):
    assert word(known, *[known.truth] * 10) == "FAITHFUL"
    equal = known.total[:, None].expand(-1, CONCEPTS) / CONCEPTS
    assert word(known, *[known.truth] * 9, equal) == "NOT FAITHFUL"


def test_what_cannot_be_taken_away_carries_less_than_what_can(known):
    hidden = known.interventions.effects.clone()
    order = known.truth.std(0).argsort(descending=True)
    hidden[:, order[:-3]] = torch.nan
    assert word(known, known.truth, facts=replace(known.interventions, effects=hidden)) == "NOT SHOWN"


def test_redrawn_networks_without_numbers_tell_nothing(known):
    facts = replace(known.interventions, redrawn=known.interventions.redrawn * torch.nan)
    assert word(known, known.truth, facts=facts) == "NOT SHOWN"


def test_a_concept_is_named_once_and_scores_are_numbers(known):
    facts = known.interventions
    twice = replace(explained(facts, known.truth), concepts=(facts.names[1], *facts.names[1:]))
    with pytest.raises(Trouble, match="named twice"):
        judged(twice, facts)
    broken = replace(facts, score=torch.where(torch.arange(N) == 0, torch.nan, facts.score))
    with pytest.raises(Trouble, match="not numbers"):
        judged(explained(broken, known.truth), broken)


def test_the_same_image_again_is_not_its_nearest(known):
    facts = known.interventions
    rows = torch.arange(40).repeat(3)
    tables = {name: getattr(facts, name)[..., rows, :] for name in ("effects", "redrawn", "strengths")}
    again = replace(facts, score=facts.score[rows], ids=tuple(map(str, range(len(rows)))), **tables)
    assert judged(explained(again, known.truth[rows]), again).word == "FAITHFUL"


def test_without_strengths_the_nearest_image_is_that_of_the_nearest_effects(known):
    facts = replace(known.interventions, strengths=known.interventions.strengths * torch.nan)
    found = judged(explained(facts, known.truth), facts)
    assert found.statements[1].holds is True


def test_effects_that_the_score_tells_alone_say_nothing_of_concepts(known):
    facts = replace(known.interventions, effects=known.interventions.score[:, None] * torch.arange(1.0, CONCEPTS + 1))
    found = judged(explained(facts, known.truth), facts)
    assert (found.statements[1].holds, found.statements[1].reason) == (
        None,
        "apart from the score nothing is left of the effects",
    )
