"""How much of an object a filter sees at once: a name says where it fires, not that it sees nothing else."""

import numpy as np

from semexplain.concepts.geometry import MapGeometry
from semexplain.concepts.part_proposals import Maps, strongest_peaks

WHOLE = 0.5  # share of the images above which a filter is said to see the whole object


def sees_whole_object(maps: Maps, part_maps: np.ndarray, geometry: MapGeometry) -> np.ndarray:
    """Share of each filter's images in which the receptive field of its peak covers the whole object ``(n,)``.

    The object is the rectangle around all of its parts, the images those of the filter's 100 strongest peaks, as far as
    these are above 0; nan for a filter that is never active. Where it is near 1 no place in the map belongs to one part
    alone.

    Args:
        maps: ``(N, n, h, w)``, not negative; read in blocks, so that they may stay in a file.
        part_maps: ``(N, H, W)``. Number of the part at each pixel, -1 for none.
        geometry: Where the cells look.

    Example:
        >>> maps, part_maps = np.zeros((1, 2, 4, 4)), np.full((1, 32, 32), -1)
        >>> maps[0, :, 1, 1], part_maps[0, 8:14, 8:16] = 1, 0
        >>> [sees_whole_object(maps, part_maps, MapGeometry(8, 3.5, field))[0].item() for field in (4, 20)]
        [0.0, 1.0]
    """
    images, cells, strengths = strongest_peaks(maps)
    sees = np.ones_like(strengths, dtype=bool)
    places = np.unravel_index(cells, maps.shape[2:])
    for along, (axis, place) in enumerate(zip(geometry.axes, places, strict=True)):
        seen = np.asarray((part_maps >= 0).any(2 - along))  # (N, H) or (N, W)
        first, last = seen.argmax(1), seen.shape[1] - 1 - seen[:, ::-1].argmax(1)
        middle, reach = axis.first + axis.stride * place, (axis.receptive_field - 1) / 2
        sees &= (middle - reach <= first[images]) & (middle + reach >= last[images])
    active = strengths > 0
    count = active.sum(0)
    return np.where(count > 0, (sees & active).sum(0) / np.maximum(count, 1), np.nan)
