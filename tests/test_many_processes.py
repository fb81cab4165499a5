"""One run on two processes, with gloo on the CPU: 70, 19 and 23 images, none padded, none lost, one folder."""

import csv
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import torch
from omegaconf import OmegaConf
from support import ROOT, configured, smoke

from evaluate import evaluate
from semexplain.runs.build import build
from semexplain.runs.folder import require_one_folder
from semexplain.runs.run import Run
from semexplain.system.config import ConfigError
from semexplain.system.processes import on_its_own, started_together
from train import train

pytestmark = [
    pytest.mark.filterwarnings("ignore:The performer's convolutions start from random weights"),
    pytest.mark.filterwarnings(r"ignore:All \d+ scores of the performer lie between 0 and 1"),
]
METRICS = ["contribution_entropy", "relative_deviation", "explainer_accuracy", "linear_map", "prior_agreement"]
FAITHFULNESS = ["concept_curves", "faithfulness_correlation", "completeness_gap", "stability", "concept_count"]
# validation: 10 images in two batches and 9 in one
OPTIONS = ("trainer.max_epochs=1", "data.batch_size=9", f"metrics=[{','.join(METRICS + FAITHFULNESS)}]")


def start(*words: str) -> subprocess.CompletedProcess[str]:
    own = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, *words], cwd=ROOT, capture_output=True, text=True, check=False, env=own)
    assert done.returncode == 0, done.stderr
    return done


@pytest.fixture(scope="module")
def sweep(faces: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a sweep whose first job has one process and whose second job has two."""
    folder = tmp_path_factory.mktemp("processes")
    words = [*smoke(faces, folder, *OPTIONS, "trainer.devices=1,2"), f"hydra.sweep.dir={folder / 'sweep'}"]
    done = start("train.py", "-m", *words)
    assert "2 of 2 jobs finished" in done.stdout
    assert done.stdout[done.stdout.rindex("| #") :].count("| Attractive ") == 2
    return folder / "sweep"


@pytest.fixture(scope="module")
def two(sweep: Path) -> Path:
    """The folder of the job of two processes."""
    jobs = {OmegaConf.load(path).trainer.devices: path.parent for path in sweep.glob("*/config.yaml")}
    assert sorted(jobs) == [1, 2]
    return jobs[2]


def test_a_sweep_leaves_one_folder_and_a_job_one_of_everything(sweep: Path, two: Path):
    assert [path.name for path in sweep.parent.iterdir() if "run" in path.name] == []  # no second sweep, no other run
    assert len([path for path in sweep.iterdir() if path.is_dir() and path.name != ".jobs"]) == 2
    assert len(list(sweep.parent.glob("performers/*/performer.safetensors"))) == 1
    for job in sweep.glob("Attractive_*"):
        assert len(pq.read_table(job / "explanations.parquet")) == 23
        assert sorted(path.name for path in job.glob("checkpoints/*")) == ["best.ckpt", "last.ckpt"]
        assert len(list(job.rglob("metrics.csv"))) == 1
    (loader,) = torch.load(two / "checkpoints/last.ckpt", weights_only=True)["loops"]["fit_loop"]["state_dict"][
        "combined_loader"
    ]
    assert loader["samples"] == 35  # of 70


@pytest.fixture
def one_thread() -> Iterator[None]:
    """As in the processes that are started: sums over several threads are rounded otherwise."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.mark.usefixtures("one_thread")
def test_two_processes_measure_what_one_does(two: Path, tmp_path: Path):
    """Two processes on 12 and 11 images, and one on 23, each image a batch of its own: every digit is the same."""
    words = [f"run={two}", "+data.batch_size=1", "controls=[]"]
    start("evaluate.py", *words, "trainer.devices=2", f"hydra.run.dir={tmp_path / '2'}")
    evaluate(configured(*words, "trainer.devices=1", name="evaluate"), tmp_path / "1")
    one, other = (json.loads((tmp_path / number / "metrics.json").read_text()) for number in "12")
    assert {"test/deletion_area", "test/faithfulness_correlation", "test/completeness_gap"} < one.keys()
    assert one == pytest.approx(other, rel=1e-6)  # sums of float64, told in float32
    rows = [pq.read_table(tmp_path / number / "explanations.parquet") for number in "12"]
    assert len(rows[0]) == 23
    assert rows[0].equals(rows[1])
    assert rows[0]["id"].equals(pq.read_table(two / "explanations.parquet")["id"])


@pytest.mark.usefixtures("one_thread")
def test_two_processes_validate_what_a_checkpoint_holds(two: Path, tmp_path: Path):
    """Batch statistics are of a process's own images; the validation, here in the same batches, is of those saved."""
    with (two / "metrics.csv").open() as file:
        (logged,) = [float(value) for row in csv.DictReader(file) if (value := row["val/relative_deviation"])]
    datamodule, module, _ = build(Run(two, {"trainer.devices": 1}).config, tmp_path)
    module.restore(two / "checkpoints/last.ckpt")
    module.eval()
    every = list(datamodule.ordered("val"))
    images = {name: torch.cat([batch[name] for batch in every]) for name in ("score", "concepts", "feature_map")}
    explained = []
    for rank in range(2):
        for rows in torch.arange(rank, 19, 2).split(9):
            batch = {name: values[rows] for name, values in images.items()}
            with torch.no_grad():
                explained.append(module.explain(module.teacher.perform(batch, with_prior=False)[0])[0])
    residual, score = (torch.cat([getattr(one, name) for one in explained]) for name in ("residual", "score"))
    deviation = residual.double().abs().mean() / (score.max() - score.min())
    assert deviation.item() == pytest.approx(logged, rel=1e-5)


def test_one_process_resumes_what_two_began(faces: Path, two: Path, tmp_path: Path):
    shutil.copytree(two, tmp_path / "run")
    (tmp_path / "run/metrics.json").unlink()
    config = OmegaConf.load(two / "config.yaml")
    config.trainer.max_epochs = 2  # as if it had been interrupted after the first of two epochs
    OmegaConf.save(config, tmp_path / "run/config.yaml")
    own = ["trainer.max_epochs=2", *OPTIONS[1:], "trainer.devices=1"]
    words = smoke(faces, two.parents[1], *own, f"resume={tmp_path / 'run'}")
    metrics = train(configured(*words), tmp_path / "run")
    assert metrics == json.loads((tmp_path / "run/metrics.json").read_text())
    last = torch.load(tmp_path / "run/checkpoints/last.ckpt", weights_only=True)
    assert last["epoch"] == 1
    assert last["global_step"] == 3 + 7  # batches of 9 of 35 images on each of two, then of 70
    assert last["loops"]["fit_loop"]["state_dict"]["combined_loader"][0]["samples"] == 70


def test_a_sweep_started_again_runs_nothing(faces: Path, sweep: Path):
    before = {path: path.stat().st_mtime_ns for path in sweep.glob("*/*.parquet")}
    words = [*smoke(faces, sweep.parent, *OPTIONS, "trainer.devices=1,2"), f"hydra.sweep.dir={sweep}"]
    done = start("train.py", "-m", *words)
    assert done.stdout.count("Finished before: ") == 2
    assert "2 of 2 jobs finished" in done.stdout
    assert {path: path.stat().st_mtime_ns for path in sweep.glob("*/*.parquet")} == before


def test_synchronised_batch_normalisation_is_left_out_on_the_cpu(faces: Path, two: Path, tmp_path: Path):
    words = smoke(faces, two.parents[1], "trainer=ddp", "trainer.accelerator=cpu", "trainer.devices=1", *OPTIONS)
    assert configured(*words).trainer.sync_batchnorm
    assert train(configured(*words), tmp_path / "run")["test/relative_deviation"] > 0
    torch.distributed.destroy_process_group()


def torchrun(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"TORCHELASTIC_RUN_ID": "none", "WORLD_SIZE": "2", "RANK": "0", "LOCAL_RANK": "0"}.items():
        monkeypatch.setenv(name, value)


def test_processes_of_torchrun_need_one_folder(monkeypatch: pytest.MonkeyPatch):
    require_one_folder(configured(), [])
    torchrun(monkeypatch)
    assert started_together() == 2
    with pytest.raises(ConfigError, match=r"2 processes were started together .*: `hydra.run.dir=outputs/<name>`"):
        require_one_folder(configured(), ["hydra.job.name=x"])
    require_one_folder(configured(), ["hydra.run.dir=outputs/mine"])
    require_one_folder(configured("resume=outputs/mine"), [])


def test_processes_of_torchrun_must_all_take_part(faces: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    torchrun(monkeypatch)
    with pytest.raises(ConfigError, match=r"2 processes were started .* trainer.devices=1 on 1 node\(s\) are 1"):
        build(configured(*smoke(faces, tmp_path)), tmp_path)


def test_a_process_of_torchrun_can_train_on_its_own(monkeypatch: pytest.MonkeyPatch):
    torchrun(monkeypatch)
    with on_its_own():
        assert started_together() == 1
    assert started_together() == 2


@pytest.mark.slow
def test_two_processes_stop_when_they_are_told_to(faces: Path, tmp_path: Path):
    words = smoke(faces, tmp_path, "trainer.max_epochs=500", "trainer=ddp_cpu", f"hydra.run.dir={tmp_path / 'run'}")
    process = subprocess.Popen(
        [sys.executable, "train.py", *words], cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )
    deadline = time.monotonic() + 120
    while not (tmp_path / "run/checkpoints/last.ckpt").exists() and time.monotonic() < deadline:
        time.sleep(0.1)
    process.terminate()
    _, errors = process.communicate(timeout=60)  # which ends when the second process has closed its end, too
    assert process.returncode != 0
    assert f"To go on: python train.py resume={tmp_path / 'run'}" in errors


@pytest.mark.slow
def test_torchrun_trains_one_performer_and_one_run(faces: Path, two: Path, tmp_path: Path):
    words = smoke(faces, tmp_path, *OPTIONS, "trainer=ddp_cpu", f"hydra.run.dir={tmp_path / 'run'}")
    done = start("-m", "torch.distributed.run", "--nproc_per_node=2", "train.py", *words)
    assert (done.stdout + done.stderr).count("Trained the performer") == 1
    assert done.stdout.count("run folder: ") == 1
    assert len(list(tmp_path.glob("performers/*/performer.safetensors"))) == 1
    own, other = (json.loads((folder / "metrics.json").read_text()) for folder in (two, tmp_path / "run"))
    assert other == pytest.approx(own, rel=1e-4, abs=1e-6)  # Lightning and torchrun start the same two processes
