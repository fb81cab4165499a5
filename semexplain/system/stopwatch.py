"""How long something takes, on a device that may still be computing when a call returns."""

import time
from types import TracebackType

import torch


class Stopwatch:
    """Adds up the seconds spent in its ``with`` blocks; on a GPU it waits until the work is done.

    Args:
        device: Where the work is done.

    Attributes:
        seconds: So far.

    Example:
        >>> watch = Stopwatch()
        >>> with watch:
        ...     _ = torch.ones(3).sum()
        >>> watch.seconds > 0
        True
    """

    def __init__(self, device: torch.device | None = None) -> None:
        self.device = device or torch.device("cpu")
        self.seconds = 0.0

    def __enter__(self) -> "Stopwatch":
        self._start = self._now()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.seconds += self._now() - self._start

    def _now(self) -> float:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        return time.perf_counter()
