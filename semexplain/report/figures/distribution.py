"""How contributions are spread over the concepts, with and without the prior, on the same images (Fig. 7)."""

import numpy as np
import torch
from matplotlib.figure import Figure

from semexplain.explanation import Explanation
from semexplain.report.figures.described import Description
from semexplain.report.figures.style import AGAINST, FOR, new_figure, readable, upright

PAIR = Description(
    "Without and with the prior",
    "Two rows of bars: mean share of every concept, without and with the prior, on the same images.",
    "The first runs with β = 0 and above, on the same images (compare Fig. 7 of the paper).",
)


@Description(
    "How contributions are spread",
    "Bars: mean share of every concept in the absolute contributions.",
    "Each concept's mean share of the absolute contributions, in the network's order (compare Fig. 7).",
)
def distribution(ours: Explanation, baseline: Explanation | None = None) -> Figure:
    """Mean share of every concept in the absolute contributions, concept by concept, in the performer's order.

    An explainer that explains everything by a few concepts shows as a few high bars. The entropy beside it is the mean
    over the images of the entropy of an image's shares, in nats.

    Args:
        ours: The explainer.
        baseline: Another for the same images, such as one without prior, drawn above it.

    Returns:
        The figure; axes labelled ``baseline`` (if there is one) and ``ours``.

    Raises:
        ValueError: If the two do not explain the same images by the same concepts.
    """
    if baseline is not None and (baseline.concepts, baseline.ids) != (ours.concepts, ours.ids):
        raise ValueError("The two explanations must be of the same images and concepts to be compared.")
    panels = [("ours", ours, FOR)] if baseline is None else [("baseline", baseline, AGAINST), ("ours", ours, FOR)]
    figure = new_figure(7.0, 1.9 * len(panels) + 0.3)
    grid = figure.subplots(len(panels), 1, squeeze=False, sharex=True, sharey=True)[:, 0]
    for axes, (label, explanation, tint) in zip(grid, panels, strict=True):
        readable(axes).set_label(label)
        shares = contribution_shares(explanation)
        upright(axes, shares.mean(0).tolist(), [tint] * shares.shape[1], 0.9)
        entropy = float(torch.special.entr(torch.from_numpy(shares)).sum(1).mean())
        name = label if baseline is not None else "all concepts"
        axes.set_title(
            f"{name}: entropy {entropy:.3f} of at most {np.log(shares.shape[1]):.3f}", fontsize=9, loc="left"
        )
        axes.set_ylabel("mean share", fontsize=8)
    grid[-1].set_xlabel("concept", fontsize=8)
    return figure


def contribution_shares(explanation: Explanation) -> np.ndarray:
    """``|αᵢyᵢ| / Σ|αⱼyⱼ|`` of each image, ``(B, n)`` float64; 0 where an image has no contributions."""
    size = explanation.contributions.double().abs().numpy()
    return size / np.maximum(size.sum(1, keepdims=True), np.finfo(np.float64).tiny)
