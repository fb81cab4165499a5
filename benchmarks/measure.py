"""How goals are measured: arms take turns in one process, on one thread, by processor time."""

import ctypes
import gc
import json
import platform
import re
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch

M_MMAP_THRESHOLD = -3  # of malloc.h


@dataclass(frozen=True)
class Goal:
    """A measured figure beside what it should be.

    Attributes:
        name: Of the goal, such as ``P1``.
        what: What the figure is.
        values: One per repetition.
        limit: What it should reach.
        at_most: Whether the figure should be at most the limit, otherwise at least.
        unit: Of the figure; a ratio has none.
    """

    name: str
    what: str
    values: tuple[float, ...]
    limit: float
    at_most: bool = True
    unit: str = ""

    @property
    def value(self) -> float:
        """The median."""
        return statistics.median(self.values)

    @property
    def met(self) -> bool:
        """Whether the median reaches the limit."""
        return self.value <= self.limit if self.at_most else self.value >= self.limit

    def row(self) -> str:
        """Of a Markdown table."""
        sign = "≤" if self.at_most else "≥"
        spread = f"{min(self.values):.4g} to {max(self.values):.4g} ({len(self.values)})"
        goal = f"{sign} {self.limit:g}{self.unit}"
        cells = (self.name, self.what, goal, f"{self.value:.4g}{self.unit}", spread, "yes" if self.met else "**no**")
        return f"| {' | '.join(cells)} |"


@dataclass(frozen=True)
class Curve:
    """How a figure grows; nothing is demanded of it.

    Attributes:
        name: What is measured.
        over: What grows.
        unit: Of the figure.
        values: By size, or by part of a whole; one value per repetition.
    """

    name: str
    over: str
    unit: str
    values: Mapping[str, Sequence[float]]

    def medians(self) -> dict[str, float]:
        """By size."""
        return {size: statistics.median(values) for size, values in self.values.items()}

    def row(self) -> str:
        """Of a Markdown table."""
        points = ", ".join(f"{size}: {value:.4g}" for size, value in self.medians().items())
        return f"| {self.name} | {self.over} | {points} | {self.unit} |"


def interleaved(arms: Mapping[str, Callable[[], object]], repeats: int = 5, warmup: int = 1) -> dict[str, list[float]]:
    """Processor seconds of every arm, each in turn, ``repeats`` times after ``warmup`` rounds that do not count."""
    seconds: dict[str, list[float]] = {name: [] for name in arms}
    for number in range(warmup + repeats):
        for name, arm in arms.items():
            start = time.process_time()
            arm()
            if number >= warmup:
                seconds[name].append(time.process_time() - start)
    return seconds


def ratios(over: list[float], under: list[float]) -> tuple[float, ...]:
    """Quotients of two arms, round by round: what slows one round down slows both."""
    return tuple(a / b for a, b in zip(over, under, strict=True))


def single_thread() -> None:
    """Compute on one thread, so that processor time is comparable."""
    torch.set_num_threads(1)
    torch.manual_seed(0)


def peak_bytes(action: Callable[[], object]) -> int:
    """Growth of the resident set at its peak while something is done, the second time.

    Large blocks are mapped one by one from here on, so that what is resident is what is in use: by default the
    allocator keeps blocks of some sizes that were freed, more or fewer of them from one run to the next.
    """
    libc = ctypes.CDLL("libc.so.6")
    libc.mallopt(M_MMAP_THRESHOLD, 2**20)
    action()
    gc.collect()
    libc.malloc_trim(0)  # what was freed before must not serve this unseen
    Path("/proc/self/clear_refs").write_text("5")
    before = resident_bytes()
    action()
    return _status("VmHWM") - before


def resident_bytes() -> int:
    """Memory of this process that is in use."""
    return _status("VmRSS")


def _status(name: str) -> int:
    found = re.search(rf"{name}:\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert found
    return int(found[1]) * 1024


def report(figures: Sequence[Goal | Curve]) -> None:
    """Print the table; write the figures to the file named by the first argument, if there is one."""
    print(*(figure.row() for figure in figures), sep="\n")
    if len(sys.argv) > 1:
        goals = [asdict(f) | {"value": f.value, "met": f.met} for f in figures if isinstance(f, Goal)]
        curves = [asdict(f) for f in figures if isinstance(f, Curve)]
        Path(sys.argv[1]).write_text(json.dumps({"goals": goals, "curves": curves}, indent=1), encoding="utf-8")


def machine() -> str:
    """Processor and versions, for the head of a table."""
    name = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        name = next(
            (line.split(":")[1].strip() for line in cpuinfo.read_text().splitlines() if "model name" in line), name
        )
    return f"{name}, one thread, PyTorch {torch.__version__.split('+')[0]}"
