"""Fit an explainer of a network from Python, with the configuration and the run folder of ``train.py``."""

import copy
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import Any, overload

from hydra import compose, initialize_config_dir
from hydra.errors import HydraException
from omegaconf import DictConfig

from semexplain.concepts.base import ConceptKind
from semexplain.data.module import ImageDataModule, ready_data
from semexplain.explanation import Explanation
from semexplain.judgement.moved import MOST
from semexplain.judgement.verdict import Verdict
from semexplain.performers.answer import Output
from semexplain.performers.base import Performer
from semexplain.performers.network import Network
from semexplain.runs.evaluations import evaluation_in
from semexplain.runs.folder import EVALUATIONS, METRICS, VERDICT, alone_in, discard, open_run
from semexplain.runs.options import check
from semexplain.runs.run import Run
from semexplain.runs.targets import folder_names, jobs_of, train_each, with_targets
from semexplain.runs.tasks import train_explainer
from semexplain.runs.trained import Picture, TrainedExplainer, explained
from semexplain.runs.verdicts import Asked, Means, verdict_on, way_of, write_verdict
from semexplain.system.config import ConfigError
from semexplain.system.devices import require_devices
from semexplain.system.files import TIME, write_json
from semexplain.system.places import expanded, require_writable
from semexplain.system.quiet import hush
from semexplain.system.trouble import Trouble

CONF = Path(__file__).parents[2] / "conf"
JUDGED = 200  # test images of a verdict, as for evaluate.py


class Explainer:
    """How much each concept contributes to a network's scores, learned from images.

    Args:
        network: What is explained, see :class:`~semexplain.performers.network.Network`.
        concepts: What the concepts are: :class:`~semexplain.concepts.filters.Filters`, or
            :class:`~semexplain.concepts.outputs.Outputs`; by default what the network says.
        method: A name of the group ``method``, or None for the paper's own.
        options: Further words as on the command line of ``train.py``, such as ``beta=0`` or ``trainer.max_epochs=3``.

    Raises:
        ConfigError: If there are no such options, or they contradict one another.

    Example:
        >>> explainer = Explainer(net, Filters()).fit("photos/train")  # doctest: +SKIP
        >>> explainer.explain(["me.jpg", "you.jpg"]).reasons()  # doctest: +SKIP
        [['filter 012 +1.24', 'filter 007 +0.91', ...], [...]]
        >>> print(explainer.verdict)  # doctest: +SKIP
        NOT FAITHFUL: ...
    """

    def __init__(
        self,
        network: Performer,
        concepts: ConceptKind | None = None,
        *,
        method: str | None = "semexplain",
        options: Sequence[str] = (),
    ) -> None:
        self.network = network if concepts is None else explained_by(network, concepts)
        words = [*([] if method is None else [f"method={method}"]), *options]
        self._config = _configured(self.network, words)  # refused before any image is read
        self._run: Run | None = None

    @overload
    def fit(
        self, images: Any = None, *, targets: None = None, out: Path | str | None = None, **further: Any
    ) -> "Explainer": ...

    @overload
    def fit(
        self, images: Any = None, *, targets: Sequence[Output], out: Path | str | None = None, **further: Any
    ) -> "Explainers": ...

    def fit(
        self,
        images: Any = None,
        *,
        targets: Sequence[Output] | None = None,
        out: Path | str | None = None,
        **further: Any,
    ) -> "Explainer | Explainers":
        """Learn from images; labels are not needed, and with them accuracies are measured as well.

        Args:
            images: A folder, class folders, a table of files, arrays, pictures, or a data set of Hugging Face, see
                :class:`~semexplain.data.pictures.PicturesDataModule`; or an :class:`ImageDataModule`.
            targets: Several outputs of the network, each as its ``output``, in place of that one. Images are read and
                the network runs on them once for all.
            out: The run's folder, as ``train.py`` writes it; by default one under ``outputs/explainer``. With
                ``targets`` it has a folder for each: one whose run is finished is not fitted again, one that was begun
                goes on.
            **further: ``train``, ``val``, ``test``, ``labels``, ``label_names`` and all else that it takes.

        Returns:
            This explainer; with ``targets`` an explainer for each of them, by its name.

        Raises:
            Trouble: If the images are not as they should be, a folder is in use or not empty, or there is no such
                target.
        """
        networks = None if targets is None else with_targets(self.network, targets)
        now = datetime.now().strftime(TIME)
        folder = Path("outputs/explainer") / now if out is None else expanded("out", out)
        if networks is None and folder.exists() and any(folder.iterdir()):
            raise ConfigError(f"out: {folder} is not empty. Name a new folder, or leave `out` out.")
        hush()
        config = copy.deepcopy(self._config)
        if isinstance(images, str | Path):
            config.data.root = str(expanded("images", images))
        each = [self._of(network, config) for network in networks or ()]
        data = images if isinstance(images, ImageDataModule) else _pictures(config, images, further)
        require_devices(config.trainer)
        if networks is not None:
            return _fitted(each, folder, data)
        data = data.unattached()  # it may have arrays of another run
        try:
            with alone_in(folder):
                recorded = open_run(config, folder, self.network)
                train_explainer(recorded, folder, given=self.network, data=data)
        except Trouble:
            discard(folder)
            raise
        self._come_from(Run(folder, given=self.network, data=data))
        return self

    def _of(self, network: Network, config: DictConfig) -> "Explainer":
        """An explainer of the network with another target."""
        other = copy.copy(self)
        other.network, other._config = network, _with(config, network)
        return other

    def _come_from(self, run: Run) -> None:
        for of_the_last in ("trained", "verdict"):
            vars(self).pop(of_the_last, None)
        self._run = run

    @property
    def run(self) -> Run:
        """Its run: folder, numbers, explanations of the test images.

        Raises:
            Trouble: Before :meth:`fit`.
        """
        if self._run is None:
            raise Trouble("This explainer has seen no images yet: call `fit(images)` first.")
        return self._run

    @property
    def concepts(self) -> tuple[str, ...]:
        """Names of the concepts."""
        return self.network.concept_names

    @cached_property
    def trained(self) -> TrainedExplainer:
        """What explains images, on the device that there is."""
        return TrainedExplainer.of(self.run)

    def explain(self, images: Iterable[Picture] | Picture, **options: Any) -> Explanation:
        """See :meth:`~semexplain.runs.trained.TrainedExplainer.explain`."""
        return self.trained.explain(images, **options)

    @cached_property
    def verdict(self) -> Verdict:
        """Whether it explains test images faithfully: :meth:`judge` with what ``evaluate.py`` asks for by default."""
        return self.judge()

    def judge(self, images: int = JUDGED, means: Means = "auto", concepts: int = MOST) -> Verdict:
        """Whether it explains test images faithfully, see ``docs/verdict.md``; the run keeps it for its report.

        Args:
            images: How many test images at most, spread evenly.
            means: By which interventions, see :class:`~semexplain.runs.verdicts.Asked`.
            concepts: How many concepts are taken away at x one by one.

        Raises:
            ConfigError: If that cannot be, or nothing can be written into the run's folder.
        """
        run = self.run
        Asked.of({"images": images, "means": means, "concepts": concepts}, run, rival=False)
        folder = run.path / EVALUATIONS / datetime.now().strftime(TIME)
        require_writable("verdict", folder / VERDICT)
        module = self.trained.module
        way = way_of(module.teacher, run.data, means)
        found = verdict_on(module, run.data, way, images, [], module.device, concepts=concepts)
        folder.mkdir(parents=True)
        with evaluation_in(folder):
            write_verdict(found, folder / VERDICT)
            write_json(folder / METRICS, dict(sorted({**run.metrics, **found.numbers}.items())))
        return found

    def save(self, folder: Path | str) -> Path:
        """Copy the run to a folder, from which ``semexplain.load(folder, network=...)`` gets the explainer back.

        Raises:
            ConfigError: If the folder is there already.
        """
        place = _new_folder(folder)
        shutil.copytree(self.run.path, place)
        return place


class Explainers(Mapping[str, Explainer]):
    """An explainer for each of several outputs of a network, by the output's name.

    Example:
        >>> explainers = Explainer(net, Filters()).fit("photos", targets=["dog", "cat"])  # doctest: +SKIP
        >>> explainers["dog"].explain("me.jpg").reasons()  # doctest: +SKIP
        [['filter 012 +1.24', 'filter 007 +0.91', ...]]
        >>> {name: verdict.word for name, verdict in explainers.verdicts.items()}  # doctest: +SKIP
        {'dog': 'FAITHFUL', 'cat': 'NOT SHOWN'}
    """

    def __init__(self, explainers: Mapping[str, Explainer]) -> None:
        self._explainers = dict(explainers)

    def __getitem__(self, target: str) -> Explainer:
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
        place = _new_folder(folder)
        for name, explainer in zip(folder_names(list(self)), self.values(), strict=True):
            shutil.copytree(explainer.run.path, place / name)
        return place


def _new_folder(folder: Path | str) -> Path:
    place = expanded("folder", folder)
    if place.exists():
        raise ConfigError(f"folder: {place} is there already. Name a new one.")
    return place


def _fitted(explainers: Sequence[Explainer], folder: Path, data: ImageDataModule) -> Explainers:
    """Explainers of one network, each with a run in a folder below this one."""
    jobs = jobs_of([one._config for one in explainers], [one.network for one in explainers], folder, data)
    train_each(jobs)
    for one, job in zip(explainers, jobs, strict=True):
        one._come_from(Run(job.folder, given=one.network, data=data.unattached()))
    return Explainers({one.network.target_name: one for one in explainers})


def explained_by(network: Performer, concepts: ConceptKind) -> Performer:
    """The same network, explained by other concepts; its layers are shared."""
    other = copy.copy(network)
    other.kind = concepts
    vars(other).pop("concept_names", None)
    return other


def described(network: Performer) -> dict[str, Any]:
    """What a run records of a network that it was given: that, and what is read of it, but nothing to build it from."""
    layers = {"layer": list(network.layers_read)} if isinstance(network, Network) else {}
    name = f"{type(network).__module__}.{type(network).__qualname__}"
    return {"_target_": name, "target": network.target_name, **layers}


def composed(name: str, words: Sequence[str]) -> DictConfig:
    """A configuration as the command line composes it.

    Raises:
        ConfigError: If it cannot be composed, for example of an unknown option.
    """
    if not CONF.exists():
        raise ConfigError(f"Fitting needs the repository (there is no {CONF}): clone it and install it from there.")
    with initialize_config_dir(str(CONF), version_base="1.3"):
        try:
            return compose(name, list(words))
        except HydraException as error:
            raise ConfigError(" ".join(str(error).split())) from error


def _pictures(config: DictConfig, images: Any, further: Mapping[str, Any]) -> ImageDataModule:
    memory = {} if images is None or isinstance(images, str | Path) else {"images": images}
    return ready_data(config.data, **memory, **further)


def _configured(network: Performer, words: Sequence[str]) -> DictConfig:
    """The configuration that the command line would compose, of a network that is at hand."""
    case = "filters" if network.kind.own_maps else "outputs"
    config = composed("train", ["data=pictures", f"case={case}", "logger=[csv]", *words])
    frame(config, network)
    return _with(config, network)


def frame(config: DictConfig, network: Performer) -> None:
    """Let data read pictures as a network takes them."""
    config.data.image_size, config.data.framing = list(network.framing.shape), network.framing.options or None


def _with(config: DictConfig, network: Performer) -> DictConfig:
    """A configuration with a network, checked."""
    config = copy.deepcopy(config)
    config.performer = described(network)
    check(config, network)
    return config
