"""How well an explainer predicts the score, depending on how many concepts it has (Fig. 8)."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure

from semexplain.report.figures.described import Description
from semexplain.report.figures.style import PALETTE, from_zero, new_figure, readable

MARKERS = "osD^vP*X"
DASHES = ("-", "--", "-.", ":")
DODGE = 0.012  # of the width, so that the bars of two lines do not hide each other
MOST_TICKS = 10

Runs = Mapping[int, Sequence[float]]


@Description(
    "More concepts, more capacity",
    "Line: relative deviation over the number of concepts; the table above has the numbers.",
    "Compare Fig. 8 of the paper.",
)
def capacity(panels: Mapping[str, Mapping[str, Runs]]) -> Figure:
    """Quantities over the number of concepts: a line through the means of the runs, bars of one standard deviation.

    Args:
        panels: For every quantity, for every line (such as a target), the values of the runs with so many concepts. A
            line without a name needs no legend; colour, mark and dashes of a line are the same in all panels.

    Returns:
        The figure; a panel is an axes labelled by its quantity.
    """
    figure = new_figure(3.6 * len(panels) + 1.0, 3.0)
    grid = figure.subplots(1, len(panels), squeeze=False)[0]
    names = list(dict.fromkeys(name for lines in panels.values() for name in lines))
    artists = {}
    for axes, (quantity, lines) in zip(grid, panels.items(), strict=True):
        readable(axes).set_label(quantity)
        values: list[float] = []
        extent = max((count for runs in lines.values() for count in runs), default=1)
        for name, runs in lines.items():
            number = names.index(name)
            counts = [count for count in sorted(runs) if len(runs[count])]
            means, spreads = (
                [float(np.mean(runs[count])) for count in counts],
                [_spread(runs[count]) for count in counts],
            )
            values += [value for count in counts for value in runs[count]]
            values += [mean + spread for mean, spread in zip(means, spreads, strict=True)]
            artists[name] = axes.errorbar(
                [count + DODGE * extent * (number - (len(names) - 1) / 2) for count in counts],
                means,
                spreads,
                color=PALETTE[number % len(PALETTE)],
                marker=MARKERS[number % len(MARKERS)],
                linestyle=DASHES[number % len(DASHES)],
                markersize=4,
                linewidth=1.2,
                capsize=2,
            )
        from_zero(axes, values)
        counts = sorted({count for runs in lines.values() for count in runs})
        if len(counts) <= MOST_TICKS:
            axes.set_xticks(counts)
        axes.set_xlabel("number of concepts", fontsize=8)
        axes.set_ylabel(quantity, fontsize=8)
    if any(names):
        grid[-1].legend(
            list(artists.values()), list(artists), fontsize=8, frameon=False, loc="upper left", bbox_to_anchor=(1, 1)
        )
    return figure


def _spread(values: Sequence[float]) -> float:
    """Sample standard deviation; 0 of a single run, whose bar has no length."""
    return float(np.std(values, ddof=1)) if len(values) > 1 else 0.0
