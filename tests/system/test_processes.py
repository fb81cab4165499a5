"""Who is alone: single variables of a launcher do not make a process one of several."""

import logging
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from pytorch_lightning.utilities import rank_zero_only
from support import ROOT, smoke

from semexplain.system.processes import (
    COMPLETE,
    LAUNCHER_VARIABLES,
    forget_stray_launcher,
    group_patience,
    is_first,
    started_together,
    together,
)
from semexplain.system.trouble import Trouble

STRAY = [
    {"RANK": "1", "WORLD_SIZE": "2"},
    {"LOCAL_RANK": "1"},
    {"NODE_RANK": "1"},
    {"WORLD_SIZE": "2"},
    {"SLURM_PROCID": "1"},
    {"SLURM_NTASKS": "2"},
    {"TORCHELASTIC_RUN_ID": "none"},
    {"JSM_NAMESPACE_RANK": "3"},
    {"RANK": "1", "LOCAL_RANK": "1", "WORLD_SIZE": "2", "MASTER_ADDR": "localhost"},
]


@pytest.fixture(autouse=True)
def _rank(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rank_zero_only, "rank", 0)
    for key in {*LAUNCHER_VARIABLES, *(name for names in COMPLETE for name in names)}:
        monkeypatch.delenv(key, raising=False)


@pytest.mark.parametrize("variables", STRAY)
def test_single_variables_are_forgotten(
    variables: dict[str, str], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    for key, value in variables.items():
        monkeypatch.setenv(key, value)
    monkeypatch.setattr(rank_zero_only, "rank", 1)  # as Lightning reads it when it is imported
    forget_stray_launcher()
    assert is_first()
    assert started_together() == 1
    (record,) = caplog.records
    for key in variables.keys() - {"MASTER_ADDR"}:
        assert key not in os.environ
        assert f"{key}={variables[key]}" in record.message
    assert "No launcher has started this process" in record.message


@pytest.mark.parametrize("names", COMPLETE)
def test_a_launcher_is_believed(names: set[str], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture):
    for key in names:
        monkeypatch.setenv(key, "1")
    before = dict(os.environ)
    monkeypatch.setattr(rank_zero_only, "rank", 1)
    forget_stray_launcher()
    assert dict(os.environ) == before
    assert not is_first()
    assert not caplog.records


def test_an_address_alone_means_nothing(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture):
    monkeypatch.setenv("MASTER_PORT", "29500")
    with caplog.at_level(logging.INFO):
        forget_stray_launcher()
    assert os.environ["MASTER_PORT"] == "29500"
    assert not caplog.records


@pytest.mark.parametrize(
    "error",
    [
        torch.distributed.DistStoreError("Timed out after 3 seconds waiting for clients. 1/2 clients joined."),
        torch.distributed.DistNetworkError("The client socket has timed out"),
        RuntimeError("[gloo/transport/tcp/pair.cc] Connection closed by peer [127.0.0.1]:5"),
    ],
)
def test_what_was_waited_for_is_told(error: RuntimeError, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("SEMEXPLAIN_PATIENCE_S", "3")
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert group_patience().total_seconds() == 3
    message = r"one of 2 processes, and another one did not come, ended or did not answer for 3 s .* set: WORLD_SIZE\."
    with pytest.raises(Trouble, match=message), together(2):
        raise error
    with pytest.raises(type(error)), together(1):
        raise error
    with pytest.raises(RuntimeError, match="of ours"), together(2):
        raise RuntimeError("of ours")


def command(*words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    own = {**os.environ, "OMP_NUM_THREADS": "1", **environment}
    arguments = [sys.executable, str(ROOT / "train.py"), *words]
    return subprocess.run(arguments, cwd=ROOT, capture_output=True, text=True, check=False, env=own, timeout=240)


def test_a_process_with_a_stray_rank_computes_alone(faces: Path, sweep: Path, tmp_path: Path):
    words = [*smoke(faces, sweep.parent, "trainer.max_epochs=1"), f"hydra.run.dir={tmp_path / 'run'}"]
    done = command(*words, RANK="1", WORLD_SIZE="2")
    assert done.returncode == 0, done.stderr
    assert "No launcher has started this process: RANK=1 WORLD_SIZE=2 is ignored. It computes alone." in done.stderr
    assert (tmp_path / "run/metrics.json").exists()


def test_a_process_whose_fellows_never_come_says_so(faces: Path, sweep: Path, tmp_path: Path):
    words = [*smoke(faces, sweep.parent, "trainer=ddp_cpu"), f"hydra.run.dir={tmp_path / 'run'}"]
    variables = {"TORCHELASTIC_RUN_ID": "none", "RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "2"}
    done = command(*words, **variables, MASTER_ADDR="127.0.0.1", MASTER_PORT="29517", SEMEXPLAIN_PATIENCE_S="2")
    assert done.returncode == 2, done.stderr
    assert "This run is one of 2 processes, and another one did not come, ended or did not" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.slow
def test_two_processes_that_diverge_both_end(faces: Path, sweep: Path, tmp_path: Path):
    words = [*smoke(faces, sweep.parent, "trainer=ddp_cpu", "optimizer.lr=1e30"), f"hydra.run.dir={tmp_path / 'run'}"]
    done = command(*words)  # whose output ends when the second process has closed its end, too
    assert done.returncode == 2, done.stderr
    assert "The training diverged in epoch " in done.stderr
    assert "Traceback" not in done.stderr
    assert (tmp_path / "run/diverged.json").exists()
    assert not (tmp_path / "run/metrics.json").exists()
