"""A run leaves what its best epoch, the one that is tested, reached on the validation split."""

import json
from pathlib import Path

import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import ModelCheckpoint
from torch import Tensor, nn

from semexplain.system.config import ConfigError
from semexplain.training.callbacks.validation_numbers import ValidationNumbers

LOSSES = [3.0, 1.0, 2.0, 4.0]  # of the epochs


class Worn(pl.LightningModule):
    """One parameter, and a validation loss that is known beforehand."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(1, 1)

    def training_step(self, batch: Tensor, batch_idx: int) -> Tensor:
        return self.layer(batch).mean()

    def validation_step(self, batch: Tensor, batch_idx: int) -> None:
        self.log_dict({"val/loss": LOSSES[self.current_epoch], "val/epoch": float(self.current_epoch), "other": 0.0})

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1)


def fit(folder: Path, epochs: int, *, weights_only: bool = False, objective: str | None = None) -> None:
    best, last = folder / "best.ckpt", folder / "last.ckpt"
    loader = torch.utils.data.DataLoader(torch.ones(2, 1))
    trainer = pl.Trainer(
        accelerator="cpu",
        max_epochs=epochs,
        callbacks=[
            ModelCheckpoint(
                folder, "best", monitor="val/loss", save_weights_only=weights_only, enable_version_counter=False
            ),
            ModelCheckpoint(folder, "last", every_n_epochs=1, enable_version_counter=False),
            ValidationNumbers(best, folder / "validation.json", objective),
        ],
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        log_every_n_steps=1,
    )
    trainer.fit(Worn(), loader, loader, ckpt_path=last if last.exists() else None, weights_only=True)


@pytest.mark.parametrize("weights_only", [True, False])
@pytest.mark.parametrize("before", [None, 1, 3])
def test_the_numbers_are_those_of_the_best_epoch_also_of_a_resumed_run(
    tmp_path: Path, weights_only: bool, before: int | None
):
    if before is not None:
        fit(tmp_path, before, weights_only=weights_only)
    fit(tmp_path, 4, weights_only=weights_only, objective="val/epoch")
    assert json.loads((tmp_path / "validation.json").read_text()) == {"val/epoch": 1.0, "val/loss": 1.0}


def test_an_objective_that_is_not_measured_ends_the_run_at_the_first_validation(tmp_path: Path):
    with pytest.raises(
        ConfigError, match=r"^objective: 'val/los' .* \(did you mean 'val/loss'\?\)\. There are: val/ep"
    ):
        fit(tmp_path, 4, objective="val/los")
    assert not list(tmp_path.iterdir())  # no checkpoint: nothing to resume
    fit(tmp_path, 1, objective="test/loss")  # what is measured later cannot be missed here
