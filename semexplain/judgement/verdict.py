"""The verdict on explanations: what four statements say together, and why."""

from collections.abc import Sequence
from typing import Literal, NamedTuple

from semexplain.explanation import Explanation
from semexplain.judgement.interventions import Interventions

Word = Literal["FAITHFUL", "NOT FAITHFUL", "NOT SHOWN"]


class Statement(NamedTuple):
    """One statement about explanations.

    Attributes:
        name: ``adds_up``, ``own_concepts``, ``shares`` or ``learned``.
        holds: Whether it holds, surely; none if the images do not tell.
        reason: In one sentence.
        numbers: By name, with the ends of 95 % intervals as ``<name>_low`` and ``<name>_high``.
    """

    name: str
    holds: bool | None
    reason: str
    numbers: dict[str, float]


class Verdict(NamedTuple):
    """Whether explanations are true, and why.

    Attributes:
        word: ``FAITHFUL`` if all statements hold; ``NOT FAITHFUL`` if one fails; else ``NOT SHOWN``.
        reason: In one sentence.
        statements: The four.
        means: The interventions on which it rests, in words.
    """

    word: Word
    reason: str
    statements: tuple[Statement, ...]
    means: str


def judged(explanations: Explanation | Sequence[Explanation], interventions: Interventions) -> Verdict:
    """Judge explanations of the same images, one for each seed of whatever was trained."""
    raise NotImplementedError
