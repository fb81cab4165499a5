"""Several processes that stop at one signal."""

import signal
from typing import Any

from pytorch_lightning import Callback, LightningModule, Trainer


class StopTogether(Callback):
    """Let SIGTERM end a run of several processes as Ctrl+C does, after the batch that is being computed.

    Lightning's own handler sends a message to the other processes from within the handler. They wait for another one,
    of the step that was interrupted, and all wait until the process group's time-out.
    """

    def __init__(self) -> None:
        super().__init__()
        self.interrupted = False

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Replace Lightning's handler, which is installed by now."""
        if trainer.world_size > 1:
            signal.signal(signal.SIGTERM, self._listen)

    def on_test_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """The same for measuring."""
        self.on_train_start(trainer, pl_module)

    def on_train_batch_end(self, *args: Any, **kwargs: Any) -> None:
        """Stop after a signal; here no other code can take the interruption for an error of its own."""
        if self.interrupted:
            raise KeyboardInterrupt

    def on_validation_batch_end(self, *args: Any, **kwargs: Any) -> None:
        """The same in validation."""
        self.on_train_batch_end()

    def on_test_batch_end(self, *args: Any, **kwargs: Any) -> None:
        """The same in measuring."""
        self.on_train_batch_end()

    def _listen(self, *_: object) -> None:
        self.interrupted = True
