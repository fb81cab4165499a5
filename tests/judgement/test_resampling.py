"""Intervals by resampling images and seeds, against a loop that draws them one by one."""

import numpy as np
import pytest
import torch

from semexplain.judgement.resampling import Estimate, Resampling


def test_the_interval_of_a_mean_is_that_of_draws_one_by_one():
    values = torch.from_numpy(np.random.default_rng(0).normal(size=(3, 40)))
    resampling = Resampling(40, 3, draws=400)
    found = resampling.mean(values)
    drawn = []
    for images, seeds in zip(resampling.images.tolist(), resampling.seeds.tolist(), strict=True):
        drawn.append(sum(seeds[s] * images[i] * float(values[s, i]) for s in range(3) for i in range(40)))
    assert found.value == pytest.approx(float(values.mean()))
    assert (found.low, found.high) == pytest.approx(np.quantile(drawn, [0.025, 0.975]).tolist())


def test_draws_are_with_replacement_and_of_one_seed_there_is_nothing_to_draw():
    resampling = Resampling(25, draws=50)
    counts = resampling.images * 25
    torch.testing.assert_close(counts, counts.round())
    torch.testing.assert_close(counts.sum(1), torch.full((50,), 25.0, dtype=torch.float64))
    assert (counts > 1).any(1).all()
    torch.testing.assert_close(resampling.seeds, torch.ones(50, 1, dtype=torch.float64))


def test_numbers_of_the_same_images_are_paired():
    hard = torch.randn(1, 50, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    resampling = Resampling(50)
    difference = resampling.mean(hard + 1 - hard)
    assert (difference.low, difference.high) == pytest.approx((1, 1))
    assert resampling.mean(hard).high - resampling.mean(hard).low > 0.1


@pytest.mark.parametrize(
    ("ends", "above", "within"),
    [
        ((0.6, 0.7), True, None),
        ((0.45, 1.0), None, None),
        ((0.4, 0.6), None, False),
        ((0.1, 0.2), False, False),
        ((0.8, 1.2), True, True),
    ],
)
def test_what_an_interval_says(ends: tuple[float, float], above: bool | None, within: bool | None):
    estimate = Estimate(sum(ends) / 2, *ends)
    assert estimate.above(0.5) is above
    assert estimate.within(1.5) is within
