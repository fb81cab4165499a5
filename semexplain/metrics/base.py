"""What all metrics share: sums in double precision, whatever the precision of the model they are logged by."""

from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torchmetrics import Metric

from semexplain.metrics.measure import Measure


class PreciseMetric(Metric):
    """A metric whose float states stay float64.

    A trainer in true half precision casts all that it owns, metrics included, and a sum over a data set kept in
    bfloat16 is wrong in the first digit. Here casts move states between devices and leave their type and value alone.

    Subclasses say in ``reports`` what each of their numbers is called and means; whatever shows a number reads it
    there. A metric of one number is configured under that number's key.

    They register states with ``add_sum``, ``add_mean`` and ``add_rows`` and convert what they are given to float64
    before they add it up. They replace a state rather than change it in place: one that was last touched in inference
    mode could not be changed outside it.

    Example:
        >>> class Total(PreciseMetric):
        ...     def __init__(self) -> None:
        ...         super().__init__()
        ...         self.add_sum("total")
        ...
        ...     def update(self, score: Tensor) -> None:
        ...         self.total = self.total + score.double().sum()
        ...
        ...     def compute(self) -> Tensor:
        ...         return self.total
        >>> total = Total().to(torch.bfloat16)
        >>> total.update(torch.tensor([1000.0, 1.0]))
        >>> total.compute()
        tensor(1001., dtype=torch.float64)
    """

    reports: ClassVar[tuple[Measure, ...]] = ()
    is_differentiable = False
    full_state_update = False

    @property
    def dtype(self) -> torch.dtype:
        """The type of the states, also of the empty one that a process without data sends to the others."""
        return torch.float64

    def _apply(self, fn: Callable[[Tensor], Tensor], exclude_state: Sequence[str] = "") -> nn.Module:
        return super()._apply(lambda state: state.to(fn(state).device), exclude_state)

    def add_sum(self, name: str, shape: tuple[int, ...] = ()) -> None:
        """Register a float64 state that starts at 0 and is added up over batches and processes."""
        self.add_state(name, torch.zeros(shape, dtype=torch.float64), dist_reduce_fx="sum")

    def add_mean(self, name: str) -> None:
        """Register a mean over images: their sum, and how many they are; add to it with ``add_to_mean``."""
        self.add_sum(name, (2,))

    def add_to_mean(self, name: str, values: Tensor, known: Tensor | None = None) -> None:
        """Add the values ``(B,)`` of a batch to a mean: those that are ``known``, bool ``(B,)``, or all."""
        known = torch.ones_like(values, dtype=torch.bool) if known is None else known
        total = torch.stack([torch.where(known, values, 0).sum(), known.double().sum()])
        setattr(self, name, getattr(self, name) + total)

    def mean(self, name: str) -> Tensor:
        """A mean registered by ``add_mean``; nan without an image."""
        total, count = getattr(self, name)
        return total / count

    def add_rows(self, name: str) -> None:
        """Register a state that collects float64 tensors over batches and processes; read it with ``rows``.

        They must be flat: processes can only exchange tensors with as many dimensions as the empty one of a process
        without data.
        """
        self.add_state(name, [], dist_reduce_fx="cat")

    def rows(self, name: str) -> Tensor:
        """All that a state registered by ``add_rows`` has collected, one flat tensor, possibly empty."""
        # A list before, and one tensor after, the processes have been synchronised.
        values: Any = getattr(self, name)
        if isinstance(values, Tensor):
            return values
        return torch.cat(values) if values else torch.empty(0, dtype=torch.float64, device=self.device)
