"""Run folders: what a run leaves behind, and how it is begun and resumed."""

import contextlib
import logging
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, cast

from filelock import FileLock, Timeout
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from semexplain.data.images import SPLITS
from semexplain.performers.base import Performer
from semexplain.runs.foreign import (
    confined,
    read_config,
    require_data,
    require_no_links_out,
    require_sections,
    without_strange_loggers,
)
from semexplain.runs.options import PATHS, outline
from semexplain.runs.origin import CLASSES, MODEL, absolute_model, require_same_source
from semexplain.system.config import ConfigError
from semexplain.system.files import keep_aside, remove_leftovers, write_text
from semexplain.system.ownership import SIGNATURE, sign
from semexplain.system.processes import is_first, started_together
from semexplain.system.reading import require_file
from semexplain.system.references import as_written, is_reference

log = logging.getLogger(__name__)
CONFIG, METRICS, PERFORMER, PARTS = "config.yaml", "metrics.json", "performer.json", "parts.yaml"
VERDICT = "verdict.json"
VALIDATION = "validation.json"  # as METRICS, of the best epoch on the validation split
EXPLANATIONS = "explanations.parquet"
CACHE = "cache.json"  # whether data.cache=auto keeps something
LOCK, EVALUATIONS = ".lock", "evaluations"
CHECKPOINTS = Path("checkpoints")
BEST, LAST = CHECKPOINTS / "best.ckpt", CHECKPOINTS / "last.ckpt"
PLACES = ("data.root", *(f"paths.{name}" for name in PATHS))
FILES = (
    "data.cache",
    "data.index",
    "data.parts",
    *(f"data.{split}" for split in SPLITS),
    "parts.file",
    *(f"{node}.{name}" for node in ("network", "performer") for name in ("weights", "checkpoint", "classes")),
)
# Where a run computes may change while it is interrupted, what it computes may not.
MACHINE = ("trainer.accelerator", "trainer.devices", "trainer.num_nodes", "trainer.strategy", "data.num_workers")


def require_one_folder(config: DictConfig, overrides: Sequence[str]) -> None:
    """Refuse processes that were started together and would each make a run folder.

    Args:
        config: The composed configuration.
        overrides: What the command line says about Hydra.

    Raises:
        ConfigError: If torchrun or srun has started several processes and nothing names a folder for all, or a link in
            the folder of the run that is resumed leads out of it.
    """
    processes = started_together()
    named = any(override.startswith("hydra.run.dir=") for override in overrides) or config.get("resume") is not None
    if processes > 1 and not named:
        raise ConfigError(
            f"hydra.run.dir: {processes} processes were started together (by torchrun or srun), and each would make a "
            "folder of its own, named by the time. Name one for all: `hydra.run.dir=outputs/<name>`."
        )
    if config.get("resume") is not None:
        require_no_links_out(config.resume, trust=config.get("trust", False))


def open_run(config: DictConfig, folder: Path, given: Performer | None = None) -> DictConfig:
    """Record the configuration of a new run, or check it against the run that is resumed.

    Args:
        config: The composed configuration.
        folder: The run's folder.
        given: The network, if it is at hand.

    Returns:
        The configuration to run: that of the folder when it is resumed.

    Raises:
        ConfigError: If ``resume`` names no run, a finished one, or one with other options; the devices may be others.
    """
    path = folder / CONFIG
    config, trust = settled(config), config.get("trust", False)
    config.pop("trust", None)
    _complete(config, given)
    if config.resume is None:
        if is_first():
            write_text(path, OmegaConf.to_yaml(config))
            sign(path)
        return config
    if not path.exists():
        raise ConfigError(f"resume: {folder} is not a run folder, it has no {CONFIG}.")
    if (folder / METRICS).exists():
        raise ConfigError(f"resume: the run {folder} is finished, its numbers are in {METRICS}.")
    for checkpoint in (folder / CHECKPOINTS).glob("*.ckpt"):
        if checkpoint.exists():
            require_file(checkpoint)
    record = _recorded(path, config, trust)
    elsewhere = _moved(record, config, f"resume: the run {folder}", "Give `resume` alone, or start a new run")
    for key, line in elsewhere.items():
        log.info("The run goes on elsewhere: %s.", line)
        OmegaConf.update(record, key, OmegaConf.select(config, key), force_add=True)
    if is_first():
        keep_aside(folder / "metrics.csv")  # the logger starts a new file
    return record


def require_same_options(config: DictConfig, folder: Path, given: Performer) -> None:
    """Refuse a run that is there, finished or not, and has other options; the devices may be others.

    Args:
        config: The composed configuration.
        folder: The run's folder.
        given: The network.

    Raises:
        ConfigError: With the options that differ.
    """
    config, trust = settled(config), config.get("trust", False)
    config.pop("trust", None)
    _complete(config, given)
    record = _recorded(folder / CONFIG, config, trust)
    _moved(record, config, f"out: the run {folder}", "Give the same options, or name a new folder")


def _moved(record: DictConfig, config: DictConfig, run: str, mend: str) -> dict[str, str]:
    """How the machine differs from that where a run was begun, by option.

    Raises:
        ConfigError: If anything else does.
    """
    lines = differences(OmegaConf.to_container(record), OmegaConf.to_container(config))
    lines = [line for line in lines if _was_given(line.split(":")[0])]
    elsewhere = {key: line for line in lines if (key := line.split(":")[0]) in MACHINE}
    if len(elsewhere) < len(lines):
        raise ConfigError(
            f"{run} was started with other options. {mend}:\n  "
            + "\n  ".join(line for line in lines if line not in elsewhere.values())
        )
    return elsewhere


def _complete(config: DictConfig, given: Performer | None) -> None:
    """Write down what the performer says: how data read pictures, its target's name, and names from a table."""
    data = config.data
    absent = [name for name in ("image_size", "framing") if data.get(name, 0) is None]
    unnamed = isinstance(config.performer.get("target", ""), int | None)
    tabled = isinstance(OmegaConf.select(config, "performer.kind.names"), str)
    if not (absent or unnamed or tabled):
        return
    performer = outline(config) if given is None else given
    if "image_size" in absent:
        data.image_size = list(performer.framing.shape)
    if "framing" in absent and performer.framing.options:
        data.framing = performer.framing.options
    if unnamed:  # in the words of pages and tables
        config.performer.target = performer.target_name
    if tabled:  # a table is read this once
        config.performer.kind.names = list(performer.concept_names)


def _recorded(path: Path, config: DictConfig, trust: bool) -> DictConfig:
    """What the run that is resumed recorded; that of a foreign folder writes where this command's options say."""
    record = read_config(path, trust=trust)
    require_sections(record, path)
    named = _was_given("network.model") or _was_given(MODEL)
    words = {key: OmegaConf.select(config, key) for key in (MODEL, CLASSES)}
    same = {key: word for key, word in words.items() if named and OmegaConf.select(record, key) == word}
    require_same_source(record, path, same, trust=trust)
    if trust:
        return record
    given = {f"paths.{name}": place for name, place in config.paths.items()}
    if _was_given("data.root"):
        given["data.root"] = OmegaConf.select(config, "data.root")
    require_data(record, path, given)
    return without_strange_loggers(confined(record, path, given), path)


def settled(config: DictConfig) -> DictConfig:
    """A configuration that means the same in another folder: resolved, with absolute paths.

    References to the environment stay as they were written, but for the package's own, which are places.
    """
    settled = cast(DictConfig, OmegaConf.create(as_written(config)))
    for key in ("network.model", "performer.model"):
        if isinstance(value := OmegaConf.select(settled, key), str):
            OmegaConf.update(settled, key, absolute_model(value))
    for key in (*FILES, *PLACES):
        value = OmegaConf.select(settled, key)
        if isinstance(value, str) and (key in (*PLACES, "data.index") or Path(value).exists()):
            OmegaConf.update(settled, key, _absolute(value, OmegaConf.to_container(settled), key))
    return settled


def _absolute(value: str, tree: Any, key: str) -> str:
    """A path that means the same in another folder, with its references to the environment."""
    for word in key.split("."):
        tree = tree[word]
    if is_reference(tree):
        return tree if Path(value).is_absolute() else f"{Path.cwd()}/{tree}"
    return str(Path(value).expanduser().absolute())


def differences(old: Any, new: Any, path: str = "") -> list[str]:
    """Options that differ between two plain configurations, but for ``resume``.

    Example:
        >>> differences({"beta": 0, "data": {"limit": 2}}, {"beta": 1, "data": {"limit": 2}})
        ['beta: 0 then, 1 now']
    """
    if isinstance(old, dict) and isinstance(new, dict):
        keys = [key for key in {**old, **new} if path or key != "resume"]
        return [d for k in keys for d in differences(old.get(k), new.get(k), f"{path}.{k}" if path else str(k))]
    return [] if old == new else [f"{path}: {old!r} then, {new!r} now"]


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
    remove_leftovers(folder)
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
        SIGNATURE,
        PERFORMER,
        PARTS,
        CACHE,
        LOCK,
        "train.log",
        "evaluate.log",
        *(path.name for path in folder.glob("train_ddp_process_*.log")),
    ):
        (folder / name).unlink(missing_ok=True)
    for empty in (folder / ".hydra", folder, folder.parent):
        with contextlib.suppress(OSError):
            empty.rmdir()


def _was_given(key: str) -> bool:
    """Whether the command line says something about a key, itself or by a group of options."""
    if not HydraConfig.initialized():
        return True
    keys = {item.split("=")[0].lstrip("+~").split("@")[0] for item in HydraConfig.get().overrides.task}
    return bool(keys & {"experiment", "scale"}) or any(key == name or key.startswith(f"{name}.") for name in keys)
