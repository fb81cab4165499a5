"""Sweeps by other engines than Hydra's own: joblib, submitit and Optuna. What is not installed is skipped."""

import json
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf
from support import ROOT, configured, smoke

from hydra_plugins.semexplain_search import BEST

ENGINES = {
    "launcher/parallel": "hydra_plugins.hydra_joblib_launcher",
    "launcher/slurm": "hydra_plugins.hydra_submitit_launcher",
    "launcher/slurm_local": "hydra_plugins.hydra_submitit_launcher",
    "sweeper/search": "optuna",
}


def needs(engine: str) -> None:
    if find_spec(ENGINES[engine]) is None:
        pytest.skip(f"{engine} needs {ENGINES[engine]}: pip install -c constraints.txt -e '.[sweep]'")


def train(*words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    own = {**os.environ, "OMP_NUM_THREADS": "1", **environment}
    command = [sys.executable, str(ROOT / "train.py"), *words]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, env=own)


@pytest.mark.parametrize("engine", sorted(ENGINES))
def test_every_engine_composes(engine: str):
    needs(engine)
    group, name = engine.split("/")
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        hydra = compose("train", overrides=[f"hydra/{group}={name}"], return_hydra_config=True).hydra
    plain = OmegaConf.to_container(hydra[group], resolve=False)
    own = OmegaConf.to_container(OmegaConf.load(ROOT / f"conf/hydra/{engine}.yaml"), resolve=False)
    assert isinstance(plain, dict)
    assert isinstance(own, dict)
    assert {key: plain[key] for key in own if key != "defaults"} == {k: v for k, v in own.items() if k != "defaults"}
    for key in own.get("params", ()):
        assert OmegaConf.select(configured(), key) is not None


def test_no_engine_of_the_repository_is_forgotten_here():
    found = {f"{path.parent.name}/{path.stem}" for path in (ROOT / "conf/hydra").glob("*/*.yaml")}
    assert found == set(ENGINES)


@pytest.mark.slow
def test_four_jobs_by_submitit(faces: Path, tmp_path: Path):
    """As on a cluster, but for the cluster: one and two processes a job, one performer, one table."""
    needs("launcher/slurm_local")
    words = smoke(faces, tmp_path, "trainer.max_epochs=1", "trainer.devices=1,2", "seed=0,1")
    done = train("-m", *words, "hydra/launcher=slurm_local", f"hydra.sweep.dir={tmp_path / 'sweep'}")
    assert done.returncode == 0, done.stderr
    assert "4 of 4 jobs finished" in done.stdout
    assert done.stdout.count("| Attractive ") == 4
    assert len(list(tmp_path.glob("performers/*/performer.safetensors"))) == 1
    jobs = list((tmp_path / "sweep").glob("Attractive_*"))
    assert [len(pq.read_table(job / "explanations.parquet")) for job in jobs] == [23] * 4


@pytest.mark.slow
def test_what_slurm_is_asked_for(faces: Path, tmp_path: Path):
    """There is no cluster: a stand-in for sbatch keeps what it is given."""
    needs("launcher/slurm")
    for name, text in {"sbatch": f'cp "$1" {tmp_path}/asked.sh; exit 1', "srun": "exit 1"}.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{text}\n")
        (tmp_path / name).chmod(0o755)
    words = ["-m", *smoke(faces, tmp_path, "seed=0,1,2"), "hydra/launcher=slurm", "hydra.launcher.partition=gpu"]
    train(*words, PATH=f"{tmp_path}:{os.environ['PATH']}")
    asked = (tmp_path / "asked.sh").read_text()
    for line in ("--array=0-2%3", "--partition=gpu", "--ntasks-per-node=1", "--gpus-per-node=1", "--signal=USR2@120"):
        assert f"#SBATCH {line}\n" in asked


@pytest.mark.slow
def test_jobs_by_joblib_have_a_gpu_each_and_a_failed_one_is_listed(faces: Path, tmp_path: Path):
    needs("launcher/parallel")
    words = ["-m", *smoke(faces, tmp_path, "trainer.max_epochs=1", "beta=0,-1"), "hydra/launcher=parallel"]
    done = train(*words, SEMEXPLAIN_GPUS="0 1", TMPDIR=str(tmp_path))
    assert done.returncode == 1
    assert "1 of 2 jobs finished" in done.stdout
    assert "beta: expected greater than or equal to 0, got -1" in done.stderr[done.stderr.index("1 job failed.") :]
    (locks,) = tmp_path.glob("semexplain-gpus-*")
    assert sorted(path.name for path in locks.iterdir()) == ["0-0.lock", "0-1.lock"]


@pytest.mark.slow
def test_a_search_keeps_its_trials(faces: Path, tmp_path: Path):
    needs("sweeper/search")
    words = ["-m", *smoke(faces, tmp_path, "trainer.max_epochs=1"), "hydra/sweeper=search", "hydra.sweeper.n_trials=2"]
    storage = f"hydra.sweeper.storage=sqlite:///{tmp_path / 'study.db'}"
    done = train(*words, storage, f"hydra.sweep.dir={tmp_path / 'sweep'}")
    assert done.returncode == 0, done.stderr
    assert "2 of 2 jobs finished" in done.stdout
    best = OmegaConf.load(tmp_path / "sweep" / BEST).best_value
    reached = [json.loads(path.read_text()) for path in (tmp_path / "sweep").glob("*/validation.json")]
    assert len(reached) == 2
    assert best == pytest.approx(min(numbers["val/relative_deviation"] for numbers in reached))
