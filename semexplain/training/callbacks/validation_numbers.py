"""The numbers of the best epoch on the validation split."""

from pathlib import Path
from typing import Any

import torch
from pytorch_lightning import Callback, LightningModule, Trainer

from semexplain.config import ConfigError
from semexplain.system.files import write_json


class ValidationNumbers(Callback):
    """Keep what each checkpoint's epoch reached on the validation split, and write down those of the best one.

    Args:
        best: The best epoch's checkpoint, which another callback writes.
        file: JSON file of its numbers ``val/...``, written when training ends.
        objective: Number that a search makes least; if it is one of the validation split, it must be there.

    Raises:
        ConfigError: If the first validation does not measure ``objective``.
    """

    def __init__(self, best: Path, file: Path, objective: str | None = None) -> None:
        super().__init__()
        self.best = best
        self.file = file
        self.objective = objective

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Refuse an objective that is not measured before more epochs are spent on it."""
        numbers = _numbers(trainer)
        if self.objective is not None and self.objective.startswith("val/") and self.objective not in numbers:
            raise ConfigError(
                f"objective: {self.objective!r} is no number of the validation split. There are: {', '.join(numbers)}."
            )

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Add the epoch's numbers to its checkpoint."""
        checkpoint["validation"] = _numbers(trainer)

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write down the numbers of the best epoch."""
        if trainer.is_global_zero and self.best.exists():
            best = torch.load(self.best, map_location="cpu", weights_only=True, mmap=True)
            write_json(self.file, best.get("validation", {}))


def _numbers(trainer: Trainer) -> dict[str, float]:
    return {name: float(value) for name, value in sorted(trainer.callback_metrics.items()) if name.startswith("val/")}
