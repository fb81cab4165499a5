"""Trained performers, each under the address of everything that determines it."""

import hashlib
import json
import logging
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal, cast

import numpy as np
import pytorch_lightning as pl
import torch
from annotated_types import Ge, Gt, Interval
from hydra.utils import get_object
from omegaconf import DictConfig, OmegaConf
from pytorch_lightning.callbacks import EarlyStopping, ModelCheckpoint, TQDMProgressBar
from pytorch_lightning.loggers import CSVLogger
from safetensors.torch import save_file

from semexplain.cache import PerformanceCache
from semexplain.calibration import platt_scaling, rescale
from semexplain.callbacks.random_state import RandomState
from semexplain.config import ConfigError, instantiate
from semexplain.data.images import ImageDataModule
from semexplain.data.ready import ready_data
from semexplain.files import held, keep_aside, read_json, write_json
from semexplain.modules.classification import Classification
from semexplain.performers.base import Performer
from semexplain.processes import is_first, on_its_own

log = logging.getLogger(__name__)
FILE = "performer.safetensors"
SECONDS = 0.5


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
        seed: Annotated[int, Ge(0)] = 0,
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
            class_weights(datamodule) if self.balance else None,
            self.map_dropout,
            self.map_shift,
            self.calibrate,
        )
        callbacks = [
            ModelCheckpoint(folder, "best", monitor="val/loss", save_weights_only=True, enable_version_counter=False),
            ModelCheckpoint(folder, "last", every_n_epochs=1, enable_version_counter=False),
            RandomState(),
            TQDMProgressBar(refresh_rate=10),
        ]
        if self.patience is not None:
            callbacks.append(EarlyStopping("val/loss", patience=self.patience))
        trainer = pl.Trainer(
            accelerator=accelerator(config.trainer.accelerator),
            devices=1,
            max_epochs=self.max_epochs,
            callbacks=callbacks,
            logger=CSVLogger(folder, name="", version=""),
            default_root_dir=folder,
            use_distributed_sampler=False,
            num_sanity_val_steps=0,
            enable_model_summary=False,
            log_every_n_steps=10,
        )
        if self.train == "head":
            cache = cache_for(config, datamodule, trainer.strategy.root_device, performer)
            if cache is not None:
                cache.attach_trunk_maps(performer)
        last = folder / "last.ckpt"
        trainer.fit(module, datamodule=datamodule, ckpt_path=last if last.exists() else None, weights_only=True)
        best = torch.load(folder / "best.ckpt", map_location=module.device, weights_only=True)
        module.load_state_dict(best["state_dict"])
        if self.calibrate:
            logits, label = predictions(module, datamodule, "val")
            scale, offset = platt_scaling(logits, label, module.class_weights)
            if ((scale == 1) & (offset == 0)).any():
                log.warning("On the validation split the performer is no better than chance: it is not calibrated.")
            rescale(performer.output_layer, scale, offset)
        tested = trainer.test(module, datamodule.ordered("test"), verbose=False)
        save_file({key: value.contiguous().cpu() for key, value in performer.state_dict().items()}, folder / FILE)
        last.unlink(missing_ok=True)
        (folder / "best.ckpt").unlink(missing_ok=True)
        return {name: float(value) for name, value in tested[0].items()}


@torch.no_grad()
def predictions(module: Classification, datamodule: ImageDataModule, split: str) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits and labels, both ``(N, K)``, of a split, on the module's device."""
    module.eval()
    batches = []
    for batch in datamodule.ordered(split):
        batch = {name: value.to(module.device) for name, value in batch.items()}
        batches.append((module(batch), batch["label"]))
    logits, label = zip(*batches, strict=True)
    return torch.cat(logits), torch.cat(label)


def class_weights(datamodule: ImageDataModule) -> torch.Tensor:
    """Factors ``(2, K)`` that give training images without and with each label half of the weight each.

    Raises:
        ConfigError: If there is a label that all of them have or none.
    """
    split = datamodule.splits["train"]
    share = split.labels[split.order()].mean(0)
    if ((share == 0) | (share == 1)).any():
        constant = [name for name, one in zip(datamodule.names, share, strict=True) if one in (0, 1)]
        raise ConfigError(
            f"performer_training.balance: all or no training images have {', '.join(constant)}. Use `balance=false`."
        )
    return torch.tensor(np.stack([0.5 / (1 - share), 0.5 / share]), dtype=torch.float32)


def accelerator(choice: str) -> str:
    """The accelerator to use for a choice: ``auto`` leaves out Apple's, which has no float64 for the metrics."""
    return ("cuda" if torch.cuda.is_available() else "cpu") if choice == "auto" else choice


def cache_for(
    config: DictConfig, datamodule: ImageDataModule, device: torch.device, performer: Performer
) -> PerformanceCache | None:
    """The cache that ``data.cache`` asks for: ``auto`` (if it fits), ``off`` or a folder."""
    if datamodule.cache == "off":
        return None
    if datamodule.varies:
        log.info("Images are augmented at random: what the performer says of them is computed in every step, not kept.")
        return None
    folder = Path(config.paths.cache if datamodule.cache == "auto" else datamodule.cache)
    cache = PerformanceCache(folder, datamodule, device)
    if datamodule.cache == "auto" and not cache.fits(performer, datamodule.cache_gb):
        log.info(
            "Feature maps take more than data.cache_gb=%s GB or half of the free disk: every step computes them.",
            datamodule.cache_gb,
        )
        return None
    return cache


def performer_description(config: DictConfig, datamodule: ImageDataModule) -> dict[str, Any]:
    """Everything that determines a trained performer: network, initial weights, data and training."""
    plain = cast(dict[str, Any], OmegaConf.to_container(config, resolve=True))
    explanation_options = get_object(plain["performer"]["_target_"]).explanation_options
    network = {key: value for key, value in plain["performer"].items() if key not in explanation_options}
    weights = Path(network.get("weights") or "")
    if weights.is_file():
        with weights.open("rb") as file:
            network["weights"] = hashlib.file_digest(file, "sha256").hexdigest()
    return {"performer": network, "data": datamodule.fingerprint(), "training": plain["performer_training"]}


def trained_performer(config: DictConfig, datamodule: ImageDataModule) -> Path:
    """Path of the performer that a configuration asks for, trained now if nobody has trained it.

    ``performer.checkpoint=auto`` looks the performer up under its address in ``paths.performers``; a job that finds
    another one training it waits. Any other value is the path of a ``performer.safetensors``. Of processes that were
    started together the first trains it, on its own, and the others wait.
    """
    if config.performer.checkpoint != "auto":
        return Path(config.performer.checkpoint)
    description = performer_description(config, datamodule)
    key = hashlib.sha256(json.dumps(description, sort_keys=True).encode()).hexdigest()[:16]
    folder = Path(config.paths.performers) / key
    folder.parent.mkdir(parents=True, exist_ok=True)
    if not is_first() and not (folder / FILE).exists():
        log.info("Waiting for the first process, which makes the performer %s.", folder)
    while not is_first() and not (folder / FILE).exists():
        time.sleep(SECONDS)
    waiting = f"Another job is training the performer {folder}; waiting for it."
    with held(folder.with_suffix(".lock"), waiting):
        if not (folder / FILE).exists():
            with on_its_own():
                _train_into(config, folder, description)
    return folder / FILE


def _train_into(config: DictConfig, folder: Path, description: dict[str, Any]) -> None:
    """Train beside the final folder and rename; a partial folder that an interrupted attempt left is continued."""
    log.info("There is no performer %s yet: training it once, for all runs that use it.", folder)
    partial = folder.with_suffix(".partial")
    partial.mkdir(exist_ok=True)
    keep_aside(partial / "metrics.csv")
    metrics = instantiate(config.performer_training).fit(config, partial)
    write_json(partial / "metrics.json", metrics)
    write_json(partial / "performer.json", description)
    if folder.exists():
        shutil.rmtree(folder)
    os.replace(partial, folder)
    log.info("Trained the performer %s: mean test accuracy %.4f.", folder, metrics["test/accuracy"])


def performer_metrics(path: Path) -> dict[str, float]:
    """Test accuracies that were measured when a performer of the store was trained."""
    if not (path.parent / "metrics.json").exists():
        raise ConfigError(
            f"performer.checkpoint: {path} is not of the store; use `performer.checkpoint=auto` to train."
        )
    return read_json(path.parent / "metrics.json")
