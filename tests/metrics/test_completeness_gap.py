"""The gap, in cases whose answer is known."""

import pytest
import torch

from semexplain.metrics.completeness_gap import CompletenessGap


def gap(contributions: list[list[float]], with_all: list[float], with_none: list[float]) -> float:
    metric = CompletenessGap()
    metric.update(torch.tensor(contributions), torch.tensor(with_all), torch.tensor(with_none))
    return metric.compute().item()


@pytest.mark.parametrize(("scale", "expected"), [(1.0, 0.0), (0.0, 1.0), (2.0, 1.0), (-1.0, 2.0), (0.9, 0.1)])
def test_contributions_of_the_right_ratio(scale: float, expected: float) -> None:
    """Of a linear score with weights 1, -3, 2 the exact contributions are weight times value."""
    values, weights = torch.randn(20, 3, generator=torch.Generator().manual_seed(0)), torch.tensor([1.0, -3.0, 2.0])
    score = values @ weights + 5
    assert gap((scale * values * weights).tolist(), score.tolist(), [5.0] * 20) == pytest.approx(expected, abs=1e-6)


def test_gaps_of_both_signs_do_not_cancel() -> None:
    assert gap([[1.0], [3.0]], [2.0, 2.0], [0.0, 0.0]) == pytest.approx(0.5)


def test_scores_that_no_concept_changes_have_no_gap() -> None:
    assert torch.tensor(gap([[1.0]], [2.0], [2.0])).isnan()


def test_a_diverged_explainer_shows() -> None:
    assert torch.tensor(gap([[torch.nan], [3.0]], [2.0, 2.0], [0.0, 0.0])).isnan()
