"""Signed contributions of each image as bars (Fig. 6)."""

from matplotlib.figure import Figure

from semexplain.explanation import Explanation
from semexplain.report.figures.described import Description
from semexplain.report.figures.style import (
    BASE,
    NEITHER,
    UNEXPLAINED,
    caption,
    colours,
    draw_image,
    new_figure,
    readable,
    terms,
)


@Description(
    "Signed contributions",
    "Bars of the contributions of the first two images; the gallery below has the numbers.",
    "Largest contributions of the first two images (compare Fig. 6 of the paper).",
    images=2,
    parts=False,
)
def bars(explanation: Explanation, images: int = 4, top: int = 8) -> Figure:
    """One row for each of the first ``images`` images: the image, and a bar for each of its largest contributions.

    Bars for all other concepts together, the base value and what is not explained follow, so that all bars of an image
    add up to its score.

    Args:
        explanation: At least one image; pictures are drawn if it holds them.
        images: How many of its images.
        top: Contributions with a bar of their own.

    Returns:
        The figure; the bars of image ``i`` are on the axes labelled ``contributions i``.
    """
    rows = min(images, len(explanation))
    pictures = explanation.image is not None
    height = 0.24 * (min(top, len(explanation.shown[0])) + 3) + 0.6
    figure = new_figure(6.4 if pictures else 4.6, rows * height)
    grid = figure.subplots(rows, 2 if pictures else 1, squeeze=False, width_ratios=[1, 2.2] if pictures else None)
    for row in range(rows):
        items = terms(explanation, row, top)
        axes = readable(grid[row, -1])
        axes.set_label(f"contributions {row}")
        values = [value for _, value in items]
        tints = [
            NEITHER if name in (BASE, UNEXPLAINED) else c for (name, _), c in zip(items, colours(values), strict=True)
        ]
        places = axes.barh(range(len(items)), values, color=tints)
        axes.bar_label(places, [f"{value:+.2f}" for value in values], padding=2, fontsize=7)
        axes.set_yticks(range(len(items)), [name for name, _ in items])
        axes.invert_yaxis()
        axes.use_sticky_edges = False  # leave room for the numbers
        axes.margins(x=0.16)
        axes.axvline(0, color="black", linewidth=0.8)
        axes.set_title(caption(explanation, row), fontsize=9, loc="left")
        if pictures:
            draw_image(grid[row, 0], explanation, row)
    return figure
