"""What the head-to-head makes of numbers."""

import math
import re
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks.head_to_head.__main__ import report
from benchmarks.head_to_head.by_image import by_image
from benchmarks.head_to_head.measure import against
from benchmarks.head_to_head.records import Mean, Record, difference, load_all, mean
from benchmarks.head_to_head.table import table
from benchmarks.head_to_head.truth import Truth
from benchmarks.head_to_head.verdict import verdict
from semexplain.explanation import Explanation
from semexplain.metrics.relative_deviation import relative_deviation


def records(ours: tuple[float, ...], rival: float, dear: float = 0.1) -> list[Record]:
    found = [
        Record("w", "semexplain", seed, {"rank_correlation": value, "passes": 40, "relative_deviation": 0.01})
        for seed, value in enumerate(ours)
    ]
    found.append(Record("w", "lime", 0, {"rank_correlation": dear, "passes": 1000}))
    found.append(Record("w", "prior only", 0, {"rank_correlation": rival, "passes": 40}))
    found.append(
        Record("w", "semexplain on shuffled concepts", 0, {"rank_correlation": 0.99, "relative_deviation": 0.04})
    )
    return found


def test_interval_is_students():
    """t(0.975, 2) = 4.302653, the standard deviation of 1, 2, 3 is 1."""
    own = Mean.of([1.0, 2.0, 3.0])
    assert own.value == 2
    assert own.half == pytest.approx(4.302653 / math.sqrt(3), rel=1e-6)
    assert str(Mean.of([0.25])) == "0.25"
    assert str(Mean.of([])) == ""


def test_verdict_says_who_wins():
    won = verdict(records((0.80, 0.81, 0.82), 0.5), "w")
    assert "semexplain is first with 0.81" in won
    assert "next prior only with 0.5 (over seeds alone)." in won
    assert "4.0 times for semexplain" in won
    assert "0.99" not in won  # a control is no contestant
    lost = verdict(records((0.80, 0.81, 0.82), 0.9), "w")
    assert "prior only wins with 0.9; semexplain is number 2 of 2" in lost
    assert "within chance" in verdict(records((0.2, 0.5, 0.8), 0.45), "w")


def of_images(ours: list[list[float]], rival: list[float | None]) -> list[Record]:
    def record(method: str, seed: int, images: list[float | None]) -> Record:
        known = [value for value in images if value is not None]
        numbers = {"rank_correlation": sum(known) / len(known), "passes": 40}
        return Record("w", method, seed, numbers, {"rank_correlation": images})

    return [*(record("semexplain", seed, images) for seed, images in enumerate(ours)), record("lime", 0, rival)]


def test_a_first_place_is_that_of_the_same_images():
    """Seeds agree to the last digit, and yet the images do not tell who is first."""
    hard = [0.1 * i for i in range(10)]
    even = [value + 0.02 for value in hard]  # a little better on every image, however hard it is
    assert "lime with 0.45 (over the images +0.02 [0.02, 0.02])." in verdict(of_images([even, even], hard), "w")
    uneven = [value + (0.3 if i % 2 else -0.26) for i, value in enumerate(hard)]
    said = verdict(of_images([uneven, uneven], hard), "w")
    assert "first with 0.47" in said
    assert re.search(r"lime with 0.45 \(over the images \+0.02 \[-0\.\d+, 0\.\d+\], within chance\)\.", said)
    gap = difference(of_images([uneven], [*hard[:9], None]), "w", "semexplain", "lime", "rank_correlation")
    assert gap.value == pytest.approx(sum(u - h for u, h in zip(uneven[:9], hard[:9], strict=True)) / 9)
    picks = np.random.default_rng(0).integers(10, size=(20_000, 10))
    low, high = np.quantile((np.array(uneven) - np.array(hard))[picks].mean(1), [0.025, 0.975])
    gap = difference(of_images([uneven], hard), "w", "semexplain", "lime", "rank_correlation")
    assert (gap.low, gap.high) == (pytest.approx(low, abs=0.03), pytest.approx(high, abs=0.03))


def test_numbers_of_images_are_those_whose_mean_is_told(tmp_path: Path):
    generator = torch.Generator().manual_seed(0)
    true, values, weights = (torch.randn(8, 5, generator=generator) for _ in range(3))
    ids, names = tuple("abcdefgh"), tuple("VWXYZ")
    explained = Explanation(torch.randn(8, generator=generator), values, weights, torch.tensor(0.0), names, ids=ids)
    zero = torch.zeros(8)
    truth = Truth("Male", ids[:6], names[:4], true[:6, :4], names, true[:6], torch.ones(5) / 2, zero[:6], zero[:6])
    found, told = by_image(explained, truth, shared=True), against(truth, explained, shared=True)
    for name in ("rank_correlation", "contribution_error", "removal_rank_correlation", "removal_contribution_error"):
        assert found[name][6:] == [None, None]
        assert np.mean(found[name][:6]) == pytest.approx(told[name], rel=1e-5)
    Record("w", "semexplain", 0, told | {"truth_ceiling": 1.0}, found).save(tmp_path / "record.json")
    assert Record.load(tmp_path / "record.json").images == found
    deviation = relative_deviation(explained.prediction, explained.score)
    assert np.mean(found["relative_deviation"]) == pytest.approx(float(deviation), rel=1e-5)


def test_verdict_names_a_dearer_rival_that_is_better():
    assert "lime reaches 0.95 for 1000 passes an image" in verdict(records((0.8, 0.81), 0.5, dear=0.95), "w")
    assert "lime" not in verdict(records((0.8, 0.81), 0.5, dear=0.6), "w")


def test_table_and_report(tmp_path: Path):
    for number, record in enumerate(records((0.8, 0.82), 0.5)):
        record.save(tmp_path / f"w/records/{number}/record.json")
    found = load_all(tmp_path)
    assert mean(found, "w", "semexplain", "rank_correlation").value == pytest.approx(0.81)
    rows = table(found, "w").splitlines()
    assert rows[0].startswith("| | rank corr. with Shapley ↑ | rel. deviation ↓")
    assert any(row.startswith("| prior only | 0.5 |") for row in rows)
    report(found, tmp_path, [])
    assert "semexplain is first" in (tmp_path / "results.md").read_text()
    assert (tmp_path / "w.png").stat().st_size > 1000
    assert (tmp_path / "controls.png").exists()
