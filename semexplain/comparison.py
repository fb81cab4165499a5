"""Finished runs side by side: one row a run, the paper's three quantities."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from semexplain.files import read_json
from semexplain.loggers.weights_and_biases import flat
from semexplain.runs import CONFIG, METRICS

COLUMNS = {
    "entropy": "test/contribution_entropy",
    "performer acc.": "test/performer_accuracy",
    "explainer acc.": "test/explainer_accuracy_tau_eval",
    "acc. (tau of train)": "test/explainer_accuracy_tau_train",
    "rel. deviation": "test/relative_deviation",
    "linear map dev.": "test/linear_map_relative_deviation",
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
linear map dev.: the same for one least-squares map from the concepts to the score, fitted on train: the control."""


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
    header, *rows = comparison_table(runs)
    table = [header, ["---"] * len(header), *rows]
    widths = [max(len(line[i]) for line in table) for i in range(len(header))]
    return "\n".join(
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) + " |" for line in table
    )


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
    measures = [read_json(run / METRICS) for run in runs]
    columns = {name: key for name, key in COLUMNS.items() if any(key in measured for measured in measures)}
    header = ["#", "target", "beta", "concepts", "seed", *varying, *columns]
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
        >>> concept_choice({"_target_": "semexplain.concepts.random_concepts", "count": 20, "seed": 0})
        'random 20'
    """
    kind = concepts.get("_target_", "").removeprefix("semexplain.concepts.").removesuffix("_concepts")
    return f"{kind} {concepts.get('count') or len(concepts.get('include') or ()) or ''}".strip()


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"
