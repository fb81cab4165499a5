"""The table of finished runs, and the verbs that print it."""

import json
from pathlib import Path

import pytest

from semexplain.__main__ import main
from semexplain.comparison import comparison, finished_runs


def finished(folder: Path, beta: float, deviation: float, concepts: str = "{}") -> Path:
    folder.mkdir(parents=True)
    options = f"performer: {{target: Young}}\nbeta: {beta}\nseed: 0\nconcepts: {concepts}\n"
    (folder / "config.yaml").write_text(options)
    metrics = {"test/relative_deviation": deviation, "test/contribution_entropy": 3.2, "test/performer_accuracy": None}
    (folder / "metrics.json").write_text(json.dumps(metrics))
    return folder


def test_a_row_a_run_in_the_order_of_the_folders(tmp_path: Path):
    finished(tmp_path / "b" / "1", beta=0.2, deviation=0.0123456, concepts="{count: 20}")
    finished(tmp_path / "a", beta=0.0, deviation=0.5, concepts="{include: [Bald, Bangs]}")
    (tmp_path / "unfinished").mkdir()
    runs = finished_runs([tmp_path])
    assert [run.name for run in runs] == ["a", "1"]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in comparison(runs).splitlines()]
    assert rows[0][:5] == ["target", "beta", "concepts", "seed", "entropy"]
    assert rows[2][:6] == ["Young", "0", "2", "0", "3.2000", "-"]
    assert (rows[3][1], rows[3][2], rows[3][8]) == ("0.2", "20", "0.0123")


def test_compare_prints_the_table_and_where_the_runs_are(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    run = finished(tmp_path / "a", beta=0.0, deviation=0.5)
    assert main(["compare", str(tmp_path)]) == 0
    printed = capsys.readouterr().out
    assert "| Young " in printed
    assert f"run folder: {run}" in printed


def test_nothing_to_compare_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    assert main(["compare", str(tmp_path)]) == 1
    assert "no finished explainer runs here" in capsys.readouterr().err


def test_an_unknown_verb_lists_those_there_are(capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit):
        main(["explian"])
    assert "demo" in capsys.readouterr().err
