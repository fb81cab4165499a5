"""Whether two rows of numbers agree in their order, and in their signs."""

import torch
from torch import Tensor


def rank_correlation(first: Tensor, second: Tensor, known: Tensor | None = None) -> Tensor:
    """Spearman's correlation of two rows of values, for every row ``(B,)``; equal values share the mean of their ranks.

    Args:
        first: ``(B, n)``.
        second: ``(B, n)``.
        known: bool ``(B, n)``. Which values to compare; all by default.

    Returns:
        ``(B,)``, float64; nan where a row has no order, because all its values are equal or one is nan.

    Example:
        >>> rank_correlation(torch.tensor([[1.0, 5.0, 9.0], [2.0, 2.0, 2.0]]), torch.tensor([[0.0, 1.0, 1.5]] * 2))
        tensor([1., nan], dtype=torch.float64)
    """
    known = torch.ones_like(first, dtype=torch.bool) if known is None else known
    one, other = (_centred_ranks(rows.double(), known) for rows in (first, second))
    return (one * other).sum(1) / (one.square().sum(1) * other.square().sum(1)).sqrt()


def sign_agreement(estimate: Tensor, truth: Tensor) -> Tensor:
    r"""Share of the values of a row, weighed by their true size, that are given the true sign.

    .. math:: s = \frac{\sum_i |t_i|\, [e_i t_i > 0]}{\sum_i |t_i|}

    Args:
        estimate: Values ``e``, ``(B, n)``.
        truth: Values ``t``, ``(B, n)``; a value of 0 has no weight.

    Returns:
        ``(B,)``; nan where all true values are 0.

    Example:
        >>> sign_agreement(torch.tensor([[2.0, 1.0, 5.0]]), torch.tensor([[3.0, -1.0, 0.0]]))
        tensor([0.7500])
    """
    weight = truth.abs()
    return (weight * (estimate * truth > 0)).sum(1) / weight.sum(1)


def _centred_ranks(rows: Tensor, known: Tensor) -> Tensor:
    """Ranks among the known values of a row, less their mean; 0 for the others, nan for nan."""
    values = torch.where(known, rows, torch.inf)  # behind all known ones
    order = values.sort(dim=1).values
    count = known.sum(1, keepdim=True)
    less = torch.searchsorted(order, values)
    up_to = torch.searchsorted(order, values, right=True).minimum(count)
    ranks = (less + up_to - count).double() / 2  # of 1 + less, ..., up_to the mean, less (1 + count) / 2
    return torch.where(values.isnan(), torch.nan, torch.where(known, ranks, 0))
