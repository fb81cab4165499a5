"""Run folders: what a run leaves behind, and how it is rebuilt and resumed."""

import contextlib
import logging
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

from filelock import FileLock, Timeout
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from semexplain.config import ConfigError
from semexplain.data.module import ImageDataModule
from semexplain.metrics.verdict import CONTROL, MEANINGLESS, verdict
from semexplain.runs.options import PATHS, outline
from semexplain.system.files import keep_aside, read_json, write_text
from semexplain.system.processes import is_first, started_together

log = logging.getLogger(__name__)
CONFIG, METRICS, PERFORMER, PARTS = "config.yaml", "metrics.json", "performer.json", "parts.yaml"
VALIDATION = "validation.json"  # as METRICS, of the best epoch on the validation split
LOCK, EVALUATIONS = ".lock", "evaluations"
CHECKPOINTS = Path("checkpoints")
BEST, LAST = CHECKPOINTS / "best.ckpt", CHECKPOINTS / "last.ckpt"
PLACES = ("data.root", *(f"paths.{name}" for name in PATHS))
# Where a run computes may change while it is interrupted, what it computes may not.
MACHINE = ("trainer.accelerator", "trainer.devices", "trainer.num_nodes", "trainer.strategy", "data.num_workers")


def require_one_folder(config: DictConfig, given: Sequence[str]) -> None:
    """Refuse processes that were started together and would each make a run folder.

    Args:
        config: The composed configuration.
        given: What the command line says about Hydra.

    Raises:
        ConfigError: If torchrun or srun has started several processes and nothing names a folder for all.
    """
    processes = started_together()
    named = any(override.startswith("hydra.run.dir=") for override in given) or config.get("resume") is not None
    if processes > 1 and not named:
        raise ConfigError(
            f"hydra.run.dir: {processes} processes were started together (by torchrun or srun), and each would make a "
            "folder of its own, named by the time. Name one for all: `hydra.run.dir=outputs/<name>`."
        )


def open_run(config: DictConfig, folder: Path) -> DictConfig:
    """Record the configuration of a new run, or check it against the run that is resumed.

    Args:
        config: The composed configuration.
        folder: The run's folder.

    Returns:
        The configuration to run: that of the folder when it is resumed.

    Raises:
        ConfigError: If ``resume`` names no run, a finished one, or one with other options; the devices may be others.
    """
    path = folder / CONFIG
    config = settled(config)
    if config.data.get("image_size", 0) is None:
        config.data.image_size = list(outline(config).image_shape)
    if config.resume is None:
        if is_first():
            write_text(path, OmegaConf.to_yaml(config))
        return config
    if not path.exists():
        raise ConfigError(f"resume: {folder} is not a run folder, it has no {CONFIG}.")
    if (folder / METRICS).exists():
        raise ConfigError(f"resume: the run {folder} is finished, its numbers are in {METRICS}.")
    started = cast(DictConfig, OmegaConf.load(path))
    differing = differences(OmegaConf.to_container(started), OmegaConf.to_container(config))
    differing = [line for line in differing if _was_given(line.split(":")[0])]
    elsewhere = {key: line for line in differing if (key := line.split(":")[0]) in MACHINE}
    if len(elsewhere) < len(differing):
        raise ConfigError(
            f"resume: the run {folder} was started with other options. Give `resume` alone, or start a new run:\n  "
            + "\n  ".join(line for line in differing if line not in elsewhere.values())
        )
    for key, line in elsewhere.items():
        log.info("The run goes on elsewhere: %s.", line)
        OmegaConf.update(started, key, OmegaConf.select(config, key), force_add=True)
    if is_first():
        keep_aside(folder / "metrics.csv")  # the logger starts a new file
    return started


def settled(config: DictConfig) -> DictConfig:
    """A configuration that means the same in another folder and environment: resolved, with absolute paths."""
    settled = cast(DictConfig, OmegaConf.create(OmegaConf.to_container(config, resolve=True)))
    for key in ("data.cache", "data.index", "parts.file", "performer.weights", "performer.checkpoint", *PLACES):
        value = OmegaConf.select(settled, key)
        if value is not None and (key in (*PLACES, "data.index") or Path(value).exists()):
            OmegaConf.update(settled, key, str(Path(value).expanduser().absolute()))
    return settled


def differences(started: Any, given: Any, path: str = "") -> list[str]:
    """Options that differ between two plain configurations, but for ``resume``.

    Example:
        >>> differences({"beta": 0, "data": {"limit": 2}}, {"beta": 1, "data": {"limit": 2}})
        ['beta: 0 then, 1 now']
    """
    if isinstance(started, dict) and isinstance(given, dict):
        keys = [key for key in {**started, **given} if path or key != "resume"]
        return [d for k in keys for d in differences(started.get(k), given.get(k), f"{path}.{k}" if path else str(k))]
    return [] if started == given else [f"{path}: {started!r} then, {given!r} now"]


class FolderInUseError(ConfigError):
    """Another process is writing into a run folder."""


@contextlib.contextmanager
def alone_in(folder: Path) -> Iterator[None]:
    """Hold a run folder, so that no other process trains into it.

    Raises:
        FolderInUseError: If another one does already, for example a job whose sweep was killed.
    """
    if not is_first():
        yield
        return
    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / LOCK)
    try:
        lock.acquire(timeout=0)
    except Timeout as error:
        raise FolderInUseError(
            f"Another process is training in {folder}. Wait for it or end it; then this run can be resumed."
        ) from error
    try:
        yield
    finally:
        lock.release()


def discard(folder: Path) -> None:
    """Remove what was prepared for a run that could not start, and nothing else.

    Args:
        folder: Hydra's output folder of the attempt.
    """
    if any((folder / name).exists() for name in (CHECKPOINTS, METRICS)) or not folder.is_dir():
        return
    for name in (
        ".hydra/config.yaml",
        ".hydra/hydra.yaml",
        ".hydra/overrides.yaml",
        CONFIG,
        PERFORMER,
        PARTS,
        LOCK,
        "train.log",
        "evaluate.log",
        *(path.name for path in folder.glob("train_ddp_process_*.log")),
    ):
        (folder / name).unlink(missing_ok=True)
    for empty in (folder / ".hydra", folder, folder.parent):
        with contextlib.suppress(OSError):
            empty.rmdir()


def judged_metrics(run: Path) -> dict[str, float | None]:
    """The numbers of a finished run, with what its newest evaluation beside trained controls says of faithfulness."""
    metrics = read_json(run / METRICS)
    for path in sorted((run / EVALUATIONS).glob(f"*/{METRICS}"), reverse=True):
        again = read_json(path)
        if all(f"{CONTROL}/{name}/relative_deviation" in again for name in MEANINGLESS):
            judged = verdict(again)
            beside = {name: value for name, value in again.items() if name.startswith(f"{CONTROL}/")}
            return metrics | beside | (judged.metrics if judged else {})
    return metrics


def measurable_config(run: Path, overrides: Mapping[str, Any]) -> DictConfig:
    """The configuration of a run that has a checkpoint to measure, see :func:`recorded_config`.

    Raises:
        ConfigError: If it has none, or filters are named for a run without any.
    """
    config = recorded_config(run, overrides)
    if config.get("parts") is not None and "_target_" not in config.parts:
        raise ConfigError(f"parts.file: the run {run} has no named filters (it explains by other concepts).")
    if not (run / BEST).exists():
        raise ConfigError(f"run: {run} has no {BEST}: the run ended before its first validation. `resume` it.")
    return config


def recorded_config(run: Path, overrides: Mapping[str, Any]) -> DictConfig:
    """The configuration of an explainer's run, with the performer that it explains.

    Args:
        run: The run's folder.
        overrides: Values to use in place of the run's own, by dotted key.

    Raises:
        ConfigError: If the folder is not an explainer's run, or the performer is gone.
    """
    if not (run / CONFIG).exists():
        raise ConfigError(f"run: {run.absolute()} is not a run folder, it has no {CONFIG}.")
    config = cast(DictConfig, OmegaConf.load(run / CONFIG))
    if config.task == "performer":
        raise ConfigError(f"run: {run} trained a performer, its numbers are in {METRICS}; give an explainer's run.")
    if not (run / PERFORMER).exists():
        raise ConfigError(f"run: {run} has no {PERFORMER}: the run ended before it had a performer. `resume` it.")
    recorded = read_json(run / PERFORMER)
    config.performer.checkpoint = recorded["path"]
    for key, value in overrides.items():
        OmegaConf.update(config, key, value, force_add=True)
    if not Path(config.performer.checkpoint).exists():
        raise ConfigError(
            f"performer: the run explains the performer with SHA-256 {recorded['sha256']}, which is no longer at "
            f"{config.performer.checkpoint}. Say where it is: `performer.checkpoint=<performer.safetensors>`."
        )
    return config


def check_data(config: DictConfig, datamodule: ImageDataModule, run: Path) -> None:
    """Refuse data that are not those of a run.

    Raises:
        ConfigError: If images, labels or splits differ.
    """
    if datamodule.fingerprint() != read_json(run / PERFORMER)["data_sha256"]:
        raise ConfigError(
            f"data: images or labels in {config.data.root} are not those of the run (other files, labels or splits). "
            "Say where those are: `data.root=<folder>`."
        )


def _was_given(key: str) -> bool:
    """Whether the command line says something about a key, itself or by a group of options."""
    if not HydraConfig.initialized():
        return True
    given = {item.split("=")[0].lstrip("+~").split("@")[0] for item in HydraConfig.get().overrides.task}
    return bool(given & {"experiment", "scale"}) or any(key == name or key.startswith(f"{name}.") for name in given)
