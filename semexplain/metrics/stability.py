"""Whether an explanation stays what it is when the image changes by next to nothing."""

from typing import Any

import torch
from torch import Tensor

from semexplain.metrics.base import PreciseMetric
from semexplain.metrics.measure import Measure


class Stability(PreciseMetric):
    r"""Relative change of the contributions under small noise on the feature map; 0 if they do not change at all.

    .. math:: \delta_k = \frac{\lVert \phi(x + \epsilon_k) - \phi(x) \rVert_2}{\lVert \phi(x) \rVert_2}

    ``compute`` returns means over images of the mean over k, ``average_sensitivity``, and of the largest,
    ``max_sensitivity`` (Yeh et al. 2019, arXiv:1901.09392). An image without any contribution has neither; it is left
    out. An explanation that ignores the image is perfectly stable: read it beside a measure of truth.

    Example:
        >>> metric = Stability()
        >>> metric.update(
        ...     contributions=torch.tensor([[3.0, 4.0]]), noisy_contributions=torch.tensor([[[3.0, 5.0], [0.0, 4.0]]])
        ... )
        >>> {name: round(value.item(), 4) for name, value in metric.compute().items()}
        {'average_sensitivity': 0.4, 'max_sensitivity': 0.6}
    """

    reports = (
        Measure("average_sensitivity", "change under small noise", better="lower").means(
            "Mean relative change of the contributions under noise of a hundredth of the feature map's standard "
            "deviation."
        ),
        Measure("max_sensitivity", "largest change under small noise", better="lower").means(
            "The same for the noise that changes an image most: mean over the images."
        ),
    )
    in_validation = False  # it explains every image several times; reported once, on test

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        for measure in self.reports:
            self.add_mean(measure.key)

    def update(self, contributions: Tensor, noisy_contributions: Tensor) -> None:
        """Add a batch.

        Args:
            contributions: ``(B, n)``.
            noisy_contributions: ``(B, K, n)``. Those of the same images with noise, K times.

        Raises:
            ValueError: If there are not K rows of noisy contributions for each image.
        """
        if noisy_contributions.ndim != 3 or noisy_contributions[:, 0].shape != contributions.shape:
            raise ValueError(
                "`noisy_contributions` must be (B, K, n) where `contributions` are (B, n), got "
                f"{tuple(noisy_contributions.shape)} and {tuple(contributions.shape)}."
            )
        contributions, noisy_contributions = contributions.detach().double(), noisy_contributions.detach().double()
        size = torch.linalg.vector_norm(contributions, dim=1)
        change = torch.linalg.vector_norm(noisy_contributions - contributions[:, None], dim=2) / size[:, None]
        self.add_to_mean("average_sensitivity", change.mean(1), size != 0)
        self.add_to_mean("max_sensitivity", change.amax(1), size != 0)

    def compute(self) -> dict[str, Tensor]:
        """Both means; nan without an image."""
        return {name: self.mean(name) for name in self.metric_state}
