"""Colours, fonts and labels that all figures share; colour-blind people can tell the colours apart (Okabe and Ito)."""

import math
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from semexplain.explanation import Explanation

FOR, AGAINST, NEITHER = "#0072B2", "#D55E00", "#8C8C8C"
PALETTE = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#F0E442", "#000000")
BASE, UNEXPLAINED = "base value b", "not explained"
MANY = 512  # values whose bars are drawn as lines


def new_figure(width: float, height: float) -> Figure:
    """An empty figure, in inches, that belongs to no window."""
    return Figure(figsize=(width, height), layout="constrained", dpi=120)


def readable(axes: Axes) -> Axes:
    """Take away what is not data: upper and right border, ticks of names."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(labelsize=8)
    return axes


def from_zero(axes: Axes, values: Sequence[float]) -> None:
    """Let the vertical axis begin at 0, or show where 0 is if there are values below; marks at the top stay whole."""
    lowest, highest = min([0.0, *values]), max([0.0, *values])
    room = 0.08 * (highest - lowest) or 1.0
    axes.set_ylim(lowest - room if lowest < 0 else 0, highest + room)
    if lowest < 0:
        axes.axhline(0, color="black", linewidth=0.6, zorder=0)


def upright(axes: Axes, values: Sequence[float], tints: Sequence[str], width: float, edge: float = 0.0) -> None:
    """A bar for every value, at 0, 1, and so on; of more than ``MANY`` a line, since each bar is drawn by itself.

    Args:
        axes: Where to.
        values: Heights.
        tints: The colour of each.
        width: Of a bar, where one is 1 from the next.
        edge: Width of its edge, in points.
    """
    if len(values) > MANY:
        lines = axes.vlines(range(len(values)), 0, values, colors=tints, linewidth=0.7)
        lines.sticky_edges.y.append(0)  # as of bars
    else:
        axes.bar(range(len(values)), values, width=width, color=tints, edgecolor=tints, linewidth=edge)


def colours(values: Sequence[float]) -> list[str]:
    """Blue for what speaks for the score, orange for what speaks against it."""
    return [FOR if value >= 0 else AGAINST for value in values]


def display_name(name: str) -> str:
    """A concept's name as a label.

    Example:
        >>> display_name("mouth_and_nose")
        'mouth and nose'
    """
    return name.replace("_", " ").lower()


def largest(names: Sequence[str], row: Tensor, top: int) -> list[tuple[str, float]]:
    """The ``top`` largest absolute contributions, and all others in one sum, as pairs of label and value.

    Example:
        >>> import torch
        >>> largest(["bald", "young", "male", "chubby"], torch.tensor([1.0, -3.0, 0.5, 0.25]), 2)
        [('young', -3.0), ('bald', 1.0), ('2 others', 0.75)]
    """
    values = row.tolist()
    order = sorted(range(len(values)), key=lambda i: -abs(values[i]))
    rows = [(names[i], values[i]) for i in order[:top]]
    remainder = [values[i] for i in order[top:]]
    return rows if not remainder else [*rows, (f"{len(remainder)} others", math.fsum(remainder))]


def terms(explanation: Explanation, row: int, top: int) -> list[tuple[str, float]]:
    """What an image's score consists of: the largest contributions, the others, b, and what is not explained.

    Their sum is the score.
    """
    table = explanation.shown[1]
    unexplained = float(explanation.residual[row])
    return [
        *largest(explanation.labels(row), table[row], top),
        (BASE, float(explanation.base_value)),
        (UNEXPLAINED, unexplained),
    ]


def draw_image(axes: Axes, explanation: Explanation, row: int, *, heat: bool = False) -> None:
    """The image, with its Grad-CAM over it if wanted."""
    assert explanation.image is not None
    axes.imshow(explanation.image[row].permute(1, 2, 0).numpy())
    if heat and explanation.heat is not None:
        warmth = explanation.heat[row].numpy()
        warmth = warmth / max(float(warmth.max()), 1e-12)
        axes.imshow(warmth, cmap="inferno", alpha=0.6 * np.sqrt(warmth), vmin=0, vmax=1)
    axes.set_axis_off()


def caption(explanation: Explanation, row: int) -> str:
    """Target, score and prediction of an image in one line."""
    score, prediction = float(explanation.score[row]), float(explanation.prediction[row])
    return f"{display_name(explanation.target)}: score {score:+.2f}, explained {prediction:+.2f}"
