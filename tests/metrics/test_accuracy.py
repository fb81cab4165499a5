"""Tests of accuracies and thresholds against brute force."""

import math
from itertools import pairwise

import pytest
import torch
from torch import Tensor

from semexplain.metrics.accuracy import ExplainerAccuracy, accuracy, best_threshold, wilson_interval


def brute_force(scores: Tensor, labels: Tensor) -> tuple[float, float]:
    """Try every threshold that matters, from low to high; the first best one."""
    distinct = sorted(set(scores.tolist()))
    candidates = [distinct[0] - 1, *((low + high) / 2 for low, high in pairwise(distinct)), distinct[-1] + 1]

    def right(tau: float) -> int:
        return sum((score > tau) == bool(label) for score, label in zip(scores.tolist(), labels, strict=True))

    best = max(candidates, key=right)
    return best, right(best) / len(scores)


@pytest.mark.parametrize("case", range(100))
def test_best_threshold_equals_brute_force(case: int) -> None:
    generator = torch.Generator().manual_seed(case)
    size = int(torch.randint(1, 40, (), generator=generator))
    scores = torch.randn(size, generator=generator, dtype=torch.float64)
    if case % 2:
        scores = (2 * scores).round()  # many ties
    labels = scores + torch.randn(size, generator=generator) > (case % 5) - 2
    tau, best = best_threshold(scores, labels)
    assert (tau.item(), best.item()) == pytest.approx(brute_force(scores, labels), rel=1e-12)
    torch.testing.assert_close(accuracy(scores, labels, tau), best)


@pytest.mark.parametrize(
    ("scores", "labels", "expected"),
    [
        ([1.0, 1.0, 1.0], [1, 0, 1], (0.0, 2 / 3)),  # ties cannot be cut
        ([1.0, 1.0, 1.0], [1, 0, 0], (2.0, 2 / 3)),
        ([-3.0, 2.0], [1, 1], (-4.0, 1.0)),
        ([-3.0, 2.0], [0, 0], (3.0, 1.0)),
        ([5.0], [1], (4.0, 1.0)),
        ([5.0], [0], (6.0, 1.0)),
        ([0.0, 1.0, 2.0, 3.0], [0, 1, 0, 1], (0.5, 0.75)),  # 0.5 and 2.5 are equally good
    ],
)
def test_best_threshold_at_the_edges(scores: list[float], labels: list[int], expected: tuple[float, float]) -> None:
    tau, best = best_threshold(torch.tensor(scores), torch.tensor(labels))
    assert (tau.item(), best.item()) == pytest.approx(expected)


def test_best_threshold_moves_along_with_the_scores() -> None:
    scores, labels = torch.tensor([0.0, 0.5, 1.0, 3.0]), torch.tensor([False, True, False, True])
    tau, best = best_threshold(scores, labels)
    shifted, same = best_threshold(scores + 8, labels)
    assert (shifted - 8, same) == (tau, best)


def test_best_threshold_separates_neighbouring_floats() -> None:
    for lower in torch.tensor([1.0, 3.0, 0.1, -7.0], dtype=torch.float64):
        for low in (lower, torch.nextafter(lower, torch.tensor(9.0))):
            scores = torch.stack([low, torch.nextafter(low, torch.tensor(9.0))])
            labels = torch.tensor([False, True])
            tau, best = best_threshold(scores, labels)
            assert best == accuracy(scores, labels, tau) == 1


def test_best_threshold_of_nothing_or_nan_is_nan() -> None:
    assert all(value.isnan() for value in best_threshold(torch.empty(0), torch.empty(0)))
    assert all(value.isnan() for value in best_threshold(torch.tensor([1.0, torch.nan]), torch.tensor([1, 0])))


def test_best_threshold_needs_a_label_for_each_score() -> None:
    with pytest.raises(ValueError, match=r"same shape \(N,\), got \(3,\) and \(2,\)"):
        best_threshold(torch.zeros(3), torch.zeros(2))


@pytest.mark.parametrize(("rate", "count"), [(0.0, 5), (1.0, 5), (0.94, 400), (0.5, 1), (0.813, 19867)])
def test_wilson_bounds_are_the_rates_that_would_just_explain_the_observation(rate: float, count: int) -> None:
    """At a bound q, the observed rate is 1.96 standard deviations sqrt(q (1 - q) / N) away."""
    for bound in wilson_interval(torch.tensor(rate, dtype=torch.float64), count):
        q = bound.item()
        assert -1e-12 <= q <= 1 + 1e-12
        deviation = math.sqrt(max(q * (1 - q), 0) / count)
        assert abs(q - rate) == pytest.approx(1.959963984540054 * deviation, abs=1e-9)


def test_metric_uses_each_split_for_its_purpose() -> None:
    metric = ExplainerAccuracy()
    metric.observe(prediction=torch.tensor([0.0, 1.0, 2.0, 3.0]), label=torch.tensor([False, False, True, True]))
    metric.update(
        score=torch.tensor([-1.0, -2.0, 1.0, 2.0, -0.5]),
        prediction=torch.tensor([0.1, 0.2, 0.9, 5.0, 0.3]),
        label=torch.tensor([False, False, True, True, True]),
        object_id=torch.arange(5),
    )
    result = {name: value.item() for name, value in metric.compute().items()}
    train_low, train_high = (bound.item() for bound in wilson_interval(torch.tensor(0.6), 5))
    performer_low, performer_high = (bound.item() for bound in wilson_interval(torch.tensor(0.8), 5))
    assert result == pytest.approx(
        {
            "performer_accuracy": 0.8,
            "performer_balanced_accuracy": (2 / 2 + 2 / 3) / 2,
            "performer_accuracy_low": performer_low,
            "performer_accuracy_high": performer_high,
            "explainer_accuracy_tau_0": 0.6,
            "explainer_accuracy_tau_eval": 1.0,
            "tau_eval": 0.25,
            "explainer_accuracy_tau_train": 0.6,
            "explainer_accuracy_tau_train_low": train_low,
            "explainer_accuracy_tau_train_high": train_high,
            "tau_train": 1.5,
        }
    )


def test_metric_leaves_the_training_threshold_out_if_nothing_was_observed() -> None:
    metric = ExplainerAccuracy()
    one = torch.tensor([1.0])
    metric.update(score=one, prediction=one, label=one > 0, object_id=torch.arange(1))
    assert not any("train" in name for name in metric.compute())


def test_a_diverged_explainer_has_no_accuracy() -> None:
    metric = ExplainerAccuracy()
    metric.observe(prediction=torch.tensor([0.0, 1.0]), label=torch.tensor([False, True]))
    nothing = torch.tensor([torch.nan, torch.nan])
    no = torch.tensor([False, False])
    metric.update(score=torch.tensor([-1.0, -1.0]), prediction=nothing, label=no, object_id=torch.arange(2))
    result = metric.compute()
    assert result["performer_accuracy"] == 1
    for name in ("tau_0", "tau_eval", "tau_train"):
        assert result[f"explainer_accuracy_{name}"].isnan()


def test_replicas_of_an_object_do_not_narrow_the_interval() -> None:
    scores, label = torch.tensor([1.0, 1.0, -1.0, 1.0]), torch.tensor([True] * 4)
    once, thrice = ExplainerAccuracy(), ExplainerAccuracy()
    once.update(score=scores, prediction=scores, label=label, object_id=torch.arange(4))
    for _ in range(3):
        thrice.update(score=scores, prediction=scores, label=label, object_id=torch.arange(4))
    bounds = [[metric.compute()[f"performer_accuracy_{end}"] for end in ("low", "high")] for metric in (once, thrice)]
    assert bounds[0] == bounds[1] == list(wilson_interval(torch.tensor(0.75).double(), 4))
