"""λ(t) = β / √t, with t the epoch counted from 1 (Eq. 3)."""

from pathlib import Path

import pytest
import pytorch_lightning as pl
import torch
from torch import Tensor, nn

from semexplain.training.callbacks.prior_weight import PriorWeight


class Recorder(pl.LightningModule):
    """One parameter, and λ as each step and each validation saw it."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(1, 1)
        self.prior_weight = float("nan")
        self.trained: list[tuple[int, float]] = []
        self.validated: list[float] = []

    def training_step(self, batch: Tensor, batch_idx: int) -> Tensor:
        self.trained.append((self.current_epoch, self.prior_weight))
        return self.layer(batch).mean()

    def validation_step(self, batch: Tensor, batch_idx: int) -> None:
        self.validated.append(self.prior_weight)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1)


def fit(folder: Path, epochs: int, steps: int, resume: Path | None = None) -> Recorder:
    module = Recorder()
    loader = torch.utils.data.DataLoader(torch.ones(steps, 1))
    trainer = pl.Trainer(
        accelerator="cpu",
        max_epochs=epochs,
        callbacks=[PriorWeight(10.0)],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(module, loader, loader, ckpt_path=resume, weights_only=True)
    trainer.save_checkpoint(folder / f"{epochs}.ckpt")
    return module


EXPECTED = [10.0, 7.0711, 5.7735, 5.0]


@pytest.mark.parametrize("steps", [1, 5])
def test_it_is_constant_in_an_epoch_whatever_the_number_of_steps(tmp_path: Path, steps: int):
    module = fit(tmp_path, 4, steps)
    assert [epoch for epoch, _ in module.trained] == [epoch for epoch in range(4) for _ in range(steps)]
    assert [weight for _, weight in module.trained] == pytest.approx(
        [w for w in EXPECTED for _ in range(steps)], abs=5e-5
    )


def test_the_check_before_training_has_the_first_weight(tmp_path: Path):
    assert fit(tmp_path, 1, 2).validated[0] == 10.0


def test_a_resumed_run_goes_on_where_it_was(tmp_path: Path):
    fit(tmp_path, 2, 3)
    resumed = fit(tmp_path, 4, 3, resume=tmp_path / "2.ckpt")
    assert [weight for _, weight in resumed.trained] == pytest.approx(
        [w for w in EXPECTED[2:] for _ in range(3)], abs=5e-5
    )


def test_it_cannot_be_negative():
    with pytest.raises(ValueError, match="`beta` must not be negative, got -1"):
        PriorWeight(-1.0)
