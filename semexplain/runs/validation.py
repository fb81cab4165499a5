"""What a trainer's options must leave of a run: steps, validations and the numbers that callbacks ask for."""

from collections.abc import Iterator, Mapping
from math import isfinite
from typing import Any

import pytorch_lightning as pl

from semexplain.data.module import ImageDataModule
from semexplain.metrics.measure import Measure
from semexplain.system.config import refuse, targets, trusted_target

LIMITS = ("limit_train_batches", "limit_val_batches", "limit_test_batches")
OWN = ("bias", "distillation", "prior_loss")  # what a module reports in validation beside its metrics
INSTEAD = {
    "fast_dev_run": "leaves nothing behind: `scale=smoke` shows in seconds that everything runs",
    "overfit_batches": "changes the data that are measured: use `data.limit`",
    "barebones": "leaves nothing behind: leave it out",
}


def trainer_problems(values: Mapping[str, Any]) -> Iterator[str]:
    """What is wrong with plain options of a run, whatever its data are: without a validation it has no best epoch."""
    trainer = values["trainer"]
    epochs = trainer.get("max_epochs")
    for name, remedy in INSTEAD.items():
        if trainer.get(name):
            yield f"trainer.{name}: it {remedy}."
    if trainer.get("enable_checkpointing") is False:
        yield "trainer.enable_checkpointing: a run is measured and resumed from its checkpoints: leave it out."
    for name in LIMITS:
        if trainer.get(name) in (0, 0.0):
            yield f"trainer.{name}: expected more than 0, or a run has nothing to {_purpose(name)} with: leave it out."
    if epochs is not None and (epochs == 0 or epochs < -1):
        yield f"trainer.max_epochs: expected at least 1, got {epochs}: a run is measured at its best epoch."
    if trainer.get("max_steps", -1) == 0:
        yield "trainer.max_steps: expected at least one epoch, got 0: a run is measured at its best epoch."
    every = trainer.get("check_val_every_n_epoch", 1)
    if epochs is not None and every is not None and 0 < epochs < every:
        yield (
            f"trainer.check_val_every_n_epoch: {every}, but the run has trainer.max_epochs={epochs}: it would never be "
            f"validated. Expected at most {epochs}."
        )


def number_problems(values: Mapping[str, Any]) -> Iterator[str]:
    """Numbers that are asked for but not measured in validation: by callbacks that monitor them, and by a search."""
    nodes = targets(values["callbacks"])
    asked = {f"callbacks.{path}.monitor": node["monitor"] for path, node in nodes if node.get("monitor")}
    if str(values["objective"]).startswith("val/"):
        asked["objective"] = values["objective"]
    measured, complete = _measured(values["metrics"])
    for path, name in asked.items() if complete else ():
        if name.startswith("val/") and not any(one.named(name.removeprefix("val/")) for one in measured):
            yield (
                f"{path}: {name!r} is not measured in validation, by none of metrics=[{','.join(values['metrics'])}]. "
                "Add the metric that reports it, or name another number here."
            )


def infinite_problems(values: Any, path: str = "") -> Iterator[str]:
    """Options that are no finite numbers."""
    if isinstance(values, Mapping):
        for key, value in values.items():
            yield from infinite_problems(value, f"{path}.{key}" if path else str(key))
    elif isinstance(values, list):
        for position, value in enumerate(values):
            yield from infinite_problems(value, f"{path}[{position}]")
    elif isinstance(values, float) and not isfinite(values):
        yield f"{path}: expected a finite number, got {values}."


def require_validation(trainer: pl.Trainer, data: ImageDataModule) -> None:
    """Refuse a trainer that would not train on these data, or end before it has validated once.

    Args:
        trainer: Of the run.
        data: Of the run, after their setup.

    Raises:
        ConfigError: Naming each option.
    """
    refuse(list(_count_problems(trainer, data)))


def _count_problems(trainer: pl.Trainer, data: ImageDataModule) -> Iterator[str]:
    """What only the number of images tells."""
    stages = {"train": ["train"], "val": ["val"], "test": ["train", "test"]}
    for name in LIMITS:
        limit = getattr(trainer, name)
        batches = min(_batches(trainer, data, split) for split in stages[name.split("_")[1]])
        if isinstance(limit, float) and int(limit * batches) == 0:
            yield f"trainer.{name}: {limit:g} of {batches} batches are none. Expected at least {1 / batches:.2g}."
            return
    steps = _limited(_batches(trainer, data, "train"), trainer.limit_train_batches)
    interval, every = trainer.val_check_interval, trainer.check_val_every_n_epoch
    if isinstance(interval, int) and every is not None and interval > steps:
        yield f"trainer.val_check_interval: an epoch has {steps} batches, it would never be validated after {interval}."
        return
    if not isinstance(interval, int | float):  # a time
        return
    within = interval if isinstance(interval, int) else max(1, int(steps * interval))
    first = within if every is None else (every - 1) * steps + within  # batches until the first validation
    epochs = trainer.max_epochs
    if epochs is not None and 0 < epochs * steps < first:
        yield (
            f"trainer.max_epochs: {epochs} epochs are {epochs * steps} batches, and the first validation would come "
            f"after {first}. Train longer, or validate earlier by trainer.val_check_interval."
        )
    needed = -(-first // trainer.accumulate_grad_batches)
    if 0 <= trainer.max_steps < needed:
        yield (
            f"trainer.max_steps: {trainer.max_steps} would end the run before its first validation. Expected at least "
            f"{needed}; without it, trainer.max_epochs ends the run."
        )


def _batches(trainer: pl.Trainer, data: ImageDataModule, split: str) -> int:
    """Of a process."""
    samples = len(data.splits[split].order()) // trainer.world_size
    complete, rest = divmod(samples, data.batch_size)
    return complete if split == "train" and complete else complete + bool(rest)


def _limited(batches: int, limit: float) -> int:
    return min(batches, limit) if isinstance(limit, int) else int(batches * limit)


def _measured(metrics: Mapping[str, Any]) -> tuple[list[Measure], bool]:
    """What metrics report in validation, and whether that is all of it: a metric from outside may not say."""
    kinds = [trusted_target(node["_target_"]) for node in metrics.values()]
    reports = [getattr(kind, "reports", ()) for kind in kinds if getattr(kind, "in_validation", True)]
    return [*(measure for some in reports for measure in some), *map(Measure, OWN)], all(reports)


def _purpose(limit: str) -> str:
    return {"train": "learn", "val": "choose its best epoch", "test": "measure itself"}[limit.split("_")[1]]
