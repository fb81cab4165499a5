"""Trained performers, each under the address of everything that determines it."""

import hashlib
import logging
import shutil
from pathlib import Path
from typing import Any, cast

from hydra.utils import get_object
from omegaconf import DictConfig, OmegaConf

from semexplain.data.module import ImageDataModule
from semexplain.system.config import ConfigError, instantiate
from semexplain.system.files import keep_aside, read_json, write_json
from semexplain.system.once import address, once

log = logging.getLogger(__name__)
FILE = "performer.safetensors"


def performer_description(config: DictConfig, datamodule: ImageDataModule) -> dict[str, Any]:
    """Everything that determines a trained performer: network, initial weights, data and training."""
    options = cast(dict[str, Any], OmegaConf.to_container(config, resolve=True))
    explanation_options = get_object(options["performer"]["_target_"]).explanation_options
    network = {key: value for key, value in options["performer"].items() if key not in explanation_options}
    weights = Path(network.get("weights") or "")
    if weights.is_file():
        with weights.open("rb") as file:
            network["weights"] = hashlib.file_digest(file, "sha256").hexdigest()
    return {"performer": network, "data": datamodule.fingerprint(), "training": options["performer_training"]}


def trained_performer(config: DictConfig, datamodule: ImageDataModule) -> Path | None:
    """Path of the performer that a configuration asks for, trained now if nobody has trained it.

    A performer without the option ``checkpoint`` has its weights by itself: then there is no path. With
    ``performer.checkpoint=auto`` it is looked up under its address in ``paths.performers``, see
    :func:`semexplain.system.once.once`. Any other value is the path of a ``performer.safetensors``.
    """
    if "checkpoint" not in config.performer:
        return None
    if config.performer.checkpoint != "auto":
        return Path(config.performer.checkpoint)
    description = performer_description(config, datamodule)
    folder = Path(config.paths.performers) / address(description)

    def train(partial: Path) -> None:
        log.info("There is no performer %s yet: training it once, for all runs that use it.", folder)
        partial.mkdir(exist_ok=True)
        keep_aside(partial / "metrics.csv")
        metrics = instantiate(config.performer_training).fit(config, partial)
        write_json(partial / "metrics.json", metrics)
        write_json(partial / "performer.json", description)
        shutil.rmtree(folder, ignore_errors=True)  # one without weights
        log.info("Trained the performer %s: mean test accuracy %.4f.", folder, metrics["test/accuracy"])

    remedy = "Set `paths.performers` to a folder that can be written, or `performer.checkpoint` to a file."
    once(folder, train, f"the performer {folder}", lambda place: (place / FILE).exists(), remedy)
    return folder / FILE


def performer_metrics(path: Path) -> dict[str, float]:
    """Test accuracies that were measured when a performer of the store was trained."""
    if not (path.parent / "metrics.json").exists():
        raise ConfigError(
            f"performer.checkpoint: {path} is not of the store; use `performer.checkpoint=auto` to train."
        )
    return read_json(path.parent / "metrics.json")
