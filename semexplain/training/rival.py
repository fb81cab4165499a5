"""A rival under a trainer: an attribution that is fitted and measured in place of an explainer."""

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from semexplain.attributions.question import Question
from semexplain.attributions.timed import Questions, TimedAttribution
from semexplain.explanation import Explanation
from semexplain.training.beginnings import questions, take_means
from semexplain.training.measured import Measured
from semexplain.training.measures import Answer


class RivalModule(Measured):
    """An attribution, measured as an explainer is.

    Args:
        explainer: In whose place it is measured: of the same performer, concepts and prior, by the same metrics. The
            loss to the prior is left out, since a rival's weights may have any sign.
        rival: The attribution, with its clock.
    """

    def __init__(self, explainer: Measured, rival: TimedAttribution) -> None:
        super().__init__(explainer.teacher, explainer.measures.without_prior_loss())
        self.explainer = explainer
        self.rival = rival

    def restore(self, path: Path) -> None:
        """Load what the explainer has learned about concepts, such as their means."""
        self.explainer.restore(path)

    def answer(self, batch: Mapping[str, Tensor], *, with_prior: bool) -> Answer:
        """Weights are contributions over strengths."""
        performance, prior = self.teacher.perform(batch, with_prior=with_prior)
        question = self.teacher.question(performance, prior)
        explanation = self._explain(question)
        return Answer(question, explanation, self._explain_maps, explanation.weights, prior)

    def on_test_start(self) -> None:
        """Fit the rival."""
        if not self.teacher.centre:
            take_means(self.teacher, self.training_batches)
        images = self.rival.training_images
        self.rival.fit(Questions(partial(questions, self.teacher, self.training_batches, images)))

    def test_step(  # type: ignore[override]
        self, batch: dict[str, Tensor], batch_idx: int, dataloader_idx: int = 0
    ) -> Explanation | None:
        """If few test images are measured, training images are not explained either."""
        if dataloader_idx == 0 and self.trainer.datamodule.test_images is not None:  # type: ignore[attr-defined]
            self.measures.observe_performance(self.teacher.perform(batch, with_prior=False)[0], self.label(batch))
            return None
        return super().test_step(batch, batch_idx, dataloader_idx)

    def _explain(self, question: Question) -> Explanation:
        score, values, _, _ = question.performance
        weights = torch.where(values == 0, 0, self.rival.contributions(question) / values)
        names, base = (self.teacher.concept_names, self.teacher.performer.target_name), self.rival.base_value.to(score)
        return Explanation(score, values, weights, base, *names, strengths=self.teacher.uncentred(values))

    def _explain_maps(self, feature_map: Tensor) -> Explanation:
        performance, _ = self.teacher.perform({"feature_map": feature_map}, with_prior=False)
        return self._explain(self.teacher.question(performance))

    def _numbers(self) -> Mapping[str, Any]:
        return {"bias": self.rival.base_value, **{f"rival_{k}": v for k, v in self.rival.timings.items()}}
