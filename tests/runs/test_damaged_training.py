"""Runs and performers whose files were damaged between two attempts: exact, or told; never stuck, never wrong."""

import json
import os
import shutil
from pathlib import Path

import pytest
import pytorch_lightning as pl
import torch
from omegaconf import DictConfig
from safetensors.torch import load_file, save_file
from support import configured, smoke

from semexplain.runs.performer_store import performer_metrics
from semexplain.runs.run import Run
from semexplain.runs.tasks import evaluate_run
from semexplain.system.trouble import DamagedFileError, Trouble
from semexplain.training.callbacks.prior_weight import PriorWeight
from semexplain.training.classification import Classification
from train import train

pytestmark = [
    pytest.mark.filterwarnings("ignore:The performer's convolutions start from random weights"),
    pytest.mark.filterwarnings(r"ignore:All \d+ scores of the performer lie between 0 and 1"),
]


def cut(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def interrupted(config: DictConfig, folder: Path, epoch: int) -> None:
    """A run that was killed when an epoch began."""
    original = PriorWeight.on_train_epoch_start

    def interrupt(self: PriorWeight, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        if trainer.current_epoch == epoch:
            raise InterruptedError
        original(self, trainer, module)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(PriorWeight, "on_train_epoch_start", interrupt)
        with pytest.raises(InterruptedError):
            train(config, folder)


def weights(path: Path) -> dict[str, torch.Tensor]:
    return torch.load(path, weights_only=True)["state_dict"]


def test_a_run_whose_last_checkpoint_is_torn_ends_as_if_nothing_had_happened(faces: Path, sweep: Path, tmp_path: Path):
    words = smoke(faces, sweep.parent, "trainer.max_epochs=3")
    whole = train(configured(*words), tmp_path / "whole")
    interrupted(configured(*words), tmp_path / "run", epoch=2)
    cut(tmp_path / "run/checkpoints/last.ckpt")
    assert train(configured(*words, f"resume={tmp_path / 'run'}"), tmp_path / "run") == whole
    one, two = (weights(tmp_path / f"{name}/checkpoints/last.ckpt") for name in ("whole", "run"))
    assert all(torch.equal(one[key], two[key]) for key in one)
    names = [path.name for path in (tmp_path / "whole/checkpoints").iterdir()]
    assert sorted(names) == ["best.ckpt", "last.ckpt"]  # a finished run has no use for the one before


def test_a_run_that_was_moved_keeps_its_best_epoch(faces: Path, sweep: Path, tmp_path: Path):
    words = smoke(faces, sweep.parent, "trainer.max_epochs=2")
    interrupted(configured(*words), tmp_path / "here", epoch=1)
    (tmp_path / "here").rename(tmp_path / "there")
    last = tmp_path / "there/checkpoints/last.ckpt"
    checkpoint = torch.load(last, weights_only=True)
    for state in checkpoint["callbacks"].values():
        if "best_k_models" in state and state["monitor"]:
            state["best_k_models"] = dict.fromkeys(state["best_k_models"], torch.tensor(0.0))  # nothing is better
    torch.save(checkpoint, last)
    before = (tmp_path / "there/checkpoints/best.ckpt").read_bytes()
    train(configured(*words, f"resume={tmp_path / 'there'}"), tmp_path / "there")
    assert (tmp_path / "there/checkpoints/best.ckpt").read_bytes() == before
    assert not (tmp_path / "here").exists()


def test_a_run_without_a_whole_checkpoint_says_so_and_begins_anew_when_they_are_deleted(
    faces: Path, sweep: Path, tmp_path: Path
):
    words = smoke(faces, sweep.parent, "trainer.max_epochs=2")
    interrupted(configured(*words), tmp_path / "run", epoch=1)
    last = tmp_path / "run/checkpoints/last.ckpt"
    cut(last)
    again = configured(*words, f"resume={tmp_path / 'run'}")
    with pytest.raises(DamagedFileError, match=r"last.ckpt is damaged: .* Put back a copy, or delete .*/checkpoints"):
        train(again, tmp_path / "run")
    assert last.exists()
    for path in last.parent.iterdir():
        path.unlink()
    assert train(again, tmp_path / "run") == train(configured(*words), tmp_path / "whole")


def test_a_best_epoch_with_a_flipped_byte_is_not_measured(faces: Path, sweep: Path, tmp_path: Path):
    train(configured(*smoke(faces, sweep.parent, "trainer.max_epochs=1")), tmp_path / "run")
    flip(tmp_path / "run/checkpoints/best.ckpt")
    with pytest.raises(DamagedFileError, match=r"The checkpoint .*best.ckpt is damaged: "):
        evaluate_run(Run(tmp_path / "run"), tmp_path / "again")
    with pytest.raises(DamagedFileError, match=r"The checkpoint .*best.ckpt is damaged: "):
        _ = Run(tmp_path / "run").module


def performer(faces: Path, folder: Path) -> Path:
    """The store's performer, after a run that trains it if it is not there."""
    options = ("task=performer", "objective=val/loss", "performer_training.max_epochs=3")
    train(configured(*smoke(faces, folder, *options)), folder / "run")
    (path,) = (folder / "performers").glob("*/performer.safetensors")
    return path


@pytest.fixture(scope="module")
def store(faces: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the performer of three epochs, to be copied."""
    folder = tmp_path_factory.mktemp("store")
    performer(faces, folder)
    return folder


@pytest.fixture(scope="module")
def attempt(faces: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with one whose training was killed in its third epoch, to be copied."""
    folder = tmp_path_factory.mktemp("attempt")
    original = Classification.training_step

    def interrupt(self: Classification, batch: dict, batch_idx: int) -> torch.Tensor:
        if self.current_epoch == 2:
            raise InterruptedError
        return original(self, batch, batch_idx)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Classification, "training_step", interrupt)
        with pytest.raises(InterruptedError):
            performer(faces, folder)
    return folder


@pytest.mark.parametrize("names", [["last.ckpt"], ["last.ckpt", "last.previous.ckpt"], ["best.ckpt"]])
def test_a_damaged_attempt_never_blocks_a_performer(
    faces: Path, store: Path, attempt: Path, tmp_path: Path, names: list[str], caplog: pytest.LogCaptureFixture
):
    shutil.copytree(attempt, tmp_path, dirs_exist_ok=True)
    (partial,) = (tmp_path / "performers").glob("*.partial")
    for name in names:
        cut(partial / name)
    path = performer(faces, tmp_path)
    assert path.read_bytes() == next(store.glob("performers/*/performer.safetensors")).read_bytes()
    assert f"{names[0]} is damaged: " in caplog.text
    assert ("The training begins anew." in caplog.text) == (names != ["last.ckpt"])
    assert not list(path.parent.glob("*.ckpt"))


def test_a_performer_that_was_finished_but_not_yet_in_its_place_is_not_trained_again(
    faces: Path, store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    shutil.copytree(store, tmp_path, dirs_exist_ok=True)
    path = performer(faces, tmp_path)
    path.parent.rename(path.parent.with_name(f"{path.parent.name}.partial"))
    monkeypatch.setattr(Classification, "training_step", lambda *_: pytest.fail("it is trained again"))
    assert performer(faces, tmp_path) == path


def test_a_performer_with_a_flipped_byte_is_not_used(faces: Path, store: Path, tmp_path: Path):
    shutil.copytree(store, tmp_path, dirs_exist_ok=True)
    path = performer(faces, tmp_path)
    words = smoke(faces, tmp_path, "performer_training.max_epochs=3", "trainer.max_epochs=1")
    train(configured(*words), tmp_path / "before")
    whole = path.read_bytes()
    flip(path)
    message = r"performer.safetensors is damaged: it is not the performer that was trained. Put back a copy, or delete "
    with pytest.raises(DamagedFileError, match=message):
        train(configured(*words), tmp_path / "other")
    with pytest.raises(DamagedFileError, match=message):
        train(configured(*words, f"performer.checkpoint={path}"), tmp_path / "other")
    with pytest.raises(DamagedFileError, match=message):
        evaluate_run(Run(tmp_path / "before"), tmp_path / "again")
    copy = tmp_path / "copy.safetensors"  # which no record lies beside
    copy.write_bytes(path.read_bytes())
    moved = Run(tmp_path / "before", {"performer.checkpoint": str(copy)})
    with pytest.raises(Trouble, match=r"another explanation: its performer_sha256 is \w+, not \w+"):
        evaluate_run(moved, tmp_path / "again")
    copy.write_bytes(whole)
    assert evaluate_run(moved, tmp_path / "again")
    for file in path.parent.iterdir():
        file.unlink()
    path.parent.rmdir()
    assert performer(faces, tmp_path).read_bytes() == whole  # as the message says


@pytest.mark.parametrize("content", ["", '{"performer": ', "[1]", "\0\0"])
def test_a_damaged_record_of_a_performer_is_named(faces: Path, store: Path, tmp_path: Path, content: str):
    shutil.copytree(store, tmp_path, dirs_exist_ok=True)
    path = performer(faces, tmp_path)
    kept = {name: path.with_name(name).read_text() for name in ("metrics.json", "performer.json")}
    path.with_name("metrics.json").write_text(content)
    with pytest.raises(DamagedFileError, match=r"metrics.json is damaged: it is no JSON object. Put back a copy"):
        performer_metrics(path)
    path.with_name("metrics.json").write_text(kept["metrics.json"])
    path.with_name("performer.json").write_text(content)
    with pytest.raises(DamagedFileError, match=r"performer.json is damaged: it is no JSON object. Put back a copy"):
        performer(faces, tmp_path)


def test_a_performer_of_no_numbers_is_refused(faces: Path, store: Path, tmp_path: Path):
    shutil.copytree(store, tmp_path, dirs_exist_ok=True)
    path = performer(faces, tmp_path)
    state = load_file(path)
    state["fc3.bias"][3] = torch.nan
    save_file(state, tmp_path / "nan.safetensors")
    words = smoke(faces, tmp_path, f"performer.checkpoint={tmp_path / 'nan.safetensors'}")
    with pytest.raises(Trouble, match=r"The weights .*nan.safetensors are not all numbers: fc3.bias"):
        train(configured(*words), tmp_path / "run")


def test_a_record_from_before_there_were_digests_is_taken(faces: Path, store: Path, tmp_path: Path):
    shutil.copytree(store, tmp_path, dirs_exist_ok=True)
    path = performer(faces, tmp_path)
    record = json.loads(path.with_name("performer.json").read_text())
    del record["sha256"]
    path.with_name("performer.json").write_text(json.dumps(record))
    assert performer(faces, tmp_path) == path
