"""The verdict on a run, or on a rival in its explainer's place: which images, which interventions, what is said."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import torch
from torch import Tensor

from semexplain.data.drawn.scenes import Redrawable
from semexplain.data.module import ImageDataModule, evenly
from semexplain.explanation import Explanation
from semexplain.judgement.drawn import drawn
from semexplain.judgement.interventions import Interventions
from semexplain.judgement.moved import moved
from semexplain.judgement.verdict import Verdict, judged
from semexplain.system.config import ConfigError
from semexplain.system.files import write_json
from semexplain.training.measured import Measured

Means = Literal["auto", "drawn", "moved"]


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
        means: ``drawn``: concepts or parts are drawn away; ``moved``: concepts are taken away at x; ``auto``: drawn
            where images can be drawn again.
        device: Where to compute.

    Raises:
        ConfigError: If the images cannot be drawn again though that is asked for.
    """
    can_draw = isinstance(datamodule, Redrawable) and (model.teacher.parts is not None or not _of_filters(model))
    if means == "drawn" and not can_draw:
        raise ConfigError(
            "verdict.means: concepts cannot be drawn away from these images. Use `verdict.means=moved`, or drawn data "
            "and, for filters, named parts."
        )
    model = model.to(device).eval()
    if can_draw and means != "moved":
        return _judged_by_drawing(model, datamodule, images)
    split = datamodule.splits["test"]
    positions = evenly(np.unique(split.order()), images)
    explanation, maps, _ = _explained(model, datamodule, positions)
    teacher = model.teacher
    reference = teacher.reference if bool(teacher.reference.any()) else None
    facts = moved(teacher.performer, maps, teacher.columns, explanation.ids, reference, progress=True)
    return judged(explanation, facts)


def write_verdict(verdict: Verdict, path: Path) -> None:
    """Write the verdict with its words, whole or not at all."""
    statements = [
        {"name": s.name, "holds": s.holds, "reason": s.reason, "numbers": {k: list(v) for k, v in s.estimates.items()}}
        for s in verdict.statements
    ]
    words = {"word": verdict.word, "reason": verdict.reason, "means": verdict.means, "said": str(verdict)}
    write_json(path, {**words, "images": verdict.images, "seeds": verdict.seeds, "statements": statements})


def _judged_by_drawing(model: Measured, datamodule: ImageDataModule, images: int) -> Verdict:
    assert isinstance(datamodule, Redrawable)
    scenes = datamodule.scenes("test")
    if not scenes:
        raise ConfigError("verdict.means: no test image can be drawn again. Use more images, or `verdict.means=moved`.")
    scenes = [scenes[number] for number in evenly(np.arange(len(scenes)), images)]
    explanation, _, strengths = _explained(model, datamodule, [scene.position for scene in scenes])
    teacher, names = model.teacher, datamodule.redrawable
    if teacher.parts is None:
        told = dict(zip(teacher.concept_names, strengths.T, strict=True))
    else:
        told = dict(zip(explanation.parts, teacher.parts.contributions(strengths, teacher.columns).T, strict=True))
    unknown = strengths.new_full((len(strengths),), torch.nan)
    facts: Interventions = drawn(
        teacher.performer,
        scenes,
        names,
        datamodule.rates(),
        explanation.ids,
        torch.stack([told.get(name, unknown) for name in names], 1),
        workers=datamodule.num_workers,
        progress=True,
    )
    if explanation.part_contributions is not None:  # judged are the parts
        explanation = replace(
            explanation,
            concepts=explanation.parts,
            weights=explanation.part_contributions,
            values=torch.ones_like(explanation.shown[1]),
            strengths=None,
            parts=(),
            part_contributions=None,
        )
    return judged(explanation, facts)


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


def _of_filters(model: Measured) -> bool:
    return model.teacher.performer.kind.own_maps
