"""The numbers that the paper printed, beside ours (Tables 1 to 3 and the supplement)."""

import functools
from pathlib import Path
from typing import Any

from semexplain.files import read_json

NUMBERS = Path(__file__).with_name("paper_numbers.json")


def paper_numbers(config: Any) -> dict[str, float]:
    """What the paper printed for the experiment of a run.

    Its baseline is λ(t) = 0, its explainer has β = 10 (Experiment 1) or 0.2 (Experiment 2); for another β there is
    nothing to compare with, but for the accuracy of the performer. Table 3 is of dogs, its network is not stated.

    Args:
        config: The run's configuration.

    Returns:
        Numbers by the name of the metric in ``metrics.json``; empty for another task than the paper's.

    Example:
        >>> from omegaconf import OmegaConf
        >>> performer = {"_target_": "semexplain.performers.vgg16_attributes.VGG16Attributes", "target": "Male"}
        >>> paper_numbers(OmegaConf.create({"performer": performer, "beta": 0}))["test/contribution_entropy"]
        3.177
    """
    filters = "architecture" in config.performer
    target = str(config.performer.target).lower()
    printed = _printed()

    def cell(table: str, row: str) -> float | None:
        cells = (
            printed[table]["interpretable"].get(config.performer.architecture, {})
            if filters
            else printed[table]["attributes"]
        )
        return cells.get(row, {}).get(target)

    found = {"test/performer_accuracy": _share(cell("accuracy", "performer"))}
    row = {0.0: "baseline", 10.0 if filters else 0.2: "ours"}.get(float(config.beta))
    if row is not None:
        found |= {
            "test/contribution_entropy": cell("entropy", row),
            "test/explainer_accuracy_tau_eval": _share(cell("accuracy", row)),
            "test/relative_deviation": cell("relative_deviation", row),
        }
        if filters and target == "dog":
            errors = printed["part_error"][row]
            found |= {f"test/part_error/{part}": value for part, value in errors.items() if part != "avg"}
            found["test/part_error_mean"] = errors["avg"]
    return {name: value for name, value in found.items() if value is not None}


def paper_source() -> str:
    """Which paper it is."""
    return _printed()["source"]


def _share(percent: float | None) -> float | None:
    return None if percent is None else percent / 100


@functools.cache
def _printed() -> dict[str, Any]:
    return read_json(NUMBERS)
