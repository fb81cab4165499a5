"""Several outputs of one network, each explained by a run of its own; what they share is computed once."""

import copy
import logging
import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from omegaconf import DictConfig

from semexplain.data.module import ImageDataModule
from semexplain.performers.answer import Output
from semexplain.performers.base import Performer
from semexplain.performers.network import Network
from semexplain.runs.folder import CONFIG, METRICS, alone_in, discard, open_run, require_same_options
from semexplain.runs.run import Run
from semexplain.runs.tasks import train_explainer
from semexplain.system.config import ConfigError
from semexplain.system.trouble import Trouble

log = logging.getLogger(__name__)


class Job(NamedTuple):
    """The run of one target.

    Attributes:
        config: Of the run, checked.
        network: With this target.
        folder: Of the run.
        data: Its images, which all targets have in common.
    """

    config: DictConfig
    network: Performer
    folder: Path
    data: ImageDataModule


def with_targets(network: Performer, targets: Sequence[Output]) -> list[Network]:
    """The network once for each of the outputs, which share its layers.

    Args:
        network: The network.
        targets: Outputs, as :class:`~semexplain.performers.network.Network` takes them.

    Raises:
        ConfigError: If there are none, one is there twice or not at all, or it is among the concepts.
    """
    if not isinstance(network, Network):
        raise ConfigError(f"targets: expected a semexplain.Network, got {type(network).__name__}: fit one by one.")
    if not isinstance(targets, Sequence) or isinstance(targets, str) or not targets:
        raise ConfigError(f"targets: expected a list of outputs, such as ['dog', 7, [3, -5]], got {targets!r}.")
    found: dict[str, Network] = {}
    for target in targets:
        try:
            other = network.with_output(target)
            _require_concepts(other)
        except ValueError as error:
            raise ConfigError(f"targets: {target!r}: {error}") from error
        if other.target_name in found:
            raise ConfigError(
                f"targets: {other.target_name!r} is there twice. Leave one out; give functions names by `def`."
            )
        found[other.target_name] = other
    return list(found.values())


def folder_names(targets: Sequence[str]) -> list[str]:
    """A name for the folder of each target's run.

    Example:
        >>> folder_names(["golden retriever", "cat - dog", "a/b", "a:b", ".."])
        ['golden_retriever', 'cat_-_dog', 'a_b', 'a_b_2', '_']
    """
    names: list[str] = []
    for target in targets:
        plain = name = re.sub(r"^\.+|[^\w.+-]+", "_", target)[:100] or "_"
        number = 1
        while name.lower() in (other.lower() for other in names):  # also where capitals do not count
            number += 1
            name = f"{plain}_{number}"
        names.append(name)
    return names


def jobs_of(
    configs: Sequence[DictConfig], networks: Sequence[Performer], out: Path, data: ImageDataModule
) -> list[Job]:
    """The run of each target, in a folder of its name.

    Args:
        configs: Of the runs, checked.
        networks: The network with each of the targets.
        out: The folder of all runs.
        data: Their images.
    """
    places = [out / name for name in folder_names([network.target_name for network in networks])]
    return [Job(*parts, data) for parts in zip(configs, networks, places, strict=True)]


def train_each(jobs: Sequence[Job]) -> None:
    """Train one after the other; those that are finished are left as they are, and one that was begun goes on.

    Raises:
        Trouble: Before any work if a folder holds something else, or a run with other options, network or images.
    """
    finished = [_is_finished(job) for job in jobs]
    for number, job in enumerate(jobs, 1):
        words = number, len(jobs), job.network.target_name, job.folder
        if finished[number - 1]:
            log.info("Target %d of %d, %s: finished already, in %s.", *words)
            continue
        log.info("Target %d of %d, %s: in %s.", *words)
        config = copy.deepcopy(job.config)
        config.resume = str(job.folder) if (job.folder / CONFIG).exists() else None
        later = zip(jobs[number:], finished[number:], strict=True)
        beside = [other.network for other, done in later if not done]
        try:
            with alone_in(job.folder):
                recorded = open_run(config, job.folder, job.network)
                data = job.data.unattached()
                train_explainer(recorded, job.folder, given=job.network, data=data, beside=beside)
        except Trouble:
            if config.resume is None:
                discard(job.folder)
            raise


def _is_finished(job: Job) -> bool:
    """Whether its run is there already."""
    folder = job.folder
    if not (folder / CONFIG).exists():
        if folder.exists() and any(folder.iterdir()):
            raise ConfigError(f"out: {folder} is not empty, and no run. Name a new folder.")
        return False
    require_same_options(job.config, folder, job.network)
    if not (folder / METRICS).exists():
        return False
    run = Run(folder, given=job.network)
    _require_same_weights(run)
    if run.noted("data_sha256") != job.data.fingerprint():
        raise ConfigError(f"out: the run {folder} is of other images. Name a new folder.")
    return True


def _require_concepts(network: Network) -> None:
    """Refuse a network whose target is among its concepts, or that has none."""
    _ = network.concept_names


def _require_same_weights(run: Run) -> None:
    """Refuse a run of a network with other weights."""
    _ = run.performer
