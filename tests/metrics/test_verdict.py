"""When an explanation is called faithful, and what is said where it is not."""

import pytest

from semexplain.metrics.verdict import verdict

GOOD = {
    "test/relative_deviation": 0.0135,
    "test/concept_reliance": 0.8,
    "test/control/constant/relative_deviation": 0.03,
    "test/control/shuffled/relative_deviation": 0.027,
    "test/control/redrawn/relative_deviation": 0.001,
}


def test_a_faithful_explanation_needs_its_concepts_and_beats_those_that_say_nothing():
    found = verdict(GOOD)
    assert found.faithful
    assert str(found).startswith("FAITHFUL: the predictions need the images' own concepts")
    assert "with shuffled concepts 0.0270" in found.reason
    assert found.metrics["test/excess_over_control"] == pytest.approx(0.027 - 0.0135)
    assert found.metrics["test/excess_over_control_share"] == pytest.approx(0.5)
    assert (found.metrics["test/faithful"], found.metrics["test/faithful_margin"]) == (1.0, 0.1)


RELIES, EXPLAINS = "hardly get worse", "explain as much"


@pytest.mark.parametrize(
    ("changed", "failed", "said"),
    [
        ({"test/concept_reliance": 0.05}, {RELIES}, "(concept reliance 0.050, at least 0.1 is asked)"),
        (
            {"test/relative_deviation": 0.0245},
            {EXPLAINS},
            "(deviation 0.0245, with shuffled concepts 0.0270, at least 10%",
        ),
        ({"test/control/constant/relative_deviation": 0.0137}, {EXPLAINS}, "with constant concepts 0.0137"),
        ({"test/concept_reliance": -1.0, "test/relative_deviation": 0.5}, {RELIES, EXPLAINS}, "reliance -1.000"),
    ],
)
def test_each_condition_that_fails_is_told(changed: dict[str, float], failed: set[str], said: str):
    found = verdict(GOOD | changed)
    assert not found.faithful
    assert found.metrics["test/faithful"] == 0.0
    assert str(found).startswith("NOT FAITHFUL: ")
    assert {words for words in (RELIES, EXPLAINS) if words in found.reason} == failed
    assert said in found.reason


def test_the_margin_is_asked_of_both_and_remembered():
    near = GOOD | {"test/concept_reliance": 0.3, "test/relative_deviation": 0.0135}
    assert verdict(near, 0.3).faithful
    strict = verdict(near, 0.4)
    assert not strict.faithful
    assert verdict(near | strict.metrics).metrics == strict.metrics


def test_without_controls_reliance_decides_and_says_so():
    found = verdict({"test/relative_deviation": 0.5, "test/concept_reliance": 0.2})
    assert found.faithful
    assert "no controls were trained" in found.reason
    assert set(found.metrics) == {"test/faithful", "test/faithful_margin"}


@pytest.mark.parametrize("missing", ["test/relative_deviation", "test/concept_reliance"])
@pytest.mark.parametrize("value", [None, float("nan")])
def test_what_was_not_measured_is_not_judged(missing: str, value: float | None):
    assert verdict(GOOD | {missing: value}) is None
