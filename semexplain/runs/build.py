"""From a configuration to data, module and trainer."""

import logging
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import pytorch_lightning as pl
import torch
from omegaconf import DictConfig
from pytorch_lightning.callbacks import ModelCheckpoint

from semexplain.concepts.parts import Parts, read_parts, write_parts
from semexplain.data.module import ImageDataModule, ready_data
from semexplain.data.text_files import first_few
from semexplain.performers.base import Performer
from semexplain.performers.named_network import NamedNetwork
from semexplain.runs.cache import cache_for
from semexplain.runs.folder import BEST, CACHE, CHECKPOINTS, PARTS, PERFORMER, VALIDATION
from semexplain.runs.naming import named_performer
from semexplain.runs.options import outline
from semexplain.runs.performer_store import trained_performer
from semexplain.runs.validation import require_validation
from semexplain.system.config import ConfigError, instantiate, suggest
from semexplain.system.devices import accelerator
from semexplain.system.files import write_json
from semexplain.system.processes import group_patience, is_first, started_together
from semexplain.system.references import as_written
from semexplain.training.callbacks.divergence import Divergence
from semexplain.training.callbacks.stop_together import StopTogether
from semexplain.training.callbacks.validation_numbers import ValidationNumbers
from semexplain.training.checkpoints import WholeCheckpoints
from semexplain.training.distillation import Distillation
from semexplain.training.weights_and_biases import WeightsAndBiases

log = logging.getLogger(__name__)
# Times the range of the scores. The same prediction for all images misses by a half at most, an honest training of two
# epochs on concepts that say nothing by up to 77, a diverged one by 6e8.
ABSURD = 1000.0
NONSENSE = "at its best epoch the predictions miss by {:.3g} times the range of the scores."


def build(
    config: DictConfig,
    folder: Path,
    *,
    named: Path | None = None,
    data: ImageDataModule | None = None,
    given: Performer | None = None,
    trains: bool = True,
    beside: Sequence[Performer] = (),
) -> tuple[ImageDataModule, Distillation, pl.Trainer]:
    """Data, module and trainer of an explainer run, with the performer trained first if nobody has.

    Args:
        config: The run's configuration.
        folder: Where the run writes.
        named: File with the names that the run gave to the filters, to use again; they are proposed by default.
        data: The configuration's data, if they have been read.
        given: The network, if it was given in Python.
        trains: Whether the run is to be trained: then its trainer must come to a validation.
        beside: The given network with other targets, whose scores are computed with its own where they are kept.
    """
    _require_all_processes(config.trainer)
    datamodule = labelled_data(config) if data is None else data
    trainer = _trainer(config, folder, alone=bool(beside))
    if trains:
        require_validation(trainer, datamodule)
    checkpoint = trained_performer(config, datamodule) if given is None else None
    pl.seed_everything(config.seed, workers=True, verbose=False)
    performer = built_performer(config, checkpoint) if given is None else given
    if datamodule.framing.function is not None:  # which the network has
        datamodule.framing = performer.framing
    parts = _parts(config, datamodule, performer, trainer.strategy.root_device, named)
    if parts is not None and is_first():
        write_parts(folder / PARTS, parts)
    module = instantiate(config.module)(performer=performer, parts=parts)
    if not datamodule.varies:
        module.teacher.keeps(datamodule.cache_dtype)
    cache = cache_for(config, datamodule, trainer.strategy.root_device, performer, folder / CACHE, module)
    if cache is not None:
        cache.attach_performances(performer, module.teacher.prior, beside)
        if module.performer is not performer:  # a control explains another one
            cache.attach_answers(module.performer, module.teacher.prior)
        if module.reads == "hidden":
            cache.attach_hidden(module.performer)
    for logger in trainer.loggers:
        if isinstance(logger, WeightsAndBiases):
            options = cast(dict[str, Any], as_written(config))
            settings = {key: value for key, value in options.items() if key not in ("module", "callbacks", "logger")}
            logger.describe({**settings, "n_concepts": len(module.teacher.concept_names)})
    if is_first():
        same = module.performer is performer  # unless a control explains another one
        digest = module.identity["performer_sha256"] if same else performer.digest()
        path = None if checkpoint is None else str(checkpoint.absolute())
        test = datamodule.splits["test"]
        objects = len(test.ids if test.groups is None else set(test.groups.tolist()))
        facts = {"data_sha256": datamodule.fingerprint(), "test_objects": objects}
        source = {"source": performer.source} if isinstance(performer, NamedNetwork) else {}
        write_json(folder / PERFORMER, {"path": path, "sha256": digest, **facts, **source})
    return datamodule, module, trainer


def built_performer(config: DictConfig, checkpoint: Path | None) -> Performer:
    """The performer of a configuration, with its trained weights if it has a checkpoint."""
    arguments = {} if checkpoint is None else {"checkpoint": str(checkpoint)}
    return instantiate(config.performer, **arguments)


def labelled_data(config: DictConfig) -> ImageDataModule:
    """The data, with labels of every output where the performer may have to be trained; else none are needed."""
    performer = outline(config)
    datamodule = ready_data(config.data)
    trained_here = config.performer.get("checkpoint") == "auto"
    missing = [name for name in performer.output_names if name not in datamodule.names]
    if missing and trained_here:
        raise ConfigError(
            f"data: {config.data._target_} has no labels of {missing[0]!r}, which the performer tells"
            f"{suggest(missing[0], datamodule.names)}: it has those of {first_few(datamodule.names) or 'nothing'}. "
            "Choose data and performer of the same experiment."
        )
    if (target := performer.target_name) not in datamodule.names:
        hint = f"{suggest(target, datamodule.names)}, but of {first_few(datamodule.names)}" if datamodule.names else ""
        log.info("The data have no labels of %r%s: accuracies and thresholds are left out.", target, hint)
    return datamodule


def _trainer(config: DictConfig, folder: Path, *, alone: bool) -> pl.Trainer:
    numbers = ValidationNumbers(folder / BEST, folder / VALIDATION, config.objective)
    divergence = Divergence(folder, "optimizer.lr", "val/relative_deviation", NONSENSE, ABSURD)
    callbacks = [divergence, *instantiate(config.callbacks).values(), StopTogether(), numbers]
    for callback in callbacks:
        if isinstance(callback, ModelCheckpoint) and callback.dirpath is None:
            callback.dirpath = os.path.realpath(folder / CHECKPOINTS)  # Lightning would ask the first logger
    trainer = instantiate(
        config.trainer,
        **_where(config.trainer),
        callbacks=callbacks,
        logger=[logger(save_dir=str(folder)) for logger in instantiate(config.logger).values()],
        default_root_dir=str(folder),
    )
    if alone and trainer.world_size > 1:
        raise ConfigError(
            f"targets: several are fitted by one process, the trainer has {trainer.world_size}. Use "
            "`trainer.devices=1 trainer.strategy=auto`, or fit them one by one."
        )
    trainer.strategy.checkpoint_io = WholeCheckpoints()
    if hasattr(trainer.strategy, "_timeout"):  # a parameter of the strategy, which may be given by name
        trainer.strategy._timeout = group_patience()
    return trainer


def _require_all_processes(trainer: DictConfig) -> None:
    """Refuse a trainer that would use other processes than were started: each would train on its own, in one folder."""
    processes = started_together()
    devices, nodes = trainer.get("devices"), trainer.get("num_nodes") or 1
    if processes > 1 and isinstance(devices, int) and devices > 0 and devices * nodes != processes:
        raise ConfigError(
            f"trainer.devices: {processes} processes were started together (by torchrun or srun), but trainer.devices="
            f"{devices} on {nodes} node(s) are {devices * nodes}. Say what was started, for example `trainer=ddp "
            f"trainer.devices={processes}`, and on several nodes `+trainer.num_nodes=...`."
        )


def _where(trainer: DictConfig) -> dict[str, Any]:
    """Where to compute, with what is not possible there left out."""
    where = accelerator(trainer.accelerator)
    if where == "cpu" and trainer.get("sync_batchnorm"):
        log.info("On the CPU every process normalises by its own images: there is no synchronised batch normalisation.")
        return {"accelerator": where, "sync_batchnorm": False}
    return {"accelerator": where}


def _parts(
    config: DictConfig, datamodule: ImageDataModule, performer: Performer, device: torch.device, named: Path | None
) -> Parts | None:
    if config.get("parts") is None:
        return None
    if named is not None:
        return read_parts(named, performer=named_performer(performer))
    return instantiate(config.parts)(performer, datamodule, device, Path(config.paths.cache))
