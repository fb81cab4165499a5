"""A training that diverges is told as that, with its batch; nothing of it is kept or used."""

import json
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from support import configured, smoke

from semexplain.explanation import Explanation
from semexplain.report.log_explanations import LogExplanations
from semexplain.runs import build as building
from semexplain.runs import performer_training
from semexplain.runs.build import build
from semexplain.training.callbacks import divergence
from semexplain.training.callbacks.divergence import DivergedError, Divergence
from semexplain.training.distillation import Distillation
from train import train

pytestmark = [
    pytest.mark.filterwarnings("ignore:The performer's convolutions start from random weights"),
    pytest.mark.filterwarnings(r"ignore:All \d+ scores of the performer lie between 0 and 1"),
]


def test_the_weights_are_looked_at_before_they_are_kept(
    faces: Path, sweep: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """The second step of the second epoch has no loss."""
    original = Distillation.training_step

    def broken(self: Distillation, batch: dict[str, torch.Tensor], batch_idx: int) -> torch.Tensor:
        loss = original(self, batch, batch_idx)
        return loss * torch.nan if (self.current_epoch, batch_idx) == (1, 1) else loss

    monkeypatch.setattr(Distillation, "training_step", broken)
    message = (
        r"^The training diverged in epoch 2 \(loss nan at step 2\)\. Lower optimizer.lr \(now 0.0002\)\. The batch "
    )
    with pytest.raises(DivergedError, match=message):
        train(configured(*smoke(faces, sweep.parent, "optimizer.lr=2e-4")), tmp_path / "run")
    assert not (tmp_path / "run/metrics.json").exists()
    assert torch.load(tmp_path / "run/checkpoints/last.ckpt", weights_only=True)["epoch"] == 0
    told = json.loads((tmp_path / "run/diverged.json").read_text())
    assert {name: told[name] for name in ("split", "epoch", "batch", "numbers")} == {
        "split": "train",
        "epoch": 2,
        "batch": 2,
        "numbers": ["nan"],
    }
    batch = load_file(tmp_path / "run/diverged.safetensors")
    assert [f"{index + 1:06d}.jpg" for index in batch["index"].tolist()] == told["ids"]
    assert len(batch["score"]) == len(told["ids"]) == 32


def test_the_batch_at_fault_is_the_one_that_was_trained_on(
    faces: Path, sweep: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    seen: list[dict[str, torch.Tensor]] = []
    original = Distillation.training_step

    def broken(self: Distillation, batch: dict[str, torch.Tensor], batch_idx: int) -> torch.Tensor:
        seen.append(batch)
        return original(self, batch, batch_idx) * torch.nan

    monkeypatch.setattr(Distillation, "training_step", broken)
    with pytest.raises(DivergedError, match=r"epoch 1 \(loss nan at step 1\)"):
        train(configured(*smoke(faces, sweep.parent)), tmp_path / "run")
    kept = load_file(tmp_path / "run/diverged.safetensors")
    assert kept.keys() == seen[0].keys()
    assert all(torch.equal(kept[name], values) for name, values in seen[0].items())


def test_a_rate_that_is_far_too_high_is_told(faces: Path, sweep: Path, tmp_path: Path):
    with pytest.raises(
        DivergedError, match=r"^The training diverged in epoch 1 .* Lower optimizer.lr \(now 1e\+30\)\."
    ):
        train(configured(*smoke(faces, sweep.parent, "optimizer.lr=1e30")), tmp_path / "run")
    assert not (tmp_path / "run/checkpoints").exists()
    assert not list(tmp_path.glob("run/**/*.png"))


def test_predictions_are_looked_at_before_they_are_drawn_or_measured(
    faces: Path, sweep: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    original = Distillation.validation_step

    def broken(self: Distillation, batch: dict[str, torch.Tensor], batch_idx: int) -> Explanation:
        explanation = original(self, batch, batch_idx)
        return replace(explanation, weights=explanation.weights * torch.inf)

    monkeypatch.setattr(Distillation, "validation_step", broken)
    with pytest.raises(DivergedError, match=r"in epoch 1 \(its predictions of validation images are no numbers\)"):
        train(configured(*smoke(faces, sweep.parent)), tmp_path / "run")
    assert json.loads((tmp_path / "run/diverged.json").read_text())["split"] == "val"
    assert not (tmp_path / "run/checkpoints").exists()
    _, _, trainer = build(configured(*smoke(faces, sweep.parent)), tmp_path / "again")
    kinds = [type(callback) for callback in trainer.callbacks]
    assert kinds.index(Divergence) < kinds.index(LogExplanations)


def test_a_training_that_has_led_nowhere_is_not_measured(
    faces: Path, sweep: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(building, "ABSURD", 1e-9)
    monkeypatch.setattr(divergence, "WORSE", 0)
    words = smoke(faces, sweep.parent, "trainer.max_epochs=1")
    message = (
        r"^The training diverged: at its best epoch the predictions miss by .* times the range of the scores\. Lower"
    )
    with pytest.raises(DivergedError, match=message):
        train(configured(*words), tmp_path / "run")
    with pytest.raises(DivergedError, match=message):  # what was kept says the same
        train(configured(*words, f"resume={tmp_path / 'run'}"), tmp_path / "run")
    assert not (tmp_path / "run/metrics.json").exists()


def performer(faces: Path, folder: Path, *words: str) -> None:
    options = ("task=performer", "objective=val/loss", *words)
    train(configured(*smoke(faces, folder, *options)), folder / "run")


def test_a_performer_that_diverges_never_enters_the_store(faces: Path, tmp_path: Path):
    message = r"^The training diverged in epoch 1 .* Lower performer_training.optimizer.lr \(now 1e\+30\)\."
    for _ in range(2):  # the second attempt finds what the first has left
        with pytest.raises(DivergedError, match=message):
            performer(faces, tmp_path, "performer_training.optimizer.lr=1e30")
    assert not list(tmp_path.glob("performers/*/*.safetensors")) or all(
        path.name == "diverged.safetensors" for path in tmp_path.glob("performers/*/*.safetensors")
    )
    performer(faces, tmp_path)
    assert len(list(tmp_path.glob("performers/*/performer.safetensors"))) == 1


def test_a_performer_that_is_worse_than_untrained_never_enters_the_store(
    faces: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(performer_training, "Divergence", partial(Divergence, limit=1e-9))
    monkeypatch.setattr(divergence, "WORSE", 0)
    message = (
        r"^The training diverged: its loss on the validation images is .* at best, ten times that before the first"
    )
    for _ in range(2):
        with pytest.raises(DivergedError, match=message):
            performer(faces, tmp_path)
    assert not list(tmp_path.glob("performers/*/performer.safetensors"))


def test_the_limit_is_ten_times_the_first_loss():
    callback = Divergence(Path(), "optimizer.lr", "val/loss", "{:g} {:g}")
    module: Any = torch.nn.Linear(1, 1)
    trainer: Any = type(
        "", (), {"sanity_checking": False, "strategy": type("", (), {"reduce_boolean_decision": all_of})}
    )
    for loss in (7.0, 3.0):
        callback.on_train_batch_end(trainer, module, {"loss": torch.tensor(loss)}, {"index": torch.tensor([0])}, 0)
        callback.on_train_epoch_end(trainer, module)
    assert (callback.limit, callback.first, callback.last) == (70, 7, 3)


@pytest.mark.parametrize(("least", "last", "raises"), [(11, 71, True), (9, 71, False), (11, 69, False)])
def test_a_training_that_learned_something_has_not_diverged(least: float, last: float, raises: bool):
    """As a short one whose concepts say nothing: it misses by far, and yet by less than before its first step."""
    callback = Divergence(Path(), "optimizer.lr", "val/loss", "{:g} {:g}", limit=10)
    callback.load_state_dict({"least": least, "limit": 10, "first": 7, "last": last})
    group = type("", (), {"param_groups": [{"lr": 1}]})
    trainer: Any = type("", (), {"optimizers": [group], "strategy": type("", (), {"reduce_boolean_decision": all_of})})
    if not raises:
        callback.on_fit_end(trainer, trainer)
        return
    with pytest.raises(DivergedError, match=r"^The training diverged: 11 10 Lower optimizer\.lr \(now 1\)\.$"):
        callback.on_fit_end(trainer, trainer)


def all_of(decision: bool, all: bool) -> bool:
    assert all
    return decision
