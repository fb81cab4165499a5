"""Random numbers that continue where an interrupted run stopped."""

from typing import Any

import torch
from pytorch_lightning import Callback, LightningModule, Trainer


class RandomState(Callback):
    """Keep the state of the random number generators in checkpoints, so that dropout resumes bit for bit."""

    def __init__(self) -> None:
        super().__init__()
        self._resumed: dict[str, Any] | None = None

    def state_dict(self) -> dict[str, Any]:
        """The states of the CPU's and, where there are any, of the devices' generators."""
        return {
            "cpu": torch.get_rng_state(),
            "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Remember the states until training starts, so that nothing in between draws from them."""
        self._resumed = state_dict

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Continue with the remembered states."""
        if self._resumed is not None:
            torch.set_rng_state(self._resumed["cpu"].cpu())
            if len(self._resumed["cuda"]) == torch.cuda.device_count():
                torch.cuda.set_rng_state_all(self._resumed["cuda"])
            self._resumed = None
