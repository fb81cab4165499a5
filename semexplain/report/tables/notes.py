"""Where the paper contradicts itself or leaves a cell blank, worked out from its printed numbers."""

import functools
import math
from typing import NamedTuple

from semexplain.report.paper import ATTRIBUTES, NETWORKS, paper_cell, paper_targets
from semexplain.report.tables.quantities import ACCURACY, AVERAGE, DEVIATION, ENTROPY, PART_ERROR, PARTS, Quantity

PRINTED = (*ENTROPY, *ACCURACY, *DEVIATION, *PART_ERROR)


class Cell(NamedTuple):
    """A cell of the paper: table, network, row, column."""

    table: str
    network: str
    row: str
    target: str


@functools.cache
def cell_notes() -> dict[Cell, str]:
    """What is to be said of single cells: averages that are not those of their row, and blanks among numbers.

    Example:
        >>> cell_notes()[Cell("entropy", "attributes", "ours", "average")]
        'Printed as 3.201; the 4 cells average 3.2255.'
    """
    notes = {}
    for quantity in [quantity for quantity in PRINTED if quantity.printed]:
        rows = ("baseline", "ours") if quantity.whose == "explainer" else (quantity.whose,)
        for network in NETWORKS:
            for row in rows:
                average = quantity.paper(network, row, AVERAGE)
                names = PARTS if quantity.table == "part_error" else paper_targets(network)
                cells = [quantity.paper(network, row, target) for target in names]
                terms = [cell for cell in cells if cell is not None]
                note = None if average is None or len(terms) < len(cells) else _average_note(quantity, average, terms)
                if note:
                    notes[Cell(quantity.table, network, row, AVERAGE)] = note
                blank = [name for name, cell in zip(names, cells, strict=True) if cell is None]
                blank += [AVERAGE] if average is None else []
                if terms:
                    text = "Blank in the paper."
                    notes |= {Cell(quantity.table, network, row, target): text for target in blank}
    return notes


def claims() -> list[str]:
    """Sentences of the paper that its own averages do not bear out.

    Example:
        >>> claims()[0]
        'The text says that the prior did not decrease accuracy: its average does for VGG-16 (96.7 to 95.6).'
    """
    accuracy, deviation = _paper_averages("accuracy"), _paper_averages("relative_deviation")
    lower = [f"{NETWORKS[n]} ({b:.1f} to {o:.1f})" for n, (b, o) in accuracy.items() if o < b]
    fell = [NETWORKS[n] for n, (b, o) in deviation.items() if o < b]
    rose = [f"{NETWORKS[n]} ({b:.3f} to {o:.3f})" for n, (b, o) in deviation.items() if o > b]
    sentences = []
    if lower:
        sentences.append(f"The text says that the prior did not decrease accuracy: its average does for {_and(lower)}.")
    if fell:
        sentences.append(
            f"The text says that it increased the deviation a bit: its average falls for {_and(fell)} and rises for "
            f"{_and(rose) or 'none'}."
        )
    return sentences


def _average_note(quantity: Quantity, average: float, cells: list[float]) -> str | None:
    mean, unit = math.fsum(cells) / len(cells), 10.0**-quantity.digits
    if abs(mean - average) <= unit / 2 + 1e-9:
        return None
    hint = " (cut off, not rounded)" if 0 <= mean - average < unit else ""
    return f"Printed as {quantity.text(average)}; the {len(cells)} cells average {mean:.{quantity.digits + 1}f}{hint}."


def _paper_averages(table: str) -> dict[str, tuple[float, float]]:
    """Printed averages of baseline and ours, by network of Experiment 1."""
    averages = {}
    for network in [network for network in NETWORKS if network != ATTRIBUTES]:
        pair = [paper_cell(table, network, row, AVERAGE) for row in ("baseline", "ours")]
        if pair[0] is not None and pair[1] is not None:
            averages[network] = (pair[0], pair[1])
    return averages


def _and(names: list[str]) -> str:
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)
