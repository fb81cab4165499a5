"""Similarity after randomisation, against SciPy."""

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr

from semexplain.metrics.randomisation_similarity import RandomisationSimilarity


def similarity(own: torch.Tensor, other: torch.Tensor) -> float:
    metric = RandomisationSimilarity()
    metric.update(own, other)
    return metric.compute().item()


def test_it_is_the_mean_of_spearmans_correlation_of_sizes() -> None:
    own, other = torch.randn(2, 30, 8, generator=torch.Generator().manual_seed(0))
    expected = np.mean(
        [spearmanr(np.abs(a), np.abs(b)).statistic for a, b in zip(own.numpy(), other.numpy(), strict=True)]
    )
    assert similarity(own, other) == pytest.approx(expected, rel=1e-12)


def test_the_same_explanation_is_fully_similar_whatever_its_signs_and_scale() -> None:
    own = torch.randn(30, 8, generator=torch.Generator().manual_seed(0))
    assert similarity(own, -3 * own) == pytest.approx(1)


def test_unrelated_explanations_are_not_similar() -> None:
    own, other = torch.randn(2, 3000, 20, generator=torch.Generator().manual_seed(0))
    assert abs(similarity(own, other)) < 0.02


def test_an_image_without_an_order_is_left_out_and_a_diverged_one_shows() -> None:
    own, other = torch.tensor([[1.0, -1.0], [1.0, 2.0]]), torch.tensor([[1.0, 2.0], [1.0, 2.0]])
    assert similarity(own, other) == 1
    own[0, 0] = torch.nan
    assert np.isnan(similarity(own, other))
