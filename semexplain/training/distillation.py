"""Train the explainer on what the frozen performer says (Sec. 3, Eqs. 1 to 4)."""

import inspect
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal, Protocol

import pytorch_lightning as pl
import torch
from annotated_types import Ge
from torch import Tensor, nn
from torchmetrics import MeanMetric, Metric

from semexplain.attributions.base import Question, Rival
from semexplain.attributions.faithfulness import concept_curves, end_scores, noisy_maps, subset_effects
from semexplain.attributions.start import Start
from semexplain.attributions.start_prior import PriorStart
from semexplain.attributions.timed import Questions
from semexplain.concepts.parts import Parts
from semexplain.concepts.priors import gradient_times_activation
from semexplain.concepts.removal import game_of, random_presence
from semexplain.explainers.base import Explainer
from semexplain.explainers.linear import LinearExplainer
from semexplain.explanation import Explanation, Performance
from semexplain.metrics.linear_map import LinearMap
from semexplain.performers.base import Performer, SharedOutputs
from semexplain.performers.grad_cam import score_heat
from semexplain.system.processes import of_all_processes
from semexplain.training import losses
from semexplain.training.controls import Control

log = logging.getLogger(__name__)
# What metrics may ask for that is made only if one does, since it costs further passes through the head.
PARTS = {"part_effects", "part_contributions", "part_attributions"}
CURVES = {"deletion", "insertion"}
SUBSETS = {"subset_contributions", "subset_drops"}
ENDS = {"score_with_all", "score_with_none"}


class PriorLoss(Protocol):
    """Disagreement of the weights with the prior, Eq. (4), averaged over the images."""

    def __call__(self, raw: Tensor, weights: Tensor, prior: Tensor) -> Tensor:
        """From ``u``, α and w, all ``(B, n)``."""


class Distillation(pl.LightningModule):
    """A frozen performer and the explainer that learns to account for its score.

    Args:
        performer: The network to explain. It stays in evaluation mode, gets no gradient, and checkpoints hold only
            its digest.
        explainer: Partial of a network ``(in_channels, map_size, n_concepts)``.
        prior: Function from a performance to the weights that the performer itself suggests, ``(B, n)``.
        prior_loss: How far the explainer's weights are from them.
        concepts: Partial that selects the concepts to use, given their names.
        optimizer: Partial of an optimizer, given parameters.
        scheduler: Partial of a learning-rate scheduler stepped every epoch, given an optimizer.
        metrics: What to measure in validation and test, by name; a partial is completed with the names of the parts.
        parts: Which filter stands for which object part, if they have been named.
        start: Partial of an attribution that is right already, given ``n_concepts``: the explainer learns only the
            correction to it. Without one it learns the weights from nothing, or from where ``head_init`` lets it begin.
        reads: What the explainer sees: the top ``feature_map`` (the paper) or the performer's last ``hidden`` layer.
        centre: Measure every concept from its mean over the training images. Then what a concept contributes is what
            sets the image apart, and an explainer cannot hide the score in the products of weights and means.
        correction_weight: Price of a correction: the factor on the mean sum of its squared contributions.
        ablations: Times per image and step that the explanation must also account for the score without a random
            subset of the concepts, or of the parts where filters have been named.
        control: What the explainer is told in place of the truth, to compare with; the truth by default.
        measure_prior: Compute the prior in validation and test as well, for its loss and agreement.
        compile_options: Train with a compiled explainer: options of ``torch.compile``. ``{mode: reduce-overhead}``
            captures it in a CUDA graph, since on a GPU its many small layers wait for their launches. Not compiled by
            default: on CPUs it is slower.

    Raises:
        ValueError: When a checkpoint of another performer, target or concept set is loaded.
    """

    performer: Performer
    explainer: Explainer
    reference: Tensor
    columns: list[int]
    concept_names: tuple[str, ...]

    def __init__(
        self,
        performer: Performer,
        explainer: Callable[..., Explainer],
        prior: Callable[[Performance], Tensor],
        prior_loss: PriorLoss,
        concepts: Callable[[Sequence[str]], list[int]],
        optimizer: Callable[..., torch.optim.Optimizer],
        scheduler: Callable[..., torch.optim.lr_scheduler.LRScheduler],
        metrics: Mapping[str, Metric | Callable[..., Metric]],
        parts: Parts | None = None,
        start: Callable[..., Start] | None = None,
        reads: Literal["feature_map", "hidden"] = "feature_map",
        centre: bool = False,
        correction_weight: Annotated[float, Ge(0)] = 0.0,
        ablations: Annotated[int, Ge(0)] = 0,
        control: Control | None = None,
        measure_prior: bool = True,
        compile_options: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__()
        self.control = control or Control()
        self.performer = self.control.performer(performer.freeze())
        self.columns = concepts(performer.concept_names)
        self.concept_names = tuple(performer.concept_names[i] for i in self.columns)
        self.reads = reads
        channels, size = (performer.hidden_size, 1) if reads == "hidden" else (performer.channels, performer.map_size)
        self.explainer = explainer(in_channels=channels, map_size=size, n_concepts=len(self.columns))
        self.start = None if start is None else start(n_concepts=len(self.columns))
        self.centre = centre
        self.correction_weight = correction_weight
        self.ablations = ablations
        self.prior = prior
        self.prior_loss = prior_loss
        self.optimizer = optimizer
        self.scheduler = scheduler
        self.measure_prior = measure_prior
        self.mean_losses = {"distillation": MeanMetric(), **({"prior_loss": MeanMetric()} if measure_prior else {})}
        self.parts = parts
        self.compile_options = compile_options
        self.measured = {name: self._completed(metric) for name, metric in metrics.items()}
        self.metrics = nn.ModuleDict({**self.measured, **self.mean_losses})  # so that they move to the device
        self.prior_weight = 0.0  # λ(t); the callback PriorWeight moves it
        self.rival: Rival | None = None  # set to measure it in the explainer's place
        # Mean strength of each concept, see `look_at_training_images`; kept only if the explanation subtracts it.
        self.register_buffer("reference", torch.zeros(len(self.columns)), persistent=centre)
        self.strict_loading = False  # checkpoints leave the performer out; on_load_checkpoint checks the rest
        self._digest: str | None = None
        self._epoch_losses: list[Tensor] = []

    @property
    def _groups(self) -> Tensor:
        """Which concepts are taken away together ``(P, n)``: those of a part if filters have been named, else each."""
        if self.parts is None:
            return torch.eye(len(self.columns), device=self.device)
        each = torch.eye(len(self.columns), device=self.device)
        return self.parts.contributions(each, self.columns).T

    def _completed(self, metric: Metric | Callable[..., Metric]) -> Metric:
        if isinstance(metric, Metric):
            return metric
        if self.parts is None:
            raise ValueError(
                "A metric of object parts needs filters that have been named: use `parts=peak` with data that have "
                "part masks, or leave the metric out."
            )
        return metric(parts=self.parts.names_with_other)

    # -- one batch ---------------------------------------------------------------------------------------------------

    def perform(self, batch: dict[str, Tensor], *, with_prior: bool) -> tuple[Performance, Tensor | None]:
        """What the performer says of a batch, and the prior weights ``(B, n)`` if asked for.

        Computed from images, or read where a cache has stored it: the two give the same numbers, but for the rounding
        of a feature map that was stored in half precision.
        """
        stored = "score" in batch
        if "feature_map" not in batch:
            with torch.no_grad(), torch.autocast(self.device.type, enabled=False):  # the teacher keeps its precision
                feature_map = self.performer.encode(batch["image"])
        else:
            feature_map = batch["feature_map"].float() if stored else batch["feature_map"]
        if stored:
            performance = Performance(batch["score"], batch["concepts"][:, self.columns], feature_map, feature_map)
            prior = batch["prior"][:, self.columns] if with_prior else None
        else:
            performance, prior = self.performer.perform(feature_map, self.prior if with_prior else None, self.columns)
        told = self._centred(self.control.concepts(performance.concepts))
        return performance._replace(concepts=told), None if prior is None else self.control.weights(prior)

    def _centred(self, concepts: Tensor) -> Tensor:
        return concepts - self.reference if self.centre else concepts

    def given(self, performance: Performance, batch: Mapping[str, Tensor] = {}) -> Tensor:
        """What the explainer sees, ``(B, C, H, W)``; of a batch if it has been stored."""
        if self.reads == "feature_map":
            return performance.feature_map
        if "hidden" in batch:
            return batch["hidden"].float()[:, :, None, None]
        with torch.no_grad(), torch.autocast(self.device.type, enabled=False):
            return self.performer.hidden(self.performer.feature(performance.feature_map.float()))[:, :, None, None]

    def explain(
        self, performance: Performance, given: Tensor | None = None, prior: Tensor | None = None
    ) -> tuple[Explanation, Tensor]:
        """The explanation of a performance, and the explainer's output ``u`` ``(B, n)`` before its output function.

        Args:
            performance: What the performer said.
            given: What the explainer sees; found out by default.
            prior: Prior weights ``(B, n)``, if they are known and a start may ask for them; found out by default.
        """
        explanation, raw, _ = self._explained(performance, given, prior)
        return explanation, raw

    def _explained(
        self, performance: Performance, given: Tensor | None, prior: Tensor | None
    ) -> tuple[Explanation, Tensor, Tensor | None]:
        """As :meth:`explain`, with what the explainer added to the weights of its start, if it has one."""
        score, values, _, _ = performance
        names = self.concept_names, self.performer.target_name
        if self.rival is not None:
            contributions = self.rival.contributions(self.question(performance, prior))
            weights = torch.where(values == 0, 0, contributions / values)
            return Explanation(score, values, weights, self.rival.base_value.to(score), *names), weights, None
        raw = self.explainer(self.given(performance) if given is None else given)
        weights, correction = self.explainer.weights(raw), None
        if self.start is not None:
            begun, scale = self._begun(self.start, performance, prior)
            correction = scale * weights
            weights = begun + correction
        return Explanation(score, values, weights, self.explainer.bias, *names), raw, correction

    def _begun(self, start: Start, performance: Performance, prior: Tensor | None) -> tuple[Tensor, Tensor]:
        """Weights and scale of a start; under a control those that go with the concepts that are told."""
        with torch.autocast(self.device.type, enabled=False):  # slopes of scores need their precision
            if type(self.control) is Control or isinstance(start, PriorStart):  # the prior is told with the concepts
                return start(self.question(performance, prior))
            truth, _ = self.performer.perform(performance.feature_map, None, self.columns)
            truth = truth._replace(concepts=self._centred(truth.concepts))
            begun, scale = start(self.question(truth, prior))
            return self.control.weights(begun), self.control.weights(scale)

    def question(self, performance: Performance, prior: Tensor | None = None) -> Question:
        """A batch as rivals and measures of faithfulness get it."""
        reference = self.reference.to(performance.concepts)
        return Question(
            self.performer,
            performance,
            self.columns,
            reference,
            partial(game_of, self.performer, performance.feature_map, self.columns, reference),
            partial(self._prior_of, performance.feature_map) if prior is None else lambda: prior,
        )

    def _prior_of(self, feature_map: Tensor) -> Tensor:
        prior = self.performer.perform(feature_map, self.prior, self.columns)[1]
        assert prior is not None
        return self.control.weights(prior)

    def forward(self, image: Tensor) -> Explanation:
        """Explain images ``(B, 3, S, S)``, uint8."""
        return self.explain(self.perform({"image": image}, with_prior=False)[0])[0]

    def presented(self, explanation: Explanation) -> Explanation:
        """An explanation for a reader: without graph, and with the contributions of parts if filters stand for them."""
        own = explanation.cpu()
        if self.parts is None:
            return own
        contributions = self.parts.contributions(own.contributions, self.columns)
        return replace(own, parts=self.parts.names_with_other, part_contributions=contributions)

    def explain_maps(self, feature_map: Tensor, image: Tensor | None = None) -> Explanation:
        """Explain feature maps ``(B, C, H, W)`` for a reader, with pictures if images ``(B, 3, S, S)`` are given."""
        with torch.no_grad():
            performance, _ = self.perform({"feature_map": feature_map}, with_prior=False)
            explanation = self.presented(self.explain(performance)[0])
        if image is None:
            return explanation
        heat = self.performer.geometry.upsample(score_heat(self.performer, feature_map), image.shape[-1])
        return replace(explanation, image=image.cpu(), heat=heat.cpu())

    def label(self, batch: dict[str, Tensor]) -> Tensor:
        """Ground truth of the target ``(B,)``: for metrics only, training never sees it."""
        return batch["label"][:, self.performer.target_index]

    # -- training ----------------------------------------------------------------------------------------------------

    def setup(self, stage: str) -> None:
        """Compile the explainer if asked to; its parameters keep their names."""
        if stage == "fit" and self.compile_options is not None:
            self.explainer.compile(**self.compile_options)

    def training_step(self, batch: dict[str, Tensor], batch_idx: int) -> Tensor:
        """Eq. (3): distillation loss plus λ(t) times the prior loss."""
        prior_counts = self.prior_weight > 0
        performance, prior = self.perform(batch, with_prior=prior_counts or isinstance(self.start, PriorStart))
        explanation, raw, correction = self._explained(performance, self.given(performance, batch), prior)
        distillation = losses.distillation(explanation.prediction, explanation.score)
        extra = self._extra_losses(performance, explanation, correction)
        disagreement = torch.zeros_like(distillation)
        if prior is not None and prior_counts:
            disagreement = self.prior_loss(raw=raw, weights=explanation.weights, prior=prior)
        self._epoch_losses.append(torch.stack([distillation.detach(), disagreement.detach()]))
        return distillation + self.prior_weight * disagreement + extra

    def _extra_losses(
        self, performance: Performance, explanation: Explanation, correction: Tensor | None
    ) -> Tensor | float:
        """What this package adds to Eq. (3): the price of corrections, and scores without some concepts."""
        extra: Tensor | float = 0.0
        if self.correction_weight > 0 and correction is not None:
            extra = extra + self.correction_weight * (correction * explanation.values).square().sum(1).mean()
        if self.ablations > 0:
            present = random_presence(self.ablations, len(performance.score), self._groups)
            with torch.no_grad(), torch.autocast(self.device.type, enabled=False):
                scores = self.question(performance).game(present)
            predictions = (present * explanation.contributions).sum(-1) + explanation.base_value
            extra = extra + losses.distillation(predictions.flatten(), scores.flatten())
        return extra

    def on_train_epoch_end(self) -> None:
        """Log the epoch's mean losses: once an epoch, since a call of ``log`` costs as much as a small layer."""
        distillation, disagreement = torch.stack(self._epoch_losses).mean(0)
        self._epoch_losses = []
        values = {"distillation": distillation, "loss": distillation + self.prior_weight * disagreement}
        if self.prior_weight > 0:  # otherwise no prior was computed
            values |= {"prior_loss": disagreement, "prior_weight": torch.tensor(self.prior_weight)}
        self.log_dict({f"train/{name}": value for name, value in values.items()}, sync_dist=True)

    def on_train_start(self) -> None:
        """Look at the training images and start where ``start`` or ``head_init`` asks, unless the run is resumed."""
        begins = self.global_step == 0
        if (begins and self.centre) or (
            self.ablations > 0 and not self.centre
        ):  # a checkpoint has it if it is subtracted
            self.look_at_training_images()
        if not begins:
            return
        if isinstance(self.explainer, LinearExplainer):
            self._standardise(self.explainer)
        if self.start is not None:
            bias = self.start.fit(self.training_questions())
            self.explainer.start_at(torch.zeros(len(self.columns), device=self.device), bias)
        elif self.explainer.head_init != "default":
            self.explainer.start_at(*self.least_squares(common=self.explainer.head_init == "calibrated"))

    @torch.no_grad()
    def least_squares(self, *, common: bool) -> tuple[Tensor, Tensor]:
        """Image-independent weights ``(n,)`` and bias ``()`` that fit the training scores best.

        Args:
            common: One weight for all concepts, instead of one for each. Where it must be positive and the best is not,
                it is the one that makes contributions as large as the scores vary, ``std(ŷ) / mean Σ|yᵢ|``.
        """
        log.info("Fitting the least-squares map at which the explainer starts.")
        fit = LinearMap().to(self.device)
        scores, totals, sizes = [], [], []
        for score, values in self.training_strengths():
            total = values.sum(1, keepdim=True)
            fit.observe(concepts=total if common else values, score=score)
            scores.append(score.double())
            totals.append(total[:, 0].double())
            sizes.append(values.abs().sum(1).double())
        weights, bias = fit.coefficients()
        if common and self.explainer.output == "softplus" and not bool(weights > 0):
            score, total, size = (of_all_processes(torch.cat(part)) for part in (scores, totals, sizes))
            weights = score.std() / size.mean()
            bias = score.mean() - weights * total.mean()
        return weights.float().expand(len(self.columns)), bias.float()

    @torch.no_grad()
    def training_strengths(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Scores ``(B,)`` and concepts ``(B, n)`` of the training split in order, without feature maps if possible."""
        for batch in self.trainer.datamodule.ordered("train", ("score", "concepts")):  # type: ignore[attr-defined]
            batch = self.transfer_batch_to_device(batch, self.device, 0)
            if "feature_map" in batch or "image" in batch:
                score, values, *_ = self.perform(batch, with_prior=False)[0]
            else:
                score, values = batch["score"], self._centred(self.control.concepts(batch["concepts"][:, self.columns]))
            yield score, values

    @torch.no_grad()
    def training_questions(self, images: int | None = None) -> Iterator[Question]:
        """Training images in order, a batch at a time, as rivals are fitted on them.

        Args:
            images: This many, spread evenly over the split; all by default.
        """
        for batch in self.trainer.datamodule.ordered("train", images=images):  # type: ignore[attr-defined]
            batch = self.transfer_batch_to_device(batch, self.device, 0)
            yield self.question(*self.perform(batch, with_prior="prior" in batch))

    @torch.no_grad()
    def look_at_training_images(self) -> None:
        """Take the concepts' mean strengths, their ``reference``, from the training split."""
        self.reference.zero_()  # so that strengths are not centred while their means are taken
        sums = []
        for _, values in self.training_strengths():
            sums.append(torch.cat([values.double().sum(0), values.new_tensor([len(values)]).double()]))
        totals = of_all_processes(torch.stack(sums).sum(0)[None]).sum(0)
        self.reference.copy_(totals[:-1] / totals[-1])

    @torch.no_grad()
    def _standardise(self, explainer: LinearExplainer) -> None:
        """Tell a linear explainer mean and size of what it sees of the training split."""
        sums = []
        for batch in self.trainer.datamodule.ordered("train"):  # type: ignore[attr-defined]
            batch = self.transfer_batch_to_device(batch, self.device, 0)
            given = self.given(self.perform(batch, with_prior=False)[0], batch).flatten(1).double()
            sums.append(torch.cat([given.sum(0), given.square().sum()[None], given.new_tensor([len(given)])]))
        totals = of_all_processes(torch.stack(sums).sum(0)[None]).sum(0)
        explainer.standardise(totals[:-2] / totals[-1], totals[-2] / totals[-1])

    def configure_optimizers(self) -> Any:
        """Only the explainer's parameters; the bias b is never decayed."""
        body = [parameter for name, parameter in self.explainer.named_parameters() if name != "bias"]
        groups = [{"params": body}, {"params": [self.explainer.bias], "weight_decay": 0.0}]
        optimizer = self.optimizer(groups)
        return [optimizer], [self.scheduler(optimizer)]

    # -- measuring ---------------------------------------------------------------------------------------------------

    def on_test_start(self) -> None:
        """Look at the training images if a metric or rival has to know the concepts' means; fit the rival."""
        asked = {name for metric in self.measured.values() for name in inspect.signature(metric.update).parameters}
        away = bool(asked & (CURVES | SUBSETS | ENDS)) and isinstance(self.performer, SharedOutputs)
        if (away or self.rival is not None) and not self.centre:
            self.look_at_training_images()
        if self.rival is not None:
            self.rival.fit(Questions(partial(self.training_questions, self.rival.training_images)))

    def validation_step(self, batch: dict[str, Tensor], batch_idx: int) -> Explanation | None:  # type: ignore[override]
        """Measure a batch of the validation split."""
        return self._measure(batch, "update", self._metrics_of("val"))

    def test_step(  # type: ignore[override]
        self, batch: dict[str, Tensor], batch_idx: int, dataloader_idx: int = 0
    ) -> Explanation | None:
        """Fit thresholds and the linear map on the training split (first loader), measure the test split (second).

        A rival that is measured on few images is not asked about all of training either.
        """
        if dataloader_idx == 0 and self.rival is not None and self.trainer.datamodule.test_images is not None:  # type: ignore[attr-defined]
            self._observe_performance(batch)
            return None
        return self._measure(batch, "observe" if dataloader_idx == 0 else "update", self._metrics_of("test"))

    def on_validation_epoch_end(self) -> None:
        """Report and reset the validation metrics."""
        self._report("val")

    def on_test_epoch_end(self) -> None:
        """Report and reset the test metrics."""
        self._report("test")

    def _metrics_of(self, stage: str) -> dict[str, Metric]:
        return {
            name: metric
            for name, metric in self.measured.items()
            if stage == "test" or getattr(metric, "in_validation", True)
        }

    def _measure(self, batch: dict[str, Tensor], method: str, metrics: Mapping[str, Metric]) -> Explanation | None:
        known = isinstance(self.start, PriorStart) and "prior" in batch
        measured = method == "update" and self.measure_prior
        performance, prior = self.perform(batch, with_prior=measured or known)
        explanation, raw = self.explain(performance, self.given(performance, batch), prior)
        prior = prior if measured else None
        fields = {
            "score": explanation.score,
            "prediction": explanation.prediction,
            "contributions": explanation.contributions,
            "weights": explanation.weights,
            "concepts": explanation.values,
            "prior": prior,
            "raw": raw,
            "label": self.label(batch),
            "object_id": batch["object_id"],
        }
        if method == "update":
            distillation = losses.distillation(explanation.prediction, explanation.score)
            self.mean_losses["distillation"].update(distillation, weight=len(explanation))
        if prior is not None and self.rival is None:  # it may compare positive weights, and a rival's have any sign
            disagreement = self.prior_loss(raw=raw, weights=explanation.weights, prior=prior)
            self.mean_losses["prior_loss"].update(disagreement, weight=len(prior))
        if "truth" in batch:
            fields["truth"] = batch["truth"]
        for name, metric in metrics.items():
            receive = getattr(metric, method, None)
            if receive is not None:  # few metrics are fitted on the training split first
                wanted = inspect.signature(receive).parameters
                fields |= self._fields_on_demand(wanted.keys() - fields.keys(), performance, explanation)
                if absent := sorted(wanted.keys() - fields.keys()):
                    raise ValueError(
                        f"The metric `{name}` asks for {', '.join(absent)}, which these data and this module do not "
                        f"have. They have {', '.join(sorted(fields))}. Leave the metric out."
                    )
                receive(**{field: fields[field] for field in wanted})
        return explanation if method == "update" else None

    def _fields_on_demand(
        self, wanted: AbstractSet[str], performance: Performance, explanation: Explanation
    ) -> dict[str, Tensor]:
        """Those of the wanted fields that have to be made, perhaps with others that come with them."""
        made: dict[str, Tensor] = {}
        if wanted & PARTS:
            made |= self._part_fields(performance, explanation)
        if wanted & (CURVES | SUBSETS | ENDS):
            made |= self._game_fields(wanted, performance, explanation.contributions)
        if "noisy_contributions" in wanted:
            maps = noisy_maps(performance.feature_map)
            noisy = [self.perform({"feature_map": one}, with_prior=False)[0] for one in maps]
            made["noisy_contributions"] = torch.stack([self.explain(one)[0].contributions for one in noisy], dim=1)
        return made

    def _game_fields(
        self, wanted: AbstractSet[str], performance: Performance, contributions: Tensor
    ) -> dict[str, Tensor]:
        """Scores of the images with some of their concepts taken away."""
        made: dict[str, Tensor] = {}
        with torch.autocast(self.device.type, enabled=False):  # differences of scores need their precision
            game, given = self.question(performance).game, contributions.float()
            if wanted & CURVES:
                made["deletion"], made["insertion"] = concept_curves(game, given)
            if wanted & SUBSETS:
                made["subset_contributions"], made["subset_drops"] = subset_effects(game, given)
            if wanted & ENDS:
                made["score_with_all"], made["score_with_none"] = end_scores(game, given)
        return made

    def _observe_performance(self, batch: dict[str, Tensor]) -> None:
        """Show a batch to the metrics that are fitted to what the performer says, whatever explains it."""
        performance, _ = self.perform(batch, with_prior=False)
        fields = {"score": performance.score, "concepts": performance.concepts, "label": self.label(batch)}
        for metric in self._metrics_of("test").values():
            observe: Any = getattr(metric, "observe", None)
            wanted = set(inspect.signature(observe).parameters) if observe is not None else set()
            if wanted and wanted <= fields.keys():
                observe(**{name: fields[name] for name in wanted})

    def _part_fields(self, performance: Performance, explanation: Explanation) -> dict[str, Tensor]:
        """What each part contributes, by the explanation, by gradient times activation, and by removal: ``(B, P)``."""
        assert self.parts is not None
        attributions = self.performer.perform(performance.feature_map, gradient_times_activation)[1]
        assert attributions is not None
        with torch.no_grad():
            feature = self.performer.feature(performance.feature_map.float())
            score, _ = self.performer.head(feature)  # of this very feature, which may have been stored rounded
            effects = self.parts.ablation_effects(self.performer.head, feature, score)
        return {
            "part_effects": effects,
            "part_contributions": self.parts.contributions(explanation.contributions, self.columns),
            "part_attributions": self.parts.contributions(attributions),
        }

    def _report(self, stage: str) -> None:
        values: dict[str, Any] = {"bias": self.explainer.bias.detach()}
        if stage == "test" and self.rival is not None:
            values = {"bias": self.rival.base_value, **{f"rival_{k}": v for k, v in self.rival.timings.items()}}
        losses_of = {k: v for k, v in self.mean_losses.items() if self.rival is None or k != "prior_loss"}
        for name, metric in {**self._metrics_of(stage), **losses_of}.items():
            result = metric.compute()  # already reduced over the processes
            values |= result if isinstance(result, dict) else {name: result}
            metric.reset()
        self.log_dict({f"{stage}/{name}": torch.as_tensor(value).float() for name, value in values.items()})
        if stage == "val" and "relative_deviation" in values:
            self.log("deviation", values["relative_deviation"].float(), prog_bar=True, logger=False)

    # -- checkpoints -------------------------------------------------------------------------------------------------

    @property
    def identity(self) -> dict[str, Any]:
        """What an explainer's weights mean nothing without."""
        self._digest = self._digest or self.performer.digest()
        return {
            "performer_sha256": self._digest,
            "performer_variant": self.performer.variant,
            "target": self.performer.target_name,
            "concepts": list(self.concept_names),
            "control": None if type(self.control) is Control else type(self.control).__name__,
        }

    def restore(self, path: Path) -> None:
        """Load the explainer from a checkpoint file, which can hold nothing but tensors and plain values."""
        checkpoint = torch.load(path, map_location=self.device, weights_only=True)
        self.on_load_checkpoint(checkpoint)
        self.load_state_dict(checkpoint["state_dict"], strict=False)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Leave the frozen performer out; note its digest."""
        state = checkpoint["state_dict"]
        checkpoint["state_dict"] = {key: state[key] for key in state if not key.startswith("performer.")}
        checkpoint["semexplain"] = self.identity

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Refuse a checkpoint of another performer, target or concept set, and one with missing weights."""
        saved = checkpoint.get("semexplain", {})
        for key, value in self.identity.items():
            if saved.get(key) != value:
                raise ValueError(
                    f"The checkpoint belongs to another explanation: its {key} is {saved.get(key)}, not {value}. "
                    "Give the performer and options that the explainer was trained with."
                )
        expected = {key for key in self.state_dict() if not key.startswith("performer.")}
        if expected != set(checkpoint["state_dict"]):
            differing = sorted(expected ^ set(checkpoint["state_dict"]))
            raise ValueError(
                f"The checkpoint does not fit the explainer: {len(differing)} weights differ, first {differing[:3]}. "
                "Give the `explainer` options that it was trained with."
            )
