"""KernelSHAP: Shapley values as the additive game that is nearest to what the performer does."""

from math import comb
from typing import Annotated

import torch
from annotated_types import Ge
from torch import Tensor

from semexplain.attributions.base import EfficientAttribution
from semexplain.attributions.question import Question
from semexplain.system.seed import Seed


class KernelShap(EfficientAttribution):
    r"""The weighted least squares of Lundberg and Lee (2017), over sets of concepts.

    .. math:: \min_\phi \sum_m w(m) \Bigl(v(m) - v(0) - \sum_i m_i \phi_i\Bigr)^2
              \quad\text{with}\quad \sum_i \phi_i = v(1) - v(0), \qquad
              w(m) = \frac{n - 1}{\binom{n}{|m|}\, |m|\, (n - |m|)}

    Over all sets it gives the Shapley values exactly; so it does here where there are no more than ``n_samples``.
    Otherwise that many are drawn with w as their probability, each with its complement. One pass through the head per
    set and image, the same sets for all images.

    Args:
        n_samples: Sets at most.
        seed: Of the sets.
    """

    def __init__(self, n_samples: Annotated[int, Ge(2)] = 2048, seed: Seed = 0) -> None:
        self.n_samples = n_samples
        self.seed = seed

    def contributions(self, question: Question) -> Tensor:
        """``(B, n)``."""
        n = question.performance.concepts.shape[1]
        sets, weights = coalitions(n, self.n_samples, self.seed)
        scores = question.scores(question.states(sets)) - question.ends[1]
        sets, weights, scores = (part.to(scores.device).double() for part in (sets, weights, scores))
        weighted_sets = sets.T * weights
        # Lagrange: the gradient of the squares and the multiplier of the constraint together.
        system = sets.new_zeros(n + 1, n + 1)
        system[:n, :n] = weighted_sets @ sets
        system[n, :n] = system[:n, n] = 1
        target = torch.cat([weighted_sets @ scores, question.worth.double()[None]])
        return (torch.linalg.pinv(system, hermitian=True) @ target)[:n].T.float()


def coalitions(n: int, count: int, seed: int) -> tuple[Tensor, Tensor]:
    """Sets of n concepts, neither empty nor full, with their weights: all there are, or ``count`` drawn at random.

    Args:
        n: Concepts.
        count: Sets at most; drawn ones come in pairs.
        seed: Of the draw.

    Returns:
        Sets ``(k, n)`` of 0 and 1, and weights ``(k,)`` that add up to 1.

    Example:
        >>> coalitions(2, 8, seed=0)
        (tensor([[1., 0.],
                [0., 1.]]), tensor([0.5000, 0.5000]))
    """
    if n < 16 and 2**n - 2 <= count:
        numbers = torch.arange(1, 2**n - 1)
        sets = (numbers[:, None] >> torch.arange(n)) % 2
        kernel = torch.tensor([0.0] + [1 / (comb(n, size) * size * (n - size)) for size in range(1, n)])
        weights = kernel[sets.sum(1)]
        return sets.float(), weights / weights.sum()
    half = drawn(n, count // 2, torch.Generator().manual_seed(seed))
    return torch.cat([half, 1 - half]), torch.full((2 * len(half),), 1 / (2 * len(half)))


def drawn(n: int, count: int, generator: torch.Generator) -> Tensor:
    """Sets of at least two concepts, neither empty nor full, drawn with the Shapley kernel as their probability.

    Args:
        n: Concepts.
        count: Sets.
        generator: Source of randomness.

    Returns:
        ``(count, n)`` of 0 and 1.
    """
    sizes = torch.arange(1, n, dtype=torch.float64)
    size = 1 + torch.multinomial(1 / (sizes * (n - sizes)), count, replacement=True, generator=generator)
    ranks = torch.rand(count, n, generator=generator).argsort(1).argsort(1)
    return (ranks < size[:, None]).float()
