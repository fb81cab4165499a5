"""What a person needs to name a performer's filters: pictures of them, their names so far, and how well they fit."""

import csv
import logging
from collections import Counter
from io import StringIO
from pathlib import Path
from typing import cast

import numpy as np
import torch
from torch import Tensor

from semexplain.concepts.geometry import MapGeometry
from semexplain.concepts.part_proposals import location_stability, propose_by_iou, propose_by_peak
from semexplain.concepts.parts import NONE, Parts, write_parts
from semexplain.concepts.sight import WHOLE, sees_whole_object
from semexplain.data.module import evenly
from semexplain.performers.base import Performer
from semexplain.performers.grad_cam import grad_cam
from semexplain.report.contact_sheet import contact_sheet, rows_of, save_sheet, write_contact_sheets
from semexplain.report.own_filters import (
    DRAWN,
    SEEN,
    Chosen,
    chosen_filters,
    mean_contributions,
    report_own_filters,
)
from semexplain.runs.folder import PARTS
from semexplain.runs.naming import feature_maps, filter_maps, naming_images, naming_part_maps, with_part_masks
from semexplain.runs.run import Run
from semexplain.system.config import ConfigError
from semexplain.system.devices import accelerator
from semexplain.system.files import write_json, write_text
from semexplain.system.places import require_writable

SUMMARY, LIST = "interpretability.json", "filters.csv"
MOST = 512  # filters on pages, if nobody says how many
log = logging.getLogger(__name__)


def report_filters(
    run: Run, folder: Path, *, filters: Chosen | None = None, images: int | None = None
) -> dict[str, float]:
    """Draw filters that a run explains by, for a person to name; where they stand for parts, say how well they do.

    Args:
        run: An explainer's run.
        folder: Where to write.
        filters: How many to draw, those with the largest mean absolute contribution first, or which; by default 64,
            and of those that stand for parts up to 512.
        images: How many images to look at, spread evenly; by default 500, and of those that stand for parts all by
            which they are named.

    Returns:
        Numbers, see :func:`~semexplain.report.own_filters.report_own_filters` and :func:`report_named_filters`.

    Raises:
        ConfigError: If the folder is not such a run, its data or performer are gone, there are no such filters, or
            nothing can be written there.
    """
    if run.config.get("parts") is not None:
        return report_named_filters(run, folder, filters, images)
    return report_own_filters(run, folder, DRAWN if filters is None else filters, SEEN if images is None else images)


def report_named_filters(run: Run, folder: Path, filters: Chosen | None, images: int | None) -> dict[str, float]:
    """Draw filters that stand for parts, and measure how well they do.

    Writes ``page-001.png``, ... with the images at which each filter fires most, ``grad_cam.png`` with the images of
    the highest heat, ``parts.yaml`` with the names that the run used, ready to be edited and given back as
    ``parts.file``, ``filters.csv`` and ``interpretability.json``. Beside the name of each filter stands its receptive
    field, if the performer says it, with a warning where that covers the whole object: then a place in the map says
    little about a part.

    Returns:
        ``filters`` and ``named``, their numbers; ``named/<part>``, how many stand for each part;
        ``receptive_field``, in pixels, and ``sees_whole_object``, the share of the filters whose receptive field covers
        the whole object in most of their images, both only if the performer says it; ``location_instability``, the mean
        of :func:`~semexplain.concepts.part_proposals.location_stability`, low for filters that keep to a place;
        ``part_iou``, the mean over the filters of the share of images in which the overlap with their best part exceeds
        0.2; ``peak_score``, the mean over the filters of
        :func:`~semexplain.concepts.part_proposals.propose_by_peak` for their best part.
    """
    device = torch.device(accelerator(run.config.trainer.accelerator))
    require_writable("out", folder / PARTS, folder / LIST, folder / SUMMARY)
    performer, parts = run.performer, run.parts
    if parts is None:
        raise ConfigError(f"run: {run.path} has no {PARTS}, the names that it gave to filters. Restore it from a copy.")
    n = len(parts.assignment)
    drawn = range(n) if filters is None and n <= MOST else chosen_filters(mean_contributions(run), filters or MOST)
    data = with_part_masks(run.data)
    at = evenly(np.arange(len(data.naming.ids)), images)
    pixels, part_maps = naming_images(data, at), naming_part_maps(data, at)
    encodings = feature_maps(performer, pixels, device)
    maps = filter_maps(performer, encodings, device)
    known = performer.geometry if type(performer).geometry is not Performer.geometry else None
    seen = np.full(n, np.nan) if known is None else sees_whole_object(maps, part_maps, known)
    write_text(folder / LIST, listed(parts, known, seen))
    captions = captions_of(parts, known, seen)
    pictures = data.framing.shown(pixels).numpy()
    pages = write_contact_sheets(folder, rows_of(maps, drawn, names=captions), pictures, performer.geometry)
    chunks = [performer.perform(chunk.to(device), grad_cam)[1] for chunk in encodings.split(32)]
    heat = torch.cat([cast(Tensor, chunk).cpu() for chunk in chunks])[:, None]
    sheet = contact_sheet(pictures, heat, [0], performer.geometry, top=12, names=["Grad-CAM"])
    save_sheet(sheet, folder / "grad_cam.png")
    write_parts(folder / PARTS, parts)
    log.info("%d pages with %d of %d filters and their names: %s", len(pages), len(drawn), n, folder)
    if whole := int((seen > WHOLE).sum()):
        log.warning(
            "%d of %d filters see the whole object at once (receptive field %s): where such a filter fires says little "
            "about what made it fire.",
            whole,
            len(seen),
            field_of(performer.geometry),
        )
    result = summary(parts, maps, part_maps, performer.geometry)
    if known is not None:
        field = max(axis.receptive_field for axis in known.axes)
        result |= {"receptive_field": float(field), "sees_whole_object": float((seen > WHOLE).mean())}
    write_json(folder / SUMMARY, result)
    return result


def summary(parts: Parts, maps: Tensor, part_maps: np.ndarray, geometry: MapGeometry) -> dict[str, float]:
    """The numbers of :func:`report_named_filters`, without those of the receptive field."""
    _, instability = location_stability(maps, part_maps, geometry)
    _, overlap = propose_by_iou(maps, part_maps, parts.names, geometry)
    _, peak = propose_by_peak(maps, part_maps, parts.names, geometry)
    counts = Counter(parts.names[part] for part in parts.assignment if part >= 0)
    return {
        "filters": float(len(parts.assignment)),
        "named": float(sum(counts.values())),
        **{f"named/{name}": float(counts[name]) for name in parts.names},
        "location_instability": instability,
        "part_iou": float(overlap.max(1).mean()),
        "peak_score": float(peak.max(1).mean()),
    }


def field_of(geometry: MapGeometry) -> str:
    """Size of the receptive field.

    Example:
        >>> field_of(MapGeometry(16, 7.5, 228)), field_of(MapGeometry.even((32, 24), (4, 4)))
        ('228 px', '8 x 6 px')
    """
    sides = [f"{axis.receptive_field:g}" for axis in geometry.axes]
    return f"{sides[0]} px" if sides[0] == sides[1] else f"{' x '.join(sides)} px"


def captions_of(parts: Parts, geometry: MapGeometry | None, seen: np.ndarray) -> list[str]:
    """Lines for each filter: its part and how much of it belongs there, and how much it sees.

    Args:
        parts: Names of the ``n`` filters.
        geometry: Where they look; None: that is not known.
        seen: ``(n,)``, see :func:`~semexplain.concepts.sight.sees_whole_object`.
    """
    captions = []
    for part, shares, whole in zip(parts.assignment, parts.shares, seen, strict=True):
        lines = [] if part < 0 else [parts.names[part], f"{shares[part]:.0%}"]
        lines += [] if geometry is None else [f"sees {field_of(geometry)}"]
        captions.append("_".join([*lines, *(["= whole object"] if whole > WHOLE else [])]))
    return captions


def listed(parts: Parts, geometry: MapGeometry | None, seen: np.ndarray) -> str:
    """A table of all filters: name, share of each part, receptive field, how often it covers the whole object."""
    text = StringIO()
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(["filter", "name", *parts.names_with_background, "receptive field", "sees whole object"])
    field = "" if geometry is None else field_of(geometry)
    for i, (part, shares, whole) in enumerate(zip(parts.assignment, parts.shares, seen, strict=True)):
        name = NONE if part < 0 else parts.names[part]
        rows.writerow([i, name, *(f"{share:.4g}" for share in shares), field, f"{whole:.4g}"])
    return text.getvalue()
