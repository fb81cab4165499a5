"""Tests of the entropy of explanations: exact values, and sums written as loops."""

import math

import pytest
import torch

from semexplain.metrics.contribution_entropy import ContributionEntropy, contribution_entropy


@pytest.mark.parametrize(
    ("contributions", "expected"),
    [
        ((1.0, 1.0, 2.0), 1.5 * math.log(2)),
        ((1.0, -1.0), math.log(2)),
        ((-1.0, -1.0, 2.0), 1.5 * math.log(2)),
        ((0.0, 3.0, 0.0), 0.0),
        ((2.0,) * 39, math.log(39)),
        ((1e-30, 1e-30), math.log(2)),
    ],
)
def test_entropy_of_known_shares(contributions: tuple[float, ...], expected: float) -> None:
    entropy = contribution_entropy(torch.tensor([contributions]))
    assert entropy.item() == pytest.approx(expected, abs=1e-6)
    assert not math.copysign(1, entropy.item()) < 0  # not -0.0


def test_entropy_is_the_sum_of_its_definition() -> None:
    contributions = torch.randn(20, 7, generator=torch.Generator().manual_seed(0)).double()
    contributions[3, :5] = 0
    for row, entropy in zip(contributions.tolist(), contribution_entropy(contributions).tolist(), strict=True):
        total = sum(abs(value) for value in row)
        expected = -sum(abs(value) / total * math.log(abs(value) / total) for value in row if value)
        assert entropy == pytest.approx(expected, rel=1e-12)


def test_entropy_does_not_depend_on_a_common_scale() -> None:
    contributions = torch.randn(5, 7, generator=torch.Generator().manual_seed(0))
    scale = torch.tensor([[1.0], [7.0], [1e-6], [-2.0], [1e6]])
    torch.testing.assert_close(contribution_entropy(contributions * scale), contribution_entropy(contributions))


def test_entropy_of_half_precision_contributions_does_not_overflow() -> None:
    """A thousand contributions of 300 sum to infinity in float16."""
    entropy = contribution_entropy(torch.full((1, 1000), 300.0, dtype=torch.float16))
    torch.testing.assert_close(entropy, torch.tensor([math.log(1000)]))


def test_metric_averages_images_by_label_and_leaves_out_the_unexplained() -> None:
    contributions = torch.tensor([[1.0, 1.0, 2.0, 0.0], [0.0, 5.0, 0.0, 0.0], [0.0] * 4, [1.0, -1.0, 1.0, -1.0]])
    metric = ContributionEntropy()
    metric.update(contributions=contributions, label=torch.tensor([True, False, True, True]))
    result = {name: value.item() for name, value in metric.compute().items()}
    mean = (1.5 * math.log(2) + 0 + math.log(4)) / 3
    assert result == pytest.approx(
        {
            "contribution_entropy": mean,
            "contribution_entropy_normalized": mean / math.log(4),
            "effective_concepts": math.exp(mean),
            "contribution_entropy_positive": (1.5 * math.log(2) + math.log(4)) / 2,
            "contribution_entropy_negative": 0.0,
            "contribution_entropy_skipped": 1.0,
        }
    )


def test_a_diverged_explainer_shows() -> None:
    metric = ContributionEntropy()
    metric.update(contributions=torch.tensor([[1.0, torch.nan], [1.0, 1.0]]), label=torch.tensor([True, True]))
    assert metric.compute()["contribution_entropy"].isnan()


def test_one_concept_has_no_normalised_entropy() -> None:
    metric = ContributionEntropy()
    metric.update(contributions=torch.tensor([[1.0], [2.0]]), label=torch.tensor([True, False]))
    result = metric.compute()
    assert result["contribution_entropy"] == 0
    assert result["contribution_entropy_normalized"].isnan()
