"""Trained performers, each under the address of everything that determines it."""

import hashlib
import logging
import shutil
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from semexplain.data.module import ImageDataModule
from semexplain.system.config import ConfigError, instantiate, plain, trusted_target
from semexplain.system.files import keep_aside, write_json
from semexplain.system.once import address, once
from semexplain.system.reading import read_json
from semexplain.system.references import as_written
from semexplain.system.trouble import DamagedFileError

log = logging.getLogger(__name__)
FILE, METRICS, RECORD = "performer.safetensors", "metrics.json", "performer.json"
DIGEST = "sha256"


def performer_description(config: DictConfig | dict[str, Any], datamodule: ImageDataModule) -> dict[str, Any]:
    """Everything that determines a trained performer: network, initial weights, data and training."""
    options = plain(config)
    explanation_options = trusted_target(options["performer"]["_target_"]).explanation_options
    network = {key: value for key, value in options["performer"].items() if key not in explanation_options}
    weights = Path(network.get("weights") or "")
    if weights.is_file():
        network["weights"] = _digest(weights)
    return {"performer": network, "data": datamodule.fingerprint(), "training": options["performer_training"]}


def trained_performer(config: DictConfig, datamodule: ImageDataModule) -> Path | None:
    """Path of the performer that a configuration asks for, trained now if nobody has trained it.

    A performer without the option ``checkpoint``, or with null, has its weights by itself: then there is no path. With
    ``performer.checkpoint=auto`` it is looked up under its address in ``paths.performers``, see
    :func:`semexplain.system.once.once`. Any other value is the path of a ``performer.safetensors``.

    Raises:
        DamagedFileError: If it is of a store and not what was trained.
        DivergedError: If its training diverged: then the store has no such performer.
    """
    if config.performer.get("checkpoint") is None:
        return None
    if config.performer.checkpoint != "auto":
        return _verified(Path(config.performer.checkpoint))
    description = performer_description(config, datamodule)
    folder = Path(config.paths.performers) / address(description)

    def train(partial: Path) -> None:
        log.info("There is no performer %s yet: training it once, for all runs that use it.", folder)
        if not (partial / RECORD).exists():  # which is written last
            _train(config, partial, performer_description(as_written(config), datamodule))
        shutil.rmtree(folder, ignore_errors=True)  # one without weights
        metrics = performer_metrics(partial / FILE)
        log.info("Trained the performer %s: mean test accuracy %.4f.", folder, metrics["test/accuracy"])

    remedy = "Set `paths.performers` to a folder that can be written, or `performer.checkpoint` to a file."
    once(folder, train, f"the performer {folder}", lambda place: (place / FILE).exists(), remedy)
    return _verified(folder / FILE)


def performer_metrics(path: Path) -> dict[str, float]:
    """Test accuracies that were measured when a performer of the store was trained."""
    if not (path.parent / METRICS).exists():
        raise ConfigError(
            f"performer.checkpoint: {path} is not of the store; use `performer.checkpoint=auto` to train."
        )
    return _read(path.parent / METRICS)


def _train(config: DictConfig, partial: Path, description: dict[str, Any]) -> None:
    """Train a performer in a folder, where an interrupted attempt goes on, and write down what it is."""
    partial.mkdir(exist_ok=True)
    keep_aside(partial / "metrics.csv")
    metrics = instantiate(config.performer_training).fit(config, partial)
    write_json(partial / METRICS, metrics)
    write_json(partial / RECORD, {**description, DIGEST: _digest(partial / FILE)})
    for checkpoint in partial.glob("*.ckpt"):
        checkpoint.unlink()


def _verified(path: Path) -> Path:
    """The path of weights, if they are those that the store has recorded, where they are of a store."""
    record = path.with_name(RECORD)
    if path.name == FILE and path.exists() and record.exists():
        digest = _read(record).get(DIGEST)  # which earlier versions did not write
        if digest not in (None, _digest(path)):
            raise DamagedFileError(f"{path} is damaged: it is not the performer that was trained. {_mend(path)}")
    return path


def _read(path: Path) -> dict[str, Any]:
    try:
        return dict(read_json(path))
    except (ValueError, TypeError) as error:
        raise DamagedFileError(f"{path} is damaged: it is no JSON object. {_mend(path)}") from error


def _mend(path: Path) -> str:
    return f"Put back a copy, or delete {path.parent}: then the performer is trained again."


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
