"""Order and signs of rows, against SciPy and a count by hand."""

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr

from semexplain.metrics.ranks import rank_correlation, sign_agreement


def tied(seed: int, shape: tuple[int, int] = (200, 7)) -> torch.Tensor:
    return torch.tensor(np.random.default_rng(seed).integers(0, 4, shape), dtype=torch.float64)


def test_rank_correlation_is_scipys_with_ties_too() -> None:
    first, second = tied(0), tied(1)
    expected = [spearmanr(a, b).statistic for a, b in zip(first, second, strict=True)]
    np.testing.assert_allclose(rank_correlation(first, second).numpy(), expected, atol=1e-12)


def test_rank_correlation_of_the_known_values_is_that_of_the_rows_without_the_others() -> None:
    first, second = tied(0), tied(1)
    known = torch.rand(200, 7, generator=torch.Generator().manual_seed(2)) < 0.8
    known[:, :3] = True
    for unknown in (-9.0, torch.inf, torch.nan):
        found = rank_correlation(first, torch.where(known, second, unknown), known)
        pairs = zip(first, second, known, strict=True)
        expected = [
            spearmanr(a[own], b[own]).statistic if len(set(b[own].tolist())) > 1 else np.nan for a, b, own in pairs
        ]
        np.testing.assert_allclose(found.numpy(), expected, atol=1e-12)


def test_what_has_no_order_has_no_correlation() -> None:
    row = torch.tensor([[1.0, 2.0, 3.0]])
    for other in ([[5.0, 5.0, 5.0]], [[1.0, torch.nan, 2.0]]):
        assert rank_correlation(row, torch.tensor(other)).isnan()
        assert rank_correlation(torch.tensor(other), row).isnan()
    assert rank_correlation(row, row, torch.tensor([[True, False, False]])).isnan()


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.int64])
def test_rank_correlation_takes_any_numbers(dtype: torch.dtype) -> None:
    assert rank_correlation(torch.tensor([[1, 2, 4]], dtype=dtype), torch.tensor([[1, 0, -4]], dtype=dtype)) == -1


def test_sign_agreement_is_a_count_by_weight() -> None:
    generator = torch.Generator().manual_seed(0)
    given, true = torch.randn(30, 5, generator=generator), torch.randn(30, 5, generator=generator)
    given[0, 0] = 0
    for row, found in enumerate(sign_agreement(given, true).tolist()):
        right = sum(
            abs(t) for g, t in zip(given[row].tolist(), true[row].tolist(), strict=True) if (g > 0) == (t > 0) and g
        )
        assert found == pytest.approx(right / sum(abs(t) for t in true[row].tolist()), rel=1e-5)
    assert sign_agreement(torch.ones(1, 2), torch.zeros(1, 2)).isnan()
