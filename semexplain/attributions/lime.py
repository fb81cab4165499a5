"""LIME on concepts: a linear map of which concepts are present, fitted near the image as it is."""

from typing import Annotated

import torch
from annotated_types import Ge, Gt
from torch import Tensor

from semexplain.attributions.base import Attribution
from semexplain.attributions.question import Question
from semexplain.system.seed import Seed


class Lime(Attribution):
    r"""Weighted ridge regression of the score on random sets of concepts (Ribeiro et al. 2016).

    .. math:: \min_{\phi, c} \sum_m \pi(m) \Bigl(v(m) - c - \sum_i m_i \phi_i\Bigr)^2 + \lambda \lVert \phi \rVert^2,
              \qquad \pi(m) = \exp\Bigl(-\frac{(1 - \cos(m, 1))^2}{2 \sigma^2}\Bigr)

    Each concept is in a set with probability 1/2; the full set is one of them. The defaults are those that the authors
    use for the segments of an image. One pass through the head per set and image, the same sets for all images.

    Args:
        n_samples: Sets.
        kernel_width: σ.
        ridge: λ.
        seed: Of the sets.
    """

    def __init__(
        self,
        n_samples: Annotated[int, Ge(2)] = 1000,
        kernel_width: Annotated[float, Gt(0)] = 0.25,
        ridge: Annotated[float, Gt(0)] = 1.0,
        seed: Seed = 0,
    ) -> None:
        self.n_samples = n_samples
        self.kernel_width = kernel_width
        self.ridge = ridge
        self.seed = seed

    def contributions(self, question: Question) -> Tensor:
        """``(B, n)``."""
        sets = self.sets(question.performance.concepts.shape[1])
        scores = question.scores(question.states(sets)).double()
        sets = sets.to(scores)
        weight = self.nearness(sets)[:, None]
        share = weight / weight.sum()
        centred = sets - (share * sets).sum(0)
        system = (weight * centred).T @ centred
        system.diagonal().add_(self.ridge)
        solution = torch.linalg.solve(system, (weight * centred).T @ (scores - (share * scores).sum(0)))
        return solution.T.float()

    def sets(self, n: int) -> Tensor:
        """``(n_samples, n)`` of 0 and 1, the first of them full."""
        sets = torch.rand(self.n_samples, n, generator=torch.Generator().manual_seed(self.seed)) < 0.5
        sets[0] = True
        return sets.float()

    def nearness(self, sets: Tensor) -> Tensor:
        """π of sets ``(k, n)``, ``(k,)``; the cosine with the full set is the root of the share that is present."""
        distance = 1 - sets.mean(1).sqrt()
        return (-((distance / self.kernel_width) ** 2) / 2).exp()
