"""The control of every explainer: one linear map for all images, which needs no network at all."""

from typing import Any

import torch
from torch import Tensor

from semexplain.metrics.accuracy import accuracy
from semexplain.metrics.base import PreciseMetric
from semexplain.metrics.contribution_entropy import contribution_entropy
from semexplain.metrics.measure import Measure
from semexplain.metrics.moments import least_squares, moments, pool
from semexplain.metrics.relative_deviation import relative_deviation


class LinearMap(PreciseMetric):
    """What one linear map from concepts to score achieves, with the same weights for every image.

    An explainer is worth its network only as far as it does better than this. ``observe`` the training split, to which
    the map is fitted, then ``update`` with the split to report.

    Nothing is reported if nothing was observed. ``reset`` forgets both splits.

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

    reports = (
        Measure(
            "linear_map_relative_deviation",
            "relative deviation",
            of="the linear map",
            column="linear map dev.",
            first=True,
        ).means(
            "Mean absolute difference between score and prediction, as a share of the range of the scores, for one "
            "least-squares map that is the same for every image: the control."
        ),
        Measure("linear_map_accuracy_tau_0", "accuracy, τ = 0", of="the linear map").means(
            "Agreement of the least-squares map's prediction with the label."
        ),
        Measure("linear_map_contribution_entropy", "contribution entropy", "nats", of="the linear map").means(
            "Entropy of the contributions by the least-squares map."
        ),
    )
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
        totals = [tensor.view_as(batch) for tensor in self.observed]
        self.observed = [pool(torch.stack([*totals, batch])).flatten()]

    def update(self, concepts: Tensor, score: Tensor, label: Tensor | None = None) -> None:
        """Add a batch of concepts ``(B, n)``, performer scores and, if known, labels of the target, both ``(B,)``."""
        self._check_size(concepts)
        label = torch.full_like(score, torch.nan) if label is None else label
        table = torch.cat([label[:, None].double(), score[:, None].double(), concepts.double()], dim=1)
        self.evaluated.append(table.detach().flatten())

    def coefficients(self) -> tuple[Tensor, Tensor]:
        """The fitted coefficients ``(n,)`` and intercept ``()``, nan if nothing was observed.

        In a distributed run all processes must call this together.
        """
        with self.sync_context(dist_sync_fn=self.dist_sync_fn):
            return self._fit()

    def compute(self) -> dict[str, Tensor]:
        """The three quantities, over all images of ``update``; nan where there is no image.

        The accuracy is left out where labels are not known.
        """
        if self.rows("observed").numel() == 0:
            return {}
        a, b = self._fit()
        label, score, concepts = self.rows("evaluated").view(-1, len(a) + 2).tensor_split([1, 2], dim=1)
        label, score, contributions = label.squeeze(1), score.squeeze(1), a * concepts
        prediction = contributions.sum(1) + b
        mask = contributions.abs().sum(1) != 0
        return {
            "linear_map_relative_deviation": relative_deviation(prediction, score),
            **({} if label.isnan().any() else {"linear_map_accuracy_tau_0": accuracy(prediction, label)}),
            "linear_map_contribution_entropy": contribution_entropy(contributions[mask]).mean(),
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
