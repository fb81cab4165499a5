"""What is fitted on the training images before the first step: means of concepts, sizes of inputs, the start."""

import logging
from collections.abc import Callable, Iterator, Mapping
from typing import Protocol

import torch
from torch import Tensor

from semexplain.attributions.base import Start
from semexplain.attributions.linear_map import CommonWeight
from semexplain.attributions.question import Question
from semexplain.explainers.base import Explainer
from semexplain.explanation import Performance
from semexplain.system.processes import of_all_processes
from semexplain.training.teacher import Teacher

log = logging.getLogger(__name__)
Batch = Mapping[str, Tensor]


class Batches(Protocol):
    """Batches of the training split in order, on the module's device."""

    def __call__(self, names: tuple[str, ...] | None = None, images: int | None = None) -> Iterator[Batch]:
        """Of these arrays, if they are stored, and of so many images, spread evenly over the split; all by default."""


@torch.no_grad()
def take_means(teacher: Teacher, batches: Batches) -> None:
    """Take the concepts' mean strengths, their ``reference``, from the training split."""
    teacher.reference.zero_()  # so that strengths are not centred while their means are taken
    sums = []
    for batch in batches(("score", "concepts")):
        values = teacher.strengths(batch).concepts
        sums.append(torch.cat([values.double().sum(0), values.new_tensor([len(values)]).double()]))
    totals = of_all_processes(torch.stack(sums).sum(0)[None]).sum(0)
    teacher.reference.copy_(totals[:-1] / totals[-1])


@torch.no_grad()
def standardise(
    explainer: Explainer, teacher: Teacher, batches: Batches, inputs: Callable[[Performance, Batch], Tensor]
) -> None:
    """Tell an explainer mean and size of what it sees of the training split."""
    sums = []
    for batch in batches():
        rows = inputs(teacher.perform(batch, with_prior=False)[0], batch).flatten(1).double()
        sums.append(torch.cat([rows.sum(0), rows.square().sum()[None], rows.new_tensor([len(rows)])]))
    totals = of_all_processes(torch.stack(sums).sum(0)[None]).sum(0)
    explainer.standardise(totals[:-2] / totals[-1], totals[-2] / totals[-1])


def begin(explainer: Explainer, start: Start, teacher: Teacher, batches: Batches, concept_scale: Tensor) -> None:
    """Fit what an explainer starts from, and let it start there; its own weights are of strengths over the scale."""
    log.info("Fitting what the explainer starts from.")
    if start.taken_over and explainer.output == "softplus":
        start = CommonWeight(len(teacher.columns)).to(teacher.device)
    with torch.no_grad():
        images, strengths_suffice = start.training_images, start.strengths_suffice
        bias = start.begin(questions(teacher, batches, images, strengths_suffice=strengths_suffice))
        weights = start.coefficients if start.taken_over else torch.zeros(len(teacher.columns), device=teacher.device)
    explainer.start_at(weights * concept_scale, bias)


@torch.no_grad()
def questions(
    teacher: Teacher, batches: Batches, images: int | None = None, *, strengths_suffice: bool = False
) -> Iterator[Question]:
    """Training images in order, a batch at a time, as attributions are fitted on them.

    Args:
        teacher: Who answers.
        batches: Of the training split.
        images: This many, spread evenly over the split; all by default.
        strengths_suffice: Only score and strengths are asked for, so that feature maps need not be read.
    """
    for batch in batches(("score", "concepts") if strengths_suffice else None, images):
        if strengths_suffice:
            yield teacher.question(teacher.strengths(batch))
        else:
            yield teacher.question(*teacher.perform(batch, with_prior="prior" in batch))
