"""What an explainer learns from: the frozen performer's score and concepts of each image."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Literal

import torch
from torch import Tensor, nn

from semexplain.attributions.question import Question
from semexplain.concepts.network import Prior
from semexplain.concepts.parts import Parts
from semexplain.explanation import Performance
from semexplain.performers.base import Performer
from semexplain.system.trouble import Trouble
from semexplain.training.controls import Control, Truth


class Teacher(nn.Module):
    """A frozen performer, the concepts that explain it, its prior, and perhaps a control in place of the truth.

    Args:
        performer: The network to explain. It stays in evaluation mode and gets no gradient.
        concepts: Partial that selects the concepts to use, given their names.
        prior: Function from a performance to the weights that the performer itself suggests, ``(B, n)``; that of its
            kind of concept by default.
        parts: Which filter stands for which object part, if they have been named.
        centre: Measure every concept from its mean over the training images, its ``reference``.
        control: What is told in place of the truth; the truth by default.
    """

    reference: Tensor

    def __init__(
        self,
        performer: Performer,
        concepts: Callable[[Sequence[str]], list[int]],
        prior: Prior | None = None,
        parts: Parts | None = None,
        *,
        centre: bool = False,
        control: Control | None = None,
    ) -> None:
        super().__init__()
        self.control = control or Truth()
        self.performer = self.control.performer(performer.freeze())
        self._redone = self.performer is not performer
        self.columns = concepts(performer.concept_names)
        self.concept_names = tuple(performer.concept_names[i] for i in self.columns)
        self.prior = prior or performer.kind.prior
        self.parts = parts
        self.centre = centre
        self._kept: torch.dtype | None = None
        # Mean strength of each concept; kept in checkpoints only if explanations are measured from it.
        self.register_buffer("reference", torch.zeros(len(self.columns)), persistent=centre)

    @property
    def device(self) -> torch.device:
        """Where the performer computes."""
        return self.reference.device

    @property
    def groups(self) -> Tensor:
        """Share of each concept in what goes together ``(P, n)``: parts where filters have names, else each concept."""
        each = torch.eye(len(self.columns), device=self.device)
        return each if self.parts is None else self.parts.contributions(each, self.columns).T

    def keeps(self, dtype: Literal["float16", "float32"]) -> None:
        """Round feature maps and hidden layers as a cache of this type does, so that numbers do not depend on one."""
        self._kept = {"float16": torch.float16, "float32": None}[dtype]

    def perform(self, batch: Mapping[str, Tensor], *, with_prior: bool) -> tuple[Performance, Tensor | None]:
        """What the performer says of a batch, and the prior weights ``(B, n)`` if asked for.

        Computed from images, or read where a cache has stored it: the two give the same numbers, but for the order of
        sums.
        """
        cached = "score" in batch
        if "feature_map" not in batch:
            with torch.no_grad(), torch.autocast(self.device.type, enabled=False):  # the teacher keeps its precision
                feature_map = self.performer.encode(batch["image"])
                if self._redone:  # a cache computes another head from the maps that it has kept
                    feature_map = self._rounded(feature_map)
        else:
            feature_map = batch["feature_map"].float() if cached else batch["feature_map"]
        if cached:
            performance = Performance(batch["score"], batch["concepts"][:, self.columns], feature_map, feature_map)
            prior = batch["prior"][:, self.columns] if with_prior else None
        else:
            performance, prior = self.performer.perform(feature_map, self.prior if with_prior else None, self.columns)
            performance = performance._replace(feature_map=self._rounded(performance.feature_map))
        performance = performance._replace(concepts=self.centred(self.control.concepts(performance.concepts)))
        return performance, None if prior is None else self.control.weights(prior)

    def strengths(self, batch: Mapping[str, Tensor]) -> Performance:
        """Score and concepts of a batch, without a feature map where a cache has stored them."""
        if "feature_map" in batch or "image" in batch:
            return self.perform(batch, with_prior=False)[0]
        concepts = self.centred(self.control.concepts(batch["concepts"][:, self.columns]))
        nothing = concepts.new_empty(0)
        return Performance(batch["score"], concepts, nothing, nothing)

    def centred(self, concepts: Tensor) -> Tensor:
        """Strengths ``(B, n)`` measured from their means, if they are to be."""
        return concepts - self.reference if self.centre else concepts

    def uncentred(self, concepts: Tensor) -> Tensor | None:
        """What strengths ``(B, n)`` that were :meth:`centred` were before; None if none are."""
        return concepts + self.reference if self.centre else None

    def hidden(self, performance: Performance, batch: Mapping[str, Tensor]) -> Tensor:
        """The performer's last hidden layer ``(B, d, 1, 1)``, as stored or computed."""
        if "hidden" in batch:
            return batch["hidden"].float()[:, :, None, None]
        with torch.no_grad(), torch.autocast(self.device.type, enabled=False):
            hidden = self.performer.hidden(self.performer.feature(performance.feature_map.float()))
            return self._rounded(hidden)[:, :, None, None]

    def question(self, performance: Performance, prior: Tensor | None = None) -> Question:
        """A batch as attributions and measures of faithfulness get it."""
        reference = self.reference.to(performance.concepts)
        return Question(
            self.performer,
            performance,
            self.columns,
            reference,
            self.performer.kind,
            partial(self.performer.game, performance.feature_map, self.columns, reference),
            partial(self._prior_of, performance.feature_map) if prior is None else lambda: prior,
        )

    def untold(self, performance: Performance, prior: Tensor | None) -> Question:
        """The same batch as it is without the control."""
        truth, _ = self.performer.perform(performance.feature_map, None, self.columns)
        return self.question(truth._replace(concepts=self.centred(truth.concepts)), prior)

    def _rounded(self, values: Tensor) -> Tensor:
        """Values ``(B, ...)`` as they come out of a cache.

        Raises:
            Trouble: If the cache's type cannot hold them.
        """
        if self._kept is None:
            return values
        rounded = values.to(self._kept).float()
        if not rounded.isfinite().all():
            raise Trouble(
                "A feature map is infinite or not a number as float16. Use `data.cache_dtype=float32` if only half "
                "precision is too small for it."
            )
        return rounded

    def _prior_of(self, feature_map: Tensor) -> Tensor:
        prior = self.performer.perform(feature_map, self.prior, self.columns)[1]
        assert prior is not None
        return self.control.weights(prior)
