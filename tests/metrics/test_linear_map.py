"""Tests of the linear control against numpy's least squares on all data at once."""

import numpy as np
import pytest
import torch
from torch import Tensor

from semexplain.metrics.accuracy import accuracy
from semexplain.metrics.contribution_entropy import contribution_entropy
from semexplain.metrics.linear_map import LinearMap
from semexplain.metrics.moments import least_squares, moments, pool
from semexplain.metrics.relative_deviation import relative_deviation


def sample(size: int = 300, n: int = 5, seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    concepts = torch.randn(size, n, generator=generator, dtype=torch.float64) @ torch.randn(
        n, n, generator=generator, dtype=torch.float64
    )
    score = concepts @ torch.arange(1.0, n + 1).double() + 2 + torch.randn(size, generator=generator)
    return score, concepts


def numpy_fit(score: Tensor, concepts: Tensor) -> tuple[Tensor, Tensor]:
    design = np.hstack([concepts.numpy(), np.ones((len(score), 1))])
    solution, *_ = np.linalg.lstsq(design, score.numpy(), rcond=None)
    return torch.from_numpy(solution[:-1]), torch.tensor(solution[-1])


def fit(score: Tensor, concepts: Tensor, batch: int = 32) -> LinearMap:
    metric = LinearMap()
    for part, scores in zip(concepts.split(batch), score.split(batch), strict=True):
        metric.observe(concepts=part, score=scores)
    return metric


@pytest.mark.parametrize("batch", [1, 32, 300])
def test_streamed_coefficients_equal_numpy_on_all_data(batch: int) -> None:
    score, concepts = sample()
    for found, expected in zip(fit(score, concepts, batch).coefficients(), numpy_fit(score, concepts), strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("n", [1, 39])
def test_any_number_of_concepts_can_be_fitted(n: int) -> None:
    score, concepts = sample(n=n)
    for found, expected in zip(fit(score, concepts).coefficients(), numpy_fit(score, concepts), strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-7, atol=1e-7)


def test_large_means_and_unequal_scales_lose_no_digits() -> None:
    """Sums of squares of these concepts agree in their first ten digits."""
    score, concepts = sample()
    scale = torch.tensor([1e-4, 1.0, 1e4, 1.0, 1e2]).double()
    a, b = fit(score, (concepts + 1e5) * scale).coefficients()
    expected, intercept = numpy_fit(score, concepts)
    torch.testing.assert_close(a * scale, expected, rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(b, intercept - 1e5 * expected.sum(), rtol=1e-6, atol=1e-6)


def test_dependent_and_constant_concepts_still_give_the_best_prediction() -> None:
    score, concepts = sample()
    redundant = torch.cat(
        [concepts, concepts[:, :1] * 3, concepts.sum(1, keepdim=True), torch.full((300, 1), 0.7).double() / 3], dim=1
    )
    a, b = fit(score, redundant).coefficients()
    expected, intercept = numpy_fit(score, concepts)
    assert a[-1] == 0
    assert a.abs().max() < 10
    torch.testing.assert_close(redundant @ a + b, concepts @ expected + intercept, rtol=1e-8, atol=1e-8)


def test_fewer_images_than_concepts_are_fitted_exactly() -> None:
    score, concepts = sample(size=4, n=9)
    a, b = fit(score, concepts, 1).coefficients()
    torch.testing.assert_close(concepts @ a + b, score, rtol=1e-8, atol=1e-8)


def test_moments_are_sums_over_images() -> None:
    score, concepts = sample(size=6, n=2)
    z = torch.cat([score[:, None], concepts], dim=1).numpy()
    found = moments(score, concepts)
    assert found[0, 0] == 6
    np.testing.assert_allclose(found[0, 1:], z.mean(0))
    np.testing.assert_allclose(found[1:, 0], z.mean(0))
    np.testing.assert_allclose(found[1:, 1:], sum(np.outer(row, row) for row in z - z.mean(0)))


@pytest.mark.parametrize("sizes", [[1, 5], [2, 2, 2], [6], [1] * 6])
def test_pooled_moments_are_those_of_all_images(sizes: list[int]) -> None:
    score, concepts = sample(size=6, n=2)
    parts = [moments(*part) for part in zip(score.split(sizes), concepts.split(sizes), strict=True)]
    torch.testing.assert_close(pool(torch.stack(parts)), moments(score, concepts))
    torch.testing.assert_close(
        least_squares(pool(torch.stack(parts)))[0], least_squares(moments(score, concepts))[0], rtol=1e-8, atol=1e-8
    )


def test_metric_measures_the_map_as_an_explainer() -> None:
    score, concepts = sample()
    evaluated, seen = sample(seed=1)
    label = evaluated > 1
    metric = fit(score, concepts)
    metric.update(concepts=seen, score=evaluated, label=label)
    a, b = numpy_fit(score, concepts)
    prediction = seen @ a + b
    expected = {
        "linear_map_relative_deviation": relative_deviation(prediction, evaluated),
        "linear_map_accuracy_tau_0": accuracy(prediction, label),
        "linear_map_contribution_entropy": contribution_entropy(seen * a).mean(),
    }
    torch.testing.assert_close(metric.compute(), expected, rtol=1e-8, atol=1e-8)


def test_a_map_that_was_never_fitted_reports_nothing() -> None:
    score, concepts = sample(size=4)
    metric = LinearMap()
    metric.update(concepts=concepts, score=score, label=score > 0)
    assert metric.compute() == {}
    a, b = metric.coefficients()
    assert a.shape == (5,)
    assert a.isnan().all()
    assert b.isnan()


def test_concepts_must_stay_the_same() -> None:
    score, concepts = sample(size=4)
    metric = fit(score, concepts)
    with pytest.raises(ValueError, match="must have 5 columns like the batches before, got 3"):
        metric.update(concepts=concepts[:, :3], score=score, label=score > 0)
