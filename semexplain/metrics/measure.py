"""What a number that a run reports is called and means: written beside what computes it, read by whatever shows it."""

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Literal, Self


@dataclass(frozen=True)
class Measure:
    """A number of ``metrics.json``, for readers.

    Attributes:
        key: Its name, without ``test/``. A ``*`` stands for what depends on the data, such as the name of a part.
        label: What tables call it, the key's words by default; ``{}`` is what the asterisk stands for.
        unit: What it is counted in.
        better: Which of two values is the better one, where that can be said.
        of: Whose number it is, where that has to be said.
        column: Its name in the comparison of runs; without one it is not compared.
        first: Whether the page of a run shows it at once.
        meaning: What it says, in one sentence.

    Example:
        >>> measure = Measure("accuracy", "accuracy, τ = 0", better="higher", of="the map").means("Share of hits.")
        >>> measure.title, measure.sentence
        ('accuracy of the map, τ = 0', 'Share of hits. Higher is better.')
    """

    key: str
    label: str = ""
    unit: str = "share"
    better: Literal["higher", "lower"] | None = None
    of: str = ""
    column: str = ""
    first: bool = False
    meaning: str = ""

    def means(self, meaning: str) -> Self:
        """The same with its meaning."""
        return replace(self, meaning=meaning)

    def named(self, key: str) -> Self | None:
        """The same for one of its keys; none for a key that is not its own."""
        match = re.fullmatch(re.escape(self.key).replace(r"\*", "(.+)"), key)
        if match is None:
            return None
        word = match[match.lastindex or 0].replace("_", " ")
        return replace(self, key=key, label=self.label.replace("{}", word) or _words(key))

    @property
    def title(self) -> str:
        """What it is called, with whose it is."""
        name, comma, rest = self.label.partition(",")
        return f"{name} of {self.of}{comma}{rest}" if self.of else self.label

    @property
    def sentence(self) -> str:
        """What it means, and which direction is better."""
        return f"{self.meaning} {self.better.capitalize()} is better." if self.better else self.meaning


def describe(name: str, measures: Iterable[Measure]) -> Measure:
    """What a number of ``metrics.json`` is called and means; one that nobody described keeps its name.

    Args:
        name: The number's.
        measures: All that may be meant.

    Example:
        >>> describe("test/part_error/left_eye", [Measure("part_error/*", "error for {}")]).title
        'error for left eye'
        >>> describe("test/of/nobody", []).title
        'of, nobody'
    """
    key = name.removeprefix("test/")
    candidates = (measure.named(key) for measure in measures)
    return next((measure for measure in candidates if measure), Measure(key, _words(key), unit=""))


def _words(key: str) -> str:
    return key.replace("_", " ").replace("/", ", ")
