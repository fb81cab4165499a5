"""Correlation and infidelity, against NumPy, image by image."""

import numpy as np
import pytest
import torch

from semexplain.metrics.faithfulness_correlation import FaithfulnessCorrelation


def measured(given: torch.Tensor, drops: torch.Tensor) -> dict[str, float]:
    metric = FaithfulnessCorrelation()
    metric.update(given, drops)
    return {name: value.item() for name, value in metric.compute().items()}


def test_both_are_means_over_images() -> None:
    given, drops = torch.randn(2, 15, 9, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    result = measured(given, drops)
    correlations = [np.corrcoef(a, b)[0, 1] for a, b in zip(given.numpy(), drops.numpy(), strict=True)]
    assert result["faithfulness_correlation"] == pytest.approx(np.mean(correlations), rel=1e-12)
    assert result["infidelity"] == pytest.approx(np.mean((given.numpy() - drops.numpy()) ** 2), rel=1e-12)
    assert result["faithfulness_correlation_skipped"] == 0


def test_scale_matters_to_infidelity_alone() -> None:
    drops = torch.randn(15, 9, generator=torch.Generator().manual_seed(0))
    exact, doubled, opposite = measured(drops, drops), measured(2 * drops + 1, drops), measured(-drops, drops)
    assert exact["faithfulness_correlation"] == pytest.approx(1)
    assert exact["infidelity"] == 0
    assert doubled["faithfulness_correlation"] == pytest.approx(1)
    assert doubled["infidelity"] == pytest.approx((drops + 1).square().mean().item(), rel=1e-5)
    assert opposite["faithfulness_correlation"] == pytest.approx(-1)


@pytest.mark.parametrize("equal", [torch.zeros(3), torch.tensor([0.3, 0.1 + 0.2, 0.3 + 1e-8])])
def test_equal_drops_have_no_correlation_but_count(equal: torch.Tensor) -> None:
    rows, some = torch.stack([equal, torch.tensor([1.0, 2.0, 4.0])]), torch.tensor([[1.0, 2.0, 4.0]] * 2)
    for given, drops in ((rows, some), (some, rows)):
        result = measured(given, drops)
        assert result["faithfulness_correlation"] == pytest.approx(1)
        assert result["faithfulness_correlation_skipped"] == 1
        assert result["infidelity"] > 0


def test_a_diverged_explainer_shows() -> None:
    result = measured(torch.tensor([[torch.nan, 1.0], [1.0, 2.0]]), torch.tensor([[1.0, 2.0]] * 2))
    assert np.isnan(result["faithfulness_correlation"])
    assert np.isnan(result["infidelity"])
