"""A run whose concepts say nothing is flagged wherever its numbers are read; controls are trained once."""

import json
import math
import subprocess
import sys
from html import unescape
from pathlib import Path

import pytest
import torch
from omegaconf import OmegaConf
from support import configured, smoke

from evaluate import evaluate
from semexplain.__main__ import main
from semexplain.explanation import Explanation
from semexplain.runs import controls as trained
from semexplain.runs.comparison import comparison_table
from semexplain.runs.controls import MEASURES, control_config, control_description, trained_controls
from semexplain.runs.run import Run
from semexplain.system.config import ConfigError
from train import train

CONTROLS = ("constant", "shuffled", "redrawn")
BESIDE = ("controls=[constant,shuffled,redrawn]", "verdict.means=moved")
pytestmark = [
    pytest.mark.filterwarnings("ignore:The performer's convolutions start from random weights"),
    pytest.mark.filterwarnings(r"ignore:All \d+ scores of the performer lie between 0 and 1"),
]


@pytest.fixture(scope="module")
def constant(faces: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run that was trained on constant concepts, and evaluated beside controls."""
    folder = tmp_path_factory.mktemp("constant")
    overrides = smoke(faces, folder, "trainer.max_epochs=1", "control=constant")
    train(configured(*overrides), folder / "run")
    evaluate(configured(*BESIDE, f"run={folder / 'run'}", name="evaluate"), folder / "run/evaluations/1")
    return folder / "run"


def test_with_constant_concepts_those_of_another_image_serve_as_well(constant: Path):
    metrics = json.loads((constant / "metrics.json").read_text())
    assert "test/faithful" not in metrics  # an evaluation judges
    assert metrics["test/concept_reliance"] == pytest.approx(0, abs=1e-6)
    assert metrics["test/swapped_relative_deviation"] == pytest.approx(metrics["test/relative_deviation"], rel=1e-6)


def test_shuffled_concepts_serve_no_better_than_those_of_any_other_image(constant: Path, faces: Path, tmp_path: Path):
    """Some of 1,000 random exchanges leave less error: 56 to 674 of them with six trained networks.

    None did where nothing was shuffled. Reliance itself was -0.03 to 0.2: of 23 images it says no more.
    """
    train(configured(*smoke(faces, constant.parent, "trainer.max_epochs=1", "control=shuffled")), tmp_path)
    told = Explanation.load(tmp_path / "explanations.parquet")
    score, weights, concepts = (part.double() for part in (told.score, told.weights, told.values))
    errors = (score[:, None] - weights @ concepts.T - told.base_value.double()).abs()  # of row I with the concepts of J
    images, generator = torch.arange(len(errors)), torch.Generator().manual_seed(0)
    drawn = torch.stack([torch.randperm(len(errors), generator=generator) for _ in range(5000)])
    others = drawn[(drawn != images).all(1)][:1000]  # nobody keeps its own
    assert len(others) == 1000
    assert (errors[images, others].mean(1) < errors.diagonal().mean()).any()


def test_the_evaluation_says_so_beside_controls(constant: Path):
    metrics = json.loads((constant / "evaluations/1/metrics.json").read_text())
    deviations = {name: metrics[f"test/control/{name}/relative_deviation"] for name in CONTROLS}
    assert all(0 <= metrics[f"test/control/{name}/explainer_accuracy_tau_train"] <= 1 for name in CONTROLS)
    assert all(deviation > 0 for deviation in deviations.values())
    assert all(metrics[f"test/control/{name}/relative_deviation_std"] >= 0 for name in CONTROLS)
    logged = (constant / "evaluations/1/metrics.csv").read_text()
    assert all(f"test/control/{name}/relative_deviation" in logged for name in CONTROLS)
    assert "test/faithful" in logged
    own = json.loads((constant / "metrics.json").read_text())
    assert {name: metrics[name] for name in own} == own


def test_the_report_and_the_comparison_flag_it(constant: Path, capsys: pytest.CaptureFixture[str]):
    assert main(["report", str(constant), "--most", "5"]) == 0
    page = (constant / "report.html").read_text("utf-8")
    judgement = json.loads((constant / "evaluations/1/verdict.json").read_text())
    assert f"{judgement['word'].capitalize()}." in page
    assert all(statement["reason"] in unescape(page) for statement in judgement["statements"])
    assert "control: constant" in page
    metrics = json.loads((constant / "evaluations/1/metrics.json").read_text())
    for name in CONTROLS:
        assert f"<td>{metrics[f'test/control/{name}/relative_deviation']:.4f}</td>" in page
    header, row = comparison_table([Run(constant)])
    words = {"FAITHFUL": "yes", "NOT FAITHFUL": "NO", "NOT SHOWN": "not shown"}
    assert row[header.index("faithful")] == words[judgement["word"]]


def test_a_second_evaluation_trains_nothing_and_other_seeds_and_priors_share_the_controls(
    constant: Path, faces: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    own = ("trainer.max_epochs=1", "beta=2", "seed=1", "data.seed=0", "prior_loss=l2")
    train(configured(*smoke(faces, constant.parent, *own)), constant.parent / "other")

    def never(config: object, folder: Path) -> dict[str, float]:
        raise AssertionError(f"trained a control into {folder}")

    monkeypatch.setattr(trained, "train_explainer", never)
    first = json.loads((constant / "evaluations/1/metrics.json").read_text())
    capsys.readouterr()
    evaluate(configured(*BESIDE, f"run={constant}", name="evaluate"), constant.parent / "again")
    assert json.loads((constant.parent / "again/metrics.json").read_text()) == first
    printed = capsys.readouterr().out
    assert json.loads((constant.parent / "again/verdict.json").read_text())["said"] in printed
    assert "| concepts of other images" in printed
    assert "different: none" in printed
    other = trained_controls(Run(constant.parent / "other"), CONTROLS)
    assert other == {name: value for name, value in first.items() if name.startswith("test/control/")}
    assert len(other) == 2 * len(CONTROLS) * len(MEASURES)
    with pytest.raises(AssertionError, match="trained a control"):  # another explainer has controls of its own
        trained_controls(Run(constant, {"module.start": None}), ["constant"])


def test_an_explainer_that_starts_from_an_attribution_has_controls(constant: Path, faces: Path):
    """It reads a hidden layer, of which a performer with new weights has another one."""
    overrides = smoke(faces, constant.parent, "method=semexplain", "trainer.max_epochs=1")
    train(configured(*overrides), constant.parent / "method")
    found = trained_controls(Run(constant.parent / "method"), CONTROLS)
    assert all(math.isfinite(value) for value in found.values())
    assert len(set(found.values())) > len(MEASURES)


def test_no_controls_are_asked_for(constant: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    metrics = evaluate(configured(f"run={constant}", "verdict=null", name="evaluate"), tmp_path)
    assert not any(name == "test/faithful" or "control" in name or "verdict" in name for name in metrics)
    assert "FAITHFUL" not in capsys.readouterr().out
    assert not (tmp_path / "verdict.json").exists()
    with pytest.raises(ConfigError, match=r"controls: expected some of constant, shuffled, redrawn, got shufled"):
        trained_controls(Run(constant), ["shufled"])
    with pytest.raises(ConfigError, match="verdict.images: expected a number of test images of at least 1, got 0"):
        evaluate(configured(f"run={constant}", "verdict.images=0", name="evaluate"), tmp_path)
    with pytest.raises(ConfigError, match="verdict.concepts: expected a number of at least 3, got 2"):
        evaluate(configured(f"run={constant}", "verdict.concepts=2", name="evaluate"), tmp_path)
    with pytest.raises(ConfigError, match="verdict.means: expected one of auto, drawn, erased, moved, got 'drwan'"):
        evaluate(configured(f"run={constant}", "verdict.means=drwan", name="evaluate"), tmp_path)


def test_what_determines_a_control_addresses_it(faces: Path, tmp_path: Path):
    def description(*overrides: str, control: str = "constant") -> dict:
        config = configured(*smoke(faces, tmp_path, *overrides))
        return control_description(control_config(config, control, 0), "0" * 64, "data")

    base = description()
    same = [
        "beta=3",
        "seed=7",
        "logger=[csv,wandb]",
        "metrics=[relative_deviation]",
        "+trainer.enable_progress_bar=false",
    ]
    other = ["start=none", "trainer.max_epochs=9", "optimizer.lr=0.5", "data.batch_size=16"]
    other += ["performer.target=Male", "scheduler=cosine", "concepts=named concepts.include=[Smiling,Bald]"]
    assert all(description(override) == base for override in same)
    assert all(description(*override.split()) != base for override in other)
    assert description(control="shuffled") != base
    config = configured(*smoke(faces, tmp_path))
    assert control_description(control_config(config, "constant", 1), "0" * 64, "data") != base


def test_an_interrupted_control_goes_on(constant: Path, faces: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def interrupted(config: object, folder: Path) -> dict[str, float]:
        (folder / "metrics.json").write_text("{}")
        raise KeyboardInterrupt

    def went_on(config: object, folder: Path) -> None:
        (folder / "went on").touch()
        numbers = dict.fromkeys((f"test/{measure}" for measure in trained.MEASURES), 0.5)
        (folder / "metrics.json").write_text(json.dumps(numbers))

    config = OmegaConf.load(constant / "config.yaml")
    config.paths.cache = str(tmp_path / "cache")
    description = {"some": "control"}
    with monkeypatch.context() as patch:
        patch.setattr(trained, "train_explainer", interrupted)
        with pytest.raises(KeyboardInterrupt):
            trained._trained(config, "constant", description)
    (partial,) = (tmp_path / "cache/controls").glob("*.partial")
    monkeypatch.setattr(trained, "train_explainer", went_on)
    trained._trained(config, "constant", description)
    assert (partial.with_suffix("") / "went on").exists()
    assert not partial.exists()


def test_weights_and_biases_flags_it(constant: Path, tmp_path: Path):
    pytest.importorskip("wandb")
    copy = OmegaConf.load(constant / "config.yaml")
    folder = tmp_path / "run"
    overrides = smoke(Path(copy.data.root), constant.parent, "trainer.max_epochs=1", "control=constant")
    train(configured(*overrides), tmp_path / "trained")
    asked = (f"run={tmp_path / 'trained'}", "logger=[csv,wandb]", "rival=random", "verdict.means=moved", "metrics=[]")
    evaluate(configured(*asked, name="evaluate"), folder)
    judgement = json.loads((folder / "verdict.json").read_text())
    import wandb

    wandb.finish()
    (file,) = folder.glob("wandb/offline-run-*/*.wandb")
    command = [str(Path(sys.executable).with_name("wandb")), "leet", "inspect", "--json"]
    said = json.loads(subprocess.run([*command, "--summary", str(file)], capture_output=True, check=True).stdout)
    assert said["summary"]["verdict"] == judgement["word"] != "FAITHFUL"
    assert said["summary"]["verdict_reason"] == judgement["reason"]
    assert said["summary"]["test/faithful"] in (0, 0.5)
    lines = subprocess.run([*command, str(file)], capture_output=True, text=True, check=True).stdout.splitlines()
    about = [record["run"] for record in map(json.loads, lines) if record["type"] == "run"][-1]
    assert judgement["word"].lower() in about["tags"]
    assert about["notes"] == judgement["said"]
