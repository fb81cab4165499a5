"""Names for a performer's filters: which object part each one stands for, proposed from part masks (Sec. 3.3)."""

import hashlib
import logging
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Literal, Protocol, cast

import numpy as np
import torch
from torch import Tensor

from semexplain.concepts.erasing import erasing_effects, soft_assignment
from semexplain.concepts.part_proposals import propose_by_iou, propose_by_peak
from semexplain.concepts.parts import BACKGROUND, NONE, Parts, merge, read_parts, write_parts
from semexplain.data.framing import Framing
from semexplain.data.images import Split
from semexplain.data.module import ImageDataModule
from semexplain.performers.base import Performer
from semexplain.system.config import ConfigError
from semexplain.system.once import once
from semexplain.system.processes import is_first
from semexplain.system.reading import MOST_NODES
from semexplain.system.row_store import RowStore, Source

log = logging.getLogger(__name__)
PROPOSAL = 2  # counted up when a proposal changes, so that kept ones are not used any more
PROPOSALS = {"peak": propose_by_peak, "iou": propose_by_iou}
IMAGES_PER_SHARD = 8  # what an interruption costs at most


class PartData(Protocol):
    """What a data module must have for filters to be named from it."""

    parts: tuple[str, ...]
    naming: Split
    framing: Framing

    def part_map(self, split: Split, index: int) -> np.ndarray:
        """Part of every pixel of an image, ``(S, S)``, -1 for none."""


class PartNaming:
    """How a performer's filters get the names of object parts.

    A proposal compares each filter with the masks of the parts, on images that no result is reported on. A person's
    file goes before it, filter by filter.

    Args:
        method: ``erased``: the parts without which the filter is weaker, each with its share; ``peak``: the part that
            the filter's peaks hit more often than chance; ``iou``: the part that its strongest cells overlap.
        file: A person's names, see :func:`semexplain.concepts.parts.read_parts`.
    """

    def __init__(self, method: Literal["erased", "peak", "iou"] = "erased", file: str | None = None) -> None:
        self.method = method
        self.file = file

    def __call__(self, performer: Performer, datamodule: ImageDataModule, device: torch.device, cache: Path) -> Parts:
        """Names of all filters of a performer.

        Args:
            performer: A frozen performer whose concepts are filters.
            datamodule: After ``setup``; it must have part masks.
            device: Where the performer computes.
            cache: Folder that keeps proposals, which parallel jobs share.

        Raises:
            ConfigError: If the data have no part masks, or the person's file belongs to another performer.
        """
        identity = named_performer(performer)
        data = with_part_masks(datamodule)
        _require_few(len(performer.concept_names), len(data.parts))
        about = f"{PROPOSAL} {self.method} {identity} {performer.variant} {data.parts} {data.naming.ids}"
        key = hashlib.sha256(about.encode())
        key.update(datamodule.fingerprint().encode())
        for index in range(len(data.naming.ids)):
            key.update(data.part_map(data.naming, index).tobytes())
        path = cache / f"parts-{key.hexdigest()[:16]}.yaml"
        effects = path.with_suffix(".effects")

        def propose(partial: Path) -> None:
            log.info("Naming the filters from the part masks of %d images (%s).", len(data.naming.ids), self.method)
            if self.method == "erased":
                scores = mean_effects(performer, data, device, effects)
                assignment, matrix = soft_assignment(scores)
                write_parts(partial, Parts(data.parts, tuple(assignment), self.method, scores, identity, (), matrix))
                return
            maps = filter_maps(performer, feature_maps(performer, naming_images(data), device), device)
            found, scores = PROPOSALS[self.method](maps, naming_part_maps(data), data.parts, performer.geometry)
            write_parts(partial, Parts(data.parts, tuple(found), self.method, scores, identity))

        once(path, propose, f"the names of filters {path}", remedy="Set `paths.cache` to a folder that can be written.")
        if effects.exists() and is_first():
            shutil.rmtree(effects, ignore_errors=True)  # what the names were made of
        parts = read_parts(path, performer=identity)
        if self.file is None:
            return parts
        try:
            return merge(parts, read_parts(Path(self.file), performer=identity))
        except (ValueError, FileNotFoundError) as error:
            raise ConfigError(f"parts.file: {error}") from error


def named_performer(performer: Performer) -> dict[str, str | int]:
    """What a file of part names belongs to."""
    layers = getattr(performer, "layers_read", ())  # of a network that may be cut anywhere
    return {
        "category": performer.target_name,
        "sha256": performer.digest(),
        "concepts": performer.kind.variant,
        **({"layer": " and ".join(layers)} if layers else {}),
        "n": len(performer.concept_names),
    }


def with_part_masks(datamodule: ImageDataModule) -> PartData:
    """The data module, if it has part masks.

    Raises:
        ConfigError: If it has none.
    """
    naming = getattr(datamodule, "naming", None)
    if naming is not None and not naming.ids:
        raise ConfigError(
            f"parts: no image of {', '.join(datamodule.names)} with part masks is left to name filters by. Use more "
            "data, a larger `data.naming_share`, or do without: `~parts` and no part_error in `metrics`."
        )
    if naming is None:
        raise ConfigError(
            f"parts: filters are named from part masks, which these data ({type(datamodule).__name__}) do not have. "
            "Use data=pictures with `data.parts=<file or folder>`, data=pascal_part or data=synthetic_animals, or do "
            "without: `~parts` and no part_error in `metrics`."
        )
    data = cast(PartData, datamodule)
    if taken := [name for name in data.parts if name in (NONE, BACKGROUND)]:
        raise ConfigError(f"parts: no part can be called {taken[0]!r}, which is what belongs to no part. Rename it.")
    return data


def _require_few(filters: int, parts: int) -> None:
    """Refuse more shares than a file of names can hold, before they are measured."""
    if filters * (2 * parts + 4) > MOST_NODES:
        raise ConfigError(
            f"parts: {filters} filters and {parts} parts are more than the {MOST_NODES:,} values of a file of names. "
            "Mark fewer parts, or read concepts at a layer with fewer filters."
        )


def naming_part_maps(data: PartData, at: np.ndarray | None = None) -> np.ndarray:
    """Part of every pixel ``(N, H, W)`` of the images for naming, -1 for none; of all, or of those at positions."""
    return np.stack([data.part_map(data.naming, index) for index in _positions(data, at)])


def naming_images(data: PartData, at: np.ndarray | None = None) -> Tensor:
    """The images for naming, ``(N, C, H, W)``; all, or those at positions."""
    return torch.stack([data.naming.read(index, data.framing) for index in _positions(data, at)])


def _positions(data: PartData, at: np.ndarray | None) -> list[int]:
    positions: list[int] = (np.arange(len(data.naming.ids)) if at is None else at).tolist()
    return positions


@torch.no_grad()
def mean_effects(performer: Performer, data: PartData, device: torch.device, folder: Path) -> np.ndarray:
    """What erasing each part takes from each filter ``(n, P)``, mean over the images for naming.

    Four encodings for each part of an image. An interrupted attempt goes on where it was.

    Args:
        performer: Frozen.
        data: After ``setup``.
        device: Where the performer computes.
        folder: Keeps the effects on single images until all are there.
    """
    performer = performer.to(device).freeze()

    def strengths(images: Tensor) -> Tensor:
        chunks = images.split(16)
        return torch.cat([performer.head(performer.feature(performer.encode(some.to(device))))[1] for some in chunks])

    def effects(positions: np.ndarray) -> Iterator[dict[str, Tensor]]:
        for index in positions.tolist():
            image, part_map = data.naming.read(index, data.framing), data.part_map(data.naming, index)
            yield {"effect": erasing_effects(strengths, image, part_map, len(data.parts), seed=index)[None]}

    n, ids = len(performer.concept_names), list(data.naming.ids)
    store = RowStore(folder, shard_bytes=4 * IMAGES_PER_SHARD * n * len(data.parts))
    store.fill(Source(ids, effects), f"names of filters of {performer.target_name}")
    rows, total = store.rows("effect", ids), np.zeros((len(data.parts), n))
    for block in np.array_split(np.arange(len(ids)), -(-len(ids) // 64)):
        total += rows[block].astype(np.float64).sum(0)
    return total.T / len(ids)


@torch.no_grad()
def feature_maps(performer: Performer, images: Tensor, device: torch.device) -> Tensor:
    """Feature maps ``(N, C, m, m)`` of images, computed on a device and kept in memory."""
    performer = performer.to(device).freeze()
    return torch.cat([performer.encode(chunk.to(device)).float().cpu() for chunk in images.split(32)])


@torch.no_grad()
def filter_maps(performer: Performer, feature_maps: Tensor, device: torch.device) -> Tensor:
    """Where each concept is ``(N, n, m, m)``, not negative, from :func:`feature_maps`."""
    chunks = [
        performer.kind.maps(performer.grid(performer.feature(chunk.to(device)))) for chunk in feature_maps.split(32)
    ]
    if chunks[0] is None:
        raise ConfigError(
            f"parts: an {performer.kind.noun} has no place in the image that could be a part's: `~parts`."
        )
    return torch.cat([maps.cpu() for maps in chunks if maps is not None])
