"""Tests of the relative deviation: one division for the whole data set."""

import pytest
import torch

from semexplain.metrics.relative_deviation import RelativeDeviation, relative_deviation
from tests.metrics.streams import dataset


def test_deviation_is_the_mean_error_over_the_range() -> None:
    data = dataset()
    score, prediction = data["score"].tolist(), data["prediction"].tolist()
    errors = [abs(truth - guess) for truth, guess in zip(score, prediction, strict=True)]
    expected = sum(errors) / len(errors) / (max(score) - min(score))
    metric = RelativeDeviation()
    metric.update(prediction=data["prediction"], score=data["score"])
    assert metric.compute().item() == pytest.approx(expected, rel=1e-6)
    assert relative_deviation(data["prediction"], data["score"]).item() == pytest.approx(expected, rel=1e-5)


def test_the_mean_of_batch_deviations_is_another_number() -> None:
    data = dataset()
    batches = list(zip(data["prediction"].split(15), data["score"].split(15), strict=True))
    metric = RelativeDeviation()
    for prediction, score in batches:
        metric.update(prediction=prediction, score=score)
    naive = sum(relative_deviation(*batch) for batch in batches) / len(batches)
    assert naive > 1.2 * metric.compute()


@pytest.mark.parametrize("offset", [-100.0, 100.0])
def test_the_range_does_not_include_zero(offset: float) -> None:
    """Scores of one sign: an extreme that starts at 0 instead of infinity would enlarge the range."""
    score = torch.tensor([1.0, 2.0, 5.0]) + offset
    metric = RelativeDeviation()
    metric.update(prediction=score + 1, score=score)
    assert metric.compute().item() == pytest.approx(0.25)


def test_equal_scores_have_no_deviation_and_say_so() -> None:
    metric = RelativeDeviation()
    metric.update(prediction=torch.tensor([1.0, 2.0]), score=torch.tensor([3.0, 3.0]))
    with pytest.warns(UserWarning, match="The relative deviation is nan: all 2 scores of the performer are 3"):
        assert metric.compute().isnan()
    assert relative_deviation(torch.tensor([1.0, 2.0]), torch.tensor([3.0, 3.0])).isnan()


def test_float64_sums_keep_what_float32_would_lose() -> None:
    metric = RelativeDeviation()
    metric.update(prediction=torch.tensor([3e8, 0.0]), score=torch.tensor([0.0, 1.0]))
    for _ in range(10):
        metric.update(prediction=torch.tensor([1.0]), score=torch.tensor([0.0]))
    assert metric.error.item() == 3e8 + 11


def test_scores_that_look_like_probabilities_are_doubted() -> None:
    probabilities = torch.linspace(0.01, 0.99, 10)
    metric = RelativeDeviation()
    metric.update(prediction=probabilities, score=probabilities)
    with pytest.warns(UserWarning, match=r"All 10 scores .* lie between 0 and 1, as after a sigmoid"):
        metric.compute()
    small = RelativeDeviation()  # of a network that has hardly learned
    small.update(prediction=probabilities / 10, score=probabilities / 10)
    small.compute()
    logits = RelativeDeviation()
    logits.update(prediction=probabilities, score=probabilities.logit())
    logits.compute()
