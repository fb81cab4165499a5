"""How far contributions agree with effects: over an image's concepts, and over the images apart from the score."""

import torch
from torch import Tensor


def cosine(first: Tensor, second: Tensor) -> Tensor:
    """Pearson's correlation over the concepts ``(..., n)``, for every image ``(...)``; 0 where one has no spread.

    Example:
        >>> cosine(torch.tensor([[1.0, 2.0, 3.0], [4.0, 4.0, 4.0]]), torch.tensor([[0.0, 2.0, 4.0]] * 2))
        tensor([1., 0.], dtype=torch.float64)
    """
    one, other = (table.double() - table.double().mean(-1, keepdim=True) for table in (first, second))
    size = one.square().sum(-1) * other.square().sum(-1)
    return torch.where(size > 0, (one * other).sum(-1) / size.clamp_min(1e-300).sqrt(), 0)


def residual(score: Tensor, table: Tensor) -> Tensor:
    """What is left of each image's row ``(..., N, n)`` after a regression of the other images' rows on their scores.

    Each image is predicted by all others: the residuals of least squares divided by ``1 - H_II``.

    Args:
        score: ``(N,)``.
        table: ``(..., N, n)``.
    """
    basis, kept = _projector(score)
    rows = table.double()
    return (rows - basis @ (basis.T @ rows)) / kept[:, None]


def apart_from(score: Tensor, table: Tensor) -> Tensor:
    """What is left of every column ``(..., N, n)`` after a regression on the score ``(N,)``."""
    basis, _ = _projector(score)
    rows = table.double()
    return rows - basis @ (basis.T @ rows)


def along(weights: Tensor, products: Tensor, first: Tensor, second: Tensor) -> Tensor:
    """A correlation of weighted images, from sums of each image over its concepts.

    Args:
        weights: ``(D, N)``.
        products: ``(S, N)``.
        first: Squares of the one ``(S, N)``.
        second: Squares of the other ``(S, N)``, or ``(1, N)`` if it is the same for all seeds.

    Returns:
        ``(D, S)``; 0 where one has no spread.
    """
    size = (weights @ first.T) * (weights @ second.T)
    return torch.where(size > 0, weights @ products.T / size.clamp_min(1e-300).sqrt(), 0)


def _projector(score: Tensor) -> tuple[Tensor, Tensor]:
    """An orthonormal basis ``(N, k)`` of functions of the score, and what each image has of its own, ``(N,)``.

    A constant, the score, its square and its sign: what depends on the label alone is among them.
    """
    s = score.double()
    s = (s - s.mean()) / s.std().clamp_min(1e-12)
    table = torch.stack([torch.ones_like(s), s, s.square(), (score > 0).double()], 1)
    left, sizes, _ = torch.linalg.svd(table, full_matrices=False)
    basis = left[:, sizes > 1e-9 * sizes[0]]
    return basis, (1 - basis.square().sum(1)).clamp_min(1e-3)
