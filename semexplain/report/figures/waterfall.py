"""From the base value, contribution by contribution, to the prediction and on to the score."""

from matplotlib.figure import Figure

from semexplain.explanation import Explanation
from semexplain.report.figures.described import Description
from semexplain.report.figures.style import (
    AGAINST,
    BASE,
    FOR,
    NEITHER,
    UNEXPLAINED,
    caption,
    display_name,
    largest,
    new_figure,
    readable,
)


@Description(
    "From b to the score: {first}",
    "Staircase from the base value over the contributions to the score of the first image.",
    "Every contribution moves the prediction; the last step is what is not explained.",
    images=1,
)
def waterfall(explanation: Explanation, images: int = 1, top: int = 9) -> Figure:
    """A staircase for each of the first ``images`` images: it starts at b, each step is as wide as a contribution.

    After the last contribution it stands at the prediction; one more step, what is not explained, leads to the score.

    Args:
        explanation: At least one image.
        images: How many of its images.
        top: Contributions with a step of their own; all others share one.

    Returns:
        The figure; the staircase of image ``i`` is on the axes labelled ``waterfall i``.
    """
    rows = min(images, len(explanation))
    names, table = explanation.shown
    height = 0.26 * (min(top, len(names)) + 4) + 0.9
    figure = new_figure(5.4, rows * height)
    for row, axes in enumerate(figure.subplots(rows, 1, squeeze=False)[:, 0]):
        readable(axes).set_label(f"waterfall {row}")
        steps = largest(explanation.labels(row), table[row], top)
        start = float(explanation.base_value)
        labels, place = [f"{BASE} = {start:+.2f}"], start
        axes.plot([place, place], [-0.4, 1.4], color="black", linewidth=0.6)
        axes.barh(0, start, color=NEITHER, height=0.6)
        for number, (name, value) in enumerate([*steps, (UNEXPLAINED, float(explanation.residual[row]))], start=1):
            tint = NEITHER if name == UNEXPLAINED else FOR if value >= 0 else AGAINST
            bar = axes.barh(number, value, left=place, color=tint, height=0.6)
            ground = {"facecolor": "white", "edgecolor": "none", "pad": 0.6}  # a line may run behind a number
            axes.bar_label(bar, [f"{value:+.2f}"], padding=3, fontsize=7, bbox=ground)
            place += value
            axes.plot([place, place], [number - 0.4, number + 1.4], color="black", linewidth=0.6)
            labels.append(name)
        axes.barh(len(labels), place, color="black", height=0.6)
        labels.append(f"score of {display_name(explanation.target)} = {place:+.2f}")
        axes.set_yticks(range(len(labels)), labels)
        axes.invert_yaxis()
        axes.use_sticky_edges = False  # leave room for the numbers
        axes.margins(x=0.16)
        axes.axvline(0, color="black", linewidth=0.8)
        axes.set_title(caption(explanation, row), fontsize=9, loc="left")
    return figure
