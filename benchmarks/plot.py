"""The curves of a benchmark run as a picture."""

from collections.abc import Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from measure import Curve


def plot(curves: Sequence[Curve], path: Path) -> None:
    """Draw where the time of a step goes as bars, and every other curve over what grows."""
    bars = [curve for curve in curves if curve.over == "part"]
    lines = [curve for curve in curves if len(curve.values) > 1 and curve.over != "part"]
    if not curves:
        return
    columns = 4
    rows = -(-(len(bars) + len(lines)) // columns)
    figure = Figure(figsize=(3.4 * columns, 2.6 * rows), layout="constrained")
    panels = figure.subplots(rows, columns, squeeze=False).flatten()
    for axes, curve in zip(panels, [*bars, *lines], strict=False):
        _draw(axes, curve)
    for axes in panels[len(bars) + len(lines) :]:
        axes.set_visible(False)
    figure.savefig(path, dpi=120)


def _draw(axes: Axes, curve: Curve) -> None:
    medians = curve.medians()
    if curve.over == "part":
        shown = axes.barh(list(medians), list(medians.values()), color="#0072B2")
        axes.bar_label(shown, fmt="%.3g", fontsize=8, padding=2)
        axes.invert_yaxis()
        axes.margins(x=0.18)
        axes.set_xlabel(curve.unit, fontsize=8)
    else:
        axes.plot([float(size) for size in medians], list(medians.values()), marker="o", color="#0072B2")
        axes.set_xscale("log")
        axes.set_xticks([float(size) for size in medians], list(medians), minor=False)
        axes.minorticks_off()
        axes.set_ylim(bottom=0, top=1.15 * (max(medians.values()) or 1))
        axes.set_xlabel(curve.over, fontsize=8)
        axes.set_ylabel(curve.unit, fontsize=8)
    axes.set_title(curve.name, fontsize=9)
    axes.tick_params(labelsize=8)
    axes.spines[["top", "right"]].set_visible(False)
