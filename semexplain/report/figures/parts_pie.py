"""Contributions of object parts as pies, beside where Grad-CAM looks (Figs. 1 (d) and 5)."""

from matplotlib.figure import Figure

from semexplain.explanation import Explanation
from semexplain.report.figures.described import Description
from semexplain.report.figures.style import PALETTE, caption, display_name, draw_image, new_figure


@Description(
    "Parts and Grad-CAM",
    "Pies of the parts' shares of three images, beside their Grad-CAM; the bars below have the numbers.",
    "A part's share of all absolute contributions; hatched: against the score (compare Fig. 5).",
    images=3,
    parts=True,
)
def parts_pie(explanation: Explanation, images: int = 4) -> Figure:
    """One row for each of the first ``images`` images: the image under its Grad-CAM, and a pie of its parts.

    A slice is a part's share of all absolute contributions of parts, as in the paper. Parts that speak against the
    score have a minus sign and a hatched slice, since a pie cannot show a sign by size.

    Args:
        explanation: Of filters that stand for parts.
        images: How many of its images.

    Returns:
        The figure; the pie of image ``i`` is on the axes labelled ``parts i``.

    Raises:
        ValueError: If the concepts have no parts.
    """
    if explanation.part_contributions is None:
        raise ValueError("A pie of parts needs filters that stand for parts; draw `bars` of these concepts.")
    rows = min(images, len(explanation))
    pictures = explanation.image is not None
    figure = new_figure(4.6 if pictures else 3.6, 2.9 * rows)  # narrow, so that a phone can show its letters
    for row, strip in enumerate(figure.subfigures(rows, 1, squeeze=False)[:, 0]):
        panels = strip.subplots(1, 2 if pictures else 1, squeeze=False)[0]
        axes = panels[-1]
        axes.set_label(f"parts {row}")
        values = explanation.part_contributions[row].tolist()
        total = sum(abs(value) for value in values)
        slices = [
            (name, value, PALETTE[i % len(PALETTE)])
            for i, (name, value) in enumerate(zip(explanation.parts, values, strict=True))
            if abs(value) > 0.005 * total
        ]
        wedges, _ = axes.pie(
            [abs(value) for _, value, _ in slices],
            colors=[tint for *_, tint in slices],
            startangle=90,
            counterclock=False,
            wedgeprops={"edgecolor": "white"},
        )
        for wedge, (_, value, _) in zip(wedges, slices, strict=True):
            wedge.set_hatch("" if value >= 0 else "///")
        names = [f"{display_name(name)} {value:+.2f} ({abs(value) / total:.0%})" for name, value, _ in slices]
        strip.legend(wedges, names, loc="outside lower center", ncols=2, fontsize=8, frameon=False)
        strip.suptitle(caption(explanation, row), fontsize=9)
        if pictures:
            draw_image(panels[0], explanation, row, heat=True)
    return figure
