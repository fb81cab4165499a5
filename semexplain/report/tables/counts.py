"""Runs with different numbers of concepts (Fig. 8)."""

import re
import statistics
from collections.abc import Sequence
from typing import NamedTuple

from semexplain.metrics.measure import Measure
from semexplain.report.paper import ATTRIBUTES, NETWORKS
from semexplain.report.tables.groups import Group, Setting, Spread
from semexplain.report.tables.layout import PLACE, Table, place, setting_names, spread_text
from semexplain.report.tables.quantities import DEVIATION, Quantity

DROP = Quantity(Measure("accuracy drop", "accuracy drop"), "drop", 1, 100)


class Count(NamedTuple):
    """What the runs with so many concepts give, one of each seed: relative deviation and accuracy drop in points."""

    deviations: tuple[float, ...]
    drops: tuple[float, ...]


class Series(NamedTuple):
    """A line of Fig. 8: what it is of, and its runs by number of concepts."""

    network: str
    target: str
    prior: str
    setting: Setting
    counts: dict[int, Count]


def series(groups: Sequence[Group]) -> list[Series]:
    """Runs that differ in the number of concepts and the seed only: chosen at random, or all there are.

    Args:
        groups: Runs, as :func:`semexplain.report.tables.groups.grouped` returns them.

    Returns:
        Those with at least two numbers of concepts.
    """
    candidates: dict[tuple[str, str, str, Setting], list[Group]] = {}
    for group in groups:
        if group.concepts == "all" or re.fullmatch(r"random \d+", group.concepts):
            candidates.setdefault((group.network, group.target, group.prior, group.setting), []).append(group)
    several = {key: members for key, members in candidates.items() if len({group.concepts for group in members}) > 1}
    lines = [Series(*key, counts=_counts(members)) for key, members in several.items()]
    return [line for line in lines if len(line.counts) > 1]


def table(lines: Sequence[Series], groups: Sequence[Group]) -> Table:
    """The numbers of Fig. 8; the paper printed none."""
    names = setting_names(groups)
    header = [*PLACE, "concepts", "relative deviation", "accuracy drop (points)"]
    rows = [
        [
            *place(names, line[:4]),
            str(count),
            spread_text(DEVIATION[0], Spread.of(line.counts[count].deviations)),
            spread_text(DROP, Spread.of(line.counts[count].drops)),
        ]
        for line in lines
        for count in sorted(line.counts)
    ]
    remark = (
        "Accuracy drop: of the performer minus the explainer, τ best on test. The paper shows a figure, no numbers."
    )
    return Table("figure8", "Figure 8: from fewer concepts, chosen at random", header, rows, [remark])


def means(lines: Sequence[Series]) -> dict[str, dict[int, float]]:
    """Mean relative deviation over seeds by number of concepts, by what a line is of."""
    return {
        line.target if line.network == ATTRIBUTES else f"{NETWORKS[line.network]} {line.target}": {
            count: statistics.fmean(runs.deviations) for count, runs in line.counts.items() if runs.deviations
        }
        for line in lines
    }


def _counts(groups: Sequence[Group]) -> dict[int, Count]:
    runs: dict[tuple[int, int], dict[str, float | None]] = {}
    for group in sorted(groups, key=lambda group: group.concepts == "all"):
        count = group.concept_count
        if count is not None:
            for run in group.runs:
                runs.setdefault((count, run.seed), run.metrics)  # as many at random as there are, and all: once
    counts = {}
    for count in sorted({count for count, _ in runs}):
        members = [metrics for (number, _), metrics in runs.items() if number == count]
        deviations = [metrics.get("test/relative_deviation") for metrics in members]
        pairs = [(m.get("test/performer_accuracy"), m.get("test/explainer_accuracy_tau_eval")) for m in members]
        counts[count] = Count(
            tuple(value for value in deviations if value is not None),
            tuple(100 * (one - other) for one, other in pairs if one is not None and other is not None),
        )
    return counts
