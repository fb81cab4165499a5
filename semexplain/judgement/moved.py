"""Interventions at the shared feature x: what can be done with any network, and any images."""

from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import Tensor
from tqdm import tqdm

from semexplain.concepts.base import Game
from semexplain.judgement.additive import additive_effects
from semexplain.judgement.interventions import Interventions
from semexplain.performers.base import Performer
from semexplain.performers.redrawn import beside_redrawn

MEANS = "taking concepts away at the feature x, not in the image"
DRAWN = "taking {:,} of {:,} concepts away at the feature x, not in the image, drawn at random"
AT_LEAST, AT_MOST = 0.5, 0.5  # of the way that a concept has to go when it is taken away, and that others may go
MOST = 512  # concepts that are taken away one by one
BATCH = 32
NUMBERS = 2**26  # in the feature maps that a game is played on at once: 256 MB
Taking = Callable[[Game, Tensor], Tensor | None]  # from a game and ones ``(B, n)`` to effects ``(B, n)``


def moved(
    performer: Performer,
    feature_maps: Tensor,
    columns: Sequence[int],
    ids: Sequence[str],
    reference: Tensor | None = None,
    *,
    most: int = MOST,
    progress: bool = False,
) -> Interventions:
    r"""Take each concept away at x, on the network and on three with redrawn heads.

    A concept that x cannot be moved to be without, or only together with others, is not known: its effects are nan.
    With :math:`y^{(i)}` the strengths that the network finds at x without concept i, that concept must go at least half
    of the way to its reference, the others at most half as far: root mean squares over the images, in units of spread,

    .. math:: \sum_I (y_i - y^{(i)}_i)(y_i - \bar y_i) \ge \tfrac12 \sum_I (y_i - \bar y_i)^2, \qquad
              \sum_{I, j \ne i} (y_j - y^{(i)}_j)^2 \le \tfrac14 \sum_I (y_i - \bar y_i)^2

    Each is a pass through the head for every image, concept and network. Of more than ``most`` concepts, all effects
    are the slopes of the game if they add up on all four networks, see
    :func:`~semexplain.judgement.additive.additive_effects`; else so many concepts are drawn, each as likely as any
    other, and the others are not known.

    Args:
        performer: A frozen one.
        feature_maps: ``(N, C, h, w)``, of its ``encode``.
        columns: The ``n`` concepts.
        ids: Names of the images.
        reference: ``(n,)``, what a concept has that is taken away, where its kind asks for that; the mean over these
            images by default, and always that of its own for a redrawn head.
        most: Concepts that are taken away one by one.
        progress: Show a progress bar.
    """
    networks, n = beside_redrawn(performer), len(columns)
    names, means, drawn = tuple(performer.concept_names[i] for i in columns), MEANS, None
    take = partial(_effects, networks, feature_maps, columns, reference, progress=progress)
    tables = take(additive_effects) if n > most else None
    if tables is None:
        chosen = torch.arange(n)
        if n > most:
            chosen = torch.randperm(n, generator=torch.Generator().manual_seed(0))[:most].sort().values
            means, drawn = DRAWN.format(most, n), tuple(names[i] for i in chosen)
        step = max(1, NUMBERS // max(1, feature_maps[:BATCH].numel()))
        tables = take(partial(_one_by_one, chosen, step))
    assert tables is not None
    score, strengths = _said(performer, feature_maps, columns)
    rest = strengths.mean(0) if reference is None else reference
    reached = _reached(performer, strengths.cpu(), feature_maps, columns, rest.cpu())
    effects = torch.where(reached, tables[0], torch.nan)
    redrawn = torch.stack(tables[1:])
    return Interventions(means, tuple(ids), names, score.cpu(), effects, redrawn, strengths.cpu(), drawn=drawn)


def _effects(
    networks: Sequence[Performer],
    feature_maps: Tensor,
    columns: Sequence[int],
    reference: Tensor | None,
    taking: Taking,
    *,
    progress: bool,
) -> list[Tensor] | None:
    """Effects ``(N, n)`` on each network; None where they cannot be taken in this way."""
    tables: list[Tensor] = []
    for network in networks:
        strengths = _said(network, feature_maps, columns)[1]
        means = strengths.mean(0) if reference is None or tables else reference.to(strengths)
        found = []
        for maps in tqdm(feature_maps.split(BATCH), desc="Taking concepts away", unit="batch", disable=not progress):
            game = network.game(maps.to(network.device), columns, means)
            with torch.autocast(network.device.type, enabled=False):  # differences of scores need their precision
                effects = taking(game, strengths.new_ones(len(maps), len(columns)))
            if effects is None:
                return None
            found.append(effects.cpu())
        tables.append(torch.cat(found))
    return tables


@torch.no_grad()
def _one_by_one(chosen: Tensor, step: int, game: Game, present: Tensor) -> Tensor:
    """What is lost without each of the chosen concepts, so many states at a time; nan for the others."""
    without = 1 - torch.eye(present.shape[1])[chosen].to(present)  # a state without each of them
    states = without[:, None].expand(-1, len(present), -1)
    scores = torch.cat([game(some) for some in states.split(step)])
    effects = torch.full_like(present, torch.nan)
    effects[:, chosen.to(present.device)] = (game(present[None]) - scores).T
    return effects


@torch.no_grad()
def _said(performer: Performer, feature_maps: Tensor, columns: Sequence[int]) -> tuple[Tensor, Tensor]:
    """Scores ``(N,)`` and strengths ``(N, n)``."""
    answers = [performer.perform(maps.to(performer.device), None, columns)[0] for maps in feature_maps.split(BATCH)]
    return torch.cat([answer.score for answer in answers]), torch.cat([answer.concepts for answer in answers])


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
