"""The findings of the paper that its own numbers support, asked of any numbers: the paper's or those of runs."""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

from scipy.stats import spearmanr

from semexplain.report.figures.style import display_name
from semexplain.report.paper import ATTRIBUTES, NETWORKS, paper_targets
from semexplain.report.tables.layout import ANIMALS
from semexplain.report.tables.quantities import PARTS

# (table, network, row, target) -> a number in the paper's unit, or none; tables and rows are those of paper_cell.
Numbers = Callable[[str, str, str, str], float | None]
CELLS = sum(len(paper_targets(network)) for network in ANIMALS)
TARGETS = len(paper_targets(ATTRIBUTES))
UNSTATED = ""  # the network of the paper's Table 3
MOST = 1e-9  # what rounding may add


class Outcome(NamedTuple):
    """Whether a statement holds (none: not enough runs to say), the numbers behind it, and whether they are all."""

    holds: bool | None
    numbers: str = "–"
    complete: bool = True

    @property
    def word(self) -> str:
        """The verdict as it is printed."""
        phrase = "held" if self.complete else "held so far"
        return {True: phrase, False: "not held", None: "not enough runs"}[self.holds]


class Statement(NamedTuple):
    """A finding: number, experiment (``animals``, ``faces``), text, what it takes to hold, how it is evaluated."""

    name: str
    experiment: str
    text: str
    passes: str
    evaluate: Callable[[Numbers], Outcome]


def entropy_animals(numbers: Numbers) -> Outcome:
    """Q1 in Experiment 1: the prior raises the entropy in every network's average and in 20 of 24 cells."""
    networks = _columns(numbers, "entropy", "baseline", "ours")
    cells = [pair for pairs in networks.values() for pair in pairs]
    if not cells:
        return Outcome(None)
    higher = sum(ours > baseline for baseline, ours in cells)
    averages = {network: _averages(pairs) for network, pairs in networks.items()}
    holds = all(ours > baseline for baseline, ours in averages.values()) and higher * CELLS >= 20 * len(cells)
    text = f"{_arrows(averages, 3)}; higher in {higher} of {len(cells)} cells"
    return Outcome(holds, text, len(cells) == CELLS)


def entropy_faces(numbers: Numbers) -> Outcome:
    """Q1 in Experiment 2: the prior raises the entropy of every target."""
    targets = _faces(numbers, "entropy", "baseline", "ours")
    if not targets:
        return Outcome(None)
    higher = sum(ours > baseline for baseline, ours in targets.values())
    text = f"{_arrows(targets, 3)}; higher in {higher} of {len(targets)} targets"
    return Outcome(higher == len(targets), text, len(targets) == TARGETS)


def accuracy_animals(numbers: Numbers) -> Outcome:
    """Q2 in Experiment 1: the prior costs no network's average more than 1.5 points."""
    networks = _columns(numbers, "accuracy", "baseline", "ours")
    cells = [pair for pairs in networks.values() for pair in pairs]
    count = sum(ours >= baseline for baseline, ours in cells)
    verdict = _costs({network: _averages(pairs) for network, pairs in networks.items()}, 1.5)
    if not cells:
        return verdict
    text = f"{verdict.numbers}; not lower in {count} of {len(cells)} cells"
    return verdict._replace(numbers=text, complete=len(cells) == CELLS)


def accuracy_faces(numbers: Numbers) -> Outcome:
    """Q2 in Experiment 2: the prior costs no target more than half a point."""
    targets = _faces(numbers, "accuracy", "baseline", "ours")
    return _costs(targets, 0.5)._replace(complete=len(targets) == TARGETS)


def deviation_animals(numbers: Numbers) -> Outcome:
    """Q3: the prior changes no network's average deviation by more than .01, and all stay below .07."""
    networks = _columns(numbers, "relative_deviation", "baseline", "ours")
    cells = [pair for pairs in networks.values() for pair in pairs]
    if not cells:
        return Outcome(None)
    averages = {network: _averages(pairs) for network, pairs in networks.items()}
    holds = all(abs(o - b) <= 0.01 + MOST and max(b, o) < 0.07 for b, o in averages.values())
    lower = sum(ours <= baseline for baseline, ours in cells)
    text = f"{_changes(averages, 3)}; not higher in {lower} of {len(cells)} cells"
    return Outcome(holds, text, len(cells) == CELLS)


def gap_animals(numbers: Numbers) -> Outcome:
    """Q4 in Experiment 1: each network's explainers stay within 3 points of their performers."""
    networks = _columns(numbers, "accuracy", "ours", "performer")
    averages = {network: _averages(pairs) for network, pairs in networks.items()}
    if not averages:
        return Outcome(None)
    holds = all(p - o <= 3 + MOST for o, p in averages.values())
    return Outcome(holds, _changes(averages, 1), sum(map(len, networks.values())) == CELLS)


def gap_faces(numbers: Numbers) -> Outcome:
    """Q4 in Experiment 2: each explainer stays within 8 points of its performer, closest for ``male``."""
    targets = _faces(numbers, "accuracy", "ours", "performer")
    gaps = {target: performer - ours for target, (ours, performer) in targets.items()}
    if not gaps:
        return Outcome(None)
    near = all(gap <= 8 + MOST for gap in gaps.values())
    complete = "male" in gaps and len(gaps) > 1
    closest = complete and gaps["male"] == min(gaps.values())
    holds = (near and closest) if complete or not near else None
    return Outcome(holds, _changes(targets, 1), len(gaps) == TARGETS)


def part_error(numbers: Numbers) -> Outcome:
    """Q5: with the prior the contribution of every part is closer to the effect of removing the part."""
    parts: dict[str, tuple[float, float]] = {}
    for network in (*ANIMALS, UNSTATED):
        for part in PARTS:
            pair = _pair(numbers, "part_error", network, "baseline", "ours", part)
            if pair is not None:
                parts[f"{NETWORKS.get(network, '')} {display_name(part)}".strip()] = pair
    if not parts:
        return Outcome(None)
    lower = sum(ours < baseline for baseline, ours in parts.values())
    return Outcome(lower == len(parts), f"{_arrows(parts, 3)}; lower for {lower} of {len(parts)} parts")


def capacity_trend(deviations: dict[str, dict[int, float]]) -> Outcome:
    """Q6: with more concepts the score is met more closely.

    Args:
        deviations: For each target the relative deviation, a mean over seeds, by number of concepts.

    Returns:
        Whether Spearman's rank correlation of number and deviation is negative for every target, and the deviation
        with most concepts below that with fewest; none unless a target has three numbers of concepts.

    Example:
        >>> capacity_trend({"male": {5: 0.3, 20: 0.2, 39: 0.25}}).numbers
        'male: ρ = −0.50, 0.300 (5) → 0.250 (39)'
    """
    enough = {target: means for target, means in deviations.items() if len(means) >= 3}
    if not enough:
        return Outcome(None)
    holds, lines = [], []
    for target, means in enough.items():
        counts = sorted(means)
        values = [means[count] for count in counts]
        constant = len(set(values)) == 1  # no rank correlation, and no gain from more concepts
        rho = 0.0 if constant else float(spearmanr(counts, values).statistic)
        holds.append(rho < 0 and values[-1] < values[0])
        ends = f"{values[0]:.3f} ({counts[0]}) → {values[-1]:.3f} ({counts[-1]})"
        lines.append(f"{display_name(target)}: ρ = {_signed(rho, 2)}, {ends}")
    return Outcome(all(holds), "; ".join(lines))


STATEMENTS = (
    Statement(
        "Q1",
        "animals",
        "The prior raises the entropy of contributions",
        f"every network's average, 20 of {CELLS} cells",
        entropy_animals,
    ),
    Statement("Q1", "faces", "The prior raises the entropy of contributions", "every target", entropy_faces),
    Statement("Q2", "animals", "The prior costs no accuracy", "every average within −1.5 points", accuracy_animals),
    Statement("Q2", "faces", "The prior costs no accuracy", "every target within −0.5 points", accuracy_faces),
    Statement(
        "Q3",
        "animals",
        "The prior hardly changes the deviation",
        "every average by at most .01, all below .07",
        deviation_animals,
    ),
    Statement("Q4", "animals", "Explainers come close to performers", "every average within 3 points", gap_animals),
    Statement("Q4", "faces", "Explainers come close to performers", "within 8 points, closest for male", gap_faces),
    Statement("Q5", "animals", "The prior lowers the error of parts (dog)", "every part", part_error),
)
TREND = ("Q6", "More concepts, more capacity (Fig. 8)", "rank correlation below 0, most below fewest concepts")


def _pair(
    numbers: Numbers, table: str, network: str, first: str, second: str, target: str
) -> tuple[float, float] | None:
    one, other = numbers(table, network, first, target), numbers(table, network, second, target)
    return None if one is None or other is None else (one, other)


def _columns(numbers: Numbers, table: str, first: str, second: str) -> dict[str, list[tuple[float, float]]]:
    """Pairs of two rows in the cells that have both, by name of the network."""
    networks = {
        NETWORKS[network]: [
            pair
            for target in paper_targets(network)
            if (pair := _pair(numbers, table, network, first, second, target)) is not None
        ]
        for network in ANIMALS
    }
    return {name: pairs for name, pairs in networks.items() if pairs}


def _faces(numbers: Numbers, table: str, first: str, second: str) -> dict[str, tuple[float, float]]:
    pairs = {t: _pair(numbers, table, ATTRIBUTES, first, second, t) for t in paper_targets(ATTRIBUTES)}
    return {target: pair for target, pair in pairs.items() if pair is not None}


def _averages(pairs: Sequence[tuple[float, float]]) -> tuple[float, float]:
    one, other = zip(*pairs, strict=True)
    return math.fsum(one) / len(pairs), math.fsum(other) / len(pairs)


def _costs(pairs: dict[str, tuple[float, float]], most: float) -> Outcome:
    if not pairs:
        return Outcome(None)
    return Outcome(all(ours - baseline >= -most - MOST for baseline, ours in pairs.values()), _changes(pairs, 1))


def _arrows(pairs: dict[str, tuple[float, float]], digits: int) -> str:
    return ", ".join(f"{display(name)} {a:.{digits}f} → {b:.{digits}f}" for name, (a, b) in pairs.items())


def _changes(pairs: dict[str, tuple[float, float]], digits: int) -> str:
    return ", ".join(f"{display(name)} {_signed(b - a, digits)}" for name, (a, b) in pairs.items())


def display(name: str) -> str:
    """A network's name as it is, a target's as a label."""
    return name if name.startswith(tuple(NETWORKS.values())) else display_name(name)


def _signed(value: float, digits: int) -> str:
    return f"{value:+.{digits}f}".replace("-", "−")
