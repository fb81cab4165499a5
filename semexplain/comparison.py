"""Finished runs side by side: one row a run, the paper's three quantities."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from semexplain.files import read_json
from semexplain.runs import CONFIG, METRICS

COLUMNS = {
    "entropy": "test/contribution_entropy",
    "performer acc.": "test/performer_accuracy",
    "explainer acc.": "test/explainer_accuracy_tau_eval",
    "acc. (tau of train)": "test/explainer_accuracy_tau_train",
    "rel. deviation": "test/relative_deviation",
    "linear map dev.": "test/linear_map_relative_deviation",
}
LEGEND = """\
entropy: of the contributions, in nats; high means that no few concepts explain everything (ln 39 = 3.66).
acc.: agreement with the labels; the explainer's threshold is the best on test (the paper's protocol) or on train.
rel. deviation: mean |performer - explainer| as a share of the performer's range of scores.
linear map dev.: the same for one least-squares map from the concepts to the score, fitted on train: the control."""


def finished_runs(folders: Iterable[Path]) -> list[Path]:
    """Explainer run folders in or under the given folders, in the order of their names."""
    found = {path.parent for folder in folders for path in folder.rglob(METRICS) if (path.parent / CONFIG).exists()}
    return sorted(run for run in found if "test/relative_deviation" in read_json(run / METRICS))


def comparison(runs: Iterable[Path]) -> str:
    """A Markdown table of finished runs.

    Args:
        runs: Run folders.

    Raises:
        ValueError: If there are none.
    """
    rows = [_row(run) for run in runs]
    if not rows:
        raise ValueError(
            "There are no finished explainer runs here: none of the folders holds config.yaml and metrics.json."
        )
    header = ["target", "beta", "concepts", "seed", *COLUMNS]
    table = [header, ["---"] * len(header), *([row[name] for name in header] for row in rows)]
    widths = [max(len(line[i]) for line in table) for i in range(len(header))]
    return "\n".join(
        "| " + " | ".join(cell.ljust(w) for cell, w in zip(line, widths, strict=True)) + " |" for line in table
    )


def _row(run: Path) -> dict[str, str]:
    config, metrics = OmegaConf.load(run / CONFIG), read_json(run / METRICS)
    measured = {name: _number(metrics.get(key)) for name, key in COLUMNS.items()}
    return {
        "target": config.performer.target,
        "beta": f"{config.beta:g}",
        "concepts": _concepts(config.concepts),
        "seed": str(config.seed),
        **measured,
    }


def _concepts(concepts: Any) -> str:
    return str(concepts.get("count") or len(concepts.get("include") or ()) or "all")


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"
