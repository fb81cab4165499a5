"""The verdict on a run, or on a rival in its explainer's place: which images, which interventions, what is said."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, cast, get_args

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from semexplain.data.drawn.scenes import Redrawable
from semexplain.data.module import ImageDataModule, evenly
from semexplain.explanation import Explanation
from semexplain.judgement.drawn import drawn
from semexplain.judgement.erased import erased
from semexplain.judgement.interventions import Interventions
from semexplain.judgement.moved import moved
from semexplain.judgement.verdict import Verdict, judged
from semexplain.runs.naming import PartData
from semexplain.system.config import ConfigError
from semexplain.system.files import write_json
from semexplain.training.measured import Measured

Means = Literal["auto", "drawn", "erased", "moved"]


def settings_of(asked: Mapping[str, Any] | None) -> tuple[int, Means] | None:
    """How many images to judge by, and by which interventions; none if no verdict is asked for.

    Raises:
        ConfigError: If they are none that can be.
    """
    if asked is None:
        return None
    images, means = asked["images"], asked["means"]
    if not isinstance(images, int) or isinstance(images, bool) or images < 1:
        raise ConfigError(f"verdict.images: expected a number of test images of at least 1, got {images!r}.")
    if means not in get_args(Means):
        raise ConfigError(f"verdict.means: expected one of {', '.join(get_args(Means))}, got {means!r}.")
    return images, means


def verdict_on(
    model: Measured, datamodule: ImageDataModule, images: int, means: Means, device: torch.device
) -> Verdict:
    """Judge what a model says of test images.

    Args:
        model: An explainer or a rival that is fitted.
        datamodule: After ``setup``.
        images: How many test images at most, spread evenly.
        means: ``drawn``: concepts or parts are drawn away; ``erased``: the masks of parts are filled; ``moved``:
            concepts are taken away at x; ``auto``: the first of these that is possible.
        device: Where to compute.

    Raises:
        ConfigError: If what is asked for is not possible.
    """
    parts = model.teacher.parts
    possible: dict[str, bool] = {
        "drawn": isinstance(datamodule, Redrawable)
        and (parts is not None or not model.teacher.performer.kind.own_maps),
        "erased": parts is not None and hasattr(datamodule, "part_map"),
        "moved": True,
    }
    way = next(way for way in WAYS if possible[way]) if means == "auto" else means
    if not possible[way]:
        raise ConfigError(
            f"verdict.means: concepts cannot be {way} away here, which needs {NEEDED[way]}. Use `verdict.means=auto`."
        )
    explanation, facts = WAYS[way](model.to(device).eval(), datamodule, images)
    return judged(explanation, facts)


def write_verdict(verdict: Verdict, path: Path) -> None:
    """Write the verdict with its words, whole or not at all."""
    statements = [
        {"name": s.name, "holds": s.holds, "reason": s.reason, "numbers": {k: list(v) for k, v in s.estimates.items()}}
        for s in verdict.statements
    ]
    words = {"word": verdict.word, "reason": verdict.reason, "means": verdict.means, "said": str(verdict)}
    write_json(path, {**words, "images": verdict.images, "seeds": verdict.seeds, "statements": statements})


def _moved(model: Measured, datamodule: ImageDataModule, images: int) -> tuple[Explanation, Interventions]:
    positions = evenly(np.unique(datamodule.splits["test"].order()), images)
    explanation, maps, _ = _explained(model, datamodule, positions)
    teacher = model.teacher
    reference = teacher.reference if bool(teacher.reference.any()) else None
    return explanation, moved(teacher.performer, maps, teacher.columns, explanation.ids, reference, progress=True)


def _drawn(model: Measured, datamodule: ImageDataModule, images: int) -> tuple[Explanation, Interventions]:
    assert isinstance(datamodule, Redrawable)
    scenes = datamodule.scenes("test")
    if not scenes:
        raise ConfigError("verdict.means: no test image can be drawn again. Use more images, or `verdict.means=moved`.")
    scenes = [scenes[number] for number in evenly(np.arange(len(scenes)), images)]
    explanation, _, strengths = _explained(model, datamodule, [scene.position for scene in scenes])
    names, rates = datamodule.redrawable, datamodule.rates()
    told = _told(model, strengths, names)
    workers = datamodule.num_workers
    return _of_parts(explanation), drawn(
        model.teacher.performer, scenes, names, rates, explanation.ids, told, workers=workers, progress=True
    )


def _erased(model: Measured, datamodule: ImageDataModule, images: int) -> tuple[Explanation, Interventions]:
    data, split, parts = cast(PartData, datamodule), datamodule.splits["test"], model.teacher.parts
    assert parts is not None
    target = datamodule.names.index(model.teacher.performer.target_name)
    shown = [
        at for at in np.unique(split.order()) if split.labels[at, target] and (data.part_map(split, at) >= 0).any()
    ]
    if not shown:
        raise ConfigError("verdict.means: no test image has part masks. Use `verdict.means=moved`.")
    positions = evenly(np.array(shown), images)
    explanation, _, strengths = _explained(model, datamodule, positions)
    pictures = ((split.read(at, datamodule.image_size), data.part_map(split, at)) for at in positions)
    bar = tqdm(pictures, total=len(positions), desc="Erasing parts", unit="image")
    told = _told(model, strengths, parts.names)
    return _of_parts(explanation), erased(model.teacher.performer, bar, parts.names, explanation.ids, told)


WAYS: dict[str, Callable[[Measured, ImageDataModule, int], tuple[Explanation, Interventions]]] = {
    "drawn": _drawn,
    "erased": _erased,
    "moved": _moved,
}
NEEDED = {
    "drawn": "drawn data and, for filters, named parts",
    "erased": "named parts and their masks",
    "moved": "nothing",
}


def _told(model: Measured, strengths: Tensor, names: Sequence[str]) -> Tensor:
    """How strong the performer finds concepts, or parts by their filters' shares; nan where it does not say."""
    teacher = model.teacher
    if teacher.parts is None:
        table, known = strengths, teacher.concept_names
    else:
        table = teacher.parts.contributions(strengths, teacher.columns)
        known = teacher.parts.names_with_background
    columns = dict(zip(known, table.T, strict=True))
    return torch.stack([columns.get(name, torch.full_like(table[:, 0], torch.nan)) for name in names], 1)


def _of_parts(explanation: Explanation) -> Explanation:
    """What the parts contribute, if filters stand for them."""
    if explanation.part_contributions is None:
        return explanation
    return replace(
        explanation,
        concepts=explanation.parts,
        weights=explanation.part_contributions,
        values=torch.ones_like(explanation.part_contributions),
        strengths=None,
        concept_parts=(),
        parts=(),
        part_contributions=None,
    )


@torch.no_grad()
def _explained(
    model: Measured, datamodule: ImageDataModule, positions: Sequence[int] | np.ndarray
) -> tuple[Explanation, Tensor, Tensor]:
    """Explanations of test images, their feature maps, and how strong the performer finds their concepts."""
    explanations, maps, strengths = [], [], []
    for batch in _batches(model, datamodule, positions):
        answer = model.answer(batch, with_prior=False)
        explanations.append(model.presented(answer.explanation))
        maps.append(answer.question.performance.feature_map.float().cpu())
        strengths.append(answer.question.strengths.cpu())
    ids = datamodule.splits["test"].ids
    explanation = replace(Explanation.join(explanations), ids=tuple(ids[position] for position in positions))
    return explanation, torch.cat(maps), torch.cat(strengths)


def _batches(
    model: Measured, datamodule: ImageDataModule, positions: Sequence[int] | np.ndarray
) -> Iterator[Mapping[str, Tensor]]:
    for batch in datamodule.chosen("test", positions):
        yield model.transfer_batch_to_device(batch, model.device, 0)
