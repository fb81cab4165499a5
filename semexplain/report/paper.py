"""The numbers that the paper printed, beside ours (Tables 1 to 3 and the supplement)."""

import functools
from pathlib import Path
from typing import Any

from semexplain.system.reading import read_json

NUMBERS = Path(__file__).with_name("paper_numbers.json")
ATTRIBUTES = "attributes"  # the network of Experiment 2
NETWORKS = {"alexnet": "AlexNet", "vgg_m": "VGG-M", "vgg_s": "VGG-S", "vgg16": "VGG-16", ATTRIBUTES: "faces"}
BETA = (10.0, 0.2)  # of the paper's explainer, in Experiments 1 and 2


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
    network = str(config.performer.architecture) if filters else ATTRIBUTES
    target = str(config.performer.target).lower()
    numbers = {"test/performer_accuracy": _share(paper_cell("accuracy", network, "performer", target))}
    row = explainer_row(network, config.beta)
    if row is not None:
        numbers |= {
            "test/contribution_entropy": paper_cell("entropy", network, row, target),
            "test/explainer_accuracy_tau_eval": _share(paper_cell("accuracy", network, row, target)),
            "test/relative_deviation": paper_cell("relative_deviation", network, row, target),
        }
        if filters and target == "dog":
            errors = _printed()["part_error"][row]
            numbers |= {f"test/part_error/{part}": value for part, value in errors.items() if part != "avg"}
            numbers["test/part_error_mean"] = errors["avg"]
    return {name: value for name, value in numbers.items() if value is not None}


def explainer_row(network: str, beta: float) -> str | None:
    """The row of the paper's tables that a β belongs in: ``baseline``, ``ours``, or none.

    Example:
        >>> explainer_row("vgg16", 10), explainer_row("attributes", 0), explainer_row("attributes", 10)
        ('ours', 'baseline', None)
    """
    return {0.0: "baseline", BETA[network == ATTRIBUTES]: "ours"}.get(float(beta))


def paper_cell(table: str, network: str, row: str, target: str) -> float | None:
    """A number of a table as it is printed.

    Args:
        table: ``entropy``, ``accuracy`` (in percent), ``relative_deviation`` or, whatever the network, ``part_error``.
        network: Architecture of an interpretable CNN, or ``attributes``.
        row: ``performer``, ``baseline`` or ``ours``.
        target: A category, a face attribute or a part; ``average`` for the last column.

    Returns:
        The number; none where the paper has none.

    Example:
        >>> paper_cell("accuracy", "vgg16", "ours", "dog"), paper_cell("entropy", "attributes", "ours", "average")
        (97.0, 3.201)
    """
    if table == "part_error":
        return _printed()[table].get(row, {}).get("avg" if target == "average" else target)
    if target == "average":
        return _of_network(_printed()["averages"][table], network).get(row)
    return _of_network(_printed()[table], network).get(row, {}).get(target)


def paper_targets(network: str) -> tuple[str, ...]:
    """The categories or face attributes that the paper's tables have for a network; none for another network.

    Example:
        >>> paper_targets("attributes")
        ('attractive', 'heavy_makeup', 'male', 'young')
    """
    return tuple(_of_network(_printed()["entropy"], network).get("ours", ()))


def paper_source() -> str:
    """Which paper it is."""
    return _printed()["source"]


def _of_network(table: dict[str, Any], network: str) -> dict[str, Any]:
    return table[ATTRIBUTES] if network == ATTRIBUTES else table["interpretable"].get(network, {})


def _share(percent: float | None) -> float | None:
    return None if percent is None else percent / 100


@functools.cache
def _printed() -> dict[str, Any]:
    return read_json(NUMBERS)
