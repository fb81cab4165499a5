"""Every number of a run in words: what it is called in a table, and what it means in one sentence."""

import functools
import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import yaml

DEFINITIONS = Path(__file__).with_name("definitions.yaml")
HEADLINE = 10  # of those, what a table shows at once, if the run has it


class Definition(NamedTuple):
    """A number's title and meaning."""

    title: str
    meaning: str


def define(metric: str) -> Definition:
    """What a number of ``metrics.json`` is called and means; a number nobody described keeps its name.

    Example:
        >>> define("test/part_error/eye").title
        'error for eye'
        >>> define("test/performer_accuracy_low").title
        'performer accuracy, lower end'
    """
    name = metric.removeprefix("test/")
    for pattern, said in _definitions().items():
        found = re.fullmatch(re.escape(pattern).replace(r"\*", "(.+)"), name)
        if found:
            words = (group.replace("_", " ") for group in found.groups())
            return Definition(said["title"].format(*words), said["meaning"])
    return Definition(name.replace("_", " ").replace("/", ", "), "")


def in_order(metrics: Sequence[str]) -> tuple[list[str], list[str]]:
    """Names of metrics to show at once, the most important first, and all others."""
    first = [f"test/{name}" for name in list(_definitions())[:HEADLINE]]
    shown = [name for name in first if name in metrics]
    shown += [name for name in metrics if name.startswith("test/part_error/")]
    return shown, [name for name in metrics if name not in shown]


@functools.cache
def _definitions() -> dict[str, dict[str, str]]:
    return yaml.safe_load(DEFINITIONS.read_text(encoding="utf-8"))
