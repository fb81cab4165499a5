"""Correlation over images, against SciPy column by column."""

import numpy as np
import pytest
import torch
from scipy.stats import pearsonr

from semexplain.metrics.across_images import correlation_across_images, mean_across_images


def test_it_is_pearsons_correlation_of_the_known_values_of_each_column() -> None:
    generator = torch.Generator().manual_seed(0)
    truth = torch.randn(40, 5, generator=generator, dtype=torch.float64)
    given = truth + torch.randn(40, 5, generator=generator) + 100
    known = torch.rand(40, 5, generator=generator) < 0.7
    expected = [pearsonr(given[known[:, i], i], truth[known[:, i], i]).statistic for i in range(5)]
    given[~known] = torch.nan
    assert correlation_across_images(given, truth, known).tolist() == pytest.approx(expected)
    assert mean_across_images(given, truth, known).item() == pytest.approx(np.mean(expected))


def test_neither_scale_nor_mean_of_a_column_counts() -> None:
    generator = torch.Generator().manual_seed(1)
    truth, given = torch.randn(2, 30, 4, generator=generator, dtype=torch.float64)
    moved = given * torch.tensor([0.1, 3.0, 20.0, 1.0]) + torch.tensor([5.0, -7.0, 0.0, 1e4])
    torch.testing.assert_close(correlation_across_images(moved, truth), correlation_across_images(given, truth))


def test_what_does_not_vary_is_zero_or_left_out() -> None:
    generator = torch.Generator().manual_seed(2)
    truth = torch.randn(30, 3, generator=generator)
    constant = (torch.randn(3, generator=generator) / 3).expand(30, 3)
    assert correlation_across_images(constant, truth).tolist() == [0, 0, 0]
    truth[:, 1] = 1 / 3
    assert mean_across_images(truth, truth).item() == pytest.approx(1)
    assert correlation_across_images(truth, truth)[1].isnan()
    assert mean_across_images(truth[:0], truth[:0]).isnan()
