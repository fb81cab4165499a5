"""The control of every explainer: one linear map for all images, which needs no network at all."""

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

from semexplain.metrics.accuracy import accuracy
from semexplain.metrics.base import PreciseMetric
from semexplain.metrics.contribution_entropy import contribution_entropy
from semexplain.metrics.relative_deviation import relative_deviation

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
    scaled = products[1:, 1:] / scale / scale[:, None] * varies * varies[:, None]
    scaled = scaled + ridge * torch.eye(len(scaled)).to(scaled)
    solved = torch.linalg.pinv(scaled, rtol=TOLERANCE, hermitian=True) @ (products[1:, 0] / scale * varies)
    a = solved / scale
    return a, mean[0] - mean[1:] @ a


class LinearMap(PreciseMetric):
    """What one linear map from concepts to score achieves, with the same weights for every image.

    An explainer is worth its network only as far as it does better than this. ``observe`` the training split, to which
    the map is fitted, then ``update`` with the split to report.

    ``compute`` returns ``linear_map_relative_deviation``, ``linear_map_accuracy_tau_0`` and
    ``linear_map_contribution_entropy``, the same quantities as for the explainer; nothing if nothing was observed.
    ``reset`` forgets both splits.

    Example:
        >>> metric = LinearMap()
        >>> metric.observe(concepts=torch.tensor([[0.0], [1.0], [2.0]]), score=torch.tensor([-1.0, 1.0, 3.0]))
        >>> metric.coefficients()
        (tensor([2.], dtype=torch.float64), tensor(-1., dtype=torch.float64))
        >>> metric.update(torch.tensor([[0.0], [2.0]]), score=torch.tensor([-1.0, 4.0]), label=torch.tensor([0, 1]))
        >>> {name: round(value.item(), 4) for name, value in metric.compute().items()}  # doctest: +NORMALIZE_WHITESPACE
        {'linear_map_relative_deviation': 0.1, 'linear_map_accuracy_tau_0': 1.0,
         'linear_map_contribution_entropy': 0.0}
    """

    higher_is_better = None
    size: Tensor
    observed: list[Tensor]
    evaluated: list[Tensor]

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.add_state("size", torch.tensor(0), dist_reduce_fx="max")
        self.add_rows("observed")
        self.add_rows("evaluated")

    def observe(self, concepts: Tensor, score: Tensor) -> None:
        """Add a training batch of concepts ``(B, n)`` and performer scores ``(B,)``."""
        self._check_size(concepts)
        if len(concepts) == 0:
            return
        self._computed = None
        batch = moments(score.detach(), concepts.detach())
        seen = [tensor.view_as(batch) for tensor in self.observed]
        self.observed = [pool(torch.stack([*seen, batch])).flatten()]

    def update(self, concepts: Tensor, score: Tensor, label: Tensor) -> None:
        """Add a batch of concepts ``(B, n)``, performer scores and labels of the target, both ``(B,)``."""
        self._check_size(concepts)
        table = torch.cat([label[:, None].double(), score[:, None].double(), concepts.double()], dim=1)
        self.evaluated.append(table.detach().flatten())

    def coefficients(self) -> tuple[Tensor, Tensor]:
        """The fitted coefficients ``(n,)`` and intercept ``()``, nan if nothing was observed.

        In a distributed run all processes must call this together.
        """
        with self.sync_context(dist_sync_fn=self.dist_sync_fn):
            return self._fit()

    def compute(self) -> dict[str, Tensor]:
        """The three quantities, over all images of ``update``; nan where there is no image."""
        if self.rows("observed").numel() == 0:
            return {}
        a, b = self._fit()
        label, score, concepts = self.rows("evaluated").view(-1, len(a) + 2).tensor_split([1, 2], dim=1)
        label, score, contributions = label.squeeze(1), score.squeeze(1), a * concepts
        prediction = contributions.sum(1) + b
        explained = contributions.abs().sum(1) != 0
        return {
            "linear_map_relative_deviation": relative_deviation(prediction, score),
            "linear_map_accuracy_tau_0": accuracy(prediction, label),
            "linear_map_contribution_entropy": contribution_entropy(contributions[explained]).mean(),
        }

    def _fit(self) -> tuple[Tensor, Tensor]:
        size = int(self.size)
        parts = self.rows("observed").view(-1, size + 2, size + 2)
        if len(parts) == 0:
            unknown = parts.new_full((size + 1,), torch.nan)
            return unknown[:-1], unknown[-1]
        return least_squares(pool(parts))

    def _check_size(self, concepts: Tensor) -> None:
        n = concepts.shape[1]
        if self.size not in (0, n):
            raise ValueError(f"`concepts` must have {int(self.size)} columns like the batches before, got {n}.")
        self.size = self.size.clamp_min(n)


def _assemble(count: Tensor, mean: Tensor, products: Tensor) -> Tensor:
    top = torch.cat([count[None], mean])[None]
    return torch.cat([top, torch.cat([mean[:, None], products], dim=1)])
