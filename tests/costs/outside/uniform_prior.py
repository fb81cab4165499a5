"""A prior from outside the package: no concept matters more than another."""

import torch
from torch import Tensor

from semexplain.explanation import Performance


def uniform(performance: Performance, weight: float = 1.0) -> Tensor:
    """The same weight for every concept ``(B, n)``."""
    return torch.full_like(performance.concepts, weight)
