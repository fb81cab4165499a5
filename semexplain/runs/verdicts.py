"""The verdict on a run, or on a rival in its explainer's place: which images, which interventions, what is said."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, NamedTuple, cast, get_args

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from semexplain.attributions.question import Question
from semexplain.data.drawn.scenes import Redrawable
from semexplain.data.module import ImageDataModule, evenly
from semexplain.explanation import Explanation
from semexplain.judgement.drawn import drawn
from semexplain.judgement.erased import erased
from semexplain.judgement.interventions import Interventions
from semexplain.judgement.moved import MOST, moved
from semexplain.judgement.verdict import Verdict, judged
from semexplain.runs.folder import PERFORMER
from semexplain.runs.naming import PartData
from semexplain.runs.run import Run
from semexplain.system.config import ConfigError
from semexplain.system.files import write_json
from semexplain.training.measured import Measured
from semexplain.training.teacher import Teacher

Means = Literal["auto", "drawn", "erased", "moved"]
Judged = tuple[Explanation, Interventions, Sequence[int] | np.ndarray]  # ... and which of the test images
FEWEST = 3  # concepts, without which nothing can be told


class Asked(NamedTuple):
    """What is asked of a verdict.

    Attributes:
        images: How many test images at most, spread evenly.
        means: ``drawn``: concepts or parts are drawn away; ``erased``: the masks of parts are filled; ``moved``:
            concepts are taken away at x; ``auto``: the first of these that is possible.
        others: Runs that differ from the judged one in the seed alone, judged together with it.
        concepts: How many concepts are taken away at x one by one, see :func:`~semexplain.judgement.moved.moved`.
    """

    images: int
    means: Means
    others: tuple[Run, ...] = ()
    concepts: int = MOST

    @classmethod
    def of(cls, options: Mapping[str, Any] | None, run: Run, *, rival: bool) -> "Asked | None":
        """What options of ``evaluate.py`` ask for; none if no verdict.

        Raises:
            ConfigError: If that cannot be.
        """
        if options is None:
            return None
        images, means, folders = options["images"], options["means"], options.get("others") or ()
        if not isinstance(images, int) or isinstance(images, bool) or images < 1:
            raise ConfigError(f"verdict.images: expected a number of test images of at least 1, got {images!r}.")
        concepts = options.get("concepts", MOST)
        if not isinstance(concepts, int) or isinstance(concepts, bool) or concepts < FEWEST:
            raise ConfigError(f"verdict.concepts: expected a number of at least {FEWEST}, got {concepts!r}.")
        if means not in get_args(Means):
            raise ConfigError(f"verdict.means: expected one of {', '.join(get_args(Means))}, got {means!r}.")
        others = tuple(Run(folder, run.overrides, trust=run.trust) for folder in folders)
        if others and rival:
            raise ConfigError("verdict.others: a rival is judged by itself. Leave the other runs out.")
        for other in others:
            if not (other.path / PERFORMER).exists():
                raise ConfigError(f"verdict.others: {other.path} is not the folder of a run, it has no {PERFORMER}.")
            for fact in ("sha256", "data_sha256"):
                if other.noted(fact) != run.noted(fact):
                    raise ConfigError(
                        f"verdict.others: {other.path} explains another performer or other data. Give runs that differ "
                        "in the seed alone."
                    )
        return cls(images, means, others, concepts)


def way_of(teacher: Teacher, datamodule: ImageDataModule, means: Means) -> str:
    """By which interventions to judge.

    Raises:
        ConfigError: If what is asked for is not possible.
    """
    parts = teacher.parts
    possible = {
        "drawn": isinstance(datamodule, Redrawable) and (parts is not None or not teacher.performer.kind.own_maps),
        "erased": parts is not None and any(True for _ in _test_images_with_parts(teacher, datamodule)),
        "moved": True,
    }
    way = next(way for way in WAYS if possible[way]) if means == "auto" else means
    if not possible[way]:
        raise ConfigError(
            f"verdict.means: concepts cannot be {way} away here, which needs {NEEDED[way]}. Use `verdict.means=auto`."
        )
    return way


def verdict_on(
    model: Measured,
    datamodule: ImageDataModule,
    way: str,
    images: int,
    others: Iterable[Measured],
    device: torch.device,
    *,
    concepts: int = MOST,
) -> Verdict:
    """Judge what a model says of test images.

    Args:
        model: An explainer, or a rival that is fitted.
        datamodule: After ``setup``.
        way: See :func:`way_of`.
        images: How many test images at most, spread evenly.
        others: The same explainer of other seeds.
        device: Where to compute.
        concepts: How many are taken away at x one by one.
    """
    options = {"most": concepts} if way == "moved" else {}
    explanation, facts, positions = WAYS[way](model.to(device).eval(), datamodule, images, **options)
    several = [explanation]
    for other in others:
        told, _ = _explained(other.to(device).eval(), datamodule, positions)
        several.append(told if way == "moved" else _of_parts(told))
    return judged(several, facts)


def write_verdict(verdict: Verdict, path: Path) -> None:
    """Write the verdict with its words, whole or not at all."""
    statements = [
        {"name": s.name, "holds": s.holds, "reason": s.reason, "numbers": {k: list(v) for k, v in s.estimates.items()}}
        for s in verdict.statements
    ]
    words = {"word": verdict.word, "reason": verdict.reason, "means": verdict.means, "said": str(verdict)}
    write_json(path, {**words, "images": verdict.images, "seeds": verdict.seeds, "statements": statements})


def _moved(model: Measured, datamodule: ImageDataModule, images: int, most: int = MOST) -> Judged:
    positions = evenly(np.unique(datamodule.splits["test"].order()), images)
    explanation, maps = _explained(model, datamodule, positions, lambda question: question.performance.feature_map)
    teacher = model.teacher
    reference = teacher.reference if bool(teacher.reference.any()) else None
    facts = moved(teacher.performer, maps, teacher.columns, explanation.ids, reference, most=most, progress=True)
    return explanation, facts, positions


def _drawn(model: Measured, datamodule: ImageDataModule, images: int) -> Judged:
    assert isinstance(datamodule, Redrawable)
    scenes = datamodule.scenes("test")
    if not scenes:
        raise ConfigError("verdict.means: no test image can be drawn again. Use more images, or `verdict.means=moved`.")
    scenes = [scenes[number] for number in evenly(np.arange(len(scenes)), images)]
    positions = [scene.position for scene in scenes]
    explanation, strengths = _explained(model, datamodule, positions, lambda question: question.strengths)
    names, rates = datamodule.redrawable, datamodule.rates()
    told, workers = _told(model, strengths, names), datamodule.num_workers
    facts = drawn(model.teacher.performer, scenes, names, rates, explanation.ids, told, workers=workers, progress=True)
    return _of_parts(explanation), facts, positions


def _erased(model: Measured, datamodule: ImageDataModule, images: int) -> Judged:
    split, parts = datamodule.splits["test"], model.teacher.parts
    assert parts is not None
    part_maps = dict(_test_images_with_parts(model.teacher, datamodule))
    positions = evenly(np.array(list(part_maps)), images)
    explanation, strengths = _explained(model, datamodule, positions, lambda question: question.strengths)
    pictures = ((split.read(at, datamodule.framing), part_maps[at]) for at in positions)
    bar = tqdm(pictures, total=len(positions), desc="Erasing parts", unit="image")
    told = _told(model, strengths, parts.names)
    facts = erased(model.teacher.performer, bar, parts.names, explanation.ids, told)
    return _of_parts(explanation), facts, positions


def _test_images_with_parts(teacher: Teacher, datamodule: ImageDataModule) -> Iterator[tuple[int, np.ndarray]]:
    """Positions of test images that show the target and parts, and the part of every pixel."""
    if not hasattr(datamodule, "part_map"):
        return
    data, split = cast(PartData, datamodule), datamodule.splits["test"]
    target = datamodule.column(teacher.performer.target_name)
    for at in np.unique(split.order()).tolist():
        if target is None or split.labels[at, target]:
            part_map = data.part_map(split, at)
            if (part_map >= 0).any():
                yield at, part_map


WAYS: dict[str, Callable[..., Judged]] = {  # of a model, its data, and how many images
    "drawn": _drawn,
    "erased": _erased,
    "moved": _moved,
}
NEEDED = {
    "drawn": "drawn data and, for filters, named parts",
    "erased": "named parts and their masks in test images",
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
    model: Measured,
    datamodule: ImageDataModule,
    positions: Sequence[int] | np.ndarray,
    told: Callable[[Question], Tensor] = lambda question: question.performance.score,
) -> tuple[Explanation, Tensor]:
    """Explanations of test images, and what else is told of them, by default their scores."""
    explanations, tables = [], []
    for batch in datamodule.chosen("test", positions):
        answer = model.answer(model.transfer_batch_to_device(batch, model.device, 0), with_prior=False)
        explanations.append(model.presented(answer.explanation))
        tables.append(told(answer.question).float().cpu())
    ids = datamodule.splits["test"].ids
    explanation = replace(Explanation.join(explanations), ids=tuple(ids[position] for position in positions))
    return explanation, torch.cat(tables)
