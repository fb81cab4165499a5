"""Measure whatever explains the images of a performer: each metric gets the fields that its ``update`` names."""

import copy
import inspect
from collections.abc import Callable, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn
from torchmetrics import MeanMetric, Metric

from semexplain.attributions.faithfulness import concept_curves, end_scores, noisy_maps, subset_effects
from semexplain.attributions.gradient_times_activation import GradientTimesActivation
from semexplain.attributions.question import Question
from semexplain.concepts import losses
from semexplain.concepts.parts import Parts
from semexplain.explanation import Explanation, Performance

# What metrics may ask for that is made only if one does, since it costs further passes through the head.
PARTS = {"part_effects", "part_contributions", "part_attributions"}
CURVES = {"deletion", "insertion"}
SUBSETS = {"subset_contributions", "subset_drops"}
ENDS = {"score_with_all", "score_with_none"}
NOISY = {"noisy_contributions"}


@dataclass(frozen=True)
class Answer:
    """An explanation of a batch, with what is known beside it.

    Attributes:
        question: What was explained.
        explanation: How.
        again: Explains other feature maps ``(B, C, h, w)`` of the same images; for measures of stability.
        raw: The explainer's output ``u`` ``(B, n)`` before its output function, if an explainer explained.
        prior: Prior weights ``(B, n)``, if they are measured.
    """

    question: Question
    explanation: Explanation
    again: Callable[[Tensor], Explanation]
    raw: Tensor
    prior: Tensor | None = None


class Measures(nn.Module):
    """The metrics of a module, fed batch by batch.

    Args:
        metrics: By name; a partial is completed with the names of the parts.
        parts: Which filter stands for which object part, if they have been named.
        prior_loss: Disagreement with the prior, if that is to be measured.
        with_prior: Whether prior weights are to be known in validation and test.

    Attributes:
        labelled: Whether it is known which images show the target. Without, metrics that need it are left out.
    """

    def __init__(
        self,
        metrics: Mapping[str, Metric | Callable[..., Metric]],
        parts: Parts | None = None,
        prior_loss: Callable[..., Tensor] | None = None,
        *,
        with_prior: bool = True,
    ) -> None:
        super().__init__()
        self.parts = parts
        self.prior_loss = prior_loss
        self.with_prior = with_prior
        self.labelled = True
        self.metrics = nn.ModuleDict({name: self._completed(metric) for name, metric in metrics.items()})
        self.means = nn.ModuleDict({"distillation": MeanMetric(), "prior_loss": MeanMetric()})

    def without_prior_loss(self) -> "Measures":
        """The same metrics, for explanations whose weights may have any sign."""
        measures = copy.copy(self)
        measures.prior_loss = None
        return measures

    def of(self, stage: str) -> dict[str, Any]:
        """The metrics of a stage, ``val`` or ``test``, by name."""
        return {
            name: metric
            for name, metric in self.metrics.items()
            if (stage == "test" or getattr(metric, "in_validation", True))
            and (self.labelled or not _needs_labels(metric))
        }

    @property
    def take_concepts_away(self) -> bool:
        """Whether a metric asks for scores without some of the concepts."""
        fields = {name for metric in self.of("test").values() for name in inspect.signature(metric.update).parameters}
        return bool(fields & (CURVES | SUBSETS | ENDS))

    def update(self, batch: Mapping[str, Tensor], label: Tensor | None, answer: Answer, stage: str) -> None:
        """Measure a batch.

        Args:
            batch: With ``object_id`` ``(B,)``, and ``truth`` if it is known.
            label: Ground truth of the target ``(B,)``; None where it is not known.
            answer: The explanation.
            stage: ``val`` or ``test``.
        """
        explanation, prior = answer.explanation, answer.prior
        distillation = losses.distillation(explanation.prediction, explanation.score)
        self._mean("distillation").update(distillation, weight=len(explanation))
        if prior is not None and self.prior_loss is not None:
            disagreement = self.prior_loss(raw=answer.raw, weights=explanation.weights, prior=prior)
            self._mean("prior_loss").update(disagreement, weight=len(prior))
        self._feed("update", batch, label, answer, stage)

    def observe(self, batch: Mapping[str, Tensor], label: Tensor | None, answer: Answer) -> None:
        """Show a batch of the training split to the metrics that are fitted to it first."""
        self._feed("observe", batch, label, answer, "test")

    def observe_performance(self, performance: Performance, label: Tensor | None) -> None:
        """Show a batch to the metrics that are fitted to the performer alone."""
        fields = {"score": performance.score, "concepts": performance.concepts}
        fields |= {} if label is None else {"label": label}
        for metric in self.of("test").values():
            observe: Any = getattr(metric, "observe", None)
            names = set(inspect.signature(observe).parameters) if observe is not None else set()
            if names and names <= fields.keys():
                observe(**{name: fields[name] for name in names})

    def report(self, stage: str) -> dict[str, Tensor]:
        """All numbers of a stage, over all processes; the metrics start anew."""
        values: dict[str, Any] = {}
        losses_known = self.with_prior and self.prior_loss is not None
        means = {name: mean for name, mean in self.means.items() if losses_known or name != "prior_loss"}
        for name, metric in {**self.of(stage), **means}.items():
            result = metric.compute()  # already reduced over the processes
            values |= result if isinstance(result, dict) else {name: result}
            metric.reset()
        return values

    def _mean(self, name: str) -> MeanMetric:
        return cast(MeanMetric, self.means[name])

    def _completed(self, metric: Metric | Callable[..., Metric]) -> Metric:
        if isinstance(metric, Metric):
            return metric
        if self.parts is None:
            raise ValueError(
                "A metric of object parts needs filters that have been named: use `parts=erased` with data that have "
                "part masks, or leave the metric out."
            )
        return metric(parts=self.parts.names_with_background)

    def _feed(self, method: str, batch: Mapping[str, Tensor], label: Tensor | None, answer: Answer, stage: str) -> None:
        explanation = answer.explanation
        fields = {
            "score": explanation.score,
            "prediction": explanation.prediction,
            "contributions": explanation.contributions,
            "weights": explanation.weights,
            "concepts": explanation.values,
            "prior": answer.prior,
            "raw": answer.raw,
            "object_id": batch["object_id"],
        }
        if label is not None:
            fields["label"] = label
        if "truth" in batch:
            fields["truth"] = batch["truth"]
        for name, metric in self.of(stage).items():
            receive = getattr(metric, method, None)
            if receive is not None:  # few metrics are fitted on the training split first
                parameters = inspect.signature(receive).parameters
                fields |= self._fields_on_demand(parameters.keys() - fields.keys(), answer)
                if absent := sorted(_required(receive) - fields.keys()):
                    raise ValueError(
                        f"The metric `{name}` asks for {', '.join(absent)}, which these data and this module do not "
                        f"have. They have {', '.join(sorted(fields))}. Leave the metric out."
                    )
                receive(**{field: fields[field] for field in parameters if field in fields})

    def _fields_on_demand(self, names: AbstractSet[str], answer: Answer) -> dict[str, Tensor]:
        """Fields of these names that must be computed first, perhaps with others computed along with them."""
        fields: dict[str, Tensor] = {}
        if names & PARTS:
            fields |= self._part_fields(answer)
        if names & (CURVES | SUBSETS | ENDS):
            fields |= _game_fields(names, answer)
        if names & NOISY:
            maps = noisy_maps(answer.question.performance.feature_map)
            fields["noisy_contributions"] = torch.stack([answer.again(one).contributions for one in maps], dim=1)
        return fields

    def _part_fields(self, answer: Answer) -> dict[str, Tensor]:
        """What each part contributes, by the explanation, by gradient times activation, and by removal: ``(B, P)``.

        A part that is removed takes its share of each filter with it, :math:`x_i' = (1 - A_{ip}) x_i`.
        """
        assert self.parts is not None
        question, columns = answer.question, answer.question.columns
        attributions = GradientTimesActivation().contributions(question)
        shares = self.parts.contributions(torch.eye(len(columns)).to(attributions), columns).T  # (P, n)
        with torch.autocast(attributions.device.type, enabled=False):  # differences of scores need their precision
            score = question.scores(question.states(torch.ones_like(shares[:1])))  # of a map that was stored rounded
            scores = question.scores(question.states(1 - shares))
        return {
            "part_effects": (score - scores).T * shares.any(1),  # exactly 0 for a part that no filter belongs to
            "part_contributions": self.parts.contributions(answer.explanation.contributions, columns),
            "part_attributions": self.parts.contributions(attributions, columns),
        }


def _needs_labels(metric: nn.Module) -> bool:
    """Whether nothing of a metric can be told without labels."""
    return any("label" in _required(getattr(metric, name)) for name in ("update", "observe") if hasattr(metric, name))


def _required(function: Callable[..., Any]) -> set[str]:
    """Names of the parameters without a default."""
    parameters = inspect.signature(function).parameters.values()
    return {parameter.name for parameter in parameters if parameter.default is inspect.Parameter.empty}


def _game_fields(names: AbstractSet[str], answer: Answer) -> dict[str, Tensor]:
    """Scores of the images with some of their concepts taken away."""
    fields: dict[str, Tensor] = {}
    contributions = answer.explanation.contributions.float()
    with torch.autocast(contributions.device.type, enabled=False):  # differences of scores need their precision
        game = answer.question.game
        if names & CURVES:
            fields["deletion"], fields["insertion"] = concept_curves(game, contributions)
        if names & SUBSETS:
            fields["subset_contributions"], fields["subset_drops"] = subset_effects(game, contributions)
        if names & ENDS:
            fields["score_with_all"], fields["score_with_none"] = end_scores(game, contributions)
    return fields
