"""What one way of explaining achieved in one world with one seed, and means of several."""

import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import fmean, stdev

import torch
from scipy import stats

from semexplain.judgement.resampling import Estimate, Resampling
from semexplain.system.files import write_json

OURS = "semexplain"


@dataclass(frozen=True)
class Record:
    """Numbers by name, of a method in a world.

    Attributes:
        world: Performer, concepts and images.
        method: How they were explained.
        seed: Of training, or of what is random in a rival.
        numbers: By name; ``passes`` are forward passes through the head for an image, where a backward pass counts two.
        images: The same number of every test image, by name, where it is a mean over the images; None: has none.
    """

    world: str
    method: str
    seed: int
    numbers: dict[str, float] = field(default_factory=dict)
    images: dict[str, list[float | None]] = field(default_factory=dict)

    def save(self, path: Path) -> None:
        """As JSON."""
        write_json(path, asdict(self))

    @classmethod
    def load(cls, path: Path) -> "Record":
        """What was saved."""
        return cls(**json.loads(path.read_text(encoding="utf-8")))


@dataclass(frozen=True)
class Mean:
    """Mean over seeds and half the width of its 95 % interval (Student's t); 0 for a method without chance."""

    value: float
    half: float = 0.0

    @classmethod
    def of(cls, values: Sequence[float]) -> "Mean":
        """Of one value a seed; nan without any.

        Example:
            >>> Mean.of([1.0, 2.0, 3.0])
            Mean(value=2.0, half=2.4841377117503)
        """
        known = [value for value in values if not math.isnan(value)]
        if not known:
            return cls(math.nan)
        if len(known) == 1:
            return cls(known[0])
        half = float(stats.t.ppf(0.975, len(known) - 1)) * stdev(known) / len(known) ** 0.5
        return cls(fmean(known), half)

    def __str__(self) -> str:
        if math.isnan(self.value):
            return ""
        return f"{self.value:.3g}" if self.half == 0 else f"{self.value:.3g} ± {self.half:.1g}"


def load_all(folder: Path) -> list[Record]:
    """All records in a folder and below."""
    return [Record.load(path) for path in sorted(folder.rglob("record.json"))]


def mean(records: Iterable[Record], world: str, method: str, number: str) -> Mean:
    """Of a number over the seeds of a method in a world."""
    own = [r.numbers[number] for r in records if (r.world, r.method) == (world, method) and number in r.numbers]
    return Mean.of(own)


def difference(records: Iterable[Record], world: str, one: str, other: str, number: str) -> Estimate | None:
    """By how much a method has more of a number than another, with a 95 % interval over the same images (bootstrap).

    The mean over an image's seeds is compared; None where a method has no numbers of single images.
    """
    tables = []
    for method in (one, other):
        rows = [r.images[number] for r in records if (r.world, r.method) == (world, method) and number in r.images]
        if not rows:
            return None
        known = [[math.nan if value is None else value for value in row] for row in rows]
        tables.append(torch.tensor(known, dtype=torch.float64).mean(0))
    if len(tables[0]) != len(tables[1]):
        return None
    apart = tables[0] - tables[1]
    apart = apart[~apart.isnan()]
    return Resampling(len(apart)).mean(apart[None]) if len(apart) else None


def order(records: Iterable[Record], world: str) -> list[str]:
    """The methods of a world as they were measured, each once."""
    return list(dict.fromkeys(record.method for record in records if record.world == world))
