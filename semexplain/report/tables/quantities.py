"""Which number of a run stands in which of the paper's tables, and cells of them."""

from collections.abc import Sequence
from typing import NamedTuple

from semexplain.metrics.accuracy import ExplainerAccuracy
from semexplain.metrics.contribution_entropy import ContributionEntropy
from semexplain.metrics.linear_map import LinearMap
from semexplain.metrics.measure import Measure, describe
from semexplain.metrics.part_error import TABLE_3, PartError
from semexplain.metrics.relative_deviation import RelativeDeviation
from semexplain.report.paper import paper_cell, paper_targets
from semexplain.report.tables.groups import Group, Setting, Spread

AVERAGE = "average"


class Quantity(NamedTuple):
    """A row of a table: what it shows (of parts: their mean), the paper's table, and how it is written there."""

    measure: Measure
    table: str
    digits: int = 3
    scale: float = 1.0
    printed: bool = True

    @property
    def title(self) -> str:
        """What the row is called."""
        return self.measure.label

    @property
    def metric(self) -> str:
        """The number's name in ``metrics.json``."""
        return f"test/{self.measure.key}"

    @property
    def whose(self) -> str:
        """``explainer`` if every explainer has its own; else what is the same for all explainers of a performer."""
        return self.measure.of.removeprefix("the ") or "explainer"

    def paper(self, network: str, explainer: str, target: str) -> float | None:
        """What the paper has for a cell."""
        row = explainer if self.whose == "explainer" else self.whose
        return paper_cell(self.table, network, row, target) if self.printed else None

    def text(self, value: float | None) -> str:
        """A value with as many digits as the paper prints; an en dash for none.

        Example:
            >>> ENTROPY[0].text(5.16349), ENTROPY[0].text(None)
            ('5.163', '–')
        """
        return "–" if value is None else f"{value:.{self.digits}f}".replace("-", "−")


def _percent(key: str, *, printed: bool = True) -> Quantity:
    return Quantity(describe(key, (*ExplainerAccuracy.reports, *LinearMap.reports)), "accuracy", 1, 100, printed)


ENTROPY = (
    Quantity(describe("contribution_entropy", ContributionEntropy.reports), "entropy"),
    Quantity(describe("linear_map_contribution_entropy", LinearMap.reports), "entropy", printed=False),
)
ACCURACY = (
    _percent("performer_accuracy"),
    _percent("explainer_accuracy_tau_eval"),
    _percent("explainer_accuracy_tau_train", printed=False),
    _percent("explainer_accuracy_tau_0", printed=False),
    _percent("linear_map_accuracy_tau_0", printed=False),
)
DEVIATION = (
    Quantity(describe("relative_deviation", RelativeDeviation.reports), "relative_deviation"),
    Quantity(describe("linear_map_relative_deviation", LinearMap.reports), "relative_deviation", printed=False),
)
PART_ERROR = (
    Quantity(describe("part_error_mean", PartError.reports), "part_error"),
    Quantity(describe("gradient_activation_part_error_mean", PartError.reports), "part_error", printed=False),
)
PARTS = TABLE_3


def spread_of(groups: Sequence[Group], quantity: Quantity, target: str) -> Spread | None:
    """A cell of the runs that are there, in the paper's unit.

    Args:
        groups: Groups of one network, setting and explainer; for what all explainers share, of one network and setting.
        quantity: What is asked for.
        target: A category or face attribute; a part of the only target; or ``average`` over those that are there.

    Returns:
        Mean and spread over seeds, of an average over the seeds that all its targets have; none if no run has it.
    """
    if quantity.table == "part_error":
        part = "_mean" if target == AVERAGE else f"/{target}"
        return _cell(groups, quantity, quantity.metric.removesuffix("_mean") + part)
    if target != AVERAGE:
        return _cell([group for group in groups if group.target == target], quantity, quantity.metric)
    sets = [[group for group in groups if group.target == name] for name in dict.fromkeys(g.target for g in groups)]
    cells = [cell for cell in (_cell(some, quantity, quantity.metric) for some in sets) if cell is not None]
    if not cells:
        return None
    mean = sum(cell.mean for cell in cells) / len(cells)
    by_seed = [
        {run.seed: value for run in some[0].runs if (value := run.metrics.get(quantity.metric)) is not None}
        for some in sets
    ]
    seeds = sorted(set.intersection(*(set(values) for values in by_seed if values)))
    over_seeds = [quantity.scale * sum(v[seed] for v in by_seed if v) / len(cells) for seed in seeds]
    spreads = quantity.whose == "explainer" and all(set(values) == set(seeds) for values in by_seed if values)
    return Spread(mean, Spread.of(over_seeds).std if spreads and seeds else None, len(cells))  # type: ignore[union-attr]


def _cell(groups: Sequence[Group], quantity: Quantity, metric: str) -> Spread | None:
    values = [quantity.scale * value for group in groups for value in group.values(metric)]
    # What the explainers of a performer share does not vary with the seed: it is one number, however often measured.
    return Spread.of(values if quantity.whose == "explainer" else values[:1])


def targets_of(quantity: Quantity, network: str) -> tuple[str, ...]:
    """The columns of a quantity's table for a network, without the average."""
    return PARTS if quantity.table == "part_error" else paper_targets(network)


def select(groups: Sequence[Group], network: str, setting: Setting, explainer: str | None = None) -> list[Group]:
    """Groups of a network and setting: of an explainer, or of all that use all concepts."""
    return [
        group
        for group in groups
        if (group.network, group.setting) == (network, setting)
        and (group.concepts == "all" if explainer is None else group.explainer == explainer)
    ]
