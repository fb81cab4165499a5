"""Train the explainer on what the frozen performer says (Sec. 3, Eqs. 1 to 4)."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Literal, Protocol

import torch
from annotated_types import Ge, Gt
from torch import Tensor
from torchmetrics import Metric

from semexplain.attributions.base import Start
from semexplain.attributions.starts import start_of
from semexplain.concepts import losses
from semexplain.concepts.base import random_presence
from semexplain.concepts.network import Prior
from semexplain.concepts.parts import Parts
from semexplain.explainers.base import Explainer
from semexplain.explanation import Explanation, Performance
from semexplain.performers.base import Performer
from semexplain.performers.grad_cam import score_heat
from semexplain.performers.weights import versioned
from semexplain.system.trouble import Trouble
from semexplain.training.beginnings import begin, standardise, take_means
from semexplain.training.checkpoints import read_checkpoint
from semexplain.training.concept_scale import scale_of_scores
from semexplain.training.controls import Control
from semexplain.training.measured import Measured
from semexplain.training.measures import Answer, Measures
from semexplain.training.teacher import Teacher

FROZEN = "teacher.performer."  # keys that checkpoints leave out


class PriorLoss(Protocol):
    """Disagreement of the weights with the prior, Eq. (4), averaged over the images."""

    def __call__(self, raw: Tensor, weights: Tensor, prior: Tensor) -> Tensor:
        """From ``u``, α and w, all ``(B, n)``."""


class Distillation(Measured):
    """A frozen performer and the explainer that learns to account for its score.

    Args:
        performer: The network to explain. It stays in evaluation mode, gets no gradient, and checkpoints hold only
            its digest.
        explainer: Partial of a network ``(map_shape, n_concepts)``.
        concepts: Partial that selects the concepts to use, given their names.
        optimizer: Partial of an optimizer, given parameters.
        scheduler: Partial of a learning-rate scheduler stepped every epoch, given an optimizer.
        metrics: What to measure in validation and test, by name; a partial is completed with the names of the parts.
        prior: Function from a performance to the weights that the performer itself suggests, ``(B, n)``; that of the
            performer's kind of concept by default.
        prior_loss: How far the explainer's weights are from them; that of the kind of concept by default.
        parts: Which filter stands for which object part, if they have been named.
        start: Partial of an attribution that is right already, given ``n_concepts``: the explainer learns only the
            correction to it. ``kind``: what suits the kind of concept. Without one its weights start as PyTorch
            initialises them.
        reads: What the explainer sees: the top ``feature_map`` (the paper) or the performer's last ``hidden`` layer.
        centre: Measure every concept from its mean over the training images. Then what a concept contributes is what
            sets the image apart, and an explainer cannot hide the score in the products of weights and means.
        concept_scale: One constant s by which the strengths of all concepts are divided where the explainer weighs
            them; weights and contributions are told of undivided strengths. ``auto`` takes it from the training images,
            so that an untrained explainer predicts scores of the right size; with a start, which has it, it is 1.
        correction_weight: Price of a correction: the factor on the mean sum of its squared contributions.
        ablations: Times per image and step that the explanation must also account for the score without a random
            subset of the concepts, or of the parts where filters have been named.
        control: What the explainer is told in place of the truth, to compare with; the truth by default.
        measure_prior: Compute the prior in validation and test as well, for its loss and agreement.
        compile_options: Train with a compiled explainer: options of ``torch.compile``. ``{mode: reduce-overhead}``
            captures it in a CUDA graph, since on a GPU its many small layers wait for their launches. Not compiled by
            default: on CPUs it is slower.

    Raises:
        Trouble: When a checkpoint of another performer, target or concept set is loaded.
    """

    concept_scale: Tensor

    def __init__(
        self,
        performer: Performer,
        explainer: Callable[..., Explainer],
        concepts: Callable[[Sequence[str]], list[int]],
        optimizer: Callable[..., torch.optim.Optimizer],
        scheduler: Callable[..., torch.optim.lr_scheduler.LRScheduler],
        metrics: Mapping[str, Metric | Callable[..., Metric]],
        prior: Prior | None = None,
        prior_loss: PriorLoss | None = None,
        parts: Parts | None = None,
        start: Callable[..., Start] | Literal["kind"] | None = None,
        reads: Literal["feature_map", "hidden"] = "feature_map",
        centre: bool = False,
        concept_scale: Annotated[float, Gt(0)] | Literal["auto"] | None = None,
        correction_weight: Annotated[float, Ge(0)] = 0.0,
        ablations: Annotated[int, Ge(0)] = 0,
        control: Control | None = None,
        measure_prior: bool = True,
        compile_options: Mapping[str, Any] | None = None,
    ) -> None:
        teacher = Teacher(performer, concepts, prior, parts, centre=centre, control=control)
        prior_loss = prior_loss or performer.kind.prior_loss
        super().__init__(teacher, Measures(metrics, parts, prior_loss, with_prior=measure_prior))
        self.prior_loss = prior_loss
        shape = (performer.hidden_size, 1, 1) if reads == "hidden" else performer.map_shape
        self.explainer = explainer(map_shape=shape, n_concepts=len(teacher.columns))
        make_start = start_of(performer.kind) if start == "kind" else start
        self.start = None if make_start is None else make_start(n_concepts=len(teacher.columns))
        self.chooses_scale = concept_scale == "auto" and self.start is None
        scale = torch.tensor(1.0 if concept_scale in ("auto", None) else float(concept_scale))
        self.register_buffer("concept_scale", scale, persistent=concept_scale is not None)
        self.reads = reads
        self.correction_weight = correction_weight
        self.ablations = ablations
        self.optimizer = optimizer
        self.scheduler = scheduler
        self.compile_options = compile_options
        self.prior_weight = 0.0  # λ(t); the callback PriorWeight moves it
        self.strict_loading = False  # checkpoints leave the performer out; on_load_checkpoint checks the rest
        self._digest: str | None = None
        self._epoch_losses: list[Tensor] = []

    @property
    def performer(self) -> Performer:
        """The network that is explained; a control may replace the given one."""
        return self.teacher.performer

    # -- one batch ---------------------------------------------------------------------------------------------------

    def given(self, performance: Performance, batch: Mapping[str, Tensor] = {}) -> Tensor:
        """What the explainer sees, ``(B, C, H, W)``; of a batch if it has been stored."""
        if self.reads == "hidden":
            return self.teacher.hidden(performance, batch)
        return self.performer.view(performance.feature_map)

    def explain(
        self, performance: Performance, inputs: Tensor | None = None, prior: Tensor | None = None
    ) -> tuple[Explanation, Tensor]:
        """The explanation of a performance, and the explainer's output ``u`` ``(B, n)`` before its output function.

        Args:
            performance: What the performer said.
            inputs: What the explainer sees; computed by default.
            prior: Prior weights ``(B, n)``, if they are known and a start may ask for them; computed by default.
        """
        explanation, raw, _ = self._explained(performance, inputs, prior)
        return explanation, raw

    def _explained(
        self, performance: Performance, inputs: Tensor | None, prior: Tensor | None
    ) -> tuple[Explanation, Tensor, Tensor | None]:
        """As :meth:`explain`, with what the explainer added to the weights of its start, if it adds to them."""
        score, values, _, _ = performance
        raw = self.explainer(self.given(performance) if inputs is None else inputs)
        weights, correction = self.explainer.weights(raw), None
        if self.start is None or self.start.taken_over:
            weights = weights / self.concept_scale
        else:
            base, scale = self._started(self.start, performance, prior)
            correction = scale * weights
            weights = base + correction
        names = self.teacher.concept_names, self.performer.target_name
        strengths = self.teacher.uncentred(values)
        return Explanation(score, values, weights, self.explainer.bias, *names, strengths=strengths), raw, correction

    def _started(self, start: Start, performance: Performance, prior: Tensor | None) -> tuple[Tensor, Tensor]:
        """Weights and scale of a start; under a control those of the control's concepts."""
        teacher, control = self.teacher, self.teacher.control
        with torch.no_grad(), torch.autocast(self.device.type, enabled=False):  # slopes of scores need their precision
            if control.truthful or start.needs_prior:  # the prior is told with the concepts
                question = teacher.question(performance, prior)
                weights = start.weights(question)
                return weights, start.scale(question, weights)
            question = teacher.untold(performance, prior)
            weights = start.weights(question)
            return control.weights(weights), control.weights(start.scale(question, weights))

    def answer(self, batch: Mapping[str, Tensor], *, with_prior: bool) -> Answer:
        """The explanation of a batch, with ``u`` and perhaps the prior beside it."""
        needs_prior = self.start is not None and self.start.needs_prior and "prior" in batch
        performance, prior = self.teacher.perform(batch, with_prior=with_prior or needs_prior)
        explanation, raw = self.explain(performance, self.given(performance, batch), prior)
        question = self.teacher.question(performance)
        return Answer(question, explanation, self._again, raw, prior if with_prior else None)

    def _again(self, feature_map: Tensor) -> Explanation:
        return self.explain(self.teacher.perform({"feature_map": feature_map}, with_prior=False)[0])[0]

    def forward(self, image: Tensor) -> Explanation:
        """Explain images ``(B, C, H, W)`` as the performer takes them."""
        return self.explain(self.teacher.perform({"image": image}, with_prior=False)[0])[0]

    def explain_maps(self, feature_map: Tensor, image: Tensor | None = None) -> Explanation:
        """Explain feature maps ``(B, C, h, w)`` for a reader, with pictures if images ``(B, C', H, W)`` are given."""
        with torch.no_grad():
            explanation = self.presented(self._again(feature_map))
        if image is None:
            return explanation
        heat = self.performer.geometry.upsample(score_heat(self.performer, feature_map), image.shape[2:])
        return replace(explanation, image=self.performer.framing.shown(image), heat=heat.cpu())

    # -- training ----------------------------------------------------------------------------------------------------

    def setup(self, stage: str) -> None:
        """Compile the explainer if asked to; its parameters keep their names."""
        super().setup(stage)
        if stage == "fit" and self.compile_options is not None:
            self.explainer.compile(**self.compile_options)

    def on_train_start(self) -> None:
        """Fit on the training images what has to be known before the first step, unless the run is resumed."""
        begins, centre = self.global_step == 0, self.teacher.centre
        if (begins and centre) or (self.ablations > 0 and not centre):  # a checkpoint has means that are subtracted
            take_means(self.teacher, self.training_batches)
        if begins and self.explainer.standardises:
            standardise(self.explainer, self.teacher, self.training_batches, self.given)
        if begins and self.chooses_scale:
            batches = self.training_batches(("score", "concepts"))
            scale = scale_of_scores(map(self.teacher.strengths, batches), self.explainer.output)
            self.concept_scale.copy_(scale)
        if begins and self.start is not None:
            begin(self.explainer, self.start, self.teacher, self.training_batches, self.concept_scale)

    def training_step(self, batch: dict[str, Tensor], batch_idx: int) -> Tensor:
        """Eq. (3): distillation loss plus λ(t) times the prior loss."""
        prior_counts = self.prior_weight > 0
        with_prior = prior_counts or (self.start is not None and self.start.needs_prior)
        performance, prior = self.teacher.perform(batch, with_prior=with_prior)
        explanation, raw, correction = self._explained(performance, self.given(performance, batch), prior)
        distillation = losses.distillation(explanation.prediction, explanation.score)
        extra = self._extra_losses(performance, explanation, correction)
        disagreement = torch.zeros_like(distillation)
        if prior is not None and prior_counts:
            weights = explanation.weights * self.concept_scale  # as the explainer gives them, whatever their unit
            disagreement = self.prior_loss(raw=raw, weights=weights, prior=prior)
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
            present = random_presence(self.ablations, len(performance.score), self.teacher.groups)
            with torch.no_grad(), torch.autocast(self.device.type, enabled=False):
                scores = self.teacher.question(performance).game(present)
            predictions = (present * explanation.contributions).sum(-1) + explanation.base_value
            extra = extra + losses.distillation(predictions.flatten(), scores.flatten())
        return extra

    def on_train_epoch_end(self) -> None:
        """Log the epoch's mean losses: once an epoch, since a call of ``log`` costs as much as a small layer."""
        if not self._epoch_losses:  # interrupted after the last batch of an epoch, and resumed there
            return
        distillation, disagreement = torch.stack(self._epoch_losses).mean(0)
        self._epoch_losses = []
        values = {"distillation": distillation, "loss": distillation + self.prior_weight * disagreement}
        if self.prior_weight > 0:  # otherwise no prior was computed
            values |= {"prior_loss": disagreement, "prior_weight": torch.tensor(self.prior_weight)}
        self.log_dict({f"train/{name}": value for name, value in values.items()}, sync_dist=True)

    def configure_optimizers(self) -> Any:
        """Only the explainer's parameters; the bias b is never decayed."""
        body = [parameter for name, parameter in self.explainer.named_parameters() if name != "bias"]
        groups = [{"params": body}, {"params": [self.explainer.bias], "weight_decay": 0.0}]
        optimizer = self.optimizer(groups)
        return [optimizer], [self.scheduler(optimizer)]

    def _numbers(self) -> Mapping[str, Any]:
        return {"bias": self.explainer.bias.detach()}

    # -- checkpoints -------------------------------------------------------------------------------------------------

    @property
    def identity(self) -> dict[str, Any]:
        """What an explainer's weights mean nothing without."""
        self._digest = self._digest or self.performer.digest()
        control = self.teacher.control
        return {
            "performer_sha256": self._digest,
            "performer_variant": self.performer.variant,
            "target": self.performer.target_name,
            "concepts": list(self.teacher.concept_names),
            "control": None if control.truthful else type(control).__name__,
        }

    def restore(self, path: Path) -> None:
        """Load the explainer from a checkpoint file, if it is whole."""
        checkpoint = read_checkpoint(path, self.device)
        self.on_load_checkpoint(checkpoint)
        self.load_state_dict(checkpoint["state_dict"], strict=False)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Leave the frozen performer out; note its digest."""
        state = checkpoint["state_dict"]
        checkpoint["state_dict"] = {key: state[key] for key in state if not key.startswith(FROZEN)}
        checkpoint["semexplain"] = self.identity

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Refuse a checkpoint of another performer, target or concept set, and one with missing weights."""
        identity = checkpoint.get("semexplain", {})
        for key, value in self.identity.items():
            if identity.get(key) != value:
                raise Trouble(
                    f"The checkpoint belongs to another explanation: its {key} is {identity.get(key)}, not {value}. "
                    "Give the performer and options that the explainer was trained with."
                )
        expected = {key for key in self.state_dict() if not key.startswith(FROZEN)}
        if expected != set(checkpoint["state_dict"]):
            keys = sorted(expected ^ set(checkpoint["state_dict"]))
            raise Trouble(
                f"The checkpoint does not fit the explainer: {len(keys)} weights differ, first {keys[:3]}. "
                "Give the `explainer` options that it was trained with."
            )
        checkpoint["state_dict"] = versioned(checkpoint["state_dict"], self)
