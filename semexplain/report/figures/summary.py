"""What each concept contributes over all images, for and against."""

import numpy as np
from matplotlib.figure import Figure

from semexplain.explanation import Explanation
from semexplain.report.figures.described import Description
from semexplain.report.figures.style import AGAINST, FOR, display_name, new_figure, readable


@Description(
    "What counts overall",
    "Bars: mean absolute contribution of the largest concepts; the gallery below has the single images.",
    "Mean absolute contribution, where there are both apart for images with scores above 0 and others (hatched).",
)
def summary(explanation: Explanation, top: int = 15) -> Figure:
    """Mean absolute contribution of the largest concepts, apart for images with positive and with negative scores.

    Args:
        explanation: All images of a data set.
        top: How many concepts, by their mean over all images.

    Returns:
        The figure, on one axes labelled ``summary``.
    """
    names, table = explanation.shown
    size = table.abs().numpy()
    order = np.argsort(-size.mean(0), kind="stable")[:top]
    figure = new_figure(6.0, 0.34 * len(order) + 1.1)
    axes = readable(figure.subplots())
    axes.set_label("summary")
    positive = explanation.score.numpy() > 0
    sides = ((positive, -0.2, FOR, "score above 0"), (~positive, 0.2, AGAINST, "score at most 0"))
    for rows, shift, tint, label in sides:
        if rows.any():
            hatch = "" if tint == FOR else "///"
            axes.barh(
                np.arange(len(order)) + shift,
                size[rows].mean(0)[order],
                height=0.4,
                color=tint,
                hatch=hatch,
                edgecolor="white",
                label=f"{label} ({int(rows.sum())} images)",
            )
    axes.set_yticks(range(len(order)), [display_name(names[i]) for i in order])
    axes.invert_yaxis()
    axes.set_xlabel("mean absolute contribution to the score", fontsize=8)
    axes.legend(fontsize=8, frameon=False, loc="lower right")
    return figure
