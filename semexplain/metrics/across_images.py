"""Whether what is special about an image shows: correlation over images, concept by concept."""

import torch
from torch import Tensor


def correlation_across_images(estimates: Tensor, truth: Tensor, known: Tensor | None = None) -> Tensor:
    r"""Pearson's correlation of each column with its truth over the images, after taking away each column's mean.

    .. math:: r_i = \frac{\sum_I (e_{I,i} - \bar e_i)(t_{I,i} - \bar t_i)}
                         {\sqrt{\sum_I (e_{I,i} - \bar e_i)^2 \sum_I (t_{I,i} - \bar t_i)^2}}

    An order within an image can be right though the image was never looked at, where images are alike. Here such a
    constant has exactly 0.

    Args:
        estimates: ``(N, n)``.
        truth: ``(N, n)``.
        known: bool ``(N, n)``. Which values to compare; all by default.

    Returns:
        ``(n,)``, float64; 0 where the estimates are the same for all images, nan where the truth is.

    Example:
        >>> truth = torch.tensor([[1.0, 5.0, 2.0], [2.0, 7.0, 2.0], [4.0, 6.0, 2.0]])
        >>> estimates = torch.tensor([[3.0, 1.0, 0.0], [5.0, 1.0, 1.0], [9.0, 1.0, 0.0]])
        >>> correlation_across_images(estimates, truth)
        tensor([1., 0., nan], dtype=torch.float64)
    """
    known = torch.ones_like(truth, dtype=torch.bool) if known is None else known
    one, other = (_centred(values.double(), known) for values in (estimates, truth))
    scale = (one.square().sum(0) * other.square().sum(0)).sqrt()
    constant = (one == 0).all(0)
    correlation = (one * other).sum(0) / torch.where(constant, 1, scale)
    return torch.where((other == 0).all(0), torch.nan, correlation)


def mean_across_images(estimates: Tensor, truth: Tensor, known: Tensor | None = None) -> Tensor:
    """Mean ``()`` of :func:`correlation_across_images` over the columns whose truth varies; nan if there is none.

    Example:
        >>> truth = torch.tensor([[1.0, 2.0], [2.0, 2.0], [4.0, 2.0]])
        >>> mean_across_images(-truth, truth), mean_across_images(torch.nan * truth, truth)
        (tensor(-1., dtype=torch.float64), tensor(nan, dtype=torch.float64))
    """
    every = torch.ones_like(truth, dtype=torch.bool) if known is None else known
    varies = (_centred(truth.double(), every) != 0).any(0)
    return correlation_across_images(estimates, truth, known)[varies].mean()


def _centred(values: Tensor, known: Tensor) -> Tensor:
    """Differences from the mean of the known values of each column; exactly 0 where they are all the same."""
    if len(values) == 0:
        return values
    low, high = (torch.where(known, values, edge) for edge in (torch.inf, -torch.inf))
    same = low.amin(0) >= high.amax(0)
    mean = torch.where(known, values, 0).sum(0) / known.sum(0).clamp_min(1)
    return torch.where(known & ~same, values - mean, 0)
