"""Train a performer on labels, so that there is something to explain (Sec. 4.2)."""

from collections.abc import Callable
from typing import Literal

import pytorch_lightning as pl
import torch
from torch import Tensor
from torch.nn import functional as F

from semexplain.attributes import ATTRIBUTES
from semexplain.metrics.attribute_accuracy import AttributeAccuracy
from semexplain.performers.vgg16_attributes import VGG16Attributes


class Classification(pl.LightningModule):
    """A multi-attribute performer and its logistic loss, summed over the attributes and averaged over the images.

    Args:
        performer: The network to train.
        optimizer: Partial of an optimizer, given parameter groups.
        train: Train the layers above the feature map only (``head``) or all of them (``all``).
        trunk_lr_factor: Learning rate of the trunk as a share of the head's, when all layers train.
    """

    def __init__(
        self,
        performer: VGG16Attributes,
        optimizer: Callable[..., torch.optim.Optimizer],
        train: Literal["head", "all"] = "all",
        trunk_lr_factor: float = 0.1,
    ) -> None:
        super().__init__()
        self.performer = performer
        self.optimizer = optimizer
        self.trunk_lr_factor = trunk_lr_factor
        for module in performer.trunk_modules():
            module.requires_grad_(train == "all")
        self.accuracy = AttributeAccuracy(ATTRIBUTES)
        self._epoch_losses: list[Tensor] = []

    def forward(self, batch: dict[str, Tensor]) -> Tensor:
        """Logits ``(B, 40)`` of a batch of images, or of feature maps that were computed once."""
        feature_map = batch["feature_map"] if "feature_map" in batch else self.performer.encode(batch["image"])
        return self.performer.logits(feature_map)

    def training_step(self, batch: dict[str, Tensor], batch_idx: int) -> Tensor:
        """The loss of a batch."""
        loss = logistic_loss(self(batch), batch["label"])
        self._epoch_losses.append(loss.detach())
        return loss

    def on_train_epoch_end(self) -> None:
        """Log the epoch's mean loss."""
        self.log("train/loss", torch.stack(self._epoch_losses).mean(), sync_dist=True)
        self._epoch_losses = []

    def validation_step(self, batch: dict[str, Tensor], batch_idx: int) -> None:
        """Measure a batch of the validation split."""
        logits = self(batch)
        self.accuracy.update(logits, batch["label"])
        self.log(
            "val/loss", logistic_loss(logits, batch["label"]), batch_size=len(logits), sync_dist=True, prog_bar=True
        )

    def on_validation_epoch_end(self) -> None:
        """Report and reset the validation accuracy."""
        self.log("val/accuracy", self.accuracy.compute()["accuracy"].float(), prog_bar=True)
        self.accuracy.reset()

    def test_step(self, batch: dict[str, Tensor], batch_idx: int) -> None:
        """Measure a batch of the test split."""
        self.accuracy.update(self(batch), batch["label"])

    def on_test_epoch_end(self) -> None:
        """Report the accuracy of every attribute."""
        self.log_dict({f"test/{name}": value.float() for name, value in self.accuracy.compute().items()})
        self.accuracy.reset()

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """The head at the given learning rate, a trained trunk at a share of it."""
        head = [parameter for module in self.performer.head_modules() for parameter in module.parameters()]
        trunk = [p for module in self.performer.trunk_modules() for p in module.parameters() if p.requires_grad]
        optimizer = self.optimizer([{"params": group} for group in (head, trunk) if group])
        for group in optimizer.param_groups[1:]:
            group["lr"] *= self.trunk_lr_factor
        return optimizer


def logistic_loss(logits: Tensor, label: Tensor) -> Tensor:
    """``Σ log(1 + exp(-c y))`` over the attributes with ``c = ±1``, averaged over the images.

    Args:
        logits: ``(B, K)``.
        label: ``(B, K)``, bool.

    Example:
        >>> logistic_loss(torch.zeros(2, 3), torch.tensor([[True, False, True]] * 2))  # 3 ln 2
        tensor(2.0794)
    """
    return F.binary_cross_entropy_with_logits(logits, label.to(logits.dtype), reduction="sum") / len(logits)
