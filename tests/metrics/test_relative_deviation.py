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


PROBABILITIES = torch.linspace(0.01, 0.99, 100)
DOUBTFUL = {
    "probabilities": (PROBABILITIES, "All 100 scores .* lie between 0 and 1, as after a sigmoid"),
    "ten of them": (PROBABILITIES[::11], "All 10 scores .* lie between 0 and 1, as after a sigmoid"),
    "both ends belong to them": (torch.linspace(0, 1, 40), "All 40 scores .* lie between 0 and 1, as after"),
    "a band": (0.15 + 0.7 * PROBABILITIES[::5], "All 20 scores .* lie between 0 and 1, as after a sigmoid"),
    "a narrow band": (0.4 + 0.2 * PROBABILITIES, "All 100 scores .* lie between 0 and 1, as after a sigmoid"),
    "saturated": (torch.linspace(-60, 60, 60).sigmoid(), r"0 and 1, \d\d of them exactly there, as after a sigmoid"),
    "saturated at one end": (torch.linspace(0.7, 1.3, 20).clamp_max(1), "0 and 1, 10 of them exactly there, as after"),
    "percentages": (100 * PROBABILITIES[::5], "All 20 scores .* lie between 0 and 100, as percentages do"),
    "saturated percentages": (torch.linspace(60, 140, 20).clamp_max(100), "0 and 100, 10 of them exactly there"),
}
ORDINARY = {
    "logits": PROBABILITIES.logit(),
    "few logits": torch.tensor([0.1, 0.9, 0.4, 0.5, 0.99, 0.01, 0.7, 0.3, 0.6]),
    "of a network that has hardly learned": PROBABILITIES[::5] / 10,
    "most of them between 0 and 1": torch.cat([PROBABILITIES, torch.tensor([-0.2])]),
    "one above 1": torch.cat([PROBABILITIES, torch.tensor([1.2])]),
    "large and positive": 3 + 60 * PROBABILITIES,
    "larger than percentages": 120 * PROBABILITIES,
    "rectified": (60 * PROBABILITIES - 20).clamp_min(0),
    "one exactly 0": torch.cat([PROBABILITIES[:20] - 0.5, torch.zeros(1)]),
    "not numbers": PROBABILITIES / 0 * 0,
}


def told(score: torch.Tensor, batch: int = 7) -> RelativeDeviation:
    metric = RelativeDeviation()
    for part in score.split(batch):
        metric.update(prediction=part, score=part)
    return metric


@pytest.mark.parametrize("name", DOUBTFUL)
def test_scores_that_are_no_logits_are_doubted_once(name: str) -> None:
    score, message = DOUBTFUL[name]
    metric = told(score)
    with pytest.warns(UserWarning, match=message):
        metric.compute()
    metric.reset()
    metric.update(prediction=score, score=score)
    metric.compute()  # a warning is an error here


@pytest.mark.parametrize("name", ORDINARY)
def test_ordinary_logits_are_not_doubted(name: str) -> None:
    told(ORDINARY[name]).compute()


def test_only_the_first_process_speaks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torchmetrics.utilities.prints.rank_zero_only.rank", 1)
    told(PROBABILITIES).compute()


@pytest.mark.parametrize(("spread", "doubted"), [(0.5, 0.04), (1.0, 0.001)])
def test_few_logits_are_seldom_doubted(spread: float, doubted: float) -> None:
    """Ten of them, with a mean in the middle between 0 and 1: the worst that can be."""
    scores = 0.5 + spread * torch.randn(20_000, 10, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    inside = ((scores >= 0) & (scores <= 1)).all(1) & (scores.amax(1) - scores.amin(1) >= 0.5)
    assert inside.double().mean() < doubted
