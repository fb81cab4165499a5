"""Signed contributions of single images, concept by concept, without and with the prior (Fig. 7)."""

import textwrap
from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from semexplain.explanation import Explanation
from semexplain.report.figures.described import Description
from semexplain.report.figures.style import (
    NEITHER,
    caption,
    colours,
    display_name,
    draw_image,
    new_figure,
    readable,
    upright,
)

FEW = 64  # concepts whose bars are wide
NAME = 0.25  # width of a name, as a share of the axes

PAIR_BY_CONCEPT = Description(
    "Single images without and with the prior",
    "Bars: the contribution of every concept to the scores of the same two images, without and with the prior.",
    "Every contribution, in the network's order; the strongest have names (compare Fig. 7 of the paper).",
)


@Description(
    "Every contribution",
    "Bars: the contribution of every concept to the scores of the first two images.",
    "In the network's order; the strongest have names (compare Fig. 7 of the paper).",
    images=2,
)
def by_concept(
    explanation: Explanation, baseline: Explanation | None = None, images: int = 2, named: int = 4
) -> Figure:
    """One row for each of the first ``images`` images: a bar for every contribution, in the performer's order.

    An explainer that explains everything by a few concepts shows as a few long bars. Bars up are for the score, bars
    down against it. Those of filters are drawn one by one, also where filters have been named: a name says its part.

    Args:
        explanation: At least one image; pictures are drawn if it holds them.
        baseline: Another for the same images, such as one without prior, drawn beside it to the same scale.
        images: How many of the images.
        named: How many of the strongest contributions have their names.

    Returns:
        The figure; bars of image ``i`` are on axes labelled ``baseline i`` (if there is one) and ``ours i``.

    Raises:
        ValueError: If the two do not explain the same images by the same concepts.
    """
    if baseline is not None and (baseline.concepts, baseline.ids) != (explanation.concepts, explanation.ids):
        raise ValueError("The two explanations must be of the same images and concepts to be compared.")
    sides = [("ours", explanation)] if baseline is None else [("baseline", baseline), ("ours", explanation)]
    rows, picture = min(images, len(explanation)), explanation.image is not None
    widths = [*([1.0] if picture else []), *[2.8 if baseline is None else 2.2 for _ in sides]]
    figure = new_figure(7.0 if baseline is None else 8.0, 2.5 * rows + 0.2)
    grid = figure.subplots(rows, len(widths), squeeze=False, width_ratios=widths)
    for row in range(rows):
        if picture:
            draw_image(grid[row, 0], explanation, row)
        panels = list(grid[row, -len(sides) :])
        for axes, (side, one) in zip(panels, sides, strict=True):
            readable(axes).set_label(f"{side} {row}")
            _draw(axes, one, row, named)
            prior = "" if baseline is None else f"{'Without' if side == 'baseline' else 'With'} prior\n"
            axes.set_title(f"{prior}{caption(one, row)}", fontsize=8, loc="left")
        _to_one_scale(panels)
        panels[0].set_ylabel("contribution", fontsize=8)
    for axes in grid[-1, -len(sides) :]:
        axes.set_xlabel("concept, in the network's order", fontsize=8)
    return figure


def _draw(axes: Axes, explanation: Explanation, row: int, named: int) -> None:
    """Bars, and the names of the strongest above those that are for the score and below those against it."""
    values = explanation.contributions[row].double().tolist()
    n, tints = len(values), colours(values)
    edge = 0.0 if n <= FEW else 0.7  # points, so that the thinnest can be seen
    upright(axes, values, tints, 0.8, edge)
    axes.axhline(0, color="black", linewidth=0.6)
    axes.set_xlim(-0.5 - 0.01 * n, n - 0.5 + 0.01 * n)
    strongest = sorted(sorted(range(n), key=lambda i: -abs(values[i]))[:named])
    for height, side in (
        (1.0, [i for i in strongest if values[i] >= 0]),
        (0.02, [i for i in strongest if values[i] < 0]),
    ):
        for i, place in zip(side, _apart([(i + 0.5) / n for i in side], NAME), strict=True):
            axes.annotate(
                _name(explanation, row, i),
                (i, values[i]),
                (place, height),
                textcoords="axes fraction",
                ha="center",
                va="top" if height == 1 else "bottom",
                fontsize=7,
                linespacing=0.95,
                arrowprops={"arrowstyle": "-", "color": NEITHER, "linewidth": 0.6, "shrinkA": 0, "shrinkB": 0},
            )


def _apart(places: Sequence[float], width: float) -> list[float]:
    """Places between 0 and 1, in order, moved as far as it takes for names of a width not to cover each other.

    Example:
        >>> _apart([0.05, 0.5, 0.55, 0.99], 0.2)
        [0.1, 0.5, 0.7, 0.9]
    """
    moved: list[float] = []
    for place in places:
        moved.append(max(place, width / 2, *(last + width for last in moved[-1:])))
    limit = 1 - width / 2
    for i in reversed(range(len(moved))):
        moved[i] = round(min(moved[i], limit), 9)
        limit = moved[i] - width
    return moved


def _name(explanation: Explanation, row: int, i: int) -> str:
    """The part that a filter stands for and the filter, or a concept in words, in short lines."""
    if explanation.concept_parts:
        return f"{display_name(explanation.concept_parts[i] or 'no part')}\n{display_name(explanation.concepts[i])}"
    return textwrap.fill(explanation.in_words(row, i), 13)


def _to_one_scale(panels: list[Axes]) -> None:
    """The same vertical axis for all, with room for the names above and below the bars."""
    lowest = min([0.0, *(float(axes.dataLim.y0) for axes in panels)])
    highest = max([0.0, *(float(axes.dataLim.y1) for axes in panels)])
    room = 0.4 * ((highest - lowest) or 1.0)
    for axes in panels:
        axes.set_ylim(lowest - room, highest + room)
    for axes in panels[1:]:
        axes.tick_params(labelleft=False)
