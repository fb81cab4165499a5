"""Sums over images from which least squares are solved, pooled over batches and processes."""

from collections.abc import Iterable

import torch
from torch import Tensor

TOLERANCE = 1e-12


def moments(score: Tensor, concepts: Tensor) -> Tensor:
    r"""All that least squares needs to know of a batch: its size N, means m and centred products M.

    With :math:`z` the score followed by the concepts of an image, the result is

    .. math:: \begin{pmatrix} N & m^\top \\ m & M \end{pmatrix}, \qquad m = \frac{1}{N} \sum_I z_I, \quad
              M = \sum_I (z_I - m)(z_I - m)^\top

    Args:
        score: ``(B,)``, at least one image.
        concepts: ``(B, n)``.

    Returns:
        ``(n + 2, n + 2)``, float64.

    Example:
        >>> moments(torch.tensor([1.0, 3.0]), torch.tensor([[0.0], [4.0]]))
        tensor([[2., 2., 2.],
                [2., 2., 4.],
                [2., 4., 8.]], dtype=torch.float64)
    """
    z = torch.cat([score[:, None], concepts], dim=1).double()
    mean = z.mean(0)
    return _assemble(z.new_tensor(len(z)), mean, (z - mean).T @ (z - mean))


def pool(parts: Tensor) -> Tensor:
    """The moments of all images together, from those of each part.

    Unlike plain sums of products this loses no digits when the means are large.

    Args:
        parts: ``(k, n + 2, n + 2)``, each as returned by :func:`moments`.

    Returns:
        ``(n + 2, n + 2)``.

    Example:
        >>> score, concepts = torch.tensor([1.0, 3.0, 8.0]), torch.tensor([[0.0], [4.0], [5.0]])
        >>> parts = torch.stack([moments(score[:1], concepts[:1]), moments(score[1:], concepts[1:])])
        >>> torch.allclose(pool(parts), moments(score, concepts))
        True
    """
    counts, means = parts[:, 0, 0], parts[:, 0, 1:]
    mean = counts @ means / counts.sum()
    between = means - mean
    return _assemble(counts.sum(), mean, parts[:, 1:, 1:].sum(0) + (between.T * counts) @ between)


def pooled(parts: Iterable[Tensor]) -> Tensor:
    """The moments of all images together, from those of one batch after the other; few are in memory at a time.

    Args:
        parts: Each as returned by :func:`moments`.

    Raises:
        ValueError: If there is none.

    Example:
        >>> score, concepts = torch.tensor([1.0, 3.0, 8.0]), torch.tensor([[0.0], [4.0], [5.0]])
        >>> total = pooled(moments(score[i : i + 1], concepts[i : i + 1]) for i in range(3))
        >>> torch.allclose(total, moments(score, concepts))
        True
    """
    total = None
    for part in parts:
        total = part if total is None else pool(torch.stack([total, part]))
    if total is None:
        raise ValueError("There is no training image to fit a linear map to.")
    return total


def least_squares(moments: Tensor, ridge: float = 0.0) -> tuple[Tensor, Tensor]:
    r"""The linear map from concepts to score with the least squared error.

    .. math:: \min_{a, b} \frac{1}{N} \sum_I \Big(\hat y_I - \sum_i a_i y_{I,i} - b\Big)^2
              + \rho \sum_i \sigma_i^2 a_i^2

    Concepts are scaled to unit variance before the system is solved. If some are constant or depend on one another,
    many maps fit equally; the one with the smallest scaled coefficients is taken, and a constant concept gets 0.

    Args:
        moments: ``(n + 2, n + 2)``, as returned by :func:`moments` or :func:`pool`.
        ridge: :math:`\rho`, in units of the concepts' variances :math:`\sigma_i^2`; 0 is plain least squares.

    Returns:
        Coefficients a ``(n,)`` and intercept b ``()``.

    Example:
        >>> concepts = torch.tensor([[0.0, 1.0], [1.0, 0.0], [2.0, 5.0], [3.0, 1.0]])
        >>> a, b = least_squares(moments(concepts @ torch.tensor([2.0, -1.0]) + 3, concepts))
        >>> a.round(decimals=6), b.round(decimals=6)
        (tensor([ 2., -1.], dtype=torch.float64), tensor(3., dtype=torch.float64))
    """
    count, mean, products = moments[0, 0], moments[0, 1:], moments[1:, 1:]
    variation = products.diagonal()[1:]
    # The rounding error of the mean leaves a constant concept with a little spurious variation.
    varies = variation > count * (TOLERANCE * mean[1:]).square()
    scale = torch.where(varies, variation, 1).sqrt()
    system = products[1:, 1:] / scale / scale[:, None] * varies * varies[:, None]
    system = system + ridge * torch.eye(len(system)).to(system)
    solution = torch.linalg.pinv(system, rtol=TOLERANCE, hermitian=True) @ (products[1:, 0] / scale * varies)
    a = solution / scale
    return a, mean[0] - mean[1:] @ a


def _assemble(count: Tensor, mean: Tensor, products: Tensor) -> Tensor:
    top = torch.cat([count[None], mean])[None]
    return torch.cat([top, torch.cat([mean[:, None], products], dim=1)])
