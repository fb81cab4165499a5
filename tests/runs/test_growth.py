"""Memory and open files stay what they are, however many epochs are trained."""

import gc
import os
from pathlib import Path

import pytest
import pytorch_lightning as pl
from support import configured, smoke

from semexplain.training.callbacks.prior_weight import PriorWeight
from train import train

FROM, TO = 50, 200
MEGABYTES = 2.0  # measured: 0.1, and no open file


def memory() -> float:
    """Memory of this process, in MB."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="only Linux tells what a process holds")
def test_memory_and_open_files_are_flat_over_epochs(
    faces: Path, sweep: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    seen: dict[int, tuple[int, float]] = {}
    original = PriorWeight.on_train_epoch_start

    def look(self: PriorWeight, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        original(self, trainer, module)
        if trainer.current_epoch in (FROM, TO):
            gc.collect()
            seen[trainer.current_epoch] = len(os.listdir("/proc/self/fd")), memory()

    monkeypatch.setattr(PriorWeight, "on_train_epoch_start", look)
    words = smoke(
        faces,
        sweep.parent,
        "explainer=linear",
        f"trainer.max_epochs={TO + 1}",
        "callbacks=[prior_weight,best_checkpoint,last_checkpoint,write_explanations]",
    )
    train(configured(*words), tmp_path / "run")
    print("growth", seen)
    assert seen[TO][0] == seen[FROM][0]
    assert seen[TO][1] - seen[FROM][1] < MEGABYTES
