"""Filters of any network: drawn at the images where each is strongest, with a table of their names to fill in."""

import logging
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import cast

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader
from tqdm import tqdm

from semexplain.concepts.filter_names import Named, numbered, write_names
from semexplain.concepts.parts import Parts
from semexplain.data.framing import Framing
from semexplain.data.images import Split
from semexplain.data.module import ViewDataset, evenly
from semexplain.performers.base import Performer
from semexplain.report.contact_sheet import TOP, Row, strongest_first, write_contact_sheets
from semexplain.runs.folder import PARTS
from semexplain.runs.naming import PartNaming
from semexplain.runs.run import Run
from semexplain.system.config import ConfigError
from semexplain.system.devices import accelerator
from semexplain.system.places import require_writable

UNITS = "units.csv"
DRAWN = 64  # filters
SEEN = 500  # training images
log = logging.getLogger(__name__)
Chosen = int | Sequence[int]  # how many filters, those that contribute most; or which


def report_own_filters(run: Run, folder: Path, filters: Chosen = DRAWN, images: int = SEEN) -> dict[str, float]:
    """Draw filters of a network at the training images where each is strongest, and write a table of their names.

    Writes ``page-001.png``, ... and ``units.csv``, whose column ``description`` is to be filled in and which goes back
    as ``Filters(names="units.csv")``. It holds the names that filters have, and where the data say where parts are
    seen (``data.parts``), the part without which each filter is weakest, with its share, see
    :func:`~semexplain.concepts.erasing.erasing_effects`.

    Args:
        run: A finished run that explains by filters.
        folder: Where to write.
        filters: How many, those with the largest mean absolute contribution to test images first; or which.
        images: How many training images to look at, spread evenly.

    Returns:
        ``filters``, ``drawn``, ``images`` and ``named``: how many there are.

    Raises:
        ConfigError: If the folder is not such a run, its data or network are gone, there are no such filters, or
            nothing can be written there.
    """
    device = torch.device(accelerator(run.config.trainer.accelerator))
    require_writable("out", folder / UNITS)
    performer, data = run.performer, run.data
    if not performer.kind.own_maps:
        raise ConfigError(f"run: {run.path} has no {PARTS}: its concepts are not filters that stand for parts.")
    contributions = mean_contributions(run)
    drawn = chosen_filters(contributions, filters)
    parts = None
    if getattr(data, "naming", None) is not None:
        parts = PartNaming()(performer, data, device, Path(run.config.paths.cache))
    names = given_names(performer, parts)
    split = data.splits["train"]
    positions = evenly(np.unique(split.order()), images)
    views = ViewDataset(data, [("train", at, False) for at in positions.tolist()])
    loader = DataLoader(views, data.batch_size, num_workers=data.num_workers)
    batches = tqdm(loader, desc="Looking for what filters see", unit="batch", disable=None)
    peaks = strongest(performer, batches, drawn, device)
    rows = [
        Row(
            "\n".join([f"{i}", *_said(names.get(i)), f"contributes {contributions[i]:.2g}"]),
            [(int(positions[image]), heat) for image, heat in found],
        )
        for i, found in zip(drawn, peaks, strict=True)
    ]
    pages = write_contact_sheets(folder, rows, Shown(split, data.framing), performer.geometry)
    layer = " and ".join(getattr(performer, "layers_read", ())) or type(performer).__name__
    write_names(folder / UNITS, layer, names, drawn)
    log.info(
        "%d pages with %d of %d filters, those with the largest mean absolute contribution first (`filters=` chooses "
        "others), at %d training images (`images=`): %s",
        len(pages),
        len(drawn),
        len(contributions),
        len(positions),
        folder,
    )
    numbers = {"filters": len(contributions), "drawn": len(drawn), "images": len(positions), "named": len(names)}
    return {name: float(number) for name, number in numbers.items()}


def mean_contributions(run: Run) -> np.ndarray:
    """Mean absolute contribution of each filter to the test images of a finished run ``(n,)``; 0 of one left out."""
    explanation, names = run.explanation, run.performer.concept_names
    found = np.zeros(len(names))
    found[[names.index(name) for name in explanation.concepts]] = explanation.contributions.abs().mean(0).numpy()
    return found


def chosen_filters(contributions: np.ndarray, filters: Chosen) -> list[int]:
    """So many filters, those that contribute most; or those that were asked for.

    Raises:
        ConfigError: If one of them is not there.

    Example:
        >>> chosen_filters(np.array([0.1, 0.3, 0.2]), 2), chosen_filters(np.array([0.1, 0.3, 0.2]), [0])
        ([1, 2], [0])
    """
    if isinstance(filters, int):
        return np.argsort(-contributions, kind="stable")[:filters].tolist()
    for i in filters:
        if not 0 <= i < len(contributions):
            raise ConfigError(f"filters: there is no filter {i}; the layer has {len(contributions)}, from 0 on.")
    return list(filters)


def given_names(performer: Performer, parts: Parts | None) -> dict[int, Named]:
    """What filters are called: names that were given, before those of the parts that they stand for."""
    names = performer.concept_names
    found = (
        {}
        if parts is None
        else {
            i: Named(parts.names[part], float(parts.shares[i, part]))
            for i, part in enumerate(parts.assignment)
            if part >= 0
        }
    )
    plain = numbered(len(names))
    return found | {i: Named(name, None) for i, name in enumerate(names) if name != plain[i]}


def _said(named: Named | None) -> list[str]:
    """Lines about a name: itself, and how well it fits."""
    if named is None:
        return []
    return [named.name] if named.similarity is None else [named.name, f"{named.similarity:.0%}"]


@torch.no_grad()
def strongest(
    performer: Performer, batches: Iterable[Tensor], filters: Sequence[int], device: torch.device, top: int = TOP
) -> list[list[tuple[int, np.ndarray]]]:
    """The images at which each of some filters peaks highest; no more maps are kept than that.

    Args:
        performer: Frozen.
        batches: Images ``(B, C, H, W)``.
        filters: The ``k`` filters.
        device: Where to compute.
        top: Images for each.

    Returns:
        For each filter the positions of images, counted over all batches, with its maps ``(h, w)``, strongest first.
    """
    performer, seen = performer.to(device).freeze(), 0
    kept: list[list[tuple[int, np.ndarray]]] = [[] for _ in filters]
    for images in batches:
        x = performer.grid(performer.feature(performer.encode(images.to(device)).float()))
        found = cast(Tensor, performer.kind.maps(x))[:, list(filters)].float().cpu().numpy()
        for k, peaks in enumerate(kept):
            peaks += [(seen + row, heat.copy()) for row, heat in enumerate(found[:, k])]
            order = strongest_first(np.stack([heat for _, heat in peaks]))[:top]
            kept[k] = [peaks[at] for at in order]
        seen += len(images)
    return kept


class Shown:
    """Images of a split as they are looked at, each read when it is asked for."""

    def __init__(self, split: Split, framing: Framing) -> None:
        self.split = split
        self.framing = framing

    def __getitem__(self, index: int) -> Tensor:
        """uint8 ``(3, H, W)``."""
        return self.framing.shown(self.split.read(index, self.framing))
