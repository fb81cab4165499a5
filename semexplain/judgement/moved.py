"""Interventions at the shared feature x: what can be done with any network, and any images."""

from collections.abc import Sequence

import torch
from torch import Tensor
from tqdm import tqdm

from semexplain.judgement.interventions import Interventions
from semexplain.performers.base import Performer
from semexplain.performers.redrawn import HEADS, with_redrawn_head

MEANS = "taking concepts away at the feature x, not in the image"
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
    """Take each concept away at x, on the network and on three with redrawn heads.

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
    redrawn = [
        _taken_away(with_redrawn_head(performer, seed).freeze(), feature_maps, columns, None, progress=progress)[1]
        for seed in HEADS
    ]
    names = tuple(performer.concept_names[i] for i in columns)
    return Interventions(MEANS, tuple(ids), names, score, effects, torch.stack(redrawn), strengths)


@torch.no_grad()
def _taken_away(
    performer: Performer, feature_maps: Tensor, columns: Sequence[int], reference: Tensor | None, *, progress: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """Scores ``(N,)``, effects ``(N, n)`` and strengths ``(N, n)``."""
    device = next((parameter.device for parameter in performer.parameters()), feature_maps.device)
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
