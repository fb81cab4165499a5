"""The numbers of the best epoch on the validation split."""

from pathlib import Path
from typing import Any

from pytorch_lightning import Callback, LightningModule, Trainer

from semexplain.system.config import ConfigError, suggest
from semexplain.system.files import write_json
from semexplain.training.checkpoints import read_checkpoint


class ValidationNumbers(Callback):
    """Keep each epoch's validation numbers, and write those of the best epoch.

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
        self.epochs: dict[int, dict[str, float]] = {}

    def state_dict(self) -> dict[str, Any]:
        """The numbers of all epochs, by name and epoch."""
        return {"epochs": self.epochs}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on with the numbers of an interrupted training."""
        self.epochs = state_dict["epochs"]

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Take the epoch's numbers; refuse an objective that is not among them before more epochs are spent on it."""
        metrics = sorted(trainer.callback_metrics.items())
        numbers = {name: float(value) for name, value in metrics if name.startswith("val/")}
        if self.objective is not None and self.objective.startswith("val/") and self.objective not in numbers:
            hint = suggest(self.objective, numbers)
            raise ConfigError(
                f"objective: {self.objective!r} is no number of the validation split{hint}. There are: "
                f"{', '.join(numbers)}."
            )
        self.epochs[trainer.current_epoch] = numbers

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write down the numbers of the best epoch."""
        if trainer.is_global_zero and self.best.exists():
            write_json(self.file, self.epochs.get(read_checkpoint(self.best)["epoch"], {}))
