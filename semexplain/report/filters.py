"""What a person needs to name a performer's filters: pictures of them, their names so far, and how well they fit."""

import logging
from collections import Counter
from pathlib import Path
from typing import cast

import torch
from torch import Tensor

from semexplain.concepts.part_proposals import location_stability, propose_by_iou, propose_by_peak
from semexplain.concepts.parts import write_parts
from semexplain.performers.grad_cam import grad_cam
from semexplain.report.contact_sheet import contact_sheet, save_sheet, write_contact_sheets
from semexplain.runs.folder import PARTS
from semexplain.runs.naming import feature_maps, filter_maps, naming_images, naming_part_maps, with_part_masks
from semexplain.runs.run import Run
from semexplain.system.config import ConfigError
from semexplain.system.devices import accelerator
from semexplain.system.files import write_json
from semexplain.system.places import require_writable

SUMMARY = "interpretability.json"
log = logging.getLogger(__name__)


def report_filters(run: Run, folder: Path) -> dict[str, float]:
    """Draw every filter of the performer that a run explains, and measure how well filters stand for parts.

    Writes ``page-001.png``, ... with the images at which each filter fires most, ``grad_cam.png`` with the images of
    the highest heat, ``parts.yaml`` with the names that the run used, ready to be edited and given back as
    ``parts.file``, and ``interpretability.json``.

    Args:
        run: An explainer's run with named parts.
        folder: Where to write.

    Returns:
        ``filters`` and ``named``, their numbers; ``named/<part>``, how many stand for each part;
        ``location_instability``, the mean of :func:`~semexplain.concepts.part_proposals.location_stability`, low for
        filters that keep to a place; ``part_iou``, the mean over the filters of the share of images in which the
        overlap with their best part exceeds 0.2; ``peak_score``, the mean of
        :func:`~semexplain.concepts.part_proposals.propose_by_peak` for their best part.

    Raises:
        ConfigError: If the folder is not such a run, its data or performer are gone, or nothing can be written there.
    """
    device = torch.device(accelerator(run.config.trainer.accelerator))
    require_writable("out", folder / PARTS, folder / SUMMARY)
    performer, parts = run.performer, run.parts
    if parts is None:
        raise ConfigError(f"run: {run.path} has no {PARTS}: its concepts are not filters that stand for parts.")
    data = with_part_masks(run.data)
    images, part_maps = naming_images(data), naming_part_maps(data)
    encodings = feature_maps(performer, images, device)
    maps = filter_maps(performer, encodings, device)
    names = ["" if part < 0 else parts.names[part] for part in parts.assignment]
    pages = write_contact_sheets(folder, images.numpy(), maps, performer.geometry, names=names)
    chunks = [performer.perform(chunk.to(device), grad_cam)[1] for chunk in encodings.split(32)]
    heat = torch.cat([cast(Tensor, chunk).cpu() for chunk in chunks])[:, None]
    sheet = contact_sheet(images.numpy(), heat, [0], performer.geometry, top=12, names=["Grad-CAM"])
    save_sheet(sheet, folder / "grad_cam.png")
    write_parts(folder / PARTS, parts)
    log.info("%d pages of filters and their names: %s", len(pages), folder)

    _, instability = location_stability(maps, part_maps, performer.geometry)
    _, overlap = propose_by_iou(maps, part_maps, parts.names, performer.geometry)
    _, peak = propose_by_peak(maps, part_maps, parts.names, performer.geometry)
    counts = Counter(name for name in names if name)
    result = {
        "filters": float(len(names)),
        "named": float(sum(counts.values())),
        **{f"named/{name}": float(counts[name]) for name in parts.names},
        "location_instability": instability,
        "part_iou": float(overlap.max(1).mean()),
        "peak_score": float(peak.max(1).mean()),
    }
    write_json(folder / SUMMARY, result)
    return result
