"""A search: which jobs it asks for, what it makes of their numbers, and what it refuses before the first."""

import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hydra.core.plugins import Plugins
from omegaconf import OmegaConf

from semexplain.system.trouble import Trouble

pytest.importorskip("optuna", minversion="4.4", reason="pip install -c constraints.txt -e '.[sweep]'")

from hydra_plugins.semexplain_search import BEST, Search

Answer = Callable[[dict[str, str]], float | None]


def search(folder: Path, monkeypatch: pytest.MonkeyPatch, answer: Answer, **options: Any) -> tuple[Search, list[Any]]:
    """A search whose jobs answer at once; and, as it runs, the number of its first and the options of each."""
    asked: list[Any] = []

    def launch(jobs: list[list[str]], initial_job_idx: int) -> list[SimpleNamespace]:
        options = [dict(word.split("=", 1) for word in job) for job in jobs]
        asked.append((initial_job_idx, options))
        return [SimpleNamespace(return_value=answer(own)) for own in options]

    monkeypatch.setattr(Plugins.instance(), "instantiate_launcher", lambda **_: SimpleNamespace(launch=launch))
    found = Search(**{"params": {"x": "interval(-4, 4)"}, "seed": 0, **options})
    loader = SimpleNamespace(load_sweep_config=lambda **_: None)
    found.setup(
        hydra_context=SimpleNamespace(config_loader=loader),
        task_function=print,
        config=OmegaConf.create({"hydra": {"sweep": {"dir": str(folder)}}}),
    )
    return found, asked


@pytest.mark.parametrize(("direction", "choose"), [("minimize", min), ("maximize", max)])
def test_the_best_job_is_kept(direction: str, choose: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    found, asked = search(tmp_path, monkeypatch, lambda own: float(own["x"]) ** 2, n_trials=7, direction=direction)
    found.sweep([])
    tried = [float(own["x"]) for _, jobs in asked for own in jobs]
    assert len(set(tried)) == 7
    assert all(-4 <= x <= 4 for x in tried)
    best = OmegaConf.load(tmp_path / BEST)
    assert best.best_value == choose(x**2 for x in tried)
    assert best.best_params.x**2 == best.best_value


def test_as_many_jobs_are_asked_for_at_a_time_as_the_launcher_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    found, asked = search(tmp_path, monkeypatch, lambda own: 0.0, n_trials=5, n_jobs=2)
    found.sweep([])
    assert [(first, len(jobs)) for first, jobs in asked] == [(0, 2), (2, 2), (4, 1)]


def test_the_command_line_goes_before_what_the_file_searches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    params = {"x": "interval(-4, 4)", "size": "choice(32, 64)", "text": "'a,b',c"}
    found, asked = search(tmp_path, monkeypatch, lambda own: 0.0, n_trials=12, params=params)
    found.sweep(["x=2", "y=int(interval(1, 3))", "scale=smoke"])
    jobs = [own for _, jobs in asked for own in jobs]
    assert {(own["x"], own["scale"]) for own in jobs} == {("2", "smoke")}
    assert {own["y"] for own in jobs} <= {"1", "2", "3"}
    assert {own["size"] for own in jobs} <= {"32", "64"}
    assert {own["text"] for own in jobs} <= {"'a,b'", "c"}


@pytest.mark.parametrize("nothing", [None, float("nan"), float("inf")])
def test_a_job_without_a_number_is_no_best_one(nothing: float | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    answers = iter([nothing, 3.0, nothing, 2.0])
    found, _ = search(tmp_path, monkeypatch, lambda own: next(answers), n_trials=4)
    found.sweep([])
    assert OmegaConf.load(tmp_path / BEST).best_value == 2.0
    assert [trial.state.name for trial in found.study.trials] == ["FAIL", "COMPLETE", "FAIL", "COMPLETE"]


def test_a_search_in_which_no_job_had_a_number_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    found, _ = search(tmp_path, monkeypatch, lambda own: None, n_trials=2)
    found.sweep([])
    assert not (tmp_path / BEST).exists()


def test_kept_trials_are_gone_on_with(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    storage = f"sqlite:///{tmp_path / 'study.db'}"
    for start in (1, 2):
        found, _ = search(tmp_path, monkeypatch, lambda own: 1.0, n_trials=3, storage=storage, study_name="mine")
        found.sweep([])
        assert len(found.study.trials) == 3 * start
    with pytest.raises(
        Trouble, match=r"study 'mine' in sqlite.+study\.db was begun with minimize, got maximize\. Name ano"
    ):
        search(tmp_path, monkeypatch, lambda own: 1.0, storage=storage, study_name="mine", direction="maximize")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"n_trials": "many"}, r"^hydra\.sweeper\.n_trials: expected a whole number from 1 on, got many\.$"),
        ({"n_jobs": 0}, r"^hydra\.sweeper\.n_jobs: expected a whole number from 1 on, got 0\.$"),
        ({"direction": "least"}, r"^hydra\.sweeper\.direction: expected minimize or maximize, got least\.$"),
        ({"storage": "study.db"}, r"^hydra\.sweeper\.storage=study\.db: Optuna refuses it\. .+URL"),
        (
            {"storage": "sqlite:////nowhere/study.db"},
            r"^.+=sqlite:////nowhere/study\.db: Optuna refuses it\. .+unable to open",
        ),
    ],
)
def test_a_search_that_cannot_be_is_refused_at_once(
    options: dict[str, Any], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    with pytest.raises(Trouble, match=message):
        search(tmp_path, monkeypatch, lambda own: 0.0, **options)


@pytest.mark.parametrize("choice", ["interval(4, -4)", "tag(log, interval(-1, 1))"])
def test_what_cannot_be_searched_is_refused_before_the_first_job(
    choice: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    found, asked = search(tmp_path, monkeypatch, lambda own: 0.0, params={"x": choice})
    with pytest.raises(Trouble, match=r"^hydra\.sweeper\.params: Optuna refuses it\. "):
        found.sweep([])
    assert not asked


def test_other_values_than_those_of_kept_trials_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    kept = {"storage": f"sqlite:///{tmp_path / 'study.db'}", "study_name": "mine", "n_trials": 1}
    search(tmp_path, monkeypatch, lambda own: 0.0, params={"x": "1,2"}, **kept)[0].sweep([])
    with pytest.raises(Trouble, match=r"^hydra\.sweeper\.params: Optuna refuses it\. .*dynamic value space"):
        search(tmp_path, monkeypatch, lambda own: 0.0, params={"x": "1,2,3"}, **kept)[0].sweep([])


def test_without_optuna_a_search_says_how_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(Trouble, match=r"^A search needs Optuna: pip install -c constraints\.txt -e '\.\[sweep\]' \("):
        search(tmp_path, monkeypatch, lambda own: 0.0)
