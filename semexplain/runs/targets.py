"""Several outputs of one network, each explained by a run of its own; what they share is computed once."""

import logging
import re
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from omegaconf import DictConfig

from semexplain.data.module import ImageDataModule
from semexplain.explanation import Explanation
from semexplain.judgement.verdict import Verdict
from semexplain.performers.answer import Output
from semexplain.performers.base import Performer
from semexplain.performers.network import Network
from semexplain.runs.folder import CONFIG, METRICS, alone_in, discard, open_run, require_same_options
from semexplain.runs.run import Run
from semexplain.runs.tasks import train_explainer
from semexplain.runs.trained import Picture, explained
from semexplain.system.config import ConfigError
from semexplain.system.places import expanded
from semexplain.system.trouble import Trouble

if TYPE_CHECKING:
    from semexplain.runs.explainer import Explainer

log = logging.getLogger(__name__)


class Explainers(Mapping[str, "Explainer"]):
    """An explainer for each of several outputs of a network, by the output's name.

    Example:
        >>> explainers = Explainer(net, Filters()).fit("photos", targets=["dog", "cat"])  # doctest: +SKIP
        >>> explainers["dog"].explain("me.jpg").reasons()  # doctest: +SKIP
        [['filter 012 +1.24', 'filter 007 +0.91', ...]]
        >>> {name: verdict.word for name, verdict in explainers.verdicts.items()}  # doctest: +SKIP
        {'dog': 'FAITHFUL', 'cat': 'NOT SHOWN'}
    """

    def __init__(self, explainers: Mapping[str, "Explainer"]) -> None:
        self._explainers = dict(explainers)

    def __getitem__(self, target: str) -> "Explainer":
        return self._explainers[target]

    def __iter__(self) -> Iterator[str]:
        return iter(self._explainers)

    def __len__(self) -> int:
        return len(self._explainers)

    def explain(self, images: Iterable[Picture] | Picture, **options: Any) -> dict[str, Explanation]:
        """The explanations of all these scores, for which the network runs once.

        Args:
            images: See :meth:`~semexplain.runs.trained.TrainedExplainer.explain`.
            **options: Those of that method.
        """
        found = explained([explainer.trained for explainer in self.values()], images, **options)
        return dict(zip(self, found, strict=True))

    @property
    def verdicts(self) -> dict[str, Verdict]:
        """Whether each explains test images faithfully, see ``docs/verdict.md``."""
        return {target: explainer.verdict for target, explainer in self.items()}

    def save(self, folder: Path | str) -> Path:
        """Copy the runs to a folder, one below it for each target; ``semexplain.load`` takes each of these.

        Raises:
            ConfigError: If the folder is there already.
        """
        place = expanded("folder", folder)
        if place.exists():
            raise ConfigError(f"folder: {place} is there already. Name a new one.")
        for name, explainer in zip(folder_names(list(self)), self.values(), strict=True):
            shutil.copytree(explainer.run.path, place / name)
        return place


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
            _ = other.concept_names
        except ValueError as error:
            raise ConfigError(f"targets: {target!r}: {error}") from error
        if other.target_name in found:
            raise ConfigError(f"targets: {other.target_name!r} is there twice.")
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


def train_each(jobs: Sequence[Job]) -> None:
    """Train one after the other; those that are finished are left as they are, and one that was begun goes on.

    Raises:
        Trouble: Before any work if a folder holds something else, or a run with other options, network or images.
    """
    waiting = [job for job in jobs if not _is_finished(job)]
    for number, job in enumerate(jobs, 1):
        words = number, len(jobs), job.network.target_name, job.folder
        if job not in waiting:
            log.info("Target %d of %d, %s: finished already, in %s.", *words)
            continue
        log.info("Target %d of %d, %s: in %s.", *words)
        job.config.resume = str(job.folder) if (job.folder / CONFIG).exists() else None
        beside = [other.network for other in waiting[waiting.index(job) + 1 :]]
        try:
            with alone_in(job.folder):
                config = open_run(job.config, job.folder, job.network)
                data = job.data.unattached()
                train_explainer(config, job.folder, given=job.network, data=data, beside=beside)
        except Trouble:
            if job.config.resume is None:
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
    _ = run.performer  # refused if it has other weights
    if run.noted("data_sha256") != job.data.fingerprint():
        raise ConfigError(f"out: the run {folder} is of other images. Name a new folder.")
    return True
