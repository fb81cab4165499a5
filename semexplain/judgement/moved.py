"""Interventions at the shared feature x: what can be done with any network, and any images."""

from collections.abc import Sequence

import torch
from torch import Tensor
from tqdm import tqdm

from semexplain.judgement.interventions import Interventions
from semexplain.performers.base import Performer
from semexplain.performers.redrawn import beside_redrawn

MEANS = "taking concepts away at the feature x, not in the image"
AT_LEAST, AT_MOST = 0.5, 0.5  # of the way that a concept has to go when it is taken away, and that others may go
BATCH = 32
NUMBERS = 2**26  # in the feature maps that a game is played on at once: 256 MB


def moved(
    performer: Performer,
    feature_maps: Tensor,
    columns: Sequence[int],
    ids: Sequence[str],
    reference: Tensor | None = None,
    *,
    progress: bool = False,
) -> Interventions:
    r"""Take each concept away at x, on the network and on three with redrawn heads.

    A concept that x cannot be moved to be without, or only together with others, is not known: its effects are nan.
    With :math:`y^{(i)}` the strengths that the network finds at x without concept i, that concept must go at least half
    of the way to its reference, the others at most half as far: root mean squares over the images, in units of spread,

    .. math:: \sum_I (y_i - y^{(i)}_i)(y_i - \bar y_i) \ge \tfrac12 \sum_I (y_i - \bar y_i)^2, \qquad
              \sum_{I, j \ne i} (y_j - y^{(i)}_j)^2 \le \tfrac14 \sum_I (y_i - \bar y_i)^2

    Args:
        performer: A frozen one.
        feature_maps: ``(N, C, h, w)``, of its ``encode``.
        columns: The ``n`` concepts.
        ids: Names of the images.
        reference: ``(n,)``, what a concept has that is taken away, where its kind asks for that; the mean over these
            images by default, and always that of its own for a redrawn head.
        progress: Show a progress bar.
    """
    score, effects, strengths = _taken_away(performer, feature_maps, columns, reference, progress=progress)
    means = strengths.mean(0) if reference is None else reference.cpu()
    redrawn = [
        _taken_away(network, feature_maps, columns, None, progress=progress)[1]
        for network in beside_redrawn(performer)[1:]
    ]
    effects = torch.where(_reached(performer, strengths, feature_maps, columns, means), effects, torch.nan)
    names = tuple(performer.concept_names[i] for i in columns)
    return Interventions(MEANS, tuple(ids), names, score, effects, torch.stack(redrawn), strengths)


@torch.no_grad()
def _taken_away(
    performer: Performer, feature_maps: Tensor, columns: Sequence[int], reference: Tensor | None, *, progress: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """Scores ``(N,)``, effects ``(N, n)`` and strengths ``(N, n)``."""
    device = performer.device
    batches = feature_maps.split(BATCH)
    answers = [performer.perform(maps.to(device), None, columns)[0] for maps in batches]
    score = torch.cat([answer.score for answer in answers])
    strengths = torch.cat([answer.concepts for answer in answers])
    means = strengths.mean(0) if reference is None else reference.to(strengths)
    missing = 1 - torch.eye(len(columns), device=device)  # a state without each concept
    step = max(1, NUMBERS // max(1, batches[0].numel()))
    effects = []
    for maps in tqdm(batches, desc="Taking concepts away", unit="batch", disable=not progress):
        game = performer.game(maps.to(device), columns, means)
        states = missing[:, None].expand(-1, len(maps), -1)
        with torch.autocast(device.type, enabled=False):  # differences of scores need their precision
            whole = game(torch.ones_like(states[:1]))
            without = torch.cat([game(some) for some in states.split(step)])
        effects.append((whole - without).T)
    return score.cpu(), torch.cat(effects).cpu(), strengths.cpu()


@torch.no_grad()
def _reached(
    performer: Performer, strengths: Tensor, feature_maps: Tensor, columns: Sequence[int], means: Tensor
) -> Tensor:
    """Whether each concept can be taken away at x ``(n,)``."""
    device = performer.device
    spread = strengths.std(0).clamp_min(1e-12)
    size = ((strengths - means) / spread).square().sum(0)
    own, others = torch.zeros_like(size), torch.zeros_like(size)
    for rows, maps in zip(strengths.split(BATCH), feature_maps.split(BATCH), strict=True):
        feature = performer.feature(maps.to(device).float())
        after = performer.kind.strengths_without(performer, feature, columns, means.to(device))
        if after is None:
            return torch.ones_like(size, dtype=torch.bool)
        change = (rows[:, None] - after.cpu()) / spread  # (B, n, n)
        diagonal = change.diagonal(dim1=1, dim2=2)
        own += (diagonal * (rows - means) / spread).sum(0)
        others += change.square().sum((0, 2)) - diagonal.square().sum(0)
    return (own >= AT_LEAST * size) & (others <= AT_MOST**2 * size)
