"""How well an explainer predicts the score, depending on how many concepts it has (Fig. 8)."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure

from semexplain.figures.style import FOR, new_figure, readable


def capacity(deviations: Mapping[int, Sequence[float]]) -> Figure:
    """Relative deviation over the number of concepts: each run a dot, a line through the means.

    Args:
        deviations: Relative deviations of the runs with so many concepts.

    Returns:
        The figure, on one axes labelled ``capacity``.
    """
    counts = sorted(deviations)
    figure = new_figure(4.6, 3.0)
    axes = readable(figure.subplots())
    axes.set_label("capacity")
    means = [float(np.mean(deviations[count])) for count in counts]
    axes.plot(counts, means, color=FOR, marker="o", label="mean")
    dots = [(count, value) for count in counts for value in deviations[count]]
    axes.scatter([x for x, _ in dots], [y for _, y in dots], color="black", s=8, zorder=3, label="a run")
    axes.set_ylim(bottom=0)
    axes.set_xlabel("number of concepts", fontsize=8)
    axes.set_ylabel("relative deviation", fontsize=8)
    axes.legend(fontsize=8, frameon=False)
    return figure
