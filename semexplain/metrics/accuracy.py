"""How often performer and explainer are right about the label (accuracy table and supplement)."""

from typing import Any

import torch
from torch import Tensor

from semexplain.metrics.base import PreciseMetric
from semexplain.metrics.measure import Measure

Z_95 = 1.959963984540054


def accuracy(scores: Tensor, labels: Tensor, tau: Tensor | float = 0.0) -> Tensor:
    """Fraction of images for which "the score exceeds tau" is the label.

    Args:
        scores: ``(N,)``.
        labels: ``(N,)``.
        tau: Threshold.

    Returns:
        A scalar; nan if there are no scores or one of them, or the threshold, is nan (nan would count as "no").

    Example:
        >>> accuracy(torch.tensor([-1.0, 0.5, 2.0]), torch.tensor([False, False, True]))
        tensor(0.6667)
    """
    right = ((scores > tau) == labels.bool()).to(scores.dtype).mean()
    return torch.where((scores.isnan() | (scores - tau).isnan()).any(), torch.nan, right)


def best_threshold(scores: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    r"""The threshold at which "the score exceeds tau" agrees most often with the label, and that accuracy.

    Only the gaps between distinct scores and the two ends matter, so all of them are tried:
    :math:`O(N \log N)`, exact. Of several best thresholds the lowest is taken, in the middle of its gap. If it is best
    to call everything positive (negative), tau lies 1 below the lowest (above the highest) score.

    Args:
        scores: ``(N,)``.
        labels: ``(N,)``.

    Returns:
        tau and the accuracy, scalars; nan if there are no scores or one of them is nan.

    Raises:
        ValueError: If there is not one label for each score.

    Example:
        >>> best_threshold(torch.tensor([0.0, 1.0, 2.0, 3.0]), torch.tensor([False, True, False, True]))
        (tensor(0.5000), tensor(0.7500))
    """
    if scores.ndim != 1 or scores.shape != labels.shape:
        raise ValueError(
            f"`scores` and `labels` must have the same shape (N,), got {tuple(scores.shape)} and {tuple(labels.shape)}."
        )
    if scores.numel() == 0 or scores.isnan().any():
        return scores.new_full((), torch.nan), scores.new_full((), torch.nan)
    values, order = scores.sort()
    positive = labels.bool()[order].long()
    zero = positive.new_zeros(1)
    # Cutting before place k calls the k lowest scores negative: the negatives below and the positives above are right.
    below = torch.cat([zero, (1 - positive).cumsum(0)])
    above = positive.sum() - torch.cat([zero, positive.cumsum(0)])
    right = below + above
    cuttable = torch.ones_like(right, dtype=torch.bool)
    cuttable[1:-1] = values[1:] > values[:-1]
    place = torch.where(cuttable, right, -1).argmax()
    edges = torch.cat([values[:1] - 2, values, values[-1:] + 2])
    lower, upper = edges[place], edges[place + 1]
    middle = lower + (upper - lower) / 2
    # Between neighbouring floats the middle may round up to the upper score, which would then not exceed it.
    tau = torch.where(middle < upper, middle, lower)
    return tau, right[place].to(scores.dtype) / scores.numel()


def wilson_interval(fraction: Tensor, count: int) -> tuple[Tensor, Tensor]:
    r"""Bounds within which a true rate of success lies with 95 % confidence, given the observed one (Wilson 1927).

    .. math:: \frac{p + \frac{z^2}{2N} \pm z \sqrt{\frac{p(1-p)}{N} + \frac{z^2}{4N^2}}}{1 + \frac{z^2}{N}},
              \qquad z = 1.96

    It counts images as independent: with several images of one object the true interval is wider.

    Args:
        fraction: Observed rate p, a scalar.
        count: Number of trials N.

    Returns:
        Lower and upper bound, scalars; nan for no trials.

    Example:
        >>> wilson_interval(torch.tensor(0.5), 10)
        (tensor(0.2366), tensor(0.7634))
    """
    if count == 0:
        return torch.full_like(fraction, torch.nan), torch.full_like(fraction, torch.nan)
    slack = Z_95**2 / count
    centre = (fraction + slack / 2) / (1 + slack)
    reach = Z_95 / (1 + slack) * (fraction * (1 - fraction) / count + slack / (4 * count)).sqrt()
    return centre - reach, centre + reach


class ExplainerAccuracy(PreciseMetric):
    """Accuracy of the explainer at three thresholds, next to that of the performer.

    The performer says yes to a score above 0, the explainer to a prediction above tau. The paper chooses tau so that
    the reported accuracy is highest, which flatters the explainer by a point or two on small sets; the same choice made
    on the training split does not. ``observe`` that split first, then ``update`` with the split to report.

    An interval counts as many trials as there are different objects: images of one object are no independent trials.
    What needs the observed split is left out if nothing was observed. ``reset`` forgets both splits.

    Example:
        >>> metric = ExplainerAccuracy()
        >>> metric.observe(prediction=torch.tensor([0.0, 2.0]), label=torch.tensor([False, True]))
        >>> metric.update(
        ...     score=torch.tensor([-1.0, 3.0]),
        ...     prediction=torch.tensor([0.5, 0.9]),
        ...     label=torch.tensor([False, True]),
        ...     object_id=torch.tensor([0, 1]),
        ... )
        >>> result = metric.compute()
        >>> [round(result[f"explainer_accuracy_tau_{tau}"].item(), 2) for tau in ("eval", "train", "0")]
        [1.0, 0.5, 0.5]
        >>> result["tau_train"].item()
        1.0
    """

    reports = (
        Measure(
            "performer_accuracy", "accuracy", better="higher", of="the performer", column="performer acc.", first=True
        ).means("Share of images whose score is above 0 exactly if they have the label."),
        Measure(
            "explainer_accuracy_tau_eval",
            "accuracy, τ best on test",
            better="higher",
            of="the explainer",
            column="explainer acc.",
            first=True,
        ).means(
            "Share of images on which prediction > τ agrees with the label, with the τ that is best on these very "
            "images, as in the paper."
        ),
        Measure(
            "explainer_accuracy_tau_train",
            "accuracy, τ best on train",
            better="higher",
            of="the explainer",
            column="acc. (tau of train)",
            first=True,
        ).means(
            "Share of images on which prediction > τ agrees with the label, with the τ that is best on the training "
            "images."
        ),
        Measure("explainer_accuracy_tau_0", "accuracy, τ = 0", better="higher", of="the explainer", first=True).means(
            "Share of images on which prediction > 0 agrees with the label."
        ),
        Measure(
            "performer_balanced_accuracy",
            "balanced accuracy",
            better="higher",
            of="the performer",
            column="balanced acc.",
            first=True,
        ).means("Mean of its accuracies on the images with and without the label."),
        *(
            Measure(f"tau_{split}", f"threshold τ ({split})", "score").means(
                "The threshold on the prediction that gives the accuracy of this name."
            )
            for split in ("eval", "train")
        ),
        *(
            Measure(f"{key}_{short}", f"{key.replace('_', ' ')}, {end} end").means(
                f"{end.capitalize()} end of the 95 % Wilson interval over distinct objects."
            )
            for key in ("performer_accuracy", "explainer_accuracy_tau_train")
            for short, end in (("low", "lower"), ("high", "upper"))
        ),
    )
    observed_prediction: list[Tensor]
    observed_label: list[Tensor]
    score: list[Tensor]
    prediction: list[Tensor]
    label: list[Tensor]
    object_id: list[Tensor]

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        for name in ("observed_prediction", "observed_label", "score", "prediction", "label", "object_id"):
            self.add_rows(name)

    def observe(self, prediction: Tensor, label: Tensor) -> None:
        """Add a training batch of explainer predictions and labels of the target, both ``(B,)``."""
        self._computed = None
        self.observed_prediction.append(prediction.detach().double())
        self.observed_label.append(label.double())

    def update(self, score: Tensor, prediction: Tensor, label: Tensor, object_id: Tensor) -> None:
        """Add a batch of performer scores, explainer predictions, labels of the target, and what shows the same object.

        All are ``(B,)``; images with the same ``object_id`` show the same object.
        """
        self.object_id.append(object_id.double())
        self.score.append(score.detach().double())
        self.prediction.append(prediction.detach().double())
        self.label.append(label.double())

    def compute(self) -> dict[str, Tensor]:
        """All accuracies and thresholds; nan where there is no image."""
        score, prediction, label = self.rows("score"), self.rows("prediction"), self.rows("label")
        tau_eval, explainer_eval = best_threshold(prediction, label)
        result = {
            "performer_accuracy": accuracy(score, label),
            "explainer_accuracy_tau_eval": explainer_eval,
            "explainer_accuracy_tau_0": accuracy(prediction, label),
            "tau_eval": tau_eval,
        }
        if 0 < label.sum() < label.numel():
            with_target = [accuracy(score[label == kind], label[label == kind]) for kind in (0, 1)]
            result["performer_balanced_accuracy"] = torch.stack(with_target).mean()
        observations = self.rows("observed_prediction")
        names = ["performer_accuracy"]
        objects = self.rows("object_id").unique().numel()
        if observations.numel() > 0:
            result["tau_train"], _ = best_threshold(observations, self.rows("observed_label"))
            result["explainer_accuracy_tau_train"] = accuracy(prediction, label, result["tau_train"])
            names.append("explainer_accuracy_tau_train")
        for name in names:
            result[f"{name}_low"], result[f"{name}_high"] = wilson_interval(result[name], objects)
        return result
