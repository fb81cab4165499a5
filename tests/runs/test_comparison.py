"""The table of finished runs, and the verbs that print it."""

import json
from pathlib import Path

import pytest

from semexplain.__main__ import main
from semexplain.runs.comparison import comparison, finished_runs
from semexplain.runs.run import Run


def finished(folder: Path, beta: float, deviation: float, concepts: str = "all", depth: int = 18) -> Path:
    folder.mkdir(parents=True)
    selection = {
        "all": "{_target_: semexplain.concepts.selection.all_concepts}",
        "random": "{_target_: semexplain.concepts.selection.random_concepts, count: 20}",
        "named": "{_target_: semexplain.concepts.selection.named_concepts, include: [Bald, Bangs]}",
    }[concepts]
    options = (
        f"performer: {{target: Young}}\nbeta: {beta}\nseed: 0\nconcepts: {selection}\nexplainer: {{depth: {depth}}}\n"
    )
    measured = (
        "contribution_entropy.ContributionEntropy",
        "accuracy.ExplainerAccuracy",
        "relative_deviation.RelativeDeviation",
    )
    targets = {name: {"_target_": f"semexplain.metrics.{name}"} for name in measured}
    (folder / "config.yaml").write_text(
        f"{options}metrics: {json.dumps(targets)}\npaths: {{performers: p, cache: c}}\n"
    )
    metrics = {"test/relative_deviation": deviation, "test/contribution_entropy": 3.2, "test/performer_accuracy": None}
    (folder / "metrics.json").write_text(json.dumps(metrics))
    return folder


def test_a_row_a_run_in_the_order_of_the_folders(tmp_path: Path):
    finished(tmp_path / "b" / "1", beta=0.2, deviation=0.0123456, concepts="random")
    finished(tmp_path / "a", beta=0.0, deviation=0.5, concepts="all")
    runs, _ = finished_runs([tmp_path])
    assert [run.path.name for run in runs] == ["a", "1"]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in comparison(runs).splitlines()]
    assert rows[0][:6] == ["#", "target", "beta", "concepts", "seed", "entropy"]  # nothing else was measured in any
    assert rows[2][:6] == ["1", "Young", "0", "all", "0", "3.2000"]
    assert (rows[3][2], rows[3][3], rows[3][-1]) == ("0.2", "random 20", "0.0123")


def test_options_in_which_runs_differ_have_a_column(tmp_path: Path):
    runs = [Run(finished(tmp_path / str(depth), 0.2, 0.1, depth=depth)) for depth in (18, 152)]
    header, _, *rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in comparison(runs).splitlines()]
    assert [row[header.index("explainer.depth")] for row in rows] == ["18", "152"]
    assert "explainer.depth" not in comparison(runs[:1])


def test_compare_prints_the_table_and_where_the_runs_are(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    run = finished(tmp_path / "a", beta=0.0, deviation=0.5)
    interrupted = finished(tmp_path / "b", beta=0.0, deviation=0.5)
    (interrupted / "metrics.json").unlink()
    assert main(["compare", str(tmp_path)]) == 0
    printed = capsys.readouterr().out
    assert printed.count("| Young ") == 1
    assert f"run folder 1: {run}" in printed
    assert f"not finished: {interrupted} (python train.py resume={interrupted})" in printed


def test_nothing_to_compare_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    assert main(["compare", str(tmp_path)]) == 2
    assert "no finished explainer runs here" in capsys.readouterr().err


def test_a_folder_that_is_not_there_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    assert main(["compare", str(tmp_path), str(tmp_path / "nowhere")]) == 2
    assert f"There is no folder {tmp_path / 'nowhere'}" in capsys.readouterr().err


def test_an_unknown_verb_lists_those_there_are(capsys: pytest.CaptureFixture[str]):
    assert main(["explian"]) == 2
    assert "demo" in capsys.readouterr().err
