"""Folders of evaluations: what was cut off is removed by the next one, what is in progress stays."""

from collections.abc import Callable
from pathlib import Path

import pytest
from children import kill, started

from semexplain.runs.evaluations import evaluation_in
from semexplain.runs.folder import FolderInUseError


def begun(folder: Path) -> int:
    """Another process that evaluates into a folder, and waits."""

    def evaluate(stay: Callable[[], None]) -> None:
        folder.mkdir(parents=True)
        (folder / "evaluate.log").touch()
        with evaluation_in(folder):
            stay()

    return started(evaluate)


def test_an_evaluation_that_was_killed_is_removed_by_the_next(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    folder = tmp_path / "run/evaluations"
    for name, contents in (("finished", ("metrics.json", ".lock")), ("just beginning", (".hydra",))):
        (folder / name).mkdir(parents=True)
        for content in contents:
            (folder / name / content).touch()
    killed, alive = begun(folder / "killed"), begun(folder / "in progress")
    kill(killed)
    caplog.set_level("INFO", "semexplain")
    with evaluation_in(folder / "mine"), pytest.raises(FolderInUseError), evaluation_in(folder / "mine"):
        pass
    kill(alive)
    assert {path.name for path in folder.iterdir()} == {"finished", "just beginning", "in progress", "mine"}
    assert caplog.messages == [f"Removed the evaluation {folder / 'killed'}, which was cut off."]


def test_what_lies_beside_an_evaluation_elsewhere_is_not_touched(tmp_path: Path):
    (tmp_path / "other").mkdir()
    (tmp_path / "other/.lock").touch()
    with evaluation_in(tmp_path / "mine"):
        pass
    assert (tmp_path / "other").exists()
