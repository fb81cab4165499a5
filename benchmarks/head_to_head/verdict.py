"""What the numbers say, in sentences that the numbers choose: where the method of this package wins, and where not."""

import math
from collections.abc import Sequence

from .records import OURS, Mean, Record, difference, mean, order

CHEAP = 100  # passes through the head; what costs more is no alternative for many images
CONTROLS = ("shuffled", "redrawn", "random")
# Number, in words, whether more is better.
COMPARED = (
    ("rank_correlation", "rank correlation with exact Shapley values", True),
    ("removal_rank_correlation", "rank correlation with single removals", True),
    ("part_rank_correlation", "rank correlation with drops of the score without each part", True),
    ("part_error_mean", "part error", False),
    ("contribution_error", "contribution error", False),
    ("relative_deviation", "relative deviation", False),
    ("faithfulness_correlation", "faithfulness correlation", True),
    ("average_sensitivity", "sensitivity to noise", False),
)


def verdict(records: Sequence[Record], world: str) -> str:
    """One paragraph about a world."""
    said = [sentence for number in COMPARED if (sentence := comparison(records, world, *number))]
    separation = control(records, world)
    return " ".join([f"**{world}.**", *said, *([separation] if separation else [])])


def comparison(records: Sequence[Record], world: str, number: str, words: str, more: bool) -> str:
    """Who is best among all methods that cost fewer than a hundred passes, and whether that is more than chance.

    Chance is that of the images where single images have the number (a paired bootstrap), else that of the seeds.

    A rival that costs more and is better still is named as well.
    """
    ranked = ranking(records, world, number, more)
    cheap = [entry for entry in ranked if entry[2] < CHEAP]
    ours = next((value for method, value, _ in ranked if method == OURS), None)
    if ours is None or len(cheap) < 2:
        return ""
    place = [method for method, _, _ in cheap].index(OURS) + 1
    best, value, _ = cheap[0]
    if place == 1:
        second, other, _ = cheap[1]
        sure = over_chance(records, world, (OURS, ours), (second, other), number)
        text = f"{words[0].upper()}{words[1:]}: {OURS} is first with {ours}; next {second} with {other}{sure}."
    else:
        sure = over_chance(records, world, (OURS, ours), (best, value), number)
        text = f"{words[0].upper()}{words[1:]}: {best} wins with {value}; "
        text += f"{OURS} is number {place} of {len(cheap)} with {ours}{sure}."
    dearer = [entry for entry in ranked if entry[2] >= CHEAP and better(entry[1].value, cheap[0][1].value, more)]
    if dearer:
        text += f" {dearer[0][0]} reaches {dearer[0][1]} for {dearer[0][2]:.0f} passes an image."
    return text


def ranking(records: Sequence[Record], world: str, number: str, more: bool) -> list[tuple[str, Mean, float]]:
    """Methods but the controls with their means and passes, the best first; methods without the number are left out."""
    rows = []
    for method in order(records, world):
        value = mean(records, world, method, number)
        if not math.isnan(value.value) and not any(word in method for word in CONTROLS):
            rows.append((method, value, mean(records, world, method, "passes").value))
    return sorted(rows, key=lambda row: row[1].value, reverse=more)


def control(records: Sequence[Record], world: str) -> str:
    """How much worse an explainer is on concepts of other images, which must be much: ours, and the paper's."""
    said = []
    for method in (OURS, "paper"):
        own = mean(records, world, method, "relative_deviation").value
        other = mean(records, world, f"{method} on shuffled concepts", "relative_deviation").value
        if not math.isnan(own) and not math.isnan(other):
            said.append(f"{other / own:.1f} times for {method} ({own:.3g} and {other:.3g})")
    return f"Shuffled concepts are worse in deviation {', '.join(said)}." if said else ""


def over_chance(
    records: Sequence[Record], world: str, ours: tuple[str, Mean], other: tuple[str, Mean], number: str
) -> str:
    """Whether two methods differ by more than chance: over the same images, else over the seeds."""
    between = difference(records, world, ours[0], other[0], number)
    if between is None:
        return " (over seeds alone)" if apart(ours[1], other[1]) else ", within chance"
    chance = ", within chance" if between.above(0) is None else ""
    return f" (over the images {between.value:+.3g} [{between.low:.3g}, {between.high:.3g}]{chance})"


def apart(one: Mean, other: Mean) -> bool:
    """Whether the two intervals do not touch."""
    return abs(one.value - other.value) > one.half + other.half


def better(one: float, other: float, more: bool) -> bool:
    """Whether a value is better than another."""
    return one > other if more else one < other
