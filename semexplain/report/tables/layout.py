"""The paper's tables, line by line: what it printed and, below it, what the runs give."""

import string
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import torch

from semexplain.metrics.accuracy import wilson_interval
from semexplain.report.figures.style import display_name
from semexplain.report.paper import ATTRIBUTES, NETWORKS
from semexplain.report.tables.groups import Group, Setting, Spread
from semexplain.report.tables.notes import Cell, cell_notes, claims
from semexplain.report.tables.quantities import (
    ACCURACY,
    AVERAGE,
    DEVIATION,
    ENTROPY,
    PART_ERROR,
    Quantity,
    select,
    spread_of,
    targets_of,
)

ANIMALS = tuple(network for network in NETWORKS if network != ATTRIBUTES)
TABLE_3_TARGET = "dog"
PLACE = ("network", "target", "explainer", "setting")


class Table(NamedTuple):
    """A table as text: file name, title, header, lines, and what is said below it, marks such as ``[1]`` included."""

    name: str
    title: str
    header: list[str]
    rows: list[list[str]]
    notes: list[str]


class Line(NamedTuple):
    """What a line of a table is about: network, quantity, explainer (or whose number it is), setting, runs."""

    network: str
    quantity: Quantity
    who: str
    setting: Setting | None  # none: the paper's
    groups: Sequence[Group]


def tables(groups: Sequence[Group]) -> list[Table]:
    """All tables of which at least one run is there.

    A line of the paper is followed by one for each setting of the runs; accuracies also have 95 % intervals.

    Args:
        groups: Runs, as :func:`semexplain.report.tables.groups.grouped` returns them.
    """
    members = [group for group in groups if not group.concepts.startswith("random")]
    animals = [group for group in members if group.network != ATTRIBUTES]
    faces = [group for group in members if group.network == ATTRIBUTES]
    dogs = [group for group in animals if group.target == TABLE_3_TARGET and group.values("test/part_error_mean")]
    networks = [network for network in ANIMALS if any(group.network == network for group in animals)]
    quantities = (*ACCURACY, *DEVIATION)
    result = []
    if animals:
        result += [
            _by_network("table1_animals", "Table 1, Experiment 1: entropy of contributions", animals, ENTROPY),
            _by_target("entropy_animals", "Supplement: entropy by category", animals, ENTROPY, networks),
            _by_network("table2_animals", "Table 2, Experiment 1: accuracy (%) and deviation", animals, quantities),
            _by_target("accuracy_animals", "Supplement: accuracy (%) by category", animals, ACCURACY, networks),
            _by_target("deviation_animals", "Supplement: deviation by category", animals, DEVIATION, networks),
        ]
    if faces:
        one = [ATTRIBUTES]
        result += [
            _by_target("table1_faces", "Table 1, Experiment 2: entropy of contributions", faces, ENTROPY, one),
            _by_target("table2_faces", "Table 2, Experiment 2: accuracy (%) and deviation", faces, quantities, one),
        ]
    if dogs:
        of_dogs = [network for network in ANIMALS if any(group.network == network for group in dogs)]
        third = _by_target("table3", "Table 3: error of part contributions, dog", dogs, PART_ERROR, of_dogs)
        remark = "The paper does not say which network its Table 3 is of; gradient × activation is not in it."
        result.append(third._replace(notes=[*third.notes, remark]))
    remarks = claims()
    return [t._replace(notes=[*t.notes, *remarks]) if t.name == "table2_animals" else t for t in result]


def setting_names(groups: Sequence[Group]) -> dict[tuple[bool, Setting], str]:
    """A letter for each setting of each experiment that has several; an empty name for the only one."""
    names: dict[tuple[bool, Setting], str] = {}
    for experiment in (False, True):
        settings = list(dict.fromkeys(g.setting for g in groups if (g.network == ATTRIBUTES) == experiment))
        letters = [f" {_letters(number)}" for number in range(len(settings))] if len(settings) > 1 else [""]
        names |= {(experiment, setting): letter for setting, letter in zip(settings, letters, strict=False)}
    return names


def place(names: Mapping[tuple[bool, Setting], str], line: tuple[str, str, str, Setting]) -> list[str]:
    """Cells below ``PLACE``, of network, target, explainer and setting."""
    network, target, explainer, setting = line
    return [NETWORKS[network], display_name(target), explainer, names[network == ATTRIBUTES, setting].strip() or "–"]


def lines(groups: Sequence[Group], quantities: Sequence[Quantity], network: str) -> Iterator[Line]:
    """The lines of a network: for each quantity and explainer the paper's, then one for each setting."""
    settings = list(dict.fromkeys(group.setting for group in groups))
    for quantity in quantities:
        varies = quantity.whose == "explainer"
        explainers = [group.explainer for group in groups if group.network == network]
        for who in _in_order(explainers) if varies else [quantity.whose]:
            yield Line(network, quantity, who, None, ())
            explainer = who if varies else None
            for setting in settings:
                yield Line(network, quantity, who, setting, select(groups, network, setting, explainer))


def bounds(line: Line, target: str, cell: Spread) -> tuple[float, float] | None:
    """The 95 % interval of an accuracy in percent, for as many trials as there are different test objects."""
    members = [group for group in line.groups if group.target == target]
    if line.quantity.table != "accuracy" or not members or members[0].objects is None:
        return None
    share = torch.tensor(cell.mean / 100, dtype=torch.float64)
    low, high = wilson_interval(share, members[0].objects)
    return 100 * float(low), 100 * float(high)


def spread_text(quantity: Quantity, cell: Spread | None, of: int | None = None) -> str:
    """A cell in words: mean ± standard deviation, and in brackets how many seeds, or how many of the averaged cells.

    Example:
        >>> spread_text(ENTROPY[0], Spread(3.2, 0.0125, 3)), spread_text(ENTROPY[0], Spread(3.2, None, 4), of=6)
        ('3.200 ± 0.013 (3)', '3.200 (4 of 6)')
    """
    if cell is None:
        return "–"
    text = quantity.text(cell.mean) + (f" ± {quantity.text(cell.std)}" if cell.std is not None else "")
    if of is not None:
        return f"{text} ({cell.size} of {of})"
    return f"{text} ({cell.size})" if quantity.whose == "explainer" else text


def _by_target(
    name: str, title: str, groups: Sequence[Group], quantities: Sequence[Quantity], networks: Sequence[str]
) -> Table:
    targets = targets_of(quantities[0], networks[0])
    header = ["network", "quantity", "of", "from", *map(display_name, targets), AVERAGE]
    names, marks, rows = setting_names(groups), _Marks(), []
    for network in networks:
        for line in lines(groups, quantities, network):
            first = [NETWORKS[network], line.quantity.title, line.who]
            if line.setting is None:
                cells = [marks.paper(line, target) for target in (*targets, AVERAGE)]
                if any(cell[0] != "–" for cell in cells):
                    rows.append([*first, "paper", *cells])
                continue
            spreads = [spread_of(line.groups, line.quantity, target) for target in targets]
            if not any(spreads):
                continue
            mean = spread_of(line.groups, line.quantity, AVERAGE)
            name_here = f"here{names[network == ATTRIBUTES, line.setting]}"
            texts = [spread_text(line.quantity, cell) for cell in spreads]
            count = sum(cell is not None for cell in spreads)
            mean = mean._replace(size=count) if mean else None
            rows.append([*first, name_here, *texts, spread_text(line.quantity, mean, len(targets))])
            limits = [bounds(line, t, cell) if cell else None for t, cell in zip(targets, spreads, strict=True)]
            if any(limits):
                texts = ["–" if limit is None else f"[{limit[0]:.1f}, {limit[1]:.1f}]" for limit in limits]
                rows.append([*first, "95 % interval", *texts, "–"])
    return Table(name, title, header, rows, marks.notes)


def _by_network(name: str, title: str, groups: Sequence[Group], quantities: Sequence[Quantity]) -> Table:
    header = ["quantity", "of", "from", *(NETWORKS[network] for network in ANIMALS)]
    names, marks, rows = setting_names(groups), _Marks(), []
    explainers = _in_order([group.explainer for group in groups])
    for quantity, who in [
        (q, who) for q in quantities for who in (explainers if q.whose == "explainer" else [q.whose])
    ]:
        paper = [marks.paper(Line(network, quantity, who, None, ()), AVERAGE) for network in ANIMALS]
        if any(cell[0] != "–" for cell in paper):
            rows.append([quantity.title, who, "paper", *paper])
        for setting in dict.fromkeys(group.setting for group in groups):
            explainer = who if quantity.whose == "explainer" else None
            members = [select(groups, network, setting, explainer) for network in ANIMALS]
            spreads = [spread_of(some, quantity, AVERAGE) for some in members]
            if any(spreads):
                sizes = [len(targets_of(quantity, network)) for network in ANIMALS]
                texts = [spread_text(quantity, cell, of) for cell, of in zip(spreads, sizes, strict=True)]
                rows.append([quantity.title, who, f"here{names[False, setting]}", *texts])
    return Table(name, title, header, rows, marks.notes)


class _Marks:
    """Numbers the footnotes of a table in the order in which its cells need them."""

    def __init__(self) -> None:
        self.texts: list[str] = []

    @property
    def notes(self) -> list[str]:
        return [f"[{number}] {text}" for number, text in enumerate(self.texts, start=1)]

    def paper(self, line: Line, target: str) -> str:
        """A cell of the paper, with the mark of its footnote."""
        text = line.quantity.text(line.quantity.paper(line.network, line.who, target))
        row = line.who
        note = cell_notes().get(Cell(line.quantity.table, line.network, row, target)) if line.quantity.printed else None
        if note is None:
            return text
        if note not in self.texts:
            self.texts.append(note)
        return f"{text} [{self.texts.index(note) + 1}]"


def _in_order(explainers: Sequence[str]) -> list[str]:
    """Baseline and ours, which the paper has, then all others."""
    return list(dict.fromkeys(["baseline", "ours", *explainers]))


def _letters(number: int) -> str:
    """The name of a setting by its number: A to Z, then AA and so on."""
    alphabet = string.ascii_uppercase
    return alphabet[number] if number < 26 else _letters(number // 26 - 1) + alphabet[number % 26]
