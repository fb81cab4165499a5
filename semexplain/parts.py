"""Object parts and the filters that stand for them: proposals from masks, files of names, contributions (Sec. 3.3)."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
import yaml
from scipy import ndimage
from torch import Tensor

from semexplain.files import write_text
from semexplain.geometry import MapGeometry

OTHER = -1  # this filter stands for no part
NONE = "none"  # ... and this is what a file says then
UNSAID = -2  # a person's file leaves this filter to the proposal
STRONGEST = 100  # images on which a filter is judged
REACH = 0.05  # how far from a part a peak may lie, as a fraction of the image's diagonal
BEYOND_CHANCE = 3.0  # standard deviations
ACTIVE_SHARE = 0.005  # of all cells, by which a filter's threshold is set
OVERLAP = 0.2
BLOCK = 32  # images or filters at a time, so that maps may stay in a file

Maps = Tensor | np.ndarray


class Parts(NamedTuple):
    """Which filter of one performer stands for which object part."""

    names: tuple[str, ...]
    """Names of the ``P`` parts."""
    assignment: tuple[int, ...]
    """Position in ``names`` of each of the ``n`` filters, or ``OTHER``; ``UNSAID`` only in a person's file."""
    source: str
    """``peak``, ``iou`` or ``manual``."""
    scores: np.ndarray | None
    """``(n, P)``: how well each filter fits each part, by the proposal."""
    performer: Mapping[str, str | int]
    """What the names belong to: category, SHA-256, layer and number of filters ``n``."""
    manual: tuple[int, ...] = ()
    """Filters whose proposed name a person has changed."""

    @property
    def names_with_other(self) -> tuple[str, ...]:
        """Names of the columns of contributions and effects: the parts that have a filter, then ``other`` if needed.

        A part without filters has nothing to measure: contribution and effect would agree at 0.
        """
        return tuple("other" if part < 0 else self.names[part] for part in self._columns)

    def contributions(self, contributions: Tensor, filters: Sequence[int] | None = None) -> Tensor:
        """What all filters of each part contribute together, one column for each of ``names_with_other``.

        Args:
            contributions: ``(B, n)``, or one column for each of ``filters``.
            filters: The filters that contribute; all by default.
        """
        groups = self._groups if filters is None else [self._groups[i] for i in filters]
        return part_contributions(contributions, groups, len(self._columns))

    def ablation_effects(
        self, head: Callable[[Tensor], tuple[Tensor, Tensor]], feature: Tensor, score: Tensor
    ) -> Tensor:
        """Drop of the score without each part's filters, one column for each of ``names_with_other``."""
        return ablation_effects(head, feature, score, self._groups, len(self._columns))

    @property
    def _columns(self) -> list[int]:
        return sorted({max(part, OTHER) for part in self.assignment}, key=lambda part: (part < 0, part))

    @property
    def _groups(self) -> list[int]:
        columns = self._columns
        return [columns.index(max(part, OTHER)) for part in self.assignment]


# -- contributions and effects of parts --------------------------------------------------------------------------------


def part_contributions(contributions: Tensor, assignment: Sequence[int], n_parts: int) -> Tensor:
    r"""Add up the contributions of the filters of each part.

    .. math:: \mathrm{Contri}_p = \sum_{i \in \Omega_p} \alpha_i y_i

    Args:
        contributions: ``(B, n)``.
        assignment: Part of each of the ``n`` filters, negative for none.
        n_parts: ``P``.

    Returns:
        ``(B, P)``.

    Example:
        >>> part_contributions(torch.tensor([[1.0, 2.0, 4.0, 8.0]]), [0, 1, 0, -1], 2)
        tensor([[5., 2.]])
    """
    return contributions @ _members(assignment, n_parts, contributions.device).T.to(contributions.dtype)


@torch.no_grad()
def ablation_effects(
    head: Callable[[Tensor], tuple[Tensor, Tensor]],
    feature: Tensor,
    score: Tensor,
    assignment: Sequence[int],
    n_parts: int,
    *,
    chunk_bytes: int = 256 * 2**20,
) -> Tensor:
    r"""How much the score drops when all filters of a part are set to 0.

    .. math:: \Delta_p = \hat y(x) - \hat y(x \text{ with } x_i = 0 \text{ for } i \in \Omega_p)

    The head computes everything above ``x`` anew, its ReLU and pool included. Parts are taken as many at a time as fit
    into ``chunk_bytes``, at least one; half precision is switched off, since it would drown the differences.

    Args:
        head: From ``x`` to score ``(B,)`` and concepts, in evaluation mode.
        feature: ``(B, n, H, W)``.
        score: ``(B,)``. The head's score of ``feature``.
        assignment: Part of each of the ``n`` filters, negative for none.
        n_parts: ``P``.
        chunk_bytes: Memory for copies of ``feature``.

    Returns:
        Signed effects ``(B, P)``.

    Example:
        >>> x = torch.tensor([1.0, 2.0, 4.0])[None, :, None, None]
        >>> head = lambda x: (x.sum((1, 2, 3)), x.sum((2, 3)))
        >>> ablation_effects(head, x, torch.tensor([7.0]), [0, 1, 0], 2)
        tensor([[5., 2.]])
    """
    step = max(1, chunk_bytes // max(1, feature.numel() * feature.element_size()))
    without = []
    with torch.autocast(feature.device.type, enabled=False):
        for members in _members(assignment, n_parts, feature.device).split(step):
            removed = feature.masked_fill(members[:, None, :, None, None], 0)  # (parts, B, n, H, W)
            without.append(head(removed.flatten(0, 1))[0].unflatten(0, removed.shape[:2]))
    return (score - torch.cat(without)).T


def _members(assignment: Sequence[int], n_parts: int, device: torch.device) -> Tensor:
    """Bool ``(P, n)``: whether a filter belongs to a part."""
    return torch.tensor(assignment, device=device) == torch.arange(n_parts, device=device)[:, None]


# -- proposals from part masks -----------------------------------------------------------------------------------------


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
        maps: ``(N, n, m, m)``, not negative; read in blocks, so that they may stay in a file.
        part_maps: ``(N, S, S)``. Position in ``names`` of the part at each pixel, -1 for none.
        names: Names of the ``P`` parts.
        geometry: Where the cells look.

    Returns:
        The part with the highest score for each filter, ``OTHER`` where that is below 3; and the scores ``(n, P)``.

    Raises:
        ValueError: If the arrays do not belong together.
    """
    _check(maps, part_maps, len(names))
    side, size = maps.shape[-1], part_maps.shape[-1]
    pixels = _centres(geometry, side, size)
    hits = np.empty((len(maps), side * side), dtype=np.int64)
    shares = np.empty((len(maps), len(names)))
    for image, part_map in enumerate(part_maps):
        hit = _nearest_part(part_map, REACH * size * 2**0.5)
        hits[image] = hit[np.ix_(pixels, pixels)].ravel()
        shares[image] = np.bincount(hit.ravel() + 1, minlength=len(names) + 1)[1:] / hit.size
    images, cells, strengths = _strongest_peaks(maps)
    hit = hits[images, cells][..., None] == np.arange(len(names))  # (images, n, P)
    found = (strengths[..., None] * hit).sum(0)
    chance = shares[images]
    excess = found - np.einsum("if,ifp->fp", strengths, chance)
    spread = np.sqrt(np.einsum("if,ifp->fp", strengths**2, chance * (1 - chance)))
    scores = np.divide(excess, spread, out=np.zeros_like(found), where=spread > 0)
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
        maps: ``(N, n, m, m)``, not negative; read in blocks, so that they may stay in a file.
        part_maps: ``(N, S, S)``. Position in ``names`` of the part at each pixel, -1 for none.
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
        masks = torch.from_numpy(part_map.ravel() == np.arange(len(names))[:, None]).float()  # (P, S * S)
        present += masks.any(1).numpy()
        stack = _float32(maps[image])
        active = np.flatnonzero((stack > thresholds[:, None, None]).any((1, 2)))
        for filters in np.split(active, range(BLOCK, len(active), BLOCK)):
            shown = geometry.upsample(torch.from_numpy(stack[filters]), part_map.shape[-1])
            region = (shown > torch.from_numpy(thresholds[filters])[:, None, None]).flatten(1).float()
            common = region @ masks.T
            union = region.sum(1, keepdim=True) + masks.sum(1) - common
            overlaps[filters] += (common > OVERLAP * union).numpy()
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
        maps: ``(N, n, m, m)``, not negative; read in blocks, so that they may stay in a file.
        part_maps: ``(N, S, S)``. Number of the part at each pixel, -1 for none.
        geometry: Where the cells look.

    Returns:
        ``D`` of each filter ``(n,)``, nan for one that is never active, and the mean over the others.

    Raises:
        ValueError: If the arrays do not belong together.
    """
    n_parts = int(part_maps.max()) + 1
    _check(maps, part_maps, n_parts)
    side, size = maps.shape[-1], part_maps.shape[-1]
    images, cells, strengths = _strongest_peaks(maps)
    peaks = geometry.first + geometry.stride * np.stack([cells // side, cells % side], -1)  # (images, n, 2)
    centroids = np.stack([_centroids(part_map, n_parts) for part_map in part_maps])  # (N, P, 2)
    distances = np.linalg.norm(peaks[:, :, None] - centroids[images], axis=-1) / (size * 2**0.5)  # (images, n, P)
    counted = (strengths > 0)[..., None] & ~np.isnan(distances)
    count = counted.sum(0)
    mean = np.where(counted, distances, 0).sum(0) / np.maximum(count, 1)
    spread = np.sqrt((np.where(counted, distances - mean, 0) ** 2).sum(0) / np.maximum(count, 1))  # (n, P)
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


def _strongest_peaks(maps: Maps) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
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
    """Part that lies nearest to each pixel, -1 where none is within ``reach``, ``(S, S)``."""
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


def _centres(geometry: MapGeometry, side: int, size: int) -> np.ndarray:
    """Pixel nearest to the centre of each cell along an axis."""
    centres = np.floor(geometry.first + geometry.stride * np.arange(side) + 0.5)
    return centres.clip(0, size - 1).astype(np.int64)


def _best(scores: np.ndarray, least: float) -> list[int]:
    return [int(row.argmax()) if row.max(initial=0) >= least else OTHER for row in scores]


def _float32(maps: Maps) -> np.ndarray:
    return np.array(maps.numpy(force=True) if isinstance(maps, Tensor) else maps, dtype=np.float32)


def _check(maps: Maps, part_maps: np.ndarray, n_parts: int) -> None:
    if maps.ndim != 4 or part_maps.ndim != 3 or len(maps) != len(part_maps) or len(maps) == 0:
        raise ValueError(
            "Expected filter maps (N, n, m, m) and part maps (N, S, S) of the same images, at least one, got the "
            f"shapes {tuple(maps.shape)} and {tuple(part_maps.shape)}."
        )
    if part_maps.max() >= n_parts:
        raise ValueError(
            f"A part map holds part {part_maps.max()}, but there are names for {n_parts} parts, from 0 on."
        )


# -- files -------------------------------------------------------------------------------------------------------------


def merge(automatic: Parts, manual: Parts) -> Parts:
    """A proposal with a person's names in place of its own, filter by filter.

    Args:
        automatic: Names for all filters.
        manual: Names for some filters or all.

    Raises:
        ValueError: If the two belong to different performers, or a person names a part that the proposal does not know.

    Example:
        >>> performer = {"n": 3}
        >>> automatic = Parts(("eye", "leg"), (0, 1, -1), "peak", None, performer)
        >>> merge(automatic, Parts(("leg",), (UNSAID, -1, 0), "manual", None, performer))[1:3]
        ((0, -1, 1), 'peak')
    """
    if dict(automatic.performer) != dict(manual.performer):
        raise ValueError(f"The names belong to different performers: {automatic.performer} and {manual.performer}.")
    said = tuple(i for i, part in enumerate(manual.assignment) if part != UNSAID)
    assignment = list(automatic.assignment)
    for i in said:
        name = None if manual.assignment[i] < 0 else manual.names[manual.assignment[i]]
        if name is not None and name not in automatic.names:
            raise ValueError(f"Filter {i} is named {name!r}, but the parts are {', '.join(automatic.names)}, or none.")
        assignment[i] = OTHER if name is None else automatic.names.index(name)
    changed = {i for i in said if assignment[i] != automatic.assignment[i]}
    return automatic._replace(assignment=tuple(assignment), manual=tuple(sorted({*automatic.manual, *changed})))


def write_parts(path: Path, parts: Parts) -> None:
    """Write names to a YAML file that a person can edit: under ``assignment`` a line ``<filter>: <part or none>`` each.

    Raises:
        ValueError: If assignment or scores do not have one entry for each filter.
    """
    n, scores = int(parts.performer["n"]), parts.scores
    if len(parts.assignment) != n or (scores is not None and scores.shape != (n, len(parts.names))):
        raise ValueError(
            f"Expected a part for each of {n} filters and no scores or ({n}, {len(parts.names)}), got "
            f"{len(parts.assignment)} parts and scores {None if scores is None else tuple(scores.shape)}."
        )
    said = {i: part for i, part in enumerate(parts.assignment) if part != UNSAID}
    assignment = {i: NONE if part < 0 else parts.names[part] for i, part in said.items()}
    head = {
        "performer": dict(parts.performer),
        "source": parts.source,
        "manual": list(parts.manual),
        "parts": list(parts.names),
    }
    text = yaml.safe_dump(head, sort_keys=False, default_flow_style=None, width=120)
    text += yaml.safe_dump({"assignment": assignment}, sort_keys=False)
    if scores is not None:
        rows = [[round(float(score), 3) for score in row] for row in scores]
        text += yaml.safe_dump({"scores": rows}, default_flow_style=None, width=120)
    write_text(path, text)


def read_parts(path: Path, *, performer: Mapping[str, str | int]) -> Parts:
    """Read names that were written by :func:`write_parts` or by a person, who may leave filters out.

    A person's file needs ``performer`` and ``parts``, best copied from the proposal, and ``assignment``.

    Args:
        path: The file.
        performer: Whose filters are to be named.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it belongs to another performer, layer or number of filters, or names what does not exist.
    """
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is not YAML: {error}") from error
    content = content if isinstance(content, dict) else {}
    for key, kind in {"performer": dict, "parts": list, "assignment": dict}.items():
        if not isinstance(content.get(key), kind):
            raise ValueError(
                f"{path} must have `performer` and `parts`, copied from the names that were proposed, and `assignment` "
                f"with lines `<filter>: <part or none>`; {key} is {content.get(key)!r}."
            )
    for key, expected in performer.items():
        if content["performer"].get(key) != expected:
            raise ValueError(
                f"{path} names the filters of another performer: its {key} is {content['performer'].get(key)!r}, not "
                f"{expected!r}. Names hold for one performer only; name the filters of this one."
            )
    names, n = tuple(content["parts"]), int(performer["n"])
    assignment = [UNSAID] * n
    for i, name in content["assignment"].items():
        if not isinstance(i, int) or not 0 <= i < n:
            raise ValueError(f"{path} names the filter {i!r}, but the filters are 0 to {n - 1}.")
        if name not in (*names, NONE, None):
            raise ValueError(f"{path} gives filter {i} the part {name!r}; the parts are {', '.join(names)}, or {NONE}.")
        assignment[i] = names.index(name) if name in names else OTHER
    scores = None if content.get("scores") is None else np.array(content["scores"], dtype=np.float64)
    if scores is not None and scores.shape != (n, len(names)):
        raise ValueError(f"{path} has scores of shape {scores.shape} instead of {(n, len(names))}; delete `scores`.")
    manual = tuple(content.get("manual") or ())
    return Parts(names, tuple(assignment), content.get("source", "manual"), scores, dict(performer), manual)
