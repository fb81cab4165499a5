"""A metric costs one Python file and one yaml: everything that shows a number learns of it from these two alone.

Both lie in a folder outside the package, which nothing in the package names: Python finds the file by its path, Hydra
the yaml by ``hydra.searchpath`` or ``--config-dir``, and the package trusts the code by the environment variable
``SEMEXPLAIN_TRUSTED``. A run then measures it; ``metrics.json``, the page of the run, the comparison of runs and an
evaluation all have it.
"""

import json
import subprocess
import sys
import warnings
from pathlib import Path

import pytest
from support import ROOT, configured, smoke

from evaluate import evaluate
from semexplain.metrics.catalogue import measures_of
from semexplain.metrics.measure import describe
from semexplain.report.comparison import comparison_report
from semexplain.report.run import run_report
from semexplain.runs.comparison import comparison_table, listing
from semexplain.runs.run import Run
from semexplain.system.config import ConfigError
from train import train

PYTHON = '''
"""How strong the strongest concept is."""

from semexplain.metrics.base import PreciseMetric
from semexplain.metrics.measure import Measure


class Strongest(PreciseMetric):
    """Mean size of the largest contribution of an image, and of those of which sign it is."""

    reports = (
        Measure("strongest", "strongest concept", "score", "lower", column="strongest", first=True).means(
            "Mean size of an image's largest contribution."
        ),
        Measure("strongest/*", "strongest concept, {} the target", "score").means("The same for one sign."),
    )

    def __init__(self):
        super().__init__()
        for name in ("both", "for", "against"):
            self.add_mean(name)

    def update(self, contributions):
        values = contributions.detach().double()
        self.add_to_mean("both", values.abs().amax(1))
        self.add_to_mean("for", values.clamp(min=0).amax(1))
        self.add_to_mean("against", -values.clamp(max=0).amin(1))

    def compute(self):
        signs = {f"strongest/{name}": self.mean(name) for name in ("for", "against")}
        return {"strongest": self.mean("both"), **signs}
'''
YAML = "strongest:\n  _target_: foreign_metric.Strongest\n"
OPTIONS = ("trainer.max_epochs=1", "beta=0", "metrics=[relative_deviation,concept_reliance,strongest]")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The one Python file and the one yaml."""
    folder = tmp_path_factory.mktemp("outside")
    (folder / "conf/metrics").mkdir(parents=True)
    (folder / "foreign_metric.py").write_text(PYTHON)
    (folder / "conf/metrics/strongest.yaml").write_text(YAML)
    return folder


@pytest.fixture(autouse=True)
def _outside(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(folder))
    monkeypatch.setenv("SEMEXPLAIN_TRUSTED", "foreign_metric")


def searched(folder: Path) -> str:
    return f"hydra.searchpath=[file://{folder / 'conf'}]"


@pytest.fixture(scope="module")
def run(folder: Path, faces: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run that measured it."""
    work = tmp_path_factory.mktemp("run")
    with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The performer's convolutions start from random weights")
        patch.syspath_prepend(str(folder))
        patch.setenv("SEMEXPLAIN_TRUSTED", "foreign_metric")
        train(configured(*smoke(faces, work, *OPTIONS, searched(folder))), work / "run")
    return work / "run"


def test_the_run_has_its_numbers(run: Path) -> None:
    metrics = json.loads((run / "metrics.json").read_text())
    assert metrics["test/strongest"] >= max(metrics["test/strongest/for"], metrics["test/strongest/against"]) > 0


def test_the_page_of_the_run_shows_its_label_and_meaning(run: Path) -> None:
    page = run_report(Run(run)).read_text("utf-8")
    at_once, _, more = page.partition("<details>")
    for text in ("strongest concept</th>", "Mean size of an image&#39;s largest contribution. Lower is better."):
        assert text in at_once
    assert "strongest concept, against the target</th>" in more


def test_the_comparison_of_runs_has_its_column_and_legend(run: Path, tmp_path: Path) -> None:
    header, row = comparison_table([Run(run)])
    value = json.loads((run / "metrics.json").read_text())["test/strongest"]
    assert row[header.index("strongest")] == f"{value:.4f}"
    assert "strongest: Mean size of an image's largest contribution. Lower is better." in listing([Run(run)])
    page = comparison_report([Run(run), Run(run)], tmp_path / "report.html").read_text("utf-8")
    assert '<th scope="col">strongest</th>' in page
    assert "<dt>strongest</dt><dd>Mean size" in page
    assert "<h2>Figures</h2>" not in page  # of runs that differ in nothing there are none


def test_an_evaluation_prints_it(run: Path, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = f"run={run}", "controls=[]", "metrics=[strongest]", "images=9", searched(folder)
    metrics = evaluate(configured(*options, name="evaluate"), tmp_path)
    assert f"strongest            {metrics['test/strongest']:.4f}" in capsys.readouterr().out


def test_who_does_not_trust_it_sees_its_bare_name(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SEMEXPLAIN_TRUSTED")
    measures = measures_of([{"strongest": {"_target_": "foreign_metric.Strongest"}}])
    assert describe("test/strongest/for", measures).title == "strongest, for"
    assert "strongest" not in comparison_table([Run(run)])[0]


def test_it_is_not_built_without_trust(folder: Path, faces: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("SEMEXPLAIN_TRUSTED")
    with pytest.raises(ConfigError, match="SEMEXPLAIN_TRUSTED=foreign_metric"):
        train(configured(*smoke(faces, tmp_path, *OPTIONS, searched(folder))), tmp_path / "run")


@pytest.mark.slow
def test_the_command_line_finds_the_yaml(folder: Path, faces: Path, tmp_path: Path) -> None:
    command = [sys.executable, str(ROOT / "train.py"), "--config-dir", str(folder / "conf"), "--cfg", "job"]
    shown = subprocess.run([*command, *smoke(faces, tmp_path, *OPTIONS)], capture_output=True, text=True, check=True)
    assert "_target_: foreign_metric.Strongest" in shown.stdout
