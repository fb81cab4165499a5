"""Interventions in photos: each object part is erased by filling its mask, in two ways."""

from collections.abc import Iterable, Sequence

import numpy as np
import torch
from torch import Tensor

from semexplain.concepts.erasing import filled, region_of
from semexplain.judgement.interventions import Interventions
from semexplain.performers.base import Performer
from semexplain.performers.redrawn import beside_redrawn, scores_of

MEANS = "erasing a part from the image"


def erased(
    performer: Performer,
    images: Iterable[tuple[Tensor, np.ndarray]],
    names: Sequence[str],
    ids: Sequence[str],
    strengths: Tensor,
) -> Interventions:
    r"""Erase each part from images, and let a performer and three with redrawn heads score them.

    .. math:: \Delta_p = \tfrac12 \sum_{\text{fill}} \bigl[\hat y(I) - \hat y(I \text{ without } p)\bigr]

    Filled are the part's mask and its edge, with the mean of a ring around it and with the blurred image, see
    :func:`semexplain.concepts.erasing.filled`. A part that is not in an image takes nothing.

    Args:
        performer: A frozen one, on the device where it is to compute.
        images: ``N`` images ``(C, H, W)``, each with the part's number at each pixel ``(H, W)``, -1 for none.
        names: Of the ``P`` parts.
        ids: Names of the images.
        strengths: ``(N, P)``, how strong the performer finds the parts; nan where it does not say.
    """
    networks = beside_redrawn(performer)
    scores, effects = zip(*(_without_parts(networks, *image, len(names)) for image in images), strict=True)
    table = torch.stack(effects, 1)  # (networks, N, P)
    return Interventions(MEANS, tuple(ids), tuple(names), torch.stack(scores), table[0], table[1:], strengths)


def _without_parts(networks: Sequence[Performer], image: Tensor, part_map: np.ndarray, n: int) -> tuple[Tensor, Tensor]:
    """The network's score ``()`` of an image, and what all networks lose without each part ``(networks, P)``."""
    present = [part for part in range(n) if (part_map == part).any()]
    pictures = image[None]
    if present:
        without = filled(image, [region_of(part_map, part) for part in present])
        pictures = torch.cat([pictures, without.flatten(0, 1)])
    scores = scores_of(networks, pictures)
    effects = torch.zeros(len(networks), n)
    if present:
        effects[:, present] = scores[:, :1] - scores[:, 1:].unflatten(1, (len(present), -1)).mean(2)
    return scores[0, 0], effects
