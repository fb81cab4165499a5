"""The gallery as a picture: how often each kind of explanation is found faithful, where."""

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from benchmarks.verdict.verdicts import Judgement


def accepted(rows: Sequence[Judgement]) -> Figure:
    """A row for every kind, the honest ones first, a column for every world and way of taking concepts away."""
    kinds = [
        *dict.fromkeys((row.kind, True) for row in rows if row.honest),
        *dict.fromkeys((row.kind, False) for row in rows if not row.honest),
    ]
    places = list(dict.fromkeys((row.world, row.regime) for row in sorted(rows, key=lambda row: row.world)))
    share = np.full((len(kinds), len(places)), np.nan)
    for i, kind in enumerate(kinds):
        for j, place in enumerate(places):
            own = [row.accepted for row in rows if ((row.kind, row.honest), (row.world, row.regime)) == (kind, place)]
            share[i, j] = np.mean(own) if own else np.nan
    figure = Figure(figsize=(9, 0.22 * len(kinds) + 1.5), layout="constrained")
    axes = figure.add_subplot()
    right = np.array([1.0 if honest else 0.0 for _, honest in kinds])[:, None]
    axes.imshow(np.ma.masked_invalid(abs(share - right)), cmap="RdYlGn_r", vmin=0, vmax=1, alpha=0.6, aspect="auto")
    for (i, j), value in np.ndenumerate(share):
        if np.isfinite(value):
            axes.text(j, i, f"{value:.0%}", ha="center", va="center", fontsize=7)
    axes.set_xticks(range(len(places)), [f"{world}\n{regime}" for world, regime in places], fontsize=7)
    axes.set_yticks(range(len(kinds)), [kind for kind, _ in kinds], fontsize=7)
    for label, (_, honest) in zip(axes.get_yticklabels(), kinds, strict=True):
        label.set_fontweight("bold" if honest else "normal")
    axes.xaxis.tick_top()
    axes.axhline(sum(honest for _, honest in kinds) - 0.5, color="black")
    networks = len({row.performer for row in rows})
    axes.set_xlabel(
        f"Found FAITHFUL, share of explanations of {networks} networks: 100 % is right above the line, 0 % below it.",
        fontsize=8,
    )
    return figure
