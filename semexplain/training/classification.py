"""Train a performer on labels, so that there is something to explain (Secs. 4.1 and 4.2)."""

from collections.abc import Callable
from typing import Any, Literal

import pytorch_lightning as pl
import torch
from torch import Tensor
from torch.nn import functional as F

from semexplain.metrics.attribute_accuracy import AttributeAccuracy
from semexplain.performers.base import TrainablePerformer, logistic_loss
from semexplain.training.calibration import platt_scaling


class Classification(pl.LightningModule):
    """A performer that learns to tell which labels an image has.

    Args:
        performer: The network to train.
        names: Of the labels; those of the performer's ``K`` outputs are found among them.
        optimizer: Partial of an optimizer, given parameter groups.
        scheduler: Partial of a learning-rate scheduler stepped every epoch, given an optimizer; none by default.
        train: Train the layers above the trunk only (``head``) or all of them (``all``).
        trunk_lr_factor: Learning rate of the trunk as a share of the head's, when all layers train.
        class_weights: ``(2, K)``, factors of the loss for images without and with each label; 1 by default.
        map_dropout: Probability of dropping a channel of the trunk's output while training.
        map_shift: Cells by which the trunk's output is shifted at random while training, at most.
        calibrate: Report the validation loss that the logits would have after calibration on this very split, as they
            will be calibrated in the end: how sure of itself an epoch's network is does not decide which one is best.
    """

    class_weights: Tensor | None

    def __init__(
        self,
        performer: TrainablePerformer,
        names: tuple[str, ...],
        optimizer: Callable[..., torch.optim.Optimizer],
        scheduler: Callable[..., torch.optim.lr_scheduler.LRScheduler] | None = None,
        train: Literal["head", "all"] = "all",
        trunk_lr_factor: float = 0.1,
        class_weights: Tensor | None = None,
        map_dropout: float = 0.0,
        map_shift: int = 0,
        calibrate: bool = False,
    ) -> None:
        super().__init__()
        self.performer = performer
        self.optimizer = optimizer
        self.scheduler = scheduler
        self.trunk_lr_factor = trunk_lr_factor
        self.map_dropout = map_dropout
        self.map_shift = map_shift
        self.calibrate = calibrate
        for module in performer.trunk_modules():
            module.requires_grad_(train == "all")
        self.register_buffer("class_weights", class_weights, persistent=False)
        self.columns = [names.index(name) for name in performer.output_names]
        self.accuracy = AttributeAccuracy(performer.output_names)
        self._epoch_losses: list[Tensor] = []
        self._validated: list[tuple[Tensor, Tensor]] = []

    def trunk_map(self, batch: dict[str, Tensor]) -> Tensor:
        """The trunk's output ``(B, C, H, W)``: of the images, or as it was computed once."""
        return batch["trunk_map"] if "trunk_map" in batch else self.performer.trunk_map(batch["image"])

    def label(self, batch: dict[str, Tensor]) -> Tensor:
        """Ground truth of every output, bool ``(B, K)``."""
        return batch["label"][:, self.columns]

    def forward(self, batch: dict[str, Tensor]) -> Tensor:
        """Logits ``(B, K)`` of a batch."""
        return self.performer.logits(self.trunk_map(batch))

    def training_step(self, batch: dict[str, Tensor], batch_idx: int) -> Tensor:
        """The loss of a batch."""
        trunk_map = shifted(F.dropout2d(self.trunk_map(batch), self.map_dropout), self.map_shift)
        loss = self.performer.training_loss(trunk_map, self.label(batch), self.current_epoch + 1, self.class_weights)
        self._epoch_losses.append(loss.detach())
        return loss

    def on_train_epoch_end(self) -> None:
        """Log the epoch's mean loss."""
        if self._epoch_losses:  # none if it was interrupted after the last batch, and resumed there
            self.log("train/loss", torch.stack(self._epoch_losses).mean(), sync_dist=True)
        self._epoch_losses = []

    def validation_step(self, batch: dict[str, Tensor], batch_idx: int) -> Tensor:
        """Measure a batch of the validation split; its logits."""
        logits = self(batch)
        self.accuracy.update(logits, self.label(batch))
        self._validated.append((logits, self.label(batch)))
        return logits

    def on_validation_epoch_end(self) -> None:
        """Report loss and accuracy on the validation split."""
        logits, label = (torch.cat(part) for part in zip(*self._validated, strict=True))
        self._validated = []
        if self.calibrate:
            scale, offset = platt_scaling(logits, label, self.class_weights)
            logits = logits * scale + offset
        loss = logistic_loss(logits, label, self.class_weights)
        accuracy = self.accuracy.compute()["accuracy"]
        self.log_dict({"val/loss": loss.float(), "val/accuracy": accuracy.float()}, prog_bar=True, sync_dist=True)
        self.accuracy.reset()

    def test_step(self, batch: dict[str, Tensor], batch_idx: int) -> None:
        """Measure a batch of the test split."""
        self.accuracy.update(self(batch), self.label(batch))

    def on_test_epoch_end(self) -> None:
        """Report the accuracy of every attribute."""
        self.log_dict({f"test/{name}": value.float() for name, value in self.accuracy.compute().items()})
        self.accuracy.reset()

    def configure_optimizers(self) -> Any:
        """The performer's own groups, each at its share of the learning rate."""
        groups = self.performer.parameter_groups(self.trunk_lr_factor)
        factors = [group.pop("lr_factor") for group in groups]
        members = [[parameter for parameter in group["params"] if parameter.requires_grad] for group in groups]
        places = [number for number, parameters in enumerate(members) if parameters]
        optimizer = self.optimizer([{**groups[number], "params": members[number]} for number in places])
        for group, number in zip(optimizer.param_groups, places, strict=True):
            group["lr"] *= factors[number]
        return optimizer if self.scheduler is None else ([optimizer], [self.scheduler(optimizer)])


def shifted(maps: Tensor, most: int) -> Tensor:
    """Move each image's maps by up to ``most`` cells in both directions, at random; the border cells are repeated.

    Where a trunk's output is computed once, this stands in for crops that vary.

    Args:
        maps: ``(B, C, H, W)``.
        most: Cells.

    Example:
        >>> shifted(torch.ones(2, 3, 4, 4), 1).shape
        torch.Size([2, 3, 4, 4])
    """
    if most == 0:
        return maps
    size, _, height, width = maps.shape
    down, right = torch.randint(-most, most + 1, (2, size, 1), device=maps.device)
    rows = (torch.arange(height, device=maps.device) + down).clamp(0, height - 1)
    columns = (torch.arange(width, device=maps.device) + right).clamp(0, width - 1)
    image = torch.arange(size, device=maps.device)[:, None, None]
    return maps.permute(0, 2, 3, 1)[image, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)
