"""What the table looks like: agreement over cost, and deviation beside its control."""

import math
from collections.abc import Sequence

from matplotlib.figure import Figure

from semexplain.report.figures.style import AGAINST, FOR, NEITHER, new_figure, readable

from .records import OURS, Record, mean, order
from .verdict import CONTROLS

AGREEMENT = ("rank_correlation", "part_rank_correlation", "faithfulness_correlation")


def agreement_over_cost(records: Sequence[Record], world: str) -> Figure:
    """Agreement with the truth (or, on real data, with what taking concepts away does) over passes through the head."""
    number = next(key for key in AGREEMENT if any(key in r.numbers for r in records if r.world == world))
    figure = new_figure(7.2, 4.2)
    axes = readable(figure.subplots())
    labels: dict[tuple[float, float], list[tuple[float, str]]] = {}
    points = [
        (method, *(mean(records, world, method, key) for key in (number, "passes"))) for method in order(records, world)
    ]
    shown = [p for p in points if not any(word in p[0] for word in CONTROLS) and not math.isnan(p[1].value)]
    room = 0.06 * (max(p[1].value for p in shown) - min(p[1].value for p in shown)) or 1.0
    for method, value, cost in sorted(shown, key=lambda point: point[0] == OURS):  # ours on top
        tint = FOR if method == OURS else AGAINST if method.startswith("paper") else NEITHER
        at = max(cost.value, 0.5)
        axes.errorbar(at, value.value, yerr=value.half, fmt="o", color=tint, capsize=2)
        near = (place for place in labels if abs(place[1] - value.value) < room and 0.6 < place[0] / at < 1.7)
        labels.setdefault(next(near, (at, value.value)), []).append((value.value, method))
    for place, methods in labels.items():  # points in one place share a label, a line each, the highest first
        text = "\n".join(method for _, method in sorted(methods, reverse=True))
        slanted = {"rotation": 30, "rotation_mode": "anchor"}  # neighbours of one height stay apart
        axes.annotate(text, place, (8, 4), textcoords="offset points", fontsize=7, va="center", **slanted)
    axes.set_xscale("log")
    axes.set_xlabel("passes through the head for an image (0.5: none)", fontsize=8)
    axes.set_ylabel(number.replace("_", " "), fontsize=8)
    axes.set_title(world, fontsize=9)
    axes.margins(0.12, 0.2)
    return figure


def deviation_and_control(records: Sequence[Record], worlds: Sequence[str]) -> Figure:
    """Relative deviation on real concepts and, hatched, on those of other images: alike, they would say nothing."""
    figure = new_figure(2.2 + 1.7 * len(worlds), 3.2)
    axes = readable(figure.subplots())
    for place, world in enumerate(worlds):
        for step, method in enumerate((OURS, "paper")):
            for hatch, name in ((None, method), ("///", f"{method} on shuffled concepts")):
                value = mean(records, world, name, "relative_deviation")
                at = place + 0.4 * step + (0.17 if hatch else 0)
                tint = FOR if method == OURS else AGAINST
                axes.bar(at, value.value, 0.15, yerr=value.half, color=tint, hatch=hatch, edgecolor="white")
    axes.set_xticks([place + 0.28 for place in range(len(worlds))], worlds, fontsize=8)
    axes.set_ylabel("relative deviation", fontsize=8)
    axes.set_title(f"blue: {OURS}, orange: paper; hatched: concepts of other images", fontsize=8)
    return figure
