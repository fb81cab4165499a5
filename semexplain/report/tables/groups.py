"""Groups of finished runs that differ in nothing but the seed: each is a cell of the paper's tables."""

import statistics
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from semexplain.data.attributes import ATTRIBUTES as ATTRIBUTE_NAMES
from semexplain.report.paper import ATTRIBUTES, explainer_row, paper_targets
from semexplain.runs.comparison import concept_choice, flat_options
from semexplain.runs.folder import EXPLANATIONS
from semexplain.runs.records import size_of_explanations
from semexplain.runs.run import Run

# What places a run in the tables, where its files are, and what shows or keeps its numbers without changing them.
# The data and the performer are compared by their digests instead.
PLACED = ("beta", "callbacks.prior_weight.beta", "concepts", "data.category", "performer.target", "seed")
WHERE = ("data.cache", "data.cache_gb", "data.index", "data.num_workers", "data.root", "paths", "performer.checkpoint")
CALLBACKS = ("callbacks.log_explanations", "callbacks.progress", "callbacks.write_explanations")
SHOWN = (*CALLBACKS, "figures", "report_figures", "logger")
REPEATED = ("explainer", "prior", "prior_loss", "concepts", "control", "optimizer", "scheduler", "metrics", "start")
OTHER = ("metrics", "objective", "resume", "task", *(f"module.{group}" for group in REPEATED))
Setting = tuple[tuple[str, str], ...]


class Spread(NamedTuple):
    """Mean over seeds, sample standard deviation (none of a single run), and how many there are."""

    mean: float
    std: float | None
    size: int

    @classmethod
    def of(cls, values: Sequence[float]) -> "Spread | None":
        """Of these values; none of nothing.

        Example:
            >>> Spread.of([1.0, 3.0])
            Spread(mean=2.0, std=1.4142135623730951, size=2)
            >>> Spread.of([1.0])
            Spread(mean=1.0, std=None, size=1)
        """
        if not values:
            return None
        return cls(statistics.fmean(values), statistics.stdev(values) if len(values) > 1 else None, len(values))


class Entry(NamedTuple):
    """A finished run and where it belongs: network, target, β, concepts, seed, all other options, its numbers.

    ``objects``: different objects in its test images, if it noted them; ``size``: how many images and concepts its
    table of test images has, if it has one.
    """

    folder: Path
    network: str
    target: str
    beta: float
    concepts: str
    seed: int
    options: dict[str, str]
    metrics: dict[str, float | None]
    objects: int | None
    size: tuple[int, int] | None


class Group(NamedTuple):
    """Runs that differ in nothing but the seed, one of each; ``setting``: the options in which other runs differ."""

    network: str
    target: str
    beta: float
    concepts: str
    setting: Setting
    runs: tuple[Entry, ...]

    @property
    def prior(self) -> str:
        """The paper's name for its β, baseline or ours, or the β."""
        return explainer_row(self.network, self.beta) or f"β = {self.beta:g}"

    @property
    def explainer(self) -> str:
        """What the tables call it: the name of its β, with the choice of concepts unless it is all."""
        return self.prior if self.concepts == "all" else f"{self.prior}, {self.concepts}"

    @property
    def images(self) -> int | None:
        """Different test images, if the first run has its table of them."""
        size = self.runs[0].size
        return None if size is None else size[0]

    @property
    def objects(self) -> int | None:
        """Different objects in the test images: the trials behind the interval of the performer's accuracy."""
        return self.runs[0].objects

    @property
    def concept_count(self) -> int | None:
        """How many concepts explain, if that is known: of all filters, from the table of test images."""
        kind, _, count = self.concepts.partition(" ")
        if kind == "random":
            return int(count)
        if (size := self.runs[0].size) is not None:
            return size[1]
        return len(ATTRIBUTE_NAMES) - 1 if self.network == ATTRIBUTES else None

    def values(self, metric: str) -> list[float]:
        """A number of each run that has it."""
        return [value for run in self.runs if (value := run.metrics.get(metric)) is not None]


def grouped(runs: Iterable[Run]) -> tuple[list[Group], list[str]]:
    """Runs in groups that differ in nothing but the seed, and in words which runs are in none of them.

    Args:
        runs: Finished explainer runs. Of runs that differ in nothing at all the last counts.

    Returns:
        The groups, in the order of the runs, and a line for each run that was left out.
    """
    candidates = [entry_of(run) for run in runs]
    remarks = [
        f"{entry.folder}: the paper has no numbers for {entry.network}, {entry.target}."
        for entry in candidates
        if entry.target not in paper_targets(entry.network)
    ]
    entries = _number_digests([entry for entry in candidates if entry.target in paper_targets(entry.network)])
    options = _differences(entries)
    seeds_of_group: dict[tuple[str, str, float, str, Setting], dict[int, Entry]] = {}
    for entry in entries:
        keys = options[entry.network == ATTRIBUTES]
        setting = tuple((key, entry.options.get(key, "–")) for key in keys)
        seeds = seeds_of_group.setdefault((entry.network, entry.target, entry.beta, entry.concepts, setting), {})
        if entry.seed in seeds:
            remarks.append(f"{seeds[entry.seed].folder}: the same run again as {entry.folder}, which counts.")
        seeds[entry.seed] = entry
    return [Group(*key, tuple(seeds[seed] for seed in sorted(seeds))) for key, seeds in seeds_of_group.items()], remarks


def entry_of(run: Run) -> Entry:
    """A finished run, and where it belongs.

    Raises:
        DamagedFileError: If one of its files is.
    """
    config = run.written
    options = flat_options(config, (*PLACED, *WHERE, *SHOWN, *OTHER))
    if "data.seed" in options and options["data.seed"] == config.seed:
        options["data.seed"] = "the run's"
    options |= {f"digest of {name}": run.recorded.get(f"{key}sha256") for name, key in _DIGESTS.items()}
    return Entry(
        run.path,
        _network(config.performer),
        str(config.performer.target).lower(),
        float(config.beta),
        _concepts(config),
        int(config.seed),
        {key: str(value) for key, value in options.items()},
        run.metrics,
        run.recorded.get("test_objects"),
        size_of_explanations(table) if (table := run.path / EXPLANATIONS).exists() else None,
    )


_DIGESTS = {"performer": "", "data": "data_"}


def _network(performer: Any) -> str:
    """Architecture of an interpretable CNN, ``attributes``, or the class of a network that the paper does not have."""
    kind = str(performer.get("_target_", "")).rpartition(".")[2]
    return str(performer.get("architecture", ATTRIBUTES if kind == "VGG16Attributes" else kind))


def _concepts(config: Any) -> str:
    choice = config.concepts
    if choice.get("include"):
        return f"named {' '.join(choice.include)}"
    own_seed = choice.get("seed") not in (None, config.seed)
    return concept_choice(choice) + (f" of seed {choice.seed}" if own_seed else "")


def _number_digests(runs: Sequence[Entry]) -> list[Entry]:
    """Runs with a digest by its number among those of otherwise equal options: ``1``, or ``2`` of another performer.

    Every target has a performer of its own, so digests as such would say that no two categories belong together.
    """
    digests: dict[tuple[Any, ...], list[str]] = {}
    entries = []
    for run in runs:
        options = {key: value for key, value in run.options.items() if not key.startswith("digest of ")}
        numbers = {}
        for name in _DIGESTS:
            key = f"digest of {name}"
            order = digests.setdefault((key, run.network, run.target, *sorted(options.items())), [])
            if run.options[key] not in order:
                order.append(run.options[key])
            numbers[key] = f"no. {order.index(run.options[key]) + 1}"
        entries.append(run._replace(options=options | numbers))
    return entries


def _differences(runs: Sequence[Entry]) -> dict[bool, list[str]]:
    """Options in which runs of one network differ, for Experiments 1 and 2: a network's own size is none."""
    keys: dict[bool, dict[str, None]] = {False: {}, True: {}}
    for network in dict.fromkeys(run.network for run in runs):
        rows = [run.options for run in runs if run.network == network]
        names = {key: None for options in rows for key in options}
        keys[network == ATTRIBUTES] |= {key: None for key in names if len({options.get(key) for options in rows}) > 1}
    return {experiment: list(names) for experiment, names in keys.items()}
