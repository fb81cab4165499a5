"""The weight of the prior loss over the epochs (Eq. 3)."""

from math import sqrt
from typing import Annotated

from annotated_types import Ge
from pytorch_lightning import Callback, LightningModule, Trainer


class PriorWeight(Callback):
    r"""Let the prior fade: :math:`\lambda(t) = \beta / \sqrt t`, with ``t`` the epoch counted from 1.

    Constant within an epoch and a pure function of its number, so a resumed run needs no state to continue it.

    Args:
        beta: β of Eq. (3). 0 trains the baseline: the prior is then not computed at all.

    Example:
        >>> [round(PriorWeight(beta=10.0).at(epoch), 4) for epoch in range(4)]
        [10.0, 7.0711, 5.7735, 5.0]
    """

    def __init__(self, beta: Annotated[float, Ge(0)]) -> None:
        super().__init__()
        if beta < 0:
            raise ValueError(f"`beta` must not be negative, got {beta}.")
        self.beta = beta

    def at(self, epoch: int) -> float:
        """λ in the epoch of this number, counted from 0 as the trainer does."""
        return self.beta / sqrt(epoch + 1)

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Set λ before any validation that precedes the first epoch."""
        pl_module.prior_weight = self.at(trainer.current_epoch)  # type: ignore[assignment]

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Set λ for the epoch."""
        pl_module.prior_weight = self.at(trainer.current_epoch)  # type: ignore[assignment]
