"""Whole runs: what they leave behind, that they can be measured again and resumed."""

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import pytorch_lightning as pl
import torch
from omegaconf import OmegaConf
from support import ROOT, configured, smoke

from semexplain.explanation import Explanation
from semexplain.runs.folder import FolderInUseError, alone_in
from semexplain.runs.performer_store import performer_description
from semexplain.runs.run import Run
from semexplain.runs.tasks import evaluate_run
from semexplain.system.config import ConfigError, instantiate
from semexplain.training.callbacks.prior_weight import PriorWeight
from semexplain.training.classification import Classification
from train import train

OVERRIDES = ("trainer.max_epochs=2",)
# a performer of two epochs
pytestmark = [
    pytest.mark.filterwarnings("ignore:The performer's convolutions start from random weights"),
    pytest.mark.filterwarnings(r"ignore:All \d+ scores of the performer lie between 0 and 1"),
]


@pytest.fixture(scope="module")
def run(faces: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a finished run."""
    folder = tmp_path_factory.mktemp("whole")
    train(configured(*smoke(faces, folder, *OVERRIDES)), folder / "run")
    return folder / "run"


def command(script: str, *overrides: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(ROOT / script), *overrides], cwd=ROOT, capture_output=True, text=True, check=False
    )


def weights(path: Path) -> dict[str, torch.Tensor]:
    return torch.load(path, weights_only=True)["state_dict"]


def test_a_run_folder_holds_what_it_promises(run: Path):
    metrics = json.loads((run / "metrics.json").read_text())
    assert all(name.startswith("test/") and isinstance(value, float) for name, value in metrics.items())
    assert {"test/contribution_entropy", "test/relative_deviation", "test/performer_accuracy"} <= metrics.keys()
    assert {f"test/explainer_accuracy_tau_{tau}" for tau in ("eval", "train", "0")} <= metrics.keys()
    with (run / "metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [float(row["train/prior_weight"]) for row in rows if row["train/prior_weight"]] == pytest.approx(
        [0.2, 0.2 / 2**0.5]
    )
    for name in ("best", "last"):
        assert not any(key.startswith("performer") for key in weights(run / f"checkpoints/{name}.ckpt"))
    assert not list(run.rglob("*.partial"))


def test_the_explanations_add_up(run: Path):
    table = pq.read_table(run / "explanations.parquet").to_pydict()
    names = [key.removeprefix("y/") for key in table if key.startswith("y/")]
    assert len(names) == 39
    assert table["id"] == [f"{i:06d}.jpg" for i in range(90, 113)]  # 70 for training, 19 for validation, 23 to test
    for row in range(23):
        terms = [table[f"alpha/{name}"][row] * table[f"y/{name}"][row] for name in names]
        assert terms == pytest.approx([table[f"contribution/{name}"][row] for name in names], rel=1e-5, abs=1e-6)
        assert sum(terms) + table["base_value"][row] == pytest.approx(table["prediction"][row], rel=1e-4, abs=1e-4)


def test_the_metrics_are_those_of_the_table(run: Path):
    table = pq.read_table(run / "explanations.parquet").to_pydict()
    metrics = json.loads((run / "metrics.json").read_text())
    score, prediction = table["score"], table["prediction"]
    error = sum(abs(a - b) for a, b in zip(score, prediction, strict=True)) / 23
    assert metrics["test/relative_deviation"] == pytest.approx(error / (max(score) - min(score)), rel=1e-5)
    right = sum((s > 0) == label for s, label in zip(score, table["label"], strict=True)) / 23
    assert metrics["test/performer_accuracy"] == pytest.approx(right)


def test_evaluate_repeats_the_runs_numbers(run: Path, tmp_path: Path):
    metrics = evaluate_run(Run(run), tmp_path)
    assert metrics == json.loads((run / "metrics.json").read_text())
    again, own = (pq.read_table(folder / "explanations.parquet") for folder in (tmp_path, run))
    assert again.equals(own)


def test_evaluate_judges_a_run_that_did_not_measure_its_reliance(run: Path, tmp_path: Path):
    shutil.copytree(run, tmp_path / "old")
    config = OmegaConf.load(run / "config.yaml")
    for metrics in (config.metrics, config.module.metrics):
        del metrics.concept_reliance
    OmegaConf.save(config, tmp_path / "old/config.yaml")
    metrics = evaluate_run(Run(tmp_path / "old"), tmp_path / "again")
    assert metrics == json.loads((run / "metrics.json").read_text())
    assert "test/concept_reliance" in metrics


def test_evaluate_from_another_folder(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    assert evaluate_run(Run(run), tmp_path) == json.loads((run / "metrics.json").read_text())


def test_evaluate_names_a_performer_that_is_gone_and_data_that_changed(run: Path, faces: Path, tmp_path: Path):
    with pytest.raises(ConfigError, match=r"performer with SHA-256 [0-9a-f]{64}, which is no longer at .*gone"):
        evaluate_run(Run(run, {"performer.checkpoint": str(tmp_path / "gone.safetensors")}), tmp_path)
    shutil.copytree(faces, tmp_path / "faces")
    partition = tmp_path / "faces" / "list_eval_partition.txt"
    partition.write_text(partition.read_text().replace("000113.jpg 2\n", "").replace("000112.jpg 2\n", ""))
    with pytest.raises(ConfigError, match=r"data: images or labels in .* are not those of the run"):
        evaluate_run(Run(run, {"data.root": str(tmp_path / "faces"), "data.limit": 20}), tmp_path)
    shutil.copytree(faces, tmp_path / "moved")
    assert evaluate_run(Run(run, {"data.root": str(tmp_path / "moved")}), tmp_path)


def test_checkpoints_are_in_the_run_folder_whatever_logs_first(run: Path, faces: Path, tmp_path: Path):
    overrides = smoke(faces, run.parent, "trainer.max_epochs=1", "logger.csv.name=elsewhere", "logger.csv.version=7")
    train(configured(*overrides), tmp_path / "run")
    assert (tmp_path / "run/checkpoints/best.ckpt").exists()


def test_evaluate_of_something_else(tmp_path: Path, run: Path):
    with pytest.raises(ConfigError, match="not a run folder, it has no config.yaml"):
        evaluate_run(Run(tmp_path), tmp_path)
    (tmp_path / "config.yaml").write_text((run / "config.yaml").read_text())
    with pytest.raises(ConfigError, match="ended before it had a performer"):
        evaluate_run(Run(tmp_path), tmp_path)
    (tmp_path / "performer.json").write_text((run / "performer.json").read_text())
    with pytest.raises(ConfigError, match="ended before its first validation"):
        evaluate_run(Run(tmp_path), tmp_path)


def test_the_performer_is_trained_once(run: Path, faces: Path, tmp_path: Path):
    store = run.parent / "performers"
    (trained,) = store.glob("*/performer.safetensors")
    before = trained.stat().st_mtime_ns
    overrides = smoke(faces, run.parent, "performer.target=Male", "beta=0", "seed=3", "trainer.max_epochs=1")
    train(configured(*overrides), tmp_path / "other")
    assert list(store.glob("*/performer.safetensors")) == [trained]
    assert trained.stat().st_mtime_ns == before
    description = json.loads((trained.parent / "performer.json").read_text())
    assert "target" not in description["performer"]
    assert description["performer"]["width"] == 8


def test_what_determines_a_performer_addresses_it(run: Path, faces: Path):
    def description(*overrides: str) -> dict:
        config = configured(*smoke(faces, run.parent, *overrides))
        datamodule = instantiate(config.data)
        datamodule.setup()
        return performer_description(config, datamodule)

    base = description()
    same = ["beta=3", "seed=7", "performer.target=Young", "performer.x_stage=post_relu", "start=none"]
    other = ["performer.width=16", "performer_training.max_epochs=3", "performer.image_size=48", "data.limit=60"]
    assert all(description(override) == base for override in same)
    assert all(description(override) != base for override in other)


def test_resume_is_bit_identical(run: Path, faces: Path, tmp_path: Path):
    """Stopped after its first epoch and continued, a run ends with the weights of one that was never stopped."""
    overrides = smoke(faces, run.parent, *OVERRIDES)

    def interrupt(self: PriorWeight, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        if trainer.current_epoch == 1:
            raise InterruptedError
        module.prior_weight = self.at(trainer.current_epoch)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(PriorWeight, "on_train_epoch_start", interrupt)
        with pytest.raises(InterruptedError):
            train(configured(*overrides), tmp_path / "run")
    assert not (tmp_path / "run/metrics.json").exists()
    with pytest.raises(ConfigError, match=r"resume: .* is not a run folder"):
        train(configured(*overrides, f"resume={tmp_path / 'nothing'}"), tmp_path / "nothing")
    metrics = train(configured(*overrides, f"resume={tmp_path / 'run'}"), tmp_path / "run")
    assert metrics == json.loads((run / "metrics.json").read_text())
    one, two = weights(run / "checkpoints/last.ckpt"), weights(tmp_path / "run/checkpoints/last.ckpt")
    assert one.keys() == two.keys()
    assert all(torch.equal(one[key], two[key]) for key in one)
    assert len(list((tmp_path / "run").glob("metrics.until-*.csv"))) == 1  # what was logged before is kept
    with pytest.raises(ConfigError, match="is finished, its numbers are in metrics.json"):
        train(configured(*overrides, f"resume={tmp_path / 'run'}"), tmp_path / "run")


def test_an_interrupted_performer_is_continued_and_becomes_the_same(faces: Path, tmp_path: Path):
    def performer(folder: Path) -> bytes:
        train(configured(*smoke(faces, folder, "task=performer", "objective=test/accuracy")), folder / "run")
        (path,) = (folder / "performers").glob("*/performer.safetensors")
        return path.read_bytes()

    def interrupt(self: Classification, batch: dict, batch_idx: int) -> torch.Tensor:
        if self.current_epoch == 1:
            raise InterruptedError
        return original(self, batch, batch_idx)

    original = Classification.training_step
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Classification, "training_step", interrupt)
        with pytest.raises(InterruptedError):
            performer(tmp_path / "interrupted")
    assert not list(tmp_path.glob("interrupted/performers/*/performer.safetensors"))
    assert performer(tmp_path / "interrupted") == performer(tmp_path / "whole")


def test_missing_data_are_named_with_what_runs_without_them(tmp_path: Path):
    with pytest.raises(ConfigError, match=r"data: Expected the folder of CelebA at .*nowhere.*`data=synthetic_faces`"):
        train(configured(*smoke(tmp_path / "nowhere", tmp_path)), tmp_path / "run")


def test_a_missing_performer_is_named(faces: Path, tmp_path: Path):
    with pytest.raises(ConfigError, match=r"no trained performer at .*p.safetensors"):
        train(
            configured(*smoke(faces, tmp_path, f"performer.checkpoint={tmp_path / 'p.safetensors'}")), tmp_path / "run"
        )


def test_one_seed_one_result_and_another_another(run: Path, faces: Path, tmp_path: Path):
    same = train(configured(*smoke(faces, run.parent, *OVERRIDES)), tmp_path / "same")
    other = train(configured(*smoke(faces, run.parent, *OVERRIDES, "seed=1")), tmp_path / "other")
    own = json.loads((run / "metrics.json").read_text())
    assert same == own
    assert other["test/relative_deviation"] != own["test/relative_deviation"]
    assert other["test/performer_accuracy"] == own["test/performer_accuracy"]


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_cached_and_computed_runs_agree(run: Path, faces: Path, tmp_path: Path, dtype: str):
    """By an optimizer that does not enlarge differences: Adam steps as far along a gradient that is only rounding.

    What is left is the order of sums. Weights that start from least squares on few images are not as well determined.
    """
    found = []
    for cache in ("off", "auto"):
        options = ["optimizer=sgd", "optimizer.lr=1e-3", f"data.cache={cache}", f"data.cache_dtype={dtype}"]
        train(configured(*smoke(faces, run.parent, *OVERRIDES, *options)), tmp_path / cache)
        found.append(Explanation.load(tmp_path / cache / "explanations.parquet"))
    computed, stored = found
    size = computed.contributions.abs().sum(1).norm()  # of what is added up
    assert (stored.prediction - computed.prediction).norm() < 1e-6 * size
    assert (stored.weights - computed.weights).norm() < 1e-2 * computed.weights.norm()


def test_a_run_folder_has_one_writer(tmp_path: Path):
    with (
        alone_in(tmp_path / "run"),
        pytest.raises(FolderInUseError, match="Another process is training in .*run. Wait for it or end it"),
        alone_in(tmp_path / "run"),
    ):
        pass
    with alone_in(tmp_path / "run"):
        pass


@pytest.mark.slow
def test_a_killed_run_is_resumed_from_the_command_line(run: Path, faces: Path, tmp_path: Path):
    overrides = smoke(faces, run.parent, "trainer.max_epochs=40", "logger=[csv]")
    folder = tmp_path / "killed"
    process = subprocess.Popen(
        [sys.executable, str(ROOT / "train.py"), *overrides, f"hydra.run.dir={folder}"],
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    deadline = time.monotonic() + 120
    while not (folder / "checkpoints/last.ckpt").exists() and time.monotonic() < deadline:
        time.sleep(0.1)
    process.send_signal(signal.SIGKILL)
    process.wait()
    wrong = command("train.py", *overrides, f"resume={folder}", "beta=7")
    assert "was started with other options" in wrong.stderr
    assert "beta: 0.2 then, 7 now" in wrong.stderr
    assert wrong.returncode != 0
    resumed = command("train.py", f"resume={folder}")
    assert resumed.returncode == 0, resumed.stderr
    whole = train(configured(*overrides), tmp_path / "whole")
    assert json.loads((folder / "metrics.json").read_text()) == whole
    one, two = weights(folder / "checkpoints/last.ckpt"), weights(tmp_path / "whole/checkpoints/last.ckpt")
    assert all(torch.equal(one[key], two[key]) for key in two)


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_an_interrupted_run_says_how_to_go_on(faces: Path, tmp_path: Path, number: signal.Signals):
    folder = tmp_path / "run"
    process = subprocess.Popen(
        [
            sys.executable,
            str(ROOT / "train.py"),
            *smoke(faces, tmp_path, "trainer.max_epochs=500"),
            f"hydra.run.dir={folder}",
        ],
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a shell's background jobs ignore it
    )
    deadline = time.monotonic() + 120
    while not (folder / "checkpoints/last.ckpt").exists() and time.monotonic() < deadline:
        time.sleep(0.1)
    process.send_signal(number)
    _, errors = process.communicate()
    assert process.returncode not in (0, None)
    assert f"To go on: python train.py resume={folder}" in errors


@pytest.mark.slow
def test_a_refused_start_leaves_nothing_behind(faces: Path, tmp_path: Path):
    refused = command("train.py", *smoke(faces, tmp_path, "beta=-1"))
    assert "beta: expected greater than or equal to 0, got -1" in refused.stderr
    assert "Traceback" not in refused.stderr
    assert command("evaluate.py", f"run={tmp_path / 'nowhere'}").returncode != 0
    assert "name the folder of the run" in command("evaluate.py").stderr
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


@pytest.mark.slow
def test_parallel_jobs_train_the_performer_once(faces: Path, tmp_path: Path):
    jobs = [
        subprocess.Popen(
            [sys.executable, str(ROOT / "train.py"), *smoke(faces, tmp_path, "trainer.max_epochs=1", f"seed={seed}")],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )
        for seed in (0, 1)
    ]
    outputs = [job.communicate()[0] for job in jobs]
    assert [job.returncode for job in jobs] == [0, 0], outputs
    assert sum("Trained the performer" in output for output in outputs) == 1
    assert len(list((tmp_path / "outputs").rglob("metrics.json"))) == 2  # two runs of one second, two folders


@pytest.mark.slow
def test_two_processes_measure_what_one_does(run: Path):
    """23 test images on two processes: 12 and 11, none padded, none lost."""
    done = command(
        "evaluate.py", f"run={run}", "trainer.devices=2", "trainer.strategy=ddp", "hydra.run.dir=${run}/evaluations/two"
    )
    assert done.returncode == 0, done.stderr
    own = json.loads((run / "metrics.json").read_text())
    two = json.loads((run / "evaluations/two/metrics.json").read_text())
    rows = pq.read_table(run / "evaluations/two/explanations.parquet").to_pydict()
    assert rows["id"] == pq.read_table(run / "explanations.parquet").to_pydict()["id"]
    # The networks' float32 sums depend on the batch (12 and 11 images, not 23), so the processes' rows differ from the
    # run's in the last digits.
    told, again = (Explanation.load(folder / "explanations.parquet") for folder in (run, run / "evaluations/two"))
    for name in ("score", "values", "weights"):
        torch.testing.assert_close(getattr(again, name), getattr(told, name), rtol=1e-4, atol=1e-5)
    size = told.contributions.abs().sum(1) + told.base_value.abs()  # of what is added up, and rounded
    assert ((again.prediction - told.prediction).abs() < 1e-5 * size).all()
    assert own.keys() <= two.keys()
    assert all(f"test/control/{name}/relative_deviation" in two for name in ("constant", "shuffled", "redrawn"))
    score, prediction = rows["score"], rows["prediction"]
    error = sum(abs(a - b) for a, b in zip(score, prediction, strict=True)) / 23
    assert two["test/relative_deviation"] == pytest.approx(error / (max(score) - min(score)), rel=1e-6)


@pytest.mark.slow
def test_the_papers_size_runs_two_steps(faces: Path, tmp_path: Path):
    """224 px, VGG-16, ResNet-152, batch 8, computed in the step."""
    done = command(
        "train.py",
        "experiment=celeba_attractive",
        f"data.root={faces}",
        "data.batch_size=8",
        "data.limit=16",
        "data.num_workers=0",
        "data.cache=off",
        "performer.weights=null",
        "performer_training.max_epochs=1",
        "performer_training.batch_size=16",
        "trainer.max_epochs=1",
        "+trainer.limit_train_batches=2",
        "trainer.accelerator=cpu",
        f"paths.performers={tmp_path / 'performers'}",
        f"paths.outputs={tmp_path / 'outputs'}",
    )
    assert done.returncode == 0, done.stderr
    (metrics,) = tmp_path.rglob("outputs/**/metrics.json")
    assert json.loads(metrics.read_text())["test/relative_deviation"] > 0
