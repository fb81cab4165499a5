"""A run without steps, validation or the numbers it is chosen by is refused before anything is trained."""

from pathlib import Path

import pytest
from omegaconf import OmegaConf
from support import configured, smoke

from semexplain.runs import build as building
from semexplain.runs.build import build
from semexplain.runs.options import check
from semexplain.system.config import ConfigError
from train import train

NUMBERS = [
    ("beta=inf", "beta: expected a finite number, got inf."),
    ("beta=nan", "beta: expected a finite number, got nan."),
    ("optimizer.lr=inf", "optimizer.lr: expected a finite number, got inf."),
    ("module.correction_weight=inf", "module.correction_weight: expected a finite number, got inf."),
    ("performer_training.optimizer.lr=inf", "performer_training.optimizer.lr: expected a finite number, got inf."),
    *(
        (f"{option}={2**40}", f"{option.lstrip('+')}: expected less than or equal to {2**32 - 1}, got {2**40}.")
        for option in ("seed", "data.seed", "performer_training.seed")
    ),
]
TRAINERS = [
    ("trainer.max_epochs=0", "trainer.max_epochs: expected at least 1, got 0: a run is measured at its best epoch."),
    ("trainer.max_epochs=-2", "trainer.max_epochs: expected at least 1, got -2"),
    ("+trainer.max_steps=0", "trainer.max_steps: expected at least one epoch, got 0"),
    (
        "+trainer.check_val_every_n_epoch=5",
        "trainer.check_val_every_n_epoch: 5, but the run has trainer.max_epochs=2",
    ),
    ("+trainer.limit_val_batches=0", "trainer.limit_val_batches: expected more than 0, or a run has nothing to choose"),
    ("+trainer.limit_val_batches=0.0", "trainer.limit_val_batches: expected more than 0"),
    ("+trainer.limit_train_batches=0", "trainer.limit_train_batches: expected more than 0, or a run has nothing to le"),
    ("+trainer.limit_test_batches=0", "trainer.limit_test_batches: expected more than 0, or a run has nothing to meas"),
    ("+trainer.fast_dev_run=true", "trainer.fast_dev_run: it leaves nothing behind: `scale=smoke` shows in seconds"),
    ("+trainer.overfit_batches=1", "trainer.overfit_batches: it changes the data that are measured: use `data.limit`."),
    ("+trainer.barebones=true", "trainer.barebones: it leaves nothing behind: leave it out."),
    ("+trainer.enable_checkpointing=false", "trainer.enable_checkpointing: a run is measured and resumed from its che"),
    ("~metrics.relative_deviation", "callbacks.best_checkpoint.monitor: 'val/relative_deviation' is not measured in "),
    ("callbacks.best_checkpoint.monitor=val/typo", "callbacks.best_checkpoint.monitor: 'val/typo' is not measured in"),
    (
        "objective=val/concept_reliance",
        "objective: 'val/concept_reliance' is not measured in validation",
    ),  # in test only
]


@pytest.mark.parametrize(("word", "message"), [*NUMBERS, *TRAINERS])
def test_what_options_alone_tell(tmp_path: Path, word: str, message: str):
    with pytest.raises(ConfigError) as caught:
        check(configured(*smoke(tmp_path, tmp_path, word)))
    assert message in str(caught.value)


@pytest.mark.parametrize("word", ["data=synthetic_faces", "data=synthetic_animals"])
def test_the_seed_of_drawings_is_bounded(tmp_path: Path, word: str):
    with pytest.raises(ConfigError, match=r"data.draw_seed: expected less than or equal to 4294967295"):
        check(configured("experiment=celeba_attractive", "scale=smoke", word, f"data.draw_seed={2**40}"))


@pytest.mark.parametrize(
    "words",
    [
        ["objective=val/distillation"],
        ["objective=val/prior_loss"],
        ["trainer.max_epochs=-1", "callbacks=[prior_weight,best_checkpoint,last_checkpoint,early_stopping]"],
        ["trainer.max_epochs=6", "+trainer.check_val_every_n_epoch=5"],
        ["+trainer.limit_val_batches=1"],
        ["task=performer", "objective=val/loss"],
    ],
)
def test_what_can_be_done_is_not_refused(tmp_path: Path, words: list[str]):
    words = [
        "callbacks=[prior_weight,best_checkpoint,last_checkpoint,early_stopping]" if "+c" in w else w for w in words
    ]
    check(configured(*smoke(tmp_path, tmp_path, *words)))


def test_a_metric_that_does_not_say_what_it_reports_may_report_anything(tmp_path: Path):
    config = configured(*smoke(tmp_path, tmp_path, "~metrics.relative_deviation"))
    OmegaConf.update(config, "metrics.own", {"_target_": "torchmetrics.MeanSquaredError"}, force_add=True)
    check(config)


COUNTS = [  # the smallest run has 2 batches for training and 1 for validation
    (
        "+trainer.max_steps=1",
        "trainer.max_steps: 1 would end the run before its first validation. Expected at least 2",
    ),
    ("+trainer.limit_val_batches=0.4", "trainer.limit_val_batches: 0.4 of 1 batches are none. Expected at least 1."),
    (
        "+trainer.limit_train_batches=0.4",
        "trainer.limit_train_batches: 0.4 of 2 batches are none. Expected at least ",
    ),
    (
        "+trainer.val_check_interval=3",
        "trainer.val_check_interval: an epoch has 2 batches, it would never be",
    ),
    (
        "+trainer.val_check_interval=9 +trainer.check_val_every_n_epoch=null",
        "trainer.max_epochs: 2 epochs are 4 batches, and the first validation would come after 9.",
    ),
]


@pytest.mark.parametrize(("words", "message"), COUNTS)
def test_what_the_number_of_images_tells(
    faces: Path, tmp_path: Path, words: str, message: str, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(building, "trained_performer", lambda *_: pytest.fail("a performer is trained"))
    with pytest.raises(ConfigError) as caught:
        build(configured(*smoke(faces, tmp_path, *words.split())), tmp_path)
    assert message in str(caught.value)


@pytest.mark.filterwarnings("ignore:The performer's convolutions start from random weights")
def test_enough_is_enough(faces: Path, sweep: Path, tmp_path: Path):
    words = ("+trainer.max_steps=2", "+trainer.val_check_interval=1")
    assert train(configured(*smoke(faces, sweep.parent, *words)), tmp_path / "run")
