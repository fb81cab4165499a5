"""A module that is measured: whatever explains a teacher's images, in a trainer's validation and test."""

from abc import abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor

from semexplain.explanation import Explanation
from semexplain.training.beginnings import take_means
from semexplain.training.measures import Answer, Measures
from semexplain.training.teacher import Teacher


class Measured(pl.LightningModule):
    """Explains the images of a teacher, and is measured.

    Args:
        teacher: Performer, concepts and prior.
        measures: What is measured.
    """

    def __init__(self, teacher: Teacher, measures: Measures) -> None:
        super().__init__()
        self.teacher = teacher
        self.measures = measures

    @abstractmethod
    def answer(self, batch: Mapping[str, Tensor], *, with_prior: bool) -> Answer:
        """The explanation of a batch; with the prior beside it if it is to be measured."""

    @abstractmethod
    def restore(self, path: Path) -> None:
        """Load what was learned from a checkpoint file."""

    def presented(self, explanation: Explanation) -> Explanation:
        """An explanation for a reader: without graph, and with the contributions of parts if filters stand for them."""
        explanation, parts = explanation.cpu(), self.teacher.parts
        if parts is None:
            return explanation
        contributions = parts.contributions(explanation.contributions, self.teacher.columns)
        names = (parts.assignment[i] for i in self.teacher.columns)
        return replace(
            explanation,
            parts=parts.names_with_background,
            part_contributions=contributions,
            concept_parts=tuple(parts.names[part] if part >= 0 else "" for part in names),
        )

    def setup(self, stage: str) -> None:
        """Leave out what cannot be measured where nobody says which images show the target."""
        data = self.trainer.datamodule  # type: ignore[attr-defined]
        self.measures.labelled = data is None or self.teacher.performer.target_name in data.names

    def label(self, batch: Mapping[str, Tensor]) -> Tensor | None:
        """Ground truth of the target ``(B,)``, None where it is not known: for metrics only, training never sees it."""
        names, target = self.trainer.datamodule.names, self.teacher.performer.target_name  # type: ignore[attr-defined]
        return batch["label"][:, names.index(target)] if target in names else None

    def training_batches(
        self, names: tuple[str, ...] | None = None, images: int | None = None
    ) -> Iterator[Mapping[str, Tensor]]:
        """See :class:`~semexplain.training.beginnings.Batches`."""
        for batch in self.trainer.datamodule.ordered("train", names, images=images):  # type: ignore[attr-defined]
            yield self.transfer_batch_to_device(batch, self.device, 0)

    def on_test_start(self) -> None:
        """Look at the training images if a metric has to know the concepts' means."""
        teacher = self.teacher
        if self.measures.take_concepts_away and teacher.performer.kind.needs_means and not teacher.centre:
            take_means(teacher, self.training_batches)

    def validation_step(self, batch: dict[str, Tensor], batch_idx: int) -> Explanation:  # type: ignore[override]
        """Measure a batch of the validation split."""
        return self._measure(batch, "val")

    def test_step(  # type: ignore[override]
        self, batch: dict[str, Tensor], batch_idx: int, dataloader_idx: int = 0
    ) -> Explanation | None:
        """Fit thresholds and the linear map on the training split (first loader), measure the test split (second)."""
        if dataloader_idx == 0:
            self.measures.observe(batch, self.label(batch), self.answer(batch, with_prior=False))
            return None
        return self._measure(batch, "test")

    def on_validation_epoch_end(self) -> None:
        """Report the validation metrics."""
        self._report("val")

    def on_test_epoch_end(self) -> None:
        """Report the test metrics."""
        self._report("test")

    def _measure(self, batch: dict[str, Tensor], stage: str) -> Explanation:
        answer = self.answer(batch, with_prior=self.measures.with_prior)
        self.measures.update(batch, self.label(batch), answer, stage)
        return answer.explanation

    def _numbers(self) -> Mapping[str, Any]:
        """What is reported beside the metrics."""
        return {}

    def _report(self, stage: str) -> None:
        values = {**self._numbers(), **self.measures.report(stage)}
        self.log_dict({f"{stage}/{name}": torch.as_tensor(value).float() for name, value in values.items()})
        if stage == "val" and "relative_deviation" in values:
            self.log("deviation", values["relative_deviation"].float(), prog_bar=True, logger=False)
