"""Run folders: what a run leaves behind, and how it is rebuilt and resumed."""

import contextlib
import logging
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import pytorch_lightning as pl
import torch
from filelock import FileLock, Timeout
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf
from pytorch_lightning.callbacks import ModelCheckpoint

from semexplain.callbacks.stop_together import StopTogether
from semexplain.config import PATHS, ConfigError, check_group, instantiate
from semexplain.data.images import ImageDataModule
from semexplain.data.ready import ready_data
from semexplain.files import keep_aside, read_json, write_json, write_text
from semexplain.loggers.weights_and_biases import WeightsAndBiases
from semexplain.modules.distillation import Distillation
from semexplain.naming import named_performer
from semexplain.parts import Parts, read_parts, write_parts
from semexplain.performer_store import accelerator, cache_for, performer_metrics, trained_performer
from semexplain.performers.base import Performer
from semexplain.processes import is_first, started_together
from semexplain.rivals.timed import TimedRival
from semexplain.verdict import CONTROL, MARGIN, MEANINGLESS, verdict

log = logging.getLogger(__name__)
CONFIG, METRICS, PERFORMER, PARTS = "config.yaml", "metrics.json", "performer.json", "parts.yaml"
LOCK, EVALUATIONS = ".lock", "evaluations"
CHECKPOINTS = Path("checkpoints")
BEST, LAST = CHECKPOINTS / "best.ckpt", CHECKPOINTS / "last.ckpt"
PLACES = ("data.root", *(f"paths.{name}" for name in PATHS))
JUDGED_BY = {"concept_reliance": {"_target_": "semexplain.metrics.concept_reliance.ConceptReliance"}}
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


def build(
    config: DictConfig, folder: Path, *, named: Path | None = None
) -> tuple[ImageDataModule, Distillation, pl.Trainer]:
    """Data, module and trainer of an explainer run, with the performer trained first if nobody has.

    Args:
        config: The run's configuration.
        folder: Where the run writes.
        named: File with the names that the run gave to the filters, to use again; they are proposed by default.
    """
    _require_all_processes(config.trainer)
    datamodule = _labelled_data(config)
    checkpoint = trained_performer(config, datamodule)
    callbacks = [*instantiate(config.callbacks).values(), StopTogether()]
    for callback in callbacks:
        if isinstance(callback, ModelCheckpoint) and callback.dirpath is None:
            callback.dirpath = str(folder / CHECKPOINTS)  # Lightning would ask the first logger
    trainer = instantiate(
        config.trainer,
        **_where(config.trainer),
        callbacks=callbacks,
        logger=[logger(save_dir=str(folder)) for logger in instantiate(config.logger).values()],
        default_root_dir=str(folder),
    )
    pl.seed_everything(config.seed, workers=True, verbose=False)
    performer = instantiate(config.performer, checkpoint=str(checkpoint))
    parts = _parts(config, datamodule, performer, trainer.strategy.root_device, named)
    if parts is not None and is_first():
        write_parts(folder / PARTS, parts)
    module = instantiate(config.module)(performer=performer, parts=parts)
    cache = cache_for(config, datamodule, trainer.strategy.root_device, performer)
    if cache is not None:
        cache.attach_performances(performer, module.prior)
        if module.performer is not performer:  # a control explains another one
            cache.attach_answers(module.performer, module.prior)
        if module.reads == "hidden":
            cache.attach_hidden(module.performer)
    for own in trainer.loggers:
        if isinstance(own, WeightsAndBiases):
            plain = cast(dict[str, Any], OmegaConf.to_container(config, resolve=True))
            told = {key: value for key, value in plain.items() if key not in ("module", "callbacks", "logger")}
            own.describe({**told, "n_concepts": len(module.concept_names)})
    if is_first():
        same = module.performer is performer  # unless a control explains another one
        digest = module.identity["performer_sha256"] if same else performer.digest()
        given = {"path": str(checkpoint.absolute()), "sha256": digest}
        write_json(folder / PERFORMER, {**given, "data_sha256": datamodule.fingerprint()})
    return datamodule, module, trainer


def train_explainer(config: DictConfig, folder: Path) -> dict[str, float]:
    """Train an explainer, measure its best epoch on the test split, and write the run folder."""
    last = folder / LAST
    named = folder / PARTS if last.exists() and (folder / PARTS).exists() else None
    datamodule, module, trainer = build(config, folder, named=named)
    warnings.filterwarnings("ignore", r"Found \d+ module\(s\) in eval mode")  # the performer is frozen on purpose
    trainer.fit(module, datamodule=datamodule, ckpt_path=str(last) if last.exists() else None, weights_only=True)
    return measure(trainer, module, datamodule, folder / BEST, folder)


def train_performer(config: DictConfig, folder: Path) -> dict[str, float]:
    """Train the performer that explainer runs of the same configuration find in the store."""
    datamodule = _labelled_data(config)
    path = trained_performer(config, datamodule)
    metrics = performer_metrics(path)
    if is_first():
        write_json(folder / PERFORMER, {"path": str(path.absolute())})
        write_json(folder / METRICS, metrics)
    log.info("Performer: %s", path)
    return metrics


def measure(
    trainer: pl.Trainer,
    module: Distillation,
    datamodule: ImageDataModule,
    checkpoint: Path,
    folder: Path,
    *,
    controls: Mapping[str, float] | None = None,
    margin: float = MARGIN,
) -> dict[str, float]:
    """Test a checkpoint; write ``metrics.json`` and, through the callback, ``explanations.parquet`` into a folder.

    Args:
        trainer: Of the run.
        module: Of the run.
        datamodule: Of the run.
        checkpoint: What is tested.
        folder: Where the files are written.
        controls: Numbers of explainers that were trained on controls, by their names in ``metrics.json``.
        margin: What faithfulness asks for, see :func:`semexplain.verdict.verdict`.

    Returns:
        The numbers of ``metrics.json``, with the verdict, which the loggers get as well.
    """
    module.restore(checkpoint)
    tested = trainer.test(module, datamodule=datamodule, verbose=False)
    measured = {name: float(value) for name, value in sorted(tested[0].items())} | dict(controls or {})
    judged = verdict(measured, margin)
    metrics = dict(sorted({**measured, **(judged.metrics if judged else {})}.items()))
    further = {name: value for name, value in metrics.items() if name not in tested[0]}
    for own in trainer.loggers:
        own.log_metrics({**further, "epoch": trainer.current_epoch}, trainer.global_step)
        own.save()
        if judged is not None and isinstance(own, WeightsAndBiases):
            own.judge(judged)
    if trainer.is_global_zero:
        write_json(folder / METRICS, metrics)
    return metrics


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


def evaluate_run(
    run: Path,
    folder: Path,
    overrides: Mapping[str, Any],
    *,
    controls: Mapping[str, float] | None = None,
    margin: float = MARGIN,
    rival: DictConfig | None = None,
    images: int | None = None,
    metrics: Mapping[str, Any] | None = None,
) -> dict[str, float]:
    """Rebuild a run from its folder alone and measure it again.

    Args:
        run: The run's folder.
        folder: Where the new numbers are written.
        overrides: Values to use in place of the run's own, by dotted key: where data or performer are now.
        controls: Numbers of explainers that were trained on controls, to judge it by.
        margin: What faithfulness asks for.
        rival: What to measure in the explainer's place, a configuration of the group ``rival``; ``rival_fit_seconds``
            and ``rival_milliseconds_per_image`` are measured with it.
        images: Measure on this many images, spread evenly over the test split; all by default.
        metrics: Configurations of metrics to take beside the run's own, by name.

    Raises:
        ConfigError: If the folder is no finished run, the data are others, or the rival cannot explain the performer.
    """
    config = measurable_config(run, overrides)
    if images is not None and (not isinstance(images, int) or images < 1):
        raise ConfigError(f"images: expected a number of test images of at least 1, got {images!r}.")
    if rival is not None:
        config.rival = rival
        check_group(config, "rival")
    for name, metric in {**JUDGED_BY, **(metrics or {})}.items():  # also of a run before there was such a metric
        OmegaConf.update(config, f"module.metrics.{name}", metric, force_add=True)
    named = run / PARTS if (run / PARTS).exists() and "parts.file" not in overrides else None
    datamodule, module, trainer = build(config, folder, named=named)
    check_data(config, datamodule, run)
    datamodule.test_images = images
    if rival is not None:
        module.rival = _rival(config, module, trainer)
    return measure(trainer, module, datamodule, run / BEST, folder, controls=controls, margin=margin)


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


def _rival(config: DictConfig, module: Distillation, trainer: pl.Trainer) -> TimedRival:
    if trainer.world_size > 1:
        raise ConfigError(
            f"rival: a rival is fitted and measured by one process, the run's trainer has {trainer.world_size}. Use "
            "`trainer.devices=1 trainer.strategy=auto`."
        )
    rival = instantiate(config.rival)
    try:
        rival.check(module.performer)
    except ValueError as error:
        raise ConfigError(f"rival: {error}") from error
    return TimedRival(rival, trainer.strategy.root_device)


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


def _labelled_data(config: DictConfig) -> ImageDataModule:
    datamodule = ready_data(config.data)
    if config.performer.target not in datamodule.names:
        raise ConfigError(
            f"data: {config.data._target_} has no labels of {config.performer.target!r}, which the performer tells. "
            "Choose data and performer of the same experiment."
        )
    return datamodule


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


def _was_given(key: str) -> bool:
    """Whether the command line says something about a key, itself or by a group of options."""
    if not HydraConfig.initialized():
        return True
    given = {item.split("=")[0].lstrip("+~").split("@")[0] for item in HydraConfig.get().overrides.task}
    return bool(given & {"experiment", "scale"}) or any(key == name or key.startswith(f"{name}.") for name in given)
