"""What the prior changes, from finished runs: the numbers are those that the runs wrote."""

from pathlib import Path

import pytest
import torch

from benchmarks.paper import STATISTICS, numbers, report
from semexplain.runs.run import Run
from semexplain.system.trouble import Trouble


def test_numbers_are_those_of_the_runs(sweep: Path):
    for folder in (sweep / "0", sweep / "1"):
        run = Run(folder)
        side = numbers([run], None)
        equal = torch.full((1, len(run.explanation)), 1 / len(run.explanation), dtype=torch.float64)
        for name, metric in {"entropy": "contribution_entropy", "relative deviation": "relative_deviation"}.items():
            assert float(STATISTICS[name](side)(equal)) == pytest.approx(run.metrics[f"test/{metric}"], rel=1e-4)


def test_a_difference_is_that_of_the_two_and_has_an_interval(sweep: Path):
    rows = [[cell.split(" [") for cell in line.split("|")[2:-1]] for line in report([sweep / "1", sweep / "0"])[2:]]
    assert len(rows) == 2  # no parts
    for without, with_prior, change in rows:
        assert float(change[0]) == pytest.approx(float(with_prior[0]) - float(without[0]), abs=2e-4)
        low, high = map(float, change[1].strip(" ]").split(", "))
        assert low <= float(change[0]) <= high


def test_runs_must_be_pairs(sweep: Path):
    with pytest.raises(Trouble, match=r"Expected runs of two β and the same seeds once each, got β of \[0.0\]"):
        report([sweep / "0"])
