"""The verdict as an instrument: ``python -m benchmarks.verdict [--out FOLDER]``; what was computed before is kept."""

import argparse
import json
import logging
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.apart import run_apart
from semexplain.runs.build import labelled_data
from semexplain.system.files import write_text
from semexplain.system.quiet import hush
from semexplain.system.trouble import told

from .figure import accepted
from .measure import measure
from .performers import PERFORMERS, ROOT, Known, configured
from .pictures import pictures
from .verdicts import Judgement, goals, judge, left_out


def main() -> int:
    """Draw, train, take concepts away, judge; write verdict.json and verdict.png; 0 if nothing failed."""
    named = {known.name: known for known in PERFORMERS}
    parser = argparse.ArgumentParser(prog="benchmarks.verdict", description="How often is the verdict wrong?")
    parser.add_argument("--out", type=Path, default=Path("outputs/verdict"), help="pictures, performers, what is known")
    parser.add_argument("--results", type=Path, default=ROOT / "benchmarks/results")
    parser.add_argument("--tuning", action="store_true", help="the performers on which thresholds may be set, instead")
    parser.add_argument("--performer", choices=list(named), help="measure this one only, in this process")
    parser.add_argument("--pictures", action="store_true", help="only draw its world")
    given = parser.parse_args()
    place = given.out.resolve()
    hush()
    logging.getLogger().setLevel(logging.ERROR)
    if given.performer:
        (draw if given.pictures else measure_and_judge)(named[given.performer], place)
        return 0
    chosen = [known for known in PERFORMERS if known.tuning == given.tuning]
    worlds = list({known.world.name: known for known in chosen}.values())
    words = ["--out", str(place)]
    drawn = {known.world.name: [*words, "--pictures", "--performer", known.name] for known in worlds}
    measured = {k.name: [*words, "--performer", k.name] for k in sorted(chosen, key=lambda known: -known.width)}
    failed = run_apart("benchmarks.verdict", drawn) or run_apart("benchmarks.verdict", measured)
    if not failed:
        rows = [row for known in chosen for row in judge(known, place)]
        report(rows, [*goals(rows), left_out(chosen, place)], given.results / ("tuning" if given.tuning else "verdict"))
    return failed


def draw(known: Known, place: Path) -> None:
    """Draw all pictures of a performer's world."""
    datamodule = labelled_data(configured(known, place))
    for split in ("test", "train"):
        pictures(known.world, datamodule, split, place)


def measure_and_judge(known: Known, place: Path) -> None:
    """All of one performer."""
    measure(known, place)
    rows = judge(known, place)
    lies, truths = [r for r in rows if not r.honest], [r for r in rows if r.honest]
    wrong = sum(row.accepted for row in lies), sum(not row.accepted for row in truths)
    print(f"{known.name}: {wrong[0]} of {len(lies)} lies accepted, {wrong[1]} of {len(truths)} truths not", flush=True)


def report(rows: Sequence[Judgement], found: Sequence[Mapping[str, Any]], path: Path) -> None:
    """``path.json``, ``path.png`` and a table in the terminal."""
    write_text(path.with_suffix(".json"), json.dumps(found, indent=1) + "\n")
    accepted(rows).savefig(path.with_suffix(".png"), dpi=150)
    for goal in found:
        met = {True: "met", False: "MISSED", None: ""}[goal["met"]]
        print(f"{goal['goal']:70s} {goal['value']:6.1%} of {goal['of']:4d}  {met}")


if __name__ == "__main__":
    with told():
        sys.exit(main())
