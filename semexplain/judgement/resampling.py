"""Intervals of numbers that are taken over images and seeds: a paired bootstrap."""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

DRAWS = 2000
COVERAGE = 0.95


class Estimate(NamedTuple):
    """A number with the ends of its interval."""

    value: float
    low: float
    high: float

    def above(self, threshold: float) -> bool | None:
        """Whether it is above a threshold: surely (true), surely not (false), or nobody can tell (none)."""
        if self.low > threshold:
            return True
        return False if self.high < threshold else None

    def within(self, factor: float) -> bool | None:
        """Whether it surely lies between 1 / factor and factor, surely not, or nobody can tell."""
        if self.low > 1 / factor and self.high < factor:
            return True
        return False if self.high < 1 / factor or self.low > factor else None

    def __str__(self) -> str:
        return f"{self.value:.3f} [{self.low:.3f}, {self.high:.3f}]"


class Resampling:
    """Draws of the same images, and of the same seeds, with replacement: all numbers get the same draws.

    Differences of two numbers are therefore paired: what makes an image hard moves both.

    Args:
        images: ``N``.
        seeds: ``S``.
        draws: ``D``.
        seed: Of the draws.

    Example:
        >>> Resampling(4).mean(torch.ones(1, 4))
        Estimate(value=1.0, low=1.0, high=1.0)
    """

    def __init__(self, images: int, seeds: int = 1, *, draws: int = DRAWS, seed: int = 0) -> None:
        generator = torch.Generator().manual_seed(seed)
        self.images = _shares(images, draws, generator)
        self.seeds = _shares(seeds, draws, generator)

    def mean(self, values: Tensor) -> Estimate:
        """Of values of images, a row for each seed ``(S, N)``."""
        return self.of(lambda weights: weights @ values.double().T)

    def of(self, statistic: Callable[[Tensor], Tensor]) -> Estimate:
        """Of a statistic of weighted images.

        Args:
            statistic: From weights of the images ``(D, N)``, rows that add up to 1, to numbers of seeds ``(D, S)``.
        """
        equal = torch.full_like(self.images[:1], 1 / self.images.shape[1])
        value = statistic(equal).mean()
        drawn = (statistic(self.images) * self.seeds).sum(1)
        tail = (1 - COVERAGE) / 2
        low, high = torch.quantile(drawn, torch.tensor([tail, 1 - tail], dtype=drawn.dtype)).tolist()
        return Estimate(float(value), low, high)


def _shares(size: int, draws: int, generator: torch.Generator) -> Tensor:
    """How often each of ``size`` is drawn when ``size`` are, as a share, float64 ``(D, size)``."""
    picks = torch.randint(size, (draws, size), generator=generator)
    counts = torch.zeros(draws, size, dtype=torch.float64)
    return counts.scatter_add_(1, picks, torch.ones_like(counts)) / size
