"""Which object part each filter stands for, proposed from part masks (Sec. 3.3)."""

import math
from collections.abc import Sequence

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor

from semexplain.concepts.geometry import MapGeometry
from semexplain.concepts.parts import OTHER

STRONGEST = 100  # images on which a filter is judged
REACH = 0.05  # how far from a part a peak may lie, as a fraction of the image's diagonal
BEYOND_CHANCE = 3.0  # standard deviations
ACTIVE_SHARE = 0.005  # of all cells, by which a filter's threshold is set
OVERLAP = 0.2
BLOCK = 32  # images or filters at a time, so that maps may stay in a file
Maps = Tensor | np.ndarray


def propose_by_peak(
    maps: Maps, part_maps: np.ndarray, names: Sequence[str], geometry: MapGeometry
) -> tuple[list[int], np.ndarray]:
    r"""Name each filter by the part at which it peaks more often than chance.

    On the 100 images with the filter's strongest peaks (those above 0), a peak :math:`q_I` of strength :math:`a_I` hits
    the part that is nearest to it, if that is within :math:`r`, 5 % of the image's diagonal. Random pixels hit large
    parts, too. With :math:`s_{I,k}` the share of the pixels of image I that hit part k, the score says by how many
    standard deviations the hits exceed those of random peaks:

    .. math:: \mathrm{score}_k = \frac{\sum_I a_I \, ([q_I \text{ hits } k] - s_{I,k})}
                                      {\sqrt{\sum_I a_I^2 \, s_{I,k} (1 - s_{I,k})}}

    Args:
        maps: ``(N, n, h, w)``, not negative; read in blocks, so that they may stay in a file.
        part_maps: ``(N, H, W)``. Position in ``names`` of the part at each pixel, -1 for none.
        names: Names of the ``P`` parts.
        geometry: Where the cells look.

    Returns:
        The part with the highest score for each filter, ``OTHER`` where that is below 3; and the scores ``(n, P)``.

    Raises:
        ValueError: If the arrays do not belong together.
    """
    _check(maps, part_maps, len(names))
    pixels = _centres(geometry, maps.shape[2:], part_maps.shape[1:])
    hits = np.empty((len(maps), maps.shape[2] * maps.shape[3]), dtype=np.int64)
    shares = np.empty((len(maps), len(names)))
    for image, part_map in enumerate(part_maps):
        hit = _nearest_part(part_map, REACH * math.hypot(*part_map.shape))
        hits[image] = hit[np.ix_(*pixels)].ravel()
        shares[image] = np.bincount(hit.ravel() + 1, minlength=len(names) + 1)[1:] / hit.size
    images, cells, strengths = strongest_peaks(maps)
    hit = hits[images, cells][..., None] == np.arange(len(names))  # (images, n, P)
    totals = (strengths[..., None] * hit).sum(0)
    chance = shares[images]
    excess = totals - np.einsum("if,ifp->fp", strengths, chance)
    spread = np.sqrt(np.einsum("if,ifp->fp", strengths**2, chance * (1 - chance)))
    scores = np.divide(excess, spread, out=np.zeros_like(totals), where=spread > 0)
    return _best(scores, BEYOND_CHANCE), scores


def propose_by_iou(
    maps: Maps, part_maps: np.ndarray, names: Sequence[str], geometry: MapGeometry
) -> tuple[list[int], np.ndarray]:
    r"""Name each filter by the part that its strongest cells cover, as network dissection does.

    A filter's region in an image is where its map, at the image's resolution, exceeds the threshold that 0.5 % of all
    its cells in all images exceed. Parts smaller than a cell hardly reach the overlap that is asked for.

    .. math:: \mathrm{score}_k = \text{share of the images with part } k \text{ in which }
              \frac{|\text{region} \cap \text{mask}_k|}{|\text{region} \cup \text{mask}_k|} > 0.2

    Args:
        maps: ``(N, n, h, w)``, not negative; read in blocks, so that they may stay in a file.
        part_maps: ``(N, H, W)``. Position in ``names`` of the part at each pixel, -1 for none.
        names: Names of the ``P`` parts.
        geometry: Where the cells look.

    Returns:
        The part with the highest score for each filter, ``OTHER`` where all are 0; and the scores ``(n, P)``.

    Raises:
        ValueError: If the arrays do not belong together.
    """
    _check(maps, part_maps, len(names))
    thresholds = _thresholds(maps)
    overlaps = np.zeros((maps.shape[1], len(names)))
    present = np.zeros(len(names))
    for image, part_map in enumerate(part_maps):
        masks = torch.from_numpy(part_map.ravel() == np.arange(len(names))[:, None]).float()  # (P, H * W)
        present += masks.any(1).numpy()
        stack = _float32(maps[image])
        active = np.flatnonzero((stack > thresholds[:, None, None]).any((1, 2)))
        for filters in np.split(active, range(BLOCK, len(active), BLOCK)):
            heat = geometry.upsample(torch.from_numpy(stack[filters]), part_map.shape)
            region = (heat > torch.from_numpy(thresholds[filters])[:, None, None]).flatten(1).float()
            overlap = region @ masks.T
            union = region.sum(1, keepdim=True) + masks.sum(1) - overlap
            overlaps[filters] += (overlap > OVERLAP * union).numpy()
    scores = overlaps / np.maximum(present, 1)
    return _best(scores, np.nextafter(0, 1)), scores


def location_stability(maps: Maps, part_maps: np.ndarray, geometry: MapGeometry) -> tuple[np.ndarray, float]:
    r"""How much the distance between a filter's peak and the parts varies from image to image; lower is more stable.

    A filter that always fires at the same part keeps its distance to every part of the object. With the peak
    :math:`q_I` of filter f and the centroid :math:`c_{k,I}` of part k in image I, over the 100 images with the filter's
    strongest peaks (those above 0),

    .. math:: D_f = \operatorname{mean}_k \operatorname{std}_I
              \frac{\lVert q_I - c_{k,I} \rVert}{\text{diagonal of the image}}

    This is the location instability of interpretable CNNs (Zhang et al., CVPR 2018), with centroids of masks for
    landmarks. A part counts where at least two of these images have it; the standard deviation divides by their number.

    Args:
        maps: ``(N, n, h, w)``, not negative; read in blocks, so that they may stay in a file.
        part_maps: ``(N, H, W)``. Number of the part at each pixel, -1 for none.
        geometry: Where the cells look.

    Returns:
        ``D`` of each filter ``(n,)``, nan for one that is never active, and the mean over the others.

    Raises:
        ValueError: If the arrays do not belong together.
    """
    n_parts = int(part_maps.max()) + 1
    _check(maps, part_maps, n_parts)
    images, cells, strengths = strongest_peaks(maps)
    places = np.unravel_index(cells, maps.shape[2:])
    peaks = np.stack([axis.first + axis.stride * at for axis, at in zip(geometry.axes, places, strict=True)], -1)
    centroids = np.stack([_centroids(part_map, n_parts) for part_map in part_maps])  # (N, P, 2)
    distances = np.linalg.norm(peaks[:, :, None] - centroids[images], axis=-1) / math.hypot(*part_maps.shape[1:])
    mask = (strengths > 0)[..., None] & ~np.isnan(distances)
    count = mask.sum(0)
    mean = np.where(mask, distances, 0).sum(0) / np.maximum(count, 1)
    spread = np.sqrt((np.where(mask, distances - mean, 0) ** 2).sum(0) / np.maximum(count, 1))  # (n, P)
    parts = (count >= 2).sum(1)
    stability = np.where(parts > 0, np.where(count >= 2, spread, 0).sum(1) / np.maximum(parts, 1), np.nan)
    return stability, float(stability[parts > 0].mean()) if parts.any() else float("nan")


def peaks(maps: Maps) -> tuple[np.ndarray, np.ndarray]:
    """Largest value of each map and the position of its cell, row by row, both ``(N, n)``.

    Example:
        >>> peaks(np.array([[[[0, 0], [7, 1]]]]))
        (array([[7.]], dtype=float32), array([[2]]))
    """
    values, cells = [], []
    for start in range(0, len(maps), BLOCK):
        block = _float32(maps[start : start + BLOCK])
        block = block.reshape(*block.shape[:2], -1)
        cells.append(block.argmax(-1))
        values.append(block.max(-1))
    return np.concatenate(values), np.concatenate(cells)


def strongest_peaks(maps: Maps) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Images, cells and strengths of each filter's strongest peaks, all ``(min(100, N), n)``, in float64."""
    values, cells = peaks(maps)
    images = np.argsort(-values, axis=0, kind="stable")[:STRONGEST]
    return images, np.take_along_axis(cells, images, 0), np.take_along_axis(values, images, 0).astype(np.float64)


def _thresholds(maps: Maps) -> np.ndarray:
    """Value that 0.5 % of all cells of each filter exceed, float32 ``(n,)``."""
    starts = range(0, maps.shape[1], BLOCK)
    return np.concatenate(
        [np.quantile(_float32(maps[:, i : i + BLOCK]), 1 - ACTIVE_SHARE, axis=(0, 2, 3)) for i in starts]
    ).astype(np.float32)


def _nearest_part(part_map: np.ndarray, reach: float) -> np.ndarray:
    """Part that lies nearest to each pixel, -1 where none is within ``reach``, ``(H, W)``."""
    none = part_map < 0
    if none.all():
        return part_map.astype(np.int64)
    distance, (rows, columns) = ndimage.distance_transform_edt(none, return_indices=True)
    return np.where(distance <= reach, part_map[rows, columns], OTHER).astype(np.int64)


def _centroids(part_map: np.ndarray, n_parts: int) -> np.ndarray:
    """Mean row and column of each part, nan without a pixel, ``(P, 2)``."""
    rows, columns = np.nonzero(part_map >= 0)
    part = part_map[rows, columns]
    count = np.bincount(part, minlength=n_parts).astype(np.float64)
    count[count == 0] = np.nan
    return np.stack([np.bincount(part, pixels, minlength=n_parts) / count for pixels in (rows, columns)], -1)


def _centres(geometry: MapGeometry, cells: Sequence[int], pixels: Sequence[int]) -> list[np.ndarray]:
    """Pixel nearest to the centre of each cell along both axes."""
    centres = [
        np.floor(axis.first + axis.stride * np.arange(n) + 0.5) for axis, n in zip(geometry.axes, cells, strict=True)
    ]
    return [along.clip(0, size - 1).astype(np.int64) for along, size in zip(centres, pixels, strict=True)]


def _best(scores: np.ndarray, least: float) -> list[int]:
    return [int(row.argmax()) if row.max(initial=0) >= least else OTHER for row in scores]


def _float32(maps: Maps) -> np.ndarray:
    return np.array(maps.numpy(force=True) if isinstance(maps, Tensor) else maps, dtype=np.float32)


def _check(maps: Maps, part_maps: np.ndarray, n_parts: int) -> None:
    if maps.ndim != 4 or part_maps.ndim != 3 or len(maps) != len(part_maps) or len(maps) == 0:
        raise ValueError(
            "Expected filter maps (N, n, h, w) and part maps (N, H, W) of the same images, at least one, got the "
            f"shapes {tuple(maps.shape)} and {tuple(part_maps.shape)}."
        )
    if part_maps.max() >= n_parts:
        raise ValueError(
            f"A part map holds part {part_maps.max()}, but there are names for {n_parts} parts, from 0 on."
        )
