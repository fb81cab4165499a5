"""Attributions that an explainer starts from, against slower ways to find them."""

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from semexplain.attributions.base import Start
from semexplain.attributions.gradient_times_activation import GradientTimesActivation
from semexplain.attributions.linear_map import LinearMap
from semexplain.attributions.prior import PriorAndMap
from semexplain.attributions.question import Question
from semexplain.concepts.filters import Filters
from semexplain.explainers.linear import LinearExplainer
from semexplain.explanation import Performance
from semexplain.metrics.moments import least_squares, moments


def question(score: Tensor, concepts: Tensor, prior: Tensor) -> Any:
    return SimpleNamespace(performance=SimpleNamespace(score=score, concepts=concepts), prior=prior)


def batches(size: int = 40, n: int = 3) -> tuple[list[Any], Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    concepts = torch.randn(size, n, generator=generator) @ torch.randn(n, n, generator=generator) + 1
    prior = torch.randn(size, n, generator=generator)
    score = concepts @ torch.tensor([1.0, -2.0, 0.5]) + (prior * concepts).sum(1) + 3
    parts = zip(score.split(16), concepts.split(16), prior.split(16), strict=True)
    return [question(*part) for part in parts], score.double(), concepts.double(), prior.double()


def started(start: Start, asked: Question) -> tuple[Tensor, Tensor]:
    """Weights and sizes of corrections."""
    weights = start.weights(asked)
    return weights, start.scale(asked, weights)


def ridge(concepts: Tensor, score: Tensor, penalty: float) -> tuple[Tensor, Tensor]:
    """By least squares with rows added that ask for small weights, the intercept free."""
    size, n = concepts.shape
    scale = concepts.std(0, correction=0)
    rows = torch.cat([concepts, torch.ones(size, 1).double()], 1)
    extra = torch.cat([torch.diag((size * penalty) ** 0.5 * scale), torch.zeros(n, 1).double()], 1)
    solved = torch.linalg.lstsq(torch.cat([rows, extra]), torch.cat([score, torch.zeros(n).double()])[:, None]).solution
    return solved[:-1, 0], solved[-1, 0]


@pytest.mark.parametrize("penalty", [0.0, 0.25, 10.0])
def test_ridge_is_least_squares_with_rows_that_ask_for_small_weights(penalty: float):
    questions, score, concepts, _ = batches()
    start = LinearMap(n_concepts=3, shrinkage=penalty)
    bias = start.begin(questions)
    weights, intercept = ridge(concepts, score, penalty)
    torch.testing.assert_close(start.coefficients.double(), weights, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(bias.double(), intercept, rtol=1e-5, atol=1e-5)
    given, scale = started(start, questions[0])
    assert given.shape == scale.shape == (16, 3)
    torch.testing.assert_close((scale[0].double() * concepts.std(0, correction=0)), torch.ones(3).double())
    assert bool((least_squares(moments(score, concepts), 1e9)[0].abs() < 1e-6).all())


def test_a_share_of_the_prior_and_a_ridge_regression_of_the_rest():
    questions, score, concepts, prior = batches()
    start = PriorAndMap(n_concepts=3, share=0.5, shrinkage=0.1)
    bias = start.begin(questions)
    suggested = (prior * concepts).sum(1)
    slope = torch.linalg.lstsq(torch.stack([suggested, torch.ones(40).double()], 1), score[:, None]).solution[0, 0]
    weights, intercept = ridge(concepts, score - 0.5 * slope * suggested, 0.1)
    torch.testing.assert_close(start.factor.double(), 0.5 * slope, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(start.coefficients.double(), weights, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(bias.double(), intercept, rtol=1e-4, atol=1e-4)
    given = start.weights(questions[1])
    torch.testing.assert_close(given.double(), 0.5 * slope * prior[16:32] + weights, rtol=1e-4, atol=1e-4)


def test_what_a_start_has_learned_is_in_its_state():
    questions, *_ = batches()
    for kind in (LinearMap, PriorAndMap):
        start, other = kind(n_concepts=3), kind(n_concepts=3)
        start.begin(questions)
        other.load_state_dict(start.state_dict())
        torch.testing.assert_close(started(other, questions[0]), started(start, questions[0]), rtol=0, atol=0)


@pytest.mark.parametrize("kind", [LinearMap, PriorAndMap])
def test_nothing_to_fit_to_is_told(kind: type):
    with pytest.raises(ValueError, match="no training image"):
        kind(n_concepts=3).begin([])


def test_slopes_of_a_bent_game():
    """V = Σ aᵢ mᵢ² has the slope 2aᵢ at all concepts, and aᵢ (1 + 1/K) on average over K steps on the way there."""
    a = torch.tensor([[4.0, -1.0], [2.0, 3.0]])
    concepts = torch.tensor([[2.0, 5.0], [1.0, 0.0]])
    performance = Performance(a.sum(1) + 7, concepts, concepts, concepts)
    asked = Question(
        None,  # type: ignore[arg-type]
        performance,
        [0, 1],
        concepts[0],
        Filters(),
        lambda: lambda m: (a * m.square()).sum(-1),
        lambda: a,
    )
    for steps, factor in ((1, 2.0), (4, 1.25)):
        start = GradientTimesActivation(n_concepts=2, steps=steps)
        weights, scale = started(start, asked)
        expected = factor * a
        expected[1, 1] = 0  # a strength of 0 cannot carry a contribution
        torch.testing.assert_close(weights * concepts, expected)
        torch.testing.assert_close(scale, weights)
        left = (a.sum(1) + 7 - expected.sum(1)).mean()
        torch.testing.assert_close(start.begin([asked]), left)


def test_a_linear_explainer_sees_standardised_features():
    torch.manual_seed(0)
    features = 5 + 3 * torch.randn(200, 4, 2, 2)
    explainer = LinearExplainer(map_shape=(4, 2, 2), n_concepts=3)
    flat = features.flatten(1)
    explainer.standardise(flat.mean(0), flat.square().sum(1).mean())
    seen = torch.linalg.lstsq(explainer.layer.weight, (explainer(features) - explainer.layer.bias).T).solution.T
    assert seen.shape == (200, 16)
    inner = (flat - flat.mean(0)) / (flat - flat.mean(0)).square().sum(1).mean().sqrt()
    torch.testing.assert_close(explainer(features), inner @ explainer.layer.weight.T + explainer.layer.bias)
    explainer.start_at(torch.tensor([1.0, 2.0, 3.0]), torch.tensor(4.0))
    torch.testing.assert_close(explainer(features), torch.tensor([1.0, 2.0, 3.0]).expand(200, 3))


@pytest.mark.parametrize("kind", [LinearMap, PriorAndMap])
def test_every_process_starts_from_all_images(kind: type, monkeypatch: pytest.MonkeyPatch):
    """Two processes with a part of the batches each, exchanging what they would gather, end where one with all does."""
    questions, *_ = batches()
    whole = kind(n_concepts=3)
    bias = whole.begin(questions)
    sent: list[Tensor] = []

    def recorded(rows: Tensor) -> Tensor:
        sent.append(rows)
        return rows

    monkeypatch.setattr(f"{kind.__module__}.of_all_processes", recorded)
    for part in (questions[:1], questions[1:]):
        kind(n_concepts=3).begin(part)
    monkeypatch.setattr(f"{kind.__module__}.of_all_processes", lambda rows: torch.cat(sent))
    one = kind(n_concepts=3)
    torch.testing.assert_close(one.begin(questions[:1]), bias, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(started(one, questions[0]), started(whole, questions[0]), rtol=1e-5, atol=1e-5)
