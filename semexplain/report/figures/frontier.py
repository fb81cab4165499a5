"""What the prior costs and buys: entropy of contributions against deviation, one point a run."""

from collections.abc import Sequence
from typing import NamedTuple

from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from semexplain.report.figures.described import Description
from semexplain.report.figures.style import PALETTE, from_zero, new_figure, readable

MARKERS = "osD^vP*X"


class Point(NamedTuple):
    """A run: its β, entropy, relative deviation and, where there are parts, mean part error."""

    beta: float
    entropy: float
    deviation: float
    part_error: float | None = None


@Description(
    "What the prior costs and buys",
    "Points: relative deviation over entropy, one for each run; the table above has the numbers.",
    "Right: contributions spread over more concepts. Low: closer to the network's score.",
)
def frontier(points: Sequence[Point]) -> Figure:
    """Relative deviation over contribution entropy; each β has its colour and mark, right and low is better.

    Where filters stand for parts a second panel has the part error over the entropy.

    Args:
        points: Runs that differ in β and seed only.

    Returns:
        The figure; axes labelled ``deviation`` and, with part errors, ``part error``.
    """
    panels = ["deviation", "part error"] if any(point.part_error is not None for point in points) else ["deviation"]
    figure = new_figure(4.4 * len(panels), 3.2)
    grid = figure.subplots(1, len(panels), squeeze=False)[0]
    betas = sorted({point.beta for point in points})
    for axes, panel in zip(grid, panels, strict=True):
        readable(axes).set_label(panel)
        for number, beta in enumerate(betas):
            places = [
                (p.entropy, p.deviation if panel == "deviation" else p.part_error) for p in points if p.beta == beta
            ]
            places = [(x, y) for x, y in places if y is not None]
            if places:
                mark, tint = MARKERS[number % len(MARKERS)], PALETTE[number % len(PALETTE)]
                axes.scatter(*zip(*places, strict=True), marker=mark, color=tint, label=f"β = {beta:g}")
        axes.margins(0.1)
        values = [p.deviation if panel == "deviation" else p.part_error for p in points]
        from_zero(axes, [value for value in values if value is not None])
        axes.ticklabel_format(axis="x", useOffset=False)
        axes.xaxis.set_major_locator(MaxNLocator(5))
        axes.set_xlabel("entropy of contributions (nats)", fontsize=8)
        axes.set_ylabel("relative deviation" if panel == "deviation" else "mean part error", fontsize=8)
        axes.legend(fontsize=8, frameon=False, loc="upper left", bbox_to_anchor=(1, 1))
    return figure
