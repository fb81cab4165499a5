"""Several processes that stop when they are told to."""

import signal

from pytorch_lightning import Callback, LightningModule, Trainer


class StopTogether(Callback):
    """Let SIGTERM end a run of several processes as Ctrl+C does.

    Lightning's own handler sends a message to the other processes from within the handler. They wait for another one,
    of the step that was interrupted, and all wait until the process group's time-out.
    """

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Take Lightning's handler, which is installed by now, out of the way."""
        if trainer.world_size > 1:
            signal.signal(signal.SIGTERM, signal.default_int_handler)

    def on_test_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """The same for measuring."""
        self.on_train_start(trainer, pl_module)
