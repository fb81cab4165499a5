"""What the benchmark of parts makes of contributions: correlations of draws, paired differences, goals."""

import json
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import spearmanr

from benchmarks.parts import CONSTANT, GRADIENT, NAMINGS, OURS, Sample, across, ranks_of, report, samples


def tables(noise: float, performers: int = 3, images: int = 30) -> list[dict[str, np.ndarray]]:
    """Performers whose parts named by erasing are right but for noise; by peaks they say nothing."""
    rng, found = np.random.default_rng(0), []
    for _ in range(performers):
        truth = rng.normal(size=(images, 6)) + np.arange(6)
        table = {"truth": truth}
        for method in (OURS, GRADIENT):
            for naming in NAMINGS:
                table[f"{method}, {naming}"] = truth + noise * rng.normal(size=truth.shape)
            table[f"{method}, peak"] = np.zeros_like(truth)
        found.append(table)
    return found


def test_a_draw_counts_an_image_as_often_as_it_is_drawn() -> None:
    rng = np.random.default_rng(1)
    given, truth = rng.normal(size=(2, 12, 6))
    given[:, 2] = 3  # a part that gets the same everywhere
    times = rng.multinomial(12, np.full(12, 1 / 12), 5)
    found, ranks = across(given, truth, times), ranks_of([(given, truth)], times)
    for draw in range(5):
        rows = np.repeat(np.arange(12), times[draw])
        columns = [np.corrcoef(given[rows, at], truth[rows, at])[0, 1] if at != 2 else 0 for at in range(6)]
        assert found[draw] == pytest.approx(np.mean(columns))
        assert ranks[draw, 0] == pytest.approx(np.mean([spearmanr(given[row], truth[row]).statistic for row in rows]))


def test_all_rows_are_drawn_alike_so_that_differences_are_paired() -> None:
    rows = samples(tables(noise=0.5))
    ours, drawn = (rows[f"{OURS}, {naming}"][1] for naming in ("erased", "drawn truth"))
    assert (ours - drawn).draws.std() < np.hypot(ours.draws.std(), drawn.draws.std())
    assert rows["truth"][1].interval == pytest.approx((1, 1))
    assert rows[f"{OURS}, peak"][1].value == rows[CONSTANT][1].value == 0
    assert rows[CONSTANT][0].value > 0.5  # an order without a look at the image
    low, high = ours.interval
    assert low < ours.value < high
    assert str(Sample(0.5, np.full(9, 0.5))) == "0.500 [0.500, 0.500]"


@pytest.mark.parametrize(("noise", "met"), [(0.1, True), (30.0, False)])
def test_goals_are_those_of_the_better_method_by_erasing(noise: float, met: bool, tmp_path: Path) -> None:
    report(tables(noise), tmp_path)
    goals = json.loads((tmp_path / "parts.json").read_text())
    assert [(goal["target"], goal["met"]) for goal in goals] == [(0.7, met), (0.4, met)]
    assert all({"goal", "value", "target", "met"} <= goal.keys() for goal in goals)
    text = (tmp_path / "parts.md").read_text()
    assert f"{OURS}, erased − {OURS}, peak" in text
    assert CONSTANT in text
