"""Several explainers trained in one process on one pass over the data (``semexplain together``).

Where a cache holds what the performer says, a sweep needs nothing else. Where the data are too many for that, every job
would run the performer again in every step, which costs far more than its explainer's step. Here the jobs share it:
each is a run like any other, with a folder of its own, in a thread of its own, and what it reads are batches of which
the first thread that needs one has asked the performer.
"""

import copy
import itertools
import logging
import warnings
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytorch_lightning as pl
import torch
from hydra import compose, initialize_config_dir
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from torch import Tensor

from semexplain.concepts.answers import record_of
from semexplain.config import ConfigError
from semexplain.data.images import ImageError
from semexplain.data.loading import ResumableLoader, read_ahead
from semexplain.data.module import ImageDataModule
from semexplain.data.passes import SharedPasses
from semexplain.runs.build import build
from semexplain.runs.folder import BEST, discard, open_run
from semexplain.runs.options import check
from semexplain.runs.run import measure
from semexplain.system.processes import started_together
from semexplain.training.distillation import Distillation

log = logging.getLogger(__name__)
Built = tuple[ImageDataModule, Distillation, pl.Trainer]
# What jobs that share the data have to agree in; the last two since some of them need another pass.
SHARED = (
    "task",
    "data",
    "performer",
    "performer_training",
    "prior",
    "trainer",
    "explainer.head_init",
    "metrics",
    "start",
    "module.centre",
    "module.ablations",
    "explainer._target_",
)


def jobs(words: Sequence[str]) -> list[list[str]]:
    """The jobs of a sweep: every combination of the values that its options list.

    Example:
        >>> jobs(["experiment=celeba_male", "beta=0,0.2"])
        [['experiment=celeba_male', 'beta=0'], ['experiment=celeba_male', 'beta=0.2']]
    """
    choices = []
    for override in OverridesParser.create().parse_overrides(list(words)):
        key = override.get_key_element()
        if key == "sweep":
            raise ConfigError(f"{override.input_line}: a preset is for `python train.py`; list the values themselves.")
        swept = override.is_sweep_override()
        choices.append(
            [f"{key}={value}" for value in override.sweep_string_iterator()] if swept else [str(override.input_line)]
        )
    return [list(job) for job in itertools.product(*choices)]


def start_together(words: Sequence[str], conf: Path) -> tuple[list[Path], list[dict[str, float] | Exception]]:
    """Compose the jobs of a sweep, check them, and train them together.

    Args:
        words: Overrides as on the command line of ``train.py -m``.
        conf: The folder of the configuration.

    Returns:
        The run folders, and the metrics of each or the error that ended it.

    Raises:
        ConfigError: If the jobs cannot be trained together, or one of them not at all.
    """
    try:
        with initialize_config_dir(str(conf.absolute()), version_base="1.3"):
            configs = [compose("train", job) for job in jobs(words)]
    except HydraException as error:
        raise ConfigError(f"together: {error}") from error
    for config in configs:
        check(config)
    check_together(configs)
    place = Path(configs[0].paths.multirun) / "together" / datetime.now().strftime("%Y-%m-%d_%H-%M-%S-%f")
    folders = [place / str(number) for number in range(len(configs))]
    for folder in folders:
        folder.mkdir(parents=True)
    opened = [open_run(config, folder) for config, folder in zip(configs, folders, strict=True)]
    return folders, train_together(opened, folders)


def check_together(configs: Sequence[DictConfig]) -> None:
    """Refuse jobs that cannot read the same batches.

    Raises:
        ConfigError: Naming the options in which they must agree and do not.
    """
    if configs[0].task != "explainer":
        raise ConfigError("together: explainers are trained together, performers are not. Use `python train.py`.")
    differing = []
    for key in SHARED:
        nodes = [OmegaConf.select(config, key) for config in configs]
        plain = [OmegaConf.to_container(node, resolve=True) if OmegaConf.is_config(node) else node for node in nodes]
        if key == "performer":  # the outputs of one network may all be explained
            plain = [{name: value for name, value in cast(dict, node).items() if name != "target"} for node in plain]
        if any(node != plain[0] for node in plain):
            differing.append(key)
    if differing:
        raise ConfigError(
            f"together: the jobs read the same batches, so they must agree in {', '.join(differing)}. Sweep over beta, "
            "concepts, targets of one performer, or seed with a fixed data.seed; other sweeps are `python train.py -m`."
        )
    if any("wandb" in config.logger for config in configs):
        raise ConfigError("together: Weights & Biases keeps one run a process. Use `logger=[csv]`.")
    trainer = configs[0].trainer
    if trainer.get("devices") not in (1, "1") or trainer.get("strategy", "auto") != "auto" or started_together() > 1:
        raise ConfigError("together: all jobs are trained by this one process. Use `trainer=auto`, without torchrun.")


def train_together(configs: Sequence[DictConfig], folders: Sequence[Path]) -> list[dict[str, float] | Exception]:
    """Train and measure explainers, each in its run folder, on passes over the data that they share.

    Args:
        configs: Of the jobs, after ``runs.open_run``.
        folders: Their run folders.

    Returns:
        Metrics of each job, or the error that ended it; the others go on.
    """
    warnings.filterwarnings("ignore", r"Found \d+ module\(s\) in eval mode")  # the performer is frozen on purpose
    results: list[dict[str, float] | Exception] = []
    built: dict[int, Built] = {}
    for number, (config, folder) in enumerate(zip(configs, folders, strict=True)):
        config.data.cache = "off"
        if built:  # one progress bar is enough
            config.callbacks.pop("progress", None)
            config.trainer.enable_progress_bar = False
        try:
            built[number] = build(config, folder)
            results.append({})
        except (ConfigError, ImageError) as error:
            discard(folder)
            results.append(error)
    if not built:
        return results
    runs = list(built.values())
    share(runs)
    passes = SharedPasses(_batches(runs), len(runs))
    for reader, (datamodule, _, _) in enumerate(runs):
        datamodule.read_from(passes, reader)
    threads = torch.get_num_threads()

    def run(reader: int, folder: Path) -> dict[str, float] | Exception:
        datamodule, module, trainer = runs[reader]
        torch.set_num_threads(max(1, threads // len(runs)))
        try:
            trainer.fit(module, datamodule=datamodule)
            passes.leave(reader, "train shuffled", "val")  # others may train for longer
            return measure(trainer, module, datamodule, folder / BEST, folder)
        except (Exception, SystemExit) as error:  # Lightning turns an interruption into an exit
            log.error("The job in %s failed: %s", folder, error)
            return error if isinstance(error, Exception) else RuntimeError("It was interrupted.")
        finally:
            passes.leave(reader)

    with ThreadPoolExecutor(len(runs), "together") as pool:
        waiting = [(number, pool.submit(run, reader, folders[number])) for reader, number in enumerate(built)]
        try:
            for number, job in waiting:
                results[number] = job.result()
        except KeyboardInterrupt:
            passes.end(RuntimeError("It was interrupted."))
            raise
        finally:
            torch.set_num_threads(threads)
    return results


def share(built: Sequence[Built]) -> None:
    """Let the performers of all jobs, which are one network, use the same memory."""
    _, first, trainer = built[0]
    first.performer.to(trainer.strategy.root_device)
    known = {**dict(first.performer.named_parameters()), **dict(first.performer.named_buffers())}
    for _, module, _ in built[1:]:
        if module.identity["performer_sha256"] != first.identity["performer_sha256"]:
            raise ConfigError("together: the jobs explain different performers.")
        for name, own in (*module.performer.named_parameters(), *module.performer.named_buffers()):
            own.data = known[name].data


def _batches(built: Sequence[Built]) -> Any:
    """Makes the batches of a pass: what the performer says of them, for the targets of all jobs."""
    datamodule, module, trainer = built[0]
    device = trainer.strategy.root_device
    performer = module.performer
    record = record_of(performer, module.prior)
    recalls = [record_of(other.performer, other.prior) for _, other, _ in built]
    if len({own.variant for own in recalls}) > 1:
        raise ConfigError("together: the priors of these jobs cannot be computed in one pass; run them one by one.")

    source = copy.copy(datamodule)
    source.num_workers = 0  # a process with many threads must not fork; one more thread reads the images

    def batches(kind: str, number: int) -> Iterator[dict[str, Any]]:
        split, _, shuffled = kind.partition(" ")
        with torch.inference_mode(False):  # whichever thread comes first, and whatever it is doing
            loader = cast(ResumableLoader, source.loader(split, shuffle=bool(shuffled)))
        if shuffled:
            loader.batch_sampler.sampler.set_epoch(number)  # type: ignore[attr-defined]
        teacher = performer.to(device)
        for batch in read_ahead(iter(loader)):
            with torch.inference_mode(False), torch.no_grad(), torch.autocast(device.type, enabled=False):
                feature_map = teacher.encode(batch.pop("image").to(device))
                rows = {name: value.cpu().numpy() for name, value in record.compute(feature_map).items()}
            own: list[dict[str, Tensor]] = [
                {name: torch.from_numpy(np.asarray(array[:])) for name, array in recall.recall(rows).items()}  # type: ignore[arg-type]
                for recall in recalls
            ]
            yield {"shared": {**batch, "feature_map": feature_map}, "own": own}

    return batches
