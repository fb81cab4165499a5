"""Train, measure and evaluate: what a run does."""

import copy
import logging
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from omegaconf import DictConfig, OmegaConf

from semexplain.attributions.timed import TimedAttribution
from semexplain.data.module import ImageDataModule
from semexplain.judgement.verdict import Verdict
from semexplain.performers.base import Performer
from semexplain.runs.build import build, labelled_data
from semexplain.runs.folder import BEST, CACHE, CHECKPOINTS, LAST, METRICS, PARTS, PERFORMER, VALIDATION, VERDICT
from semexplain.runs.performer_store import performer_metrics, trained_performer
from semexplain.runs.run import Run
from semexplain.runs.verdicts import Asked, verdict_on, way_of, write_verdict
from semexplain.system.config import ConfigError, check_group, instantiate
from semexplain.system.files import write_json
from semexplain.system.processes import is_first, together
from semexplain.system.reading import read_json
from semexplain.system.trouble import Trouble
from semexplain.training.checkpoints import previous, to_resume
from semexplain.training.distillation import Distillation
from semexplain.training.measured import Measured
from semexplain.training.rival import RivalModule
from semexplain.training.weights_and_biases import WeightsAndBiases

log = logging.getLogger(__name__)
WRITES: dict[str, Any] = {  # what an evaluation leaves behind, whatever the run itself did
    "callbacks": {"write_explanations": {"_target_": "semexplain.report.write_explanations.WriteExplanations"}},
    "logger": {
        "csv": {"_target_": "pytorch_lightning.loggers.CSVLogger", "_partial_": True, "name": "", "version": ""},
    },
}
JUDGED_BY = {"concept_reliance": {"_target_": "semexplain.metrics.concept_reliance.ConceptReliance"}}


def train_explainer(
    config: DictConfig,
    folder: Path,
    *,
    given: Performer | None = None,
    data: ImageDataModule | None = None,
    beside: Sequence[Performer] = (),
) -> dict[str, float]:
    """Train an explainer, measure its best epoch on the test split, and write the run folder.

    Args:
        config: Checked.
        folder: Of the run.
        given: The network, if it was given in Python.
        data: Its images, if they were.
        beside: The same network with other targets, which will be explained next.
    """
    last = to_resume(folder / CHECKPOINTS)
    names = folder / PARTS if last is not None and (folder / PARTS).exists() else None
    datamodule, module, trainer = build(config, folder, named=names, data=data, given=given, beside=beside)
    with together(trainer.world_size):
        trainer.fit(module, datamodule=datamodule, ckpt_path=last, weights_only=True)
    if not (folder / BEST).exists():
        raise Trouble(f"{folder}: the training ended before its first validation. Give it more time or more steps.")
    module.restore(folder / BEST)
    metrics = measure(trainer, module, datamodule, folder)
    if is_first():
        previous(folder / LAST).unlink(missing_ok=True)
    return metrics


def train_performer(config: DictConfig, folder: Path) -> dict[str, float]:
    """Train the performer that explainer runs of the same configuration find in the store."""
    datamodule = labelled_data(config)
    path = trained_performer(config, datamodule)
    if path is None:
        raise ConfigError("task: this performer has its weights by itself: there is nothing to train.")
    metrics = performer_metrics(path)
    if is_first():
        write_json(folder / PERFORMER, {"path": str(path.absolute())})
        if (numbers := path.with_name(VALIDATION)).exists():
            shutil.copy(numbers, folder)
        write_json(folder / METRICS, metrics)
    log.info("Performer: %s", path)
    return metrics


def measure(
    trainer: pl.Trainer,
    module: Measured,
    datamodule: ImageDataModule,
    folder: Path,
    *,
    controls: Mapping[str, float] | None = None,
    judge: Callable[[Measured, torch.device], Verdict] | None = None,
) -> dict[str, float]:
    """Test a module; write ``metrics.json`` and, through the callback, ``explanations.parquet`` into a folder.

    Args:
        trainer: Of the run.
        module: Of the run.
        datamodule: Of the run.
        folder: Where the files are written.
        controls: Numbers of explainers that were trained on controls, by their names in ``metrics.json``.
        judge: Makes the verdict of the tested module, on a device; there is none by default.

    Returns:
        The numbers of ``metrics.json``, with those of the verdict, which the loggers get as well.
    """
    with together(trainer.world_size):
        results = trainer.test(module, datamodule=datamodule, verbose=False)
    numbers = {name: float(value) for name, value in sorted(results[0].items())} | dict(controls or {})
    judgement = None
    if judge is not None and trainer.is_global_zero:
        judgement = judge(module, trainer.strategy.root_device)
        write_verdict(judgement, folder / VERDICT)
    metrics = dict(sorted({**numbers, **(judgement.numbers if judgement else {})}.items()))
    further = {name: value for name, value in metrics.items() if name not in results[0]}
    for logger in trainer.loggers:
        logger.log_metrics({**further, "epoch": trainer.current_epoch}, trainer.global_step)
        logger.save()
        if judgement is not None and isinstance(logger, WeightsAndBiases):
            logger.judge(judgement.word, judgement.reason, str(judgement))
    if trainer.is_global_zero:
        write_json(folder / METRICS, metrics)
    return metrics


def evaluate_run(
    run: Run,
    folder: Path,
    *,
    controls: Mapping[str, float] | None = None,
    asked: Asked | None = None,
    rival: DictConfig | None = None,
    images: int | None = None,
    metrics: Mapping[str, Any] | None = None,
    writes: Mapping[str, Any] = WRITES,
) -> dict[str, float]:
    """Rebuild a run from its folder alone and measure it again.

    Args:
        run: The run.
        folder: Where the new numbers are written.
        controls: Numbers of explainers that were trained on controls, to be shown beside.
        asked: How to judge; there is no verdict by default.
        rival: What to measure in the explainer's place, a configuration of the group ``rival``; ``rival_fit_seconds``
            and ``rival_milliseconds_per_image`` are measured with it.
        images: Measure on this many images, spread evenly over the test split; all by default.
        metrics: Configurations of metrics to take beside the run's own, by name.
        writes: ``callbacks`` and ``logger`` by name, which take the place of the run's.

    Raises:
        ConfigError: If the folder is no finished run, the data are others, or the rival cannot explain the performer.
    """
    config, checkpoint = copy.deepcopy(run.config), run.checkpoint()
    for group, nodes in writes.items():
        OmegaConf.update(config, group, nodes, merge=False)
    if images is not None and (not isinstance(images, int) or images < 1):
        raise ConfigError(f"images: expected a number of test images of at least 1, got {images!r}.")
    if rival is not None:
        config.rival = rival
        check_group(config, "rival")
    for name, metric in {**JUDGED_BY, **(metrics or {})}.items():  # also of a run before there was such a metric
        OmegaConf.update(config, f"module.metrics.{name}", metric, force_add=True)
    names = run.path / PARTS if (run.path / PARTS).exists() and "parts.file" not in run.overrides else None
    if is_first() and (run.path / CACHE).exists():
        write_json(folder / CACHE, read_json(run.path / CACHE))
    datamodule, module, trainer = build(config, folder, named=names, data=run.data, given=run.given, trains=False)
    datamodule.test_images = images
    judge = None if asked is None else _judge(asked, module, datamodule)
    model: Measured = module if rival is None else RivalModule(module, _rival(config, module, trainer))
    model.restore(checkpoint)
    return measure(trainer, model, datamodule, folder, controls=controls, judge=judge)


def _judge(
    asked: Asked, module: Distillation, datamodule: ImageDataModule
) -> Callable[[Measured, torch.device], Verdict]:
    """The verdict to be made after the test; what cannot be is refused before it."""
    way, others = way_of(module.teacher, datamodule, asked.means), [other.module for other in asked.others]
    return lambda model, device: verdict_on(
        model, datamodule, way, asked.images, others, device, concepts=asked.concepts
    )


def _rival(config: DictConfig, module: Distillation, trainer: pl.Trainer) -> TimedAttribution:
    if trainer.world_size > 1:
        raise ConfigError(
            f"rival: a rival is fitted and measured by one process, the run's trainer has {trainer.world_size}. Use "
            "`trainer.devices=1 trainer.strategy=auto`."
        )
    rival = instantiate(config.rival)
    try:
        rival.check(module.performer.kind)
    except ValueError as error:
        raise ConfigError(f"rival: {error}") from error
    return TimedAttribution(rival, trainer.strategy.root_device)
