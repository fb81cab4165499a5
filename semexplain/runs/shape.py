"""The shape of a configuration: which groups describe a component, which several by name, and which only places."""

from collections.abc import Iterator, Mapping
from typing import Any

from semexplain.system.config import targets

ONE = (
    "data",
    "performer",
    "performer_training",
    "concepts",
    "explainer",
    "optimizer",
    "scheduler",
    "module",
    "trainer",
)
PERHAPS_ONE = ("prior", "prior_loss", "parts", "control", "start")
SEVERAL = ("metrics", "figures", "report_figures", "callbacks", "logger")
ALWAYS = (*ONE, *SEVERAL, "paths", "task", "beta", "seed", "objective")  # what is always there
KIND = "kind"  # a start by the kind of concept


def misshapen(values: Mapping[str, Any]) -> Iterator[str]:
    """What is no component where one is expected, in plain values of a configuration.

    Without these, the groups that are there can be looked into without asking first what they are.

    Example:
        >>> values = dict.fromkeys(ONE, {"_target_": "a.B"}) | dict.fromkeys(SEVERAL, {}) | {"paths": {"cache": "c"}}
        >>> list(misshapen(values))
        []
        >>> list(misshapen(values | {"prior": 3}))
        ['prior: expected a component (a mapping with a _target_) or null, got 3.']
    """
    for group in ONE:
        if group in values and not _is_component(values.get(group)):
            yield f"{group}: expected a component (a mapping with a _target_), got {values.get(group)!r}."
    for group in PERHAPS_ONE:
        node = values.get(group)
        if node is not None and not _is_component(node) and (group, node) != ("start", KIND):
            yield f"{group}: expected a component (a mapping with a _target_) or null, got {node!r}."
    for group in SEVERAL:
        node = values.get(group, {})
        if not isinstance(node, Mapping):
            yield f"{group}: expected components by name, got {node!r}."
            continue
        for name, entry in node.items():
            if not _is_component(entry):
                yield f"{group}.{name}: expected a component (a mapping with a _target_), got {entry!r}."
    paths = values.get("paths", {})
    if not isinstance(paths, Mapping) or not all(isinstance(path, str) for path in paths.values()):
        yield f"paths: expected folders by name, got {paths!r}."
    for path, node in targets(dict(values)):
        for key, value in node.items():
            if key in ("_partial_", "_recursive_") and not isinstance(value, bool):
                yield f"{path}.{key}: expected true or false, got {value!r}."
            elif str(key).startswith("_") and key not in ("_target_", "_partial_", "_recursive_", "_convert_"):
                yield f"{path}.{key}: unknown key: arguments are given by their names."


def _is_component(node: Any) -> bool:
    return isinstance(node, Mapping) and isinstance(node.get("_target_"), str)
