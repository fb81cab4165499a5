"""Finished runs side by side: one row a run, the paper's three quantities; and one run beside its controls."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from semexplain.metrics.verdict import CONTROL, EXCESS, EXCESS_SHARE, FAITHFUL
from semexplain.runs.folder import CONFIG, METRICS, judged_metrics
from semexplain.runs.markdown import markdown_table
from semexplain.system.files import read_json
from semexplain.training.weights_and_biases import flat

COLUMNS = {
    "entropy": "test/contribution_entropy",
    "performer acc.": "test/performer_accuracy",
    "explainer acc.": "test/explainer_accuracy_tau_eval",
    "acc. (tau of train)": "test/explainer_accuracy_tau_train",
    "rel. deviation": "test/relative_deviation",
    "linear map dev.": "test/linear_map_relative_deviation",
    "concept reliance": "test/concept_reliance",
    "balanced acc.": "test/performer_balanced_accuracy",
    "part error": "test/part_error_mean",
    "grad x act.": "test/gradient_activation_part_error_mean",
}
PLACES = ("paths", "module", "resume", "logger", "callbacks")
OWN_COLUMN = ("performer.target", "beta", "seed", "data.seed", "data.root", "concepts._target_", "concepts.count")
LEGEND = """\
entropy: of the contributions, in nats; high means that no few concepts explain everything (at most ln n: 3.66 for 39).
balanced acc.: of the performer, mean of the shares of right answers among images with and without the target.
part error: of the contributions of parts against removing their filters (Table 3); grad x act.: the same, untrained.
acc.: agreement with the labels; the explainer's threshold is the best on test (the paper's protocol) or on train.
rel. deviation: mean |performer - explainer| as a share of the performer's range of scores.
linear map dev.: the same for one least-squares map from the concepts to the score, fitted on train: the control.
concept reliance: share of the deviation with other images' concepts that the own ones avoid; 0: they do not matter.
faithful: no if concept reliance is low, or if concepts that say nothing explain as much (controls of evaluate.py)."""
BESIDE = {  # rows of the table of controls: what they are called, and the start of their metrics' names
    "this explainer": "test/",
    "constant concepts": f"{CONTROL}/constant/",
    "concepts of other images": f"{CONTROL}/shuffled/",
    "performer with new weights": f"{CONTROL}/redrawn/",
    "one linear map": "test/linear_map_",
}
ACCURACIES = ("explainer_accuracy_tau_train", "accuracy_tau_0")  # the linear map has no other threshold


def finished_runs(folders: Iterable[Path]) -> list[Path]:
    """Explainer run folders in or under the given folders, in the order of their names."""
    found = {path.parent for folder in folders for path in folder.rglob(METRICS) if (path.parent / CONFIG).exists()}
    finished = [run for run in found if "test/relative_deviation" in read_json(run / METRICS)]
    return sorted(finished, key=lambda run: (run.parent, len(run.name), run.name))  # job 10 after job 9


def unfinished_runs(folders: Iterable[Path]) -> list[Path]:
    """Run folders in or under the given folders that were started and not finished."""
    started = {path.parent for folder in folders for path in folder.rglob(CONFIG) if path.parent.name != ".hydra"}
    return sorted(run for run in started if not (run / METRICS).exists())


def comparison(runs: Sequence[Path]) -> str:
    """A Markdown table of finished runs, see :func:`comparison_table`."""
    return markdown_table(comparison_table(runs))


def beside_controls(metrics: Mapping[str, float | None]) -> list[list[str]]:
    """Deviation and accuracy of a run's explainer, of the same explainer on controls, and of one linear map.

    Args:
        metrics: Of the run, as :func:`semexplain.runs.folder.judged_metrics` returns them.

    Returns:
        Header and rows of what was measured.
    """
    table = [["", "rel. deviation", "accuracy"]]
    for name, start in BESIDE.items():
        if f"{start}relative_deviation" in metrics:
            accuracy = next((metrics[f"{start}{key}"] for key in ACCURACIES if f"{start}{key}" in metrics), None)
            table.append([name, _number(metrics[f"{start}relative_deviation"]), _number(accuracy)])
    if metrics.get(EXCESS) is not None:
        share = metrics[EXCESS_SHARE] or 0.0
        table.append(["excess over control", _number(metrics[EXCESS]), f"({share:.0%} of the control)"])
    return table


def listing(runs: Sequence[Path]) -> str:
    """The comparison with what its columns mean and the folder of every row."""
    folders = "\n".join(f"run folder {number}: {run}" for number, run in enumerate(runs, start=1))
    return f"{comparison(runs)}\n\n{LEGEND}\n\n{folders}"


def comparison_table(runs: Sequence[Path]) -> list[list[str]]:
    """Header and a row for each finished run, with a column for every option in which they differ.

    Args:
        runs: Run folders; the table numbers them from 1.

    Raises:
        ValueError: If there are none.
    """
    if not runs:
        raise ValueError(
            "There are no finished explainer runs here: no folder holds both config.yaml and metrics.json."
        )
    configs = [OmegaConf.load(run / CONFIG) for run in runs]
    options = [options_of(config, (*PLACES, *OWN_COLUMN)) for config in configs]
    keys = {key: None for option in options for key in option}  # in the order of the configuration
    varying = [key for key in keys if len({str(option.get(key)) for option in options}) > 1]
    measures = [judged_metrics(run) for run in runs]
    columns = {name: key for name, key in COLUMNS.items() if any(key in measured for measured in measures)}
    judged = ["faithful"] if any(FAITHFUL in measured for measured in measures) else []
    header = ["#", "target", "beta", "concepts", "seed", *varying, *columns, *judged]
    table = [header]
    for number, (metrics, config, option) in enumerate(zip(measures, configs, options, strict=True), start=1):
        chosen = [
            str(number),
            config.performer.target,
            f"{config.beta:g}",
            concept_choice(config.concepts),
            str(config.seed),
        ]
        measured = [_number(metrics.get(key)) for key in columns.values()]
        if judged:
            measured.append({None: "-", 0.0: "NO", 1.0: "yes"}[metrics.get(FAITHFUL)])
        table.append([*chosen, *(str(option.get(key, "-")) for key in varying), *measured])
    return table


def options_of(config: Any, without: Sequence[str]) -> dict[str, Any]:
    """Options by dotted key.

    Args:
        config: A configuration.
        without: Keys to leave out, with all below them.

    Example:
        >>> options_of({"beta": 10, "data": {"root": "/faces", "limit": None}}, without=["data.root"])
        {'beta': 10, 'data.limit': None}
    """
    found = flat(OmegaConf.to_container(config) if OmegaConf.is_config(config) else config)
    return {k: v for k, v in found.items() if not any(k == out or k.startswith(f"{out}.") for out in without)}


def concept_choice(concepts: Any) -> str:
    """Which concepts explain, in a word or two.

    Example:
        >>> concept_choice({"_target_": "semexplain.concepts.selection.random_concepts", "count": 20, "seed": 0})
        'random 20'
    """
    kind = concepts.get("_target_", "").removeprefix("semexplain.concepts.selection.").removesuffix("_concepts")
    return f"{kind} {concepts.get('count') or len(concepts.get('include') or ()) or ''}".strip()


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"
