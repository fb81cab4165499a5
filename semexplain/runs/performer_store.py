"""Trained performers, each under the address of everything that determines it."""

import hashlib
import json
import logging
import os
import shutil
import time
from pathlib import Path
from typing import Any, cast

from hydra.utils import get_object
from omegaconf import DictConfig, OmegaConf

from semexplain.config import ConfigError, instantiate
from semexplain.data.module import ImageDataModule
from semexplain.system.files import held, keep_aside, read_json, write_json
from semexplain.system.processes import is_first, on_its_own

log = logging.getLogger(__name__)
FILE = "performer.safetensors"
SECONDS = 0.5


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


def trained_performer(config: DictConfig, datamodule: ImageDataModule) -> Path | None:
    """Path of the performer that a configuration asks for, trained now if nobody has trained it.

    A performer without the option ``checkpoint`` has its weights by itself: then there is no path.

    ``performer.checkpoint=auto`` looks the performer up under its address in ``paths.performers``; a job that finds
    another one training it waits. Any other value is the path of a ``performer.safetensors``. Of processes that were
    started together the first trains it, on its own, and the others wait.
    """
    if "checkpoint" not in config.performer:
        return None
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
