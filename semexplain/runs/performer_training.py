"""How a performer is trained where the store does not have it."""

import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import pytorch_lightning as pl
import torch
from annotated_types import Ge, Gt, Interval
from omegaconf import DictConfig
from pytorch_lightning.callbacks import EarlyStopping, ModelCheckpoint, TQDMProgressBar
from pytorch_lightning.loggers import CSVLogger
from safetensors.torch import save

from semexplain.data.module import ImageDataModule, ready_data
from semexplain.runs.cache import cache_for
from semexplain.runs.folder import CACHE, VALIDATION
from semexplain.runs.performer_store import FILE
from semexplain.system.config import ConfigError, instantiate
from semexplain.system.devices import accelerator
from semexplain.system.files import whole_file
from semexplain.system.seed import Seed
from semexplain.training.calibration import platt_scaling, rescale
from semexplain.training.callbacks.divergence import Divergence
from semexplain.training.callbacks.random_state import RandomState
from semexplain.training.callbacks.validation_numbers import ValidationNumbers
from semexplain.training.checkpoints import WholeCheckpoints, read_checkpoint, to_resume
from semexplain.training.classification import Classification

log = logging.getLogger(__name__)
NONSENSE = "its loss on the validation images is {:.3g} at best, ten times that before the first step is {:.3g}."


class PerformerTraining:
    """How a performer is trained when the store does not have it.

    Args:
        optimizer: Partial of an optimizer, given parameter groups.
        train: The layers above the feature map only (``head``), on features computed once, or ``all`` layers.
        trunk_lr_factor: Learning rate of the trunk as a share of the head's.
        batch_size: Images per step.
        max_epochs: Most epochs.
        patience: Stop after this many epochs without a better validation loss; the best epoch is kept in any case.
        flip: Mirror training images at random.
        seed: Of initialisation, order and dropout.
        scheduler: Partial of a learning-rate scheduler stepped every epoch; a constant rate by default.
        balance: Let images with and without a label weigh as much together, however many there are of each.
        map_dropout: Probability of dropping a channel of the trunk's output in training.
        map_shift: Cells by which the trunk's output is shifted at random in training, at most.
        calibrate: Fit scale and offset of the trained performer's scores on the validation split.
    """

    def __init__(
        self,
        optimizer: Callable[..., torch.optim.Optimizer],
        train: Literal["head", "all"] = "all",
        trunk_lr_factor: Annotated[float, Gt(0)] = 0.1,
        batch_size: Annotated[int, Ge(2)] = 128,
        max_epochs: Annotated[int, Ge(1)] = 10,
        patience: Annotated[int, Ge(1)] | None = None,
        flip: bool = True,
        seed: Seed = 0,
        scheduler: Callable[..., torch.optim.lr_scheduler.LRScheduler] | None = None,
        balance: bool = False,
        map_dropout: Annotated[float, Interval(ge=0, lt=1)] = 0.0,
        map_shift: Annotated[int, Ge(0)] = 0,
        calibrate: bool = False,
    ) -> None:
        self.optimizer = optimizer
        self.train = train
        self.trunk_lr_factor = trunk_lr_factor
        self.batch_size = batch_size
        self.max_epochs = max_epochs
        self.patience = patience
        self.flip = flip
        self.seed = seed
        self.scheduler = scheduler
        self.balance = balance
        self.map_dropout = map_dropout
        self.map_shift = map_shift
        self.calibrate = calibrate

    def fit(self, config: DictConfig, folder: Path) -> dict[str, float]:
        """Train in ``folder``, continuing where an earlier attempt stopped; leave ``performer.safetensors`` there.

        Returns:
            Accuracies on the test split, by name.
        """
        pl.seed_everything(self.seed, verbose=False)
        datamodule = ready_data(config.data, batch_size=self.batch_size, flip=self.flip, seed=self.seed)
        performer = instantiate(config.performer, checkpoint=None)
        module = Classification(
            performer,
            datamodule.names,
            self.optimizer,
            self.scheduler,
            self.train,
            self.trunk_lr_factor,
            class_weights(datamodule, performer.output_names) if self.balance else None,
            self.map_dropout,
            self.map_shift,
            self.calibrate,
        )
        trainer = pl.Trainer(
            accelerator=accelerator(config.trainer.accelerator),
            devices=1,
            max_epochs=self.max_epochs,
            callbacks=self._callbacks(folder),
            logger=CSVLogger(folder, name="", version=""),
            default_root_dir=folder,
            use_distributed_sampler=False,
            num_sanity_val_steps=0,
            enable_model_summary=False,
            log_every_n_steps=10,
            plugins=[WholeCheckpoints()],
        )
        if self.train == "head":
            cache = cache_for(config, datamodule, trainer.strategy.root_device, performer, folder / CACHE)
            if cache is not None:
                cache.attach_trunk_maps(performer)
        trainer.fit(module, datamodule=datamodule, ckpt_path=to_resume(folder, anew=True), weights_only=True)
        module.load_state_dict(read_checkpoint(folder / "best.ckpt", module.device)["state_dict"])
        if self.calibrate:
            logits, label = predictions(module, datamodule, "val")
            scale, offset = platt_scaling(logits, label, module.class_weights)
            if ((scale == 1) & (offset == 0)).any():
                log.warning("On the validation split the performer is no better than chance: it is not calibrated.")
            rescale(performer.output_layer, scale, offset)
        results = trainer.test(module, datamodule.ordered("test"), verbose=False)
        with whole_file(folder / FILE) as partial:
            partial.write_bytes(save({key: value.contiguous().cpu() for key, value in performer.state_dict().items()}))
        return {name: float(value) for name, value in results[0].items()}

    def _callbacks(self, folder: Path) -> list[pl.Callback]:
        callbacks: list[pl.Callback] = [
            ModelCheckpoint(folder, "best", monitor="val/loss", save_weights_only=True, enable_version_counter=False),
            ModelCheckpoint(folder, "last", every_n_epochs=1, enable_version_counter=False),
            Divergence(folder, "performer_training.optimizer.lr", "val/loss", NONSENSE),
            RandomState(),
            ValidationNumbers(folder / "best.ckpt", folder / VALIDATION),
            TQDMProgressBar(refresh_rate=10),
        ]
        if self.patience is not None:
            callbacks.append(EarlyStopping("val/loss", patience=self.patience))
        return callbacks


@torch.no_grad()
def predictions(module: Classification, datamodule: ImageDataModule, split: str) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits and labels, both ``(N, K)``, of a split, on the module's device."""
    module.eval()
    batches = []
    for batch in datamodule.ordered(split):
        batch = {name: value.to(module.device) for name, value in batch.items()}
        batches.append((module(batch), module.label(batch)))
    logits, label = zip(*batches, strict=True)
    return torch.cat(logits), torch.cat(label)


def class_weights(datamodule: ImageDataModule, names: Sequence[str]) -> torch.Tensor:
    """Factors ``(2, K)`` that give training images without and with each of these labels half of the weight each.

    Raises:
        ConfigError: If there is a label that all of them have or none.
    """
    split = datamodule.splits["train"]
    share = split.labels[split.order()][:, [datamodule.names.index(name) for name in names]].mean(0)
    if ((share == 0) | (share == 1)).any():
        constant = [name for name, one in zip(names, share, strict=True) if one in (0, 1)]
        raise ConfigError(
            f"performer_training.balance: all or no training images have {', '.join(constant)}. Use `balance=false`."
        )
    return torch.tensor(np.stack([0.5 / (1 - share), 0.5 / share]), dtype=torch.float32)
