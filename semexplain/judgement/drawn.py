"""Interventions in drawn images: each is drawn again without one of its concepts, all else pixel by pixel as it was."""

from collections.abc import Sequence
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from tqdm import tqdm

from semexplain.data.drawn.scenes import Scene
from semexplain.judgement.interventions import Interventions
from semexplain.performers.base import Performer
from semexplain.performers.redrawn import beside_redrawn, scores_of

MEANS = "drawing the image again without a concept"
BATCH = 128


def drawn(
    performer: Performer,
    scenes: Sequence[Scene],
    names: Sequence[str],
    rates: NDArray[np.float64],
    ids: Sequence[str],
    strengths: Tensor,
    *,
    workers: int = 0,
    progress: bool = False,
) -> Interventions:
    r"""Draw images without each of their concepts; let a performer and three with redrawn heads score them.

    A concept that is taken away is drawn anew: present with its rate r, as before or not. With :math:`\bar y_i` the
    score of the image with the concept changed,

    .. math:: \Delta_i = (\hat y - \bar y_i) \, |p_i - r_i|, \qquad p_i = [\text{the image has concept } i]

    Where all rates are 0, each concept is also drawn alone, and the effects are the mean of what the whole image loses
    without it and what the image without all gains by it: nearer to exact shares where concepts interact.

    Args:
        performer: A frozen one, on the device where it is to compute.
        scenes: ``N`` images.
        names: ``K`` concepts that can be drawn.
        rates: ``(K,)``.
        ids: Names of the images.
        strengths: ``(N, K)``, how strong the performer finds the concepts; nan where it does not say.
        workers: Processes that draw.
        progress: Show a progress bar.
    """
    networks = beside_redrawn(performer)
    pictures, n = _Pictures(scenes, alone=not rates.any()), len(names)
    loader = DataLoader(pictures, BATCH, num_workers=workers, generator=torch.Generator())
    bar = tqdm(loader, desc="Drawing concepts away", unit="batch", disable=not progress)
    scores = torch.cat([scores_of(networks, batch) for batch in bar], 1).view(len(networks), -1, pictures.each)
    drawn_anew = partial(
        change_when_drawn_anew, torch.from_numpy(np.stack([scene.present for scene in scenes])), torch.from_numpy(rates)
    )
    ends = [drawn_anew(scores[:, :, :1], scores[:, :, 1 : n + 1])]
    if pictures.alone:
        ends.append(drawn_anew(scores[:, :, n + 2 :], scores[:, :, n + 1 : n + 2]))
    effects = torch.stack(ends).mean(0)
    return Interventions(
        MEANS,
        tuple(ids),
        tuple(names),
        scores[0, :, 0],
        effects[0],
        effects[1:],
        strengths,
        torch.stack(ends)[:, 0] if pictures.alone else None,
    )


def change_when_drawn_anew(present: Tensor, rates: Tensor, with_own: Tensor, changed: Tensor) -> Tensor:
    r"""What scores lose on average when a concept is drawn anew, be it as before or not.

    .. math:: |p_i - r_i| \, (\hat y - \bar y_i)

    Args:
        present: bool ``(N, K)``. Which concepts an image has.
        rates: ``(K,)``. How often a concept that is drawn anew is present.
        with_own: Scores ``(..., N, K)`` of images with their own concept.
        changed: Of the same with it changed.

    Example:
        >>> present, rates = torch.tensor([[True, False]]), torch.tensor([0.25, 0.25])
        >>> change_when_drawn_anew(present, rates, torch.tensor([[4.0, 4.0]]), torch.tensor([[0.0, 8.0]]))
        tensor([[ 3., -1.]])
    """
    return torch.where(present, 1 - rates, rates).to(with_own) * (with_own - changed)


class _Pictures(Dataset[Tensor]):
    """Of every scene the whole picture, then one for each concept with it alone changed.

    Then perhaps the picture without all concepts, and one for each concept with it ``alone``.
    """

    def __init__(self, scenes: Sequence[Scene], *, alone: bool) -> None:
        self.scenes = scenes
        self.alone = alone
        self.n = len(scenes[0].present)
        self.each = (self.n + 1) * (2 if alone else 1)

    def __len__(self) -> int:
        return len(self.scenes) * self.each

    def __getitem__(self, number: int) -> Tensor:
        scene, row = self.scenes[number // self.each], number % self.each
        present = scene.present.copy() if row <= self.n else np.zeros_like(scene.present)
        concept = row % (self.n + 1) - 1
        if concept >= 0:
            present[concept] ^= True
        return scene.draw(present)
