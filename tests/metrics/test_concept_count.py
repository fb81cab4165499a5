"""The fewest concepts, found by trying all sets of them."""

from itertools import combinations

import pytest
import torch

from semexplain.metrics.concept_count import ConceptCount, concept_count


@pytest.mark.parametrize("share", [0.3, 0.5, 0.95, 1.0])
def test_no_smaller_set_covers_the_share(share: float) -> None:
    contributions = torch.randn(12, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    contributions[0, 2:] = 0
    for row, found in zip(contributions.abs().tolist(), concept_count(contributions, share).tolist(), strict=True):
        enough = [
            size
            for size in range(1, 7)
            for chosen in combinations(row, size)
            if sum(chosen) >= share * sum(row) - 1e-12
        ]
        assert found == min(enough)


@pytest.mark.parametrize(("n", "share", "expected"), [(20, 0.95, 19), (10, 0.1, 1), (10, 0.3, 3), (39, 1.0, 39)])
def test_equal_contributions_need_the_share_of_the_concepts(n: int, share: float, expected: int) -> None:
    for size in (0.1, 1.0, -1 / 3):
        assert concept_count(torch.full((1, n), size), share) == expected


def test_the_mean_leaves_out_the_unexplained_and_shows_the_diverged() -> None:
    contributions = torch.tensor([[1.0, 1.0, 0.0], [0.0, 0.0, 0.0], [9.0, 0.1, 0.1]])
    metric = ConceptCount()
    metric.update(contributions)
    assert metric.compute() == 1.5
    contributions[1, 1] = torch.nan
    metric.update(contributions)
    assert metric.compute().isnan()


@pytest.mark.parametrize("share", [0.0, -0.1, 1.01, 95])
def test_a_share_is_refused_that_is_none(share: float) -> None:
    with pytest.raises(ValueError, match="above 0 and at most 1, got .* The field's value is 0.95"):
        ConceptCount(share=share)
