"""Finished runs side by side: one row a run, the numbers that are to be compared; and one run beside its controls."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from semexplain.metrics.catalogue import measures_of
from semexplain.metrics.measure import Measure
from semexplain.metrics.verdict import CONTROL, FAITHFUL
from semexplain.runs.folder import CONFIG, METRICS
from semexplain.runs.markdown import markdown_table
from semexplain.runs.run import Run
from semexplain.system.trouble import Trouble, of_system
from semexplain.training.weights_and_biases import flat

PLACES = ("paths", "module", "resume", "logger", "callbacks")
OWN_COLUMN = (
    "performer.target",
    "network.output",
    "beta",
    "seed",
    "data.seed",
    "data.root",
    "concepts._target_",
    "concepts.count",
)
BESIDE = {  # rows of the table of controls: what they are called, and the start of their metrics' names
    "this explainer": "test/",
    "constant concepts": f"{CONTROL}/constant/",
    "concepts of other images": f"{CONTROL}/shuffled/",
    "performer with new weights": f"{CONTROL}/redrawn/",
    "one linear map": "test/linear_map_",
}
ACCURACIES = ("explainer_accuracy_tau_train", "accuracy_tau_0")  # the linear map has no other threshold


def finished_runs(folders: Iterable[Path]) -> tuple[list[Run], list[str]]:
    """Finished runs of explainers in or under the given folders, in the order of their names.

    Returns:
        The runs, and a line for each folder that is left out since a file in it is damaged.
    """
    paths = {path.parent for folder in folders for path in folder.rglob(METRICS) if (path.parent / CONFIG).exists()}
    order = sorted(paths, key=lambda path: (path.parent, len(path.name), path.name))  # job 10 after job 9
    runs, reasons = spared(map(Run, order), lambda run: (run.metrics, run.written, run.judged_metrics))
    return [run for run in runs if "test/relative_deviation" in run.metrics], reasons


def spared(runs: Iterable[Run], do: Callable[[Run], object]) -> tuple[list[Run], list[str]]:
    """Do something with each run, and with the others although it cannot be done with one.

    Returns:
        The runs with which it was done, and a line for each of the others.
    """
    done, reasons = [], []
    for run in runs:
        try:
            do(run)
        except (Trouble, OSError) as trouble:
            sentence = of_system(trouble) if isinstance(trouble, OSError) else str(trouble)
            if sentence is None:
                raise
            reasons.append(f"{run.path}: {' '.join(sentence.split())}")
        else:
            done.append(run)
    return done, reasons


def unfinished_runs(folders: Iterable[Path]) -> list[Path]:
    """Run folders in or under the given folders that were started and not finished."""
    candidates = {path.parent for folder in folders for path in folder.rglob(CONFIG) if path.parent.name != ".hydra"}
    return sorted(run for run in candidates if not (run / METRICS).exists())


def comparison(runs: Sequence[Run]) -> str:
    """A Markdown table of finished runs, see :func:`comparison_table`."""
    return markdown_table(comparison_table(runs))


def beside_controls(metrics: Mapping[str, float | None]) -> list[list[str]]:
    """Deviation and accuracy of a run's explainer, of the same explainer on controls, and of one linear map.

    Args:
        metrics: Of the run, as :func:`semexplain.runs.run.Run.judged_metrics` has them.

    Returns:
        Header and rows of what was measured; images without labels have no accuracies.

    Example:
        >>> beside_controls({"test/relative_deviation": 0.1})
        [['', 'rel. deviation'], ['this explainer', '0.1000']]
    """
    table = [["", "rel. deviation", "accuracy"]]
    for name, start in BESIDE.items():
        if f"{start}relative_deviation" in metrics:
            accuracy = next((metrics[f"{start}{key}"] for key in ACCURACIES if f"{start}{key}" in metrics), None)
            table.append([name, _number(metrics[f"{start}relative_deviation"]), _number(accuracy)])
    return table if any(row[2] != _number(None) for row in table[1:]) else [row[:2] for row in table]


def listing(runs: Sequence[Run]) -> str:
    """The comparison with what its columns mean and the folder of every row."""
    folders = "\n".join(f"run folder {number}: {run.path}" for number, run in enumerate(runs, start=1))
    legend = "\n".join(f"{measure.column}: {measure.sentence}" for measure in columns(runs))
    return f"{comparison(runs)}\n\n{legend}\n\n{folders}"


def columns(runs: Sequence[Run]) -> list[Measure]:
    """Measures that have a column in the comparison and a number in one of the runs."""
    numbers = {name for run in runs for name in run.judged_metrics}
    measures = measures_of(run.written.get("metrics") or {} for run in runs)
    return [measure for measure in measures if measure.column and f"test/{measure.key}" in numbers]


def comparison_table(runs: Sequence[Run]) -> list[list[str]]:
    """Header and a row for each finished run, with a column for every option in which they differ.

    Args:
        runs: The table numbers them from 1.

    Raises:
        ValueError: If there are none.
    """
    if not runs:
        raise ValueError(
            "There are no finished explainer runs here: no folder holds both config.yaml and metrics.json."
        )
    configs = [run.written for run in runs]
    options = [flat_options(config, (*PLACES, *OWN_COLUMN)) for config in configs]
    keys = {key: None for option in options for key in option}  # in the order of the configuration
    extras = [key for key in keys if len({str(option.get(key)) for option in options}) > 1]
    measures = [run.judged_metrics for run in runs]
    headings = columns(runs)
    header = ["#", "target", "beta", "concepts", "seed", *extras, *(measure.column for measure in headings)]
    table = [header]
    for number, (run, metrics, option) in enumerate(zip(runs, measures, options, strict=True), start=1):
        config = run.written
        choices = [
            str(number),
            run.target,
            f"{config.beta:g}",
            concept_choice(config.concepts),
            str(config.seed),
        ]
        numbers = [_cell(f"test/{measure.key}", metrics) for measure in headings]
        table.append([*choices, *(str(option.get(key, "-")) for key in extras), *numbers])
    return table


def flat_options(config: Any, without: Sequence[str]) -> dict[str, Any]:
    """Options by dotted key, but for the keys ``without`` and all below them.

    Example:
        >>> flat_options({"beta": 10, "data": {"root": "/faces", "limit": None}}, without=["data.root"])
        {'beta': 10, 'data.limit': None}
    """
    options = flat(OmegaConf.to_container(config) if OmegaConf.is_config(config) else config)
    return {k: v for k, v in options.items() if not any(k == out or k.startswith(f"{out}.") for out in without)}


def target_words(target: Any) -> str:
    """What a run explains, as it was given: an output by its name, a difference of some, or those of a module.

    Example:
        >>> target_words("dog"), target_words(["fc", ["male", "-female"]])
        ('dog', 'fc male -female')
    """
    return str(target) if isinstance(target, str | int) else " ".join(map(target_words, target))


def concept_choice(concepts: Any) -> str:
    """Which concepts explain, in a word or two.

    Example:
        >>> concept_choice({"_target_": "semexplain.concepts.selection.random_concepts", "count": 20, "seed": 0})
        'random 20'
    """
    kind = concepts.get("_target_", "").removeprefix("semexplain.concepts.selection.").removesuffix("_concepts")
    return f"{kind} {concepts.get('count') or len(concepts.get('include') or ()) or ''}".strip()


def _cell(name: str, metrics: Mapping[str, float | None]) -> str:
    value = metrics.get(name)
    return {None: "-", 0.0: "NO", 0.5: "not shown", 1.0: "yes"}[value] if name == FAITHFUL else _number(value)


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"
