"""What the head-to-head makes of numbers."""

import math
from pathlib import Path

import pytest

from benchmarks.head_to_head.__main__ import report
from benchmarks.head_to_head.records import Mean, Record, load_all, mean
from benchmarks.head_to_head.table import table
from benchmarks.head_to_head.verdict import verdict


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
    assert "next prior only with 0.5." in won
    assert "4.0 times for semexplain" in won
    assert "0.99" not in won  # a control is no contestant
    lost = verdict(records((0.80, 0.81, 0.82), 0.9), "w")
    assert "prior only wins with 0.9; semexplain is number 2 of 2" in lost
    assert "within chance" in verdict(records((0.2, 0.5, 0.8), 0.45), "w")


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
