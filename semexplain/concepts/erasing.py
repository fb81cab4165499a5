"""Which object part each filter stands for, by what erasing the part from the image does to the filter."""

import math
from collections.abc import Callable, Sequence

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor

from semexplain.concepts.parts import OTHER

EDGE = (
    0.01  # by which a mask is widened, since its edge shows the part as well; of the image's diagonal, as all lengths
)
RING = 0.03  # width of the ring around a part
BLUR = 0.06  # standard deviation of the blur
FILLS = 2


def erasing_effects(
    strengths: Callable[[Tensor], Tensor], image: Tensor, part_map: np.ndarray, n_parts: int, seed: int
) -> Tensor:
    r"""What erasing each part from an image takes from each concept, beyond what any patch of that size takes.

    .. math:: E_{ip}(I) = \frac{1}{2} \sum_{\text{fill}}
              \bigl[(y_i(I) - y_i(I \text{ without } p)) - (y_i(I) - y_i(I \text{ without the patch}))\bigr]

    The strength in the image itself cancels. A part, and its patch, are filled in two ways: with the mean of a ring
    around it, and with the blurred image. The patch has as many pixels as the part and lies elsewhere on the object, as
    far as the object has them, around a pixel drawn by chance. A part that is not in the image takes nothing.

    Args:
        strengths: From images ``(k, C, H, W)`` to the strengths ``(k, n)`` of the concepts; the score does not
            take part.
        image: ``(C, H, W)``, whole numbers or fractions.
        part_map: ``(H, W)``. Number of the part at each pixel, -1 for none.
        n_parts: ``P``.
        seed: Of the patches.

    Returns:
        ``(P, n)``, float32 on the CPU.

    Example:
        A concept that is as strong as the lower half of the image is bright.

        >>> image, part_map = torch.zeros(3, 8, 8, dtype=torch.uint8), np.zeros((8, 8), int)
        >>> image[:, 4:], part_map[4:] = 200, 1
        >>> brightness = lambda images: images[:, 0, 4:].float().mean((1, 2))[:, None]
        >>> effects = erasing_effects(brightness, image, part_map, 3, seed=0)
        >>> (effects[:, 0] > 0).tolist()
        [False, True, False]
    """
    present = [part for part in range(n_parts) if (part_map == part).any()]
    if not present:
        n = strengths(image[None]).shape[1]
        return torch.zeros(n_parts, n)
    chance, regions = np.random.default_rng(seed), []
    for part in present:
        mask = region_of(part_map, part)
        regions += [mask, _patch(mask, part_map >= 0, chance)]
    found = strengths(filled(image, regions).flatten(0, 1)).float().cpu().unflatten(0, (len(present), 2, FILLS))
    effects = torch.zeros(n_parts, found.shape[-1])
    effects[present] = (found[:, 1] - found[:, 0]).mean(1)
    return effects


def region_of(part_map: np.ndarray, part: int) -> np.ndarray:
    """Where a part is, and its edge, bool ``(H, W)``."""
    reach = EDGE * math.hypot(*part_map.shape)
    return ndimage.distance_transform_edt(part_map != part) <= reach


def filled(image: Tensor, regions: Sequence[np.ndarray]) -> Tensor:
    """An image without each of some regions: filled with the mean of the ring around it, and with the blurred image.

    Args:
        image: ``(C, H, W)``, whole numbers or fractions.
        regions: ``R``, each bool ``(H, W)``.

    Returns:
        ``(R, 2, C, H, W)``, of the same type.

    Example:
        >>> image, region = torch.full((3, 6, 6), 7, dtype=torch.uint8), np.zeros((6, 6), bool)
        >>> image[:, 2, 3], region[2, 3] = 255, True
        >>> filled(image, [region])[0, :, 0, 2, 3].tolist()  # the blur has something of what it hides
        [7, 156]
    """
    pixels, diagonal = image.numpy(), math.hypot(*image.shape[1:])
    blurred = ndimage.gaussian_filter(pixels.astype(np.float32), (0, BLUR * diagonal, BLUR * diagonal), mode="nearest")
    pictures = []
    for region in regions:
        ring = ~region & (ndimage.distance_transform_edt(~region) <= max(1, RING * diagonal))
        mean = pixels[:, ring if ring.any() else region].mean(1)[:, None, None]
        pictures.append([_as_kept(np.where(region, fill, pixels), pixels.dtype) for fill in (mean, blurred)])
    return torch.from_numpy(np.array(pictures))


def _as_kept(numbers: np.ndarray, dtype: np.dtype) -> np.ndarray:
    return (numbers if np.issubdtype(dtype, np.floating) else numbers.round()).astype(dtype)


def soft_assignment(effects: np.ndarray) -> tuple[list[int], np.ndarray]:
    r"""Which share of each concept belongs to each part, from mean effects over the images.

    .. math:: A_{ip} = \frac{\max(E_{ip}, 0)}{\sum_{p'} \max(E_{ip'}, 0)}

    A concept from which no part takes more than its patch does belongs to the background as a whole.

    Args:
        effects: ``E`` ``(n, P)``, the mean of :func:`erasing_effects`.

    Returns:
        The part with the largest share of each concept, ``OTHER`` for the background; and the shares ``(n, P)``.

    Example:
        >>> assignment, shares = soft_assignment(np.array([[3.0, 1.0, -2.0], [-1.0, 0.0, -5.0]]))
        >>> assignment, shares.tolist()
        ([0, -1], [[0.75, 0.25, 0.0], [0.0, 0.0, 0.0]])
    """
    taken = effects.clip(0)
    total = taken.sum(1, keepdims=True)
    shares = np.divide(taken, total, out=np.zeros_like(taken), where=total > 0)
    return [int(row.argmax()) if row.any() else OTHER for row in shares], shares


def _patch(mask: np.ndarray, on_object: np.ndarray, chance: np.random.Generator) -> np.ndarray:
    """As many pixels as the mask has, outside it and on the object as far as possible, around one drawn by chance."""
    places = np.flatnonzero(~mask & on_object)
    places = places if len(places) else np.flatnonzero(~mask)
    if not len(places):
        return mask
    row, column = np.unravel_index(chance.choice(places), mask.shape)
    rows, columns = np.indices(mask.shape)
    away = np.hypot(rows - row, columns - column)
    away = np.where(mask, np.inf, away + np.where(on_object, 0, math.hypot(*mask.shape)))
    patch = np.zeros(mask.size, bool)
    patch[np.argsort(away, axis=None, kind="stable")[: np.count_nonzero(mask)]] = True
    return patch.reshape(mask.shape) & ~mask
