"""What the verdict says of every explanation of the gallery, and how often it is wrong."""

import hashlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from scipy.stats import binomtest

import semexplain.judgement.verdict
from benchmarks.verdict import liars as gallery
from benchmarks.verdict.facts import Facts
from benchmarks.verdict.liars import liars
from benchmarks.verdict.measure import facts_of, facts_path
from benchmarks.verdict.performers import Known
from semexplain.judgement.verdict import judged
from semexplain.system.files import write_text

OVERALL, BY_KIND, REJECTS = 0.02, 0.05, 0.05  # what is asked: no more than these shares are wrong


class Judgement(NamedTuple):
    """What was said of one explanation.

    Attributes:
        performer: Name of the network.
        world: What it sees.
        target: What the score stands for.
        regime: How concepts were taken away.
        kind: Of the explanation.
        honest: Whether it is exact.
        word: FAITHFUL, NOT FAITHFUL or NOT SHOWN.
        reason: In one sentence.
        failed: The statements that do not hold, or are not shown to hold.
    """

    performer: str
    world: str
    target: str
    regime: str
    kind: str
    honest: bool
    word: str
    reason: str
    failed: tuple[str, ...]

    @property
    def accepted(self) -> bool:
        """Whether it was found faithful."""
        return self.word == "FAITHFUL"


def judge(known: Known, place: Path) -> list[Judgement]:
    """Judge all explanations of a performer's scores; what the same rules have said before is kept."""
    found = []
    for target in known.targets:
        path = _path(known, target, place)
        if not path.exists():
            facts = facts_of(known, target, place)
            rows = [row for regime, one in facts.items() for row in _judged(known, regime, one)]
            write_text(path, json.dumps([row._asdict() for row in rows], indent=1))
        found += [Judgement(**{**row, "failed": tuple(row["failed"])}) for row in json.loads(path.read_text("utf-8"))]
    return found


def _judged(known: Known, regime: str, facts: Facts) -> list[Judgement]:
    rows = []
    for honest, explanations in ((True, facts.truths), (False, liars(facts))):
        for kind, explanation in explanations.items():
            verdict = judged(explanation, facts.interventions)
            failed = tuple(statement.name for statement in verdict.statements if statement.holds is not True)
            told = (known.name, known.world.name, facts.target, regime, kind, honest)
            rows.append(Judgement(*told, verdict.word, verdict.reason, failed))
    return rows


def _path(known: Known, target: str, place: Path) -> Path:
    """Verdicts are kept under what was judged, the rules and the gallery."""
    rules = sorted(Path(str(semexplain.judgement.verdict.__file__)).parent.glob("*.py"))
    text = "".join(path.read_text(encoding="utf-8") for path in (*rules, Path(str(gallery.__file__))))
    facts = facts_path(known, target, place)
    return facts.parent / f"verdicts-{hashlib.sha256(text.encode()).hexdigest()[:8]}" / f"{facts.stem}.json"


def goals(rows: Sequence[Judgement]) -> list[dict[str, Any]]:
    """Every rate of mistakes as ``{goal, value, low, high, of, target, met}``: overall, by kind, by regime.

    ``low`` and ``high`` are the ends of the exact 95 % interval of a share of so many explanations (Clopper and
    Pearson), as if they were independent. Where no target is set, ``target`` and ``met`` are null.

    Example:
        >>> row = Judgement("a", "drawn faces", "Young", "drawn", "equal shares", False, "NOT FAITHFUL", "", ())
        >>> goals([row])[0]["value"], goals([row])[0]["met"]
        (0.0, True)
    """
    lies, truths = [row for row in rows if not row.honest], [row for row in rows if row.honest]
    found = [_goal("false accepts, overall", lies, _accepted, OVERALL)]
    found += [_goal(f"false accepts of {kind}", some, _accepted, BY_KIND) for kind, some in _by(lies, "kind")]
    found += [_goal("false rejects of exact truths, overall", truths, _rejected, REJECTS)]
    found += [_goal(f"false rejects of {kind}", some, _rejected, None) for kind, some in _by(truths, "kind")]
    found.append(_goal("lies that are NOT SHOWN, not NOT FAITHFUL", lies, _not_shown, None))
    for regime, some in _by(rows, "regime"):
        for world, own in _by(some, "world"):
            words = f"{regime}, {world}"
            found.append(_goal(f"false accepts, {words}", [r for r in own if not r.honest], _accepted, None))
            found.append(_goal(f"false rejects, {words}", [r for r in own if r.honest], _rejected, None))
    return [goal for goal in found if goal["of"]]


def left_out(several: Sequence[Known], place: Path) -> dict[str, Any]:
    """How many scores' concepts cannot be taken away at x: there nothing is judged, neither lies nor truths."""
    every = [facts_of(known, target, place) for known in several for target in known.targets]
    return {
        "goal": "scores whose concepts cannot be taken away at x, left out",
        "value": sum("moved" not in facts for facts in every) / len(every),
        "of": len(every),
        "target": None,
        "met": None,
    }


def _by(rows: Sequence[Judgement], field: str) -> list[tuple[str, list[Judgement]]]:
    names = dict.fromkeys(getattr(row, field) for row in rows)
    return [(name, [row for row in rows if getattr(row, field) == name]) for name in names]


def _accepted(row: Judgement) -> bool:
    return row.accepted


def _rejected(row: Judgement) -> bool:
    return not row.accepted


def _not_shown(row: Judgement) -> bool:
    return row.word == "NOT SHOWN"


def _goal(
    words: str, rows: Sequence[Judgement], wrong: Callable[[Judgement], bool], target: float | None
) -> dict[str, Any]:
    mistakes, count = sum(map(wrong, rows)), len(rows)
    interval = binomtest(mistakes, max(1, count)).proportion_ci()
    value = mistakes / max(1, count)
    met = None if target is None else value <= target
    ends = {"low": float(interval.low), "high": float(interval.high)}
    return {"goal": words, "value": value, **ends, "of": count, "target": target, "met": met}
