"""Any network? ``python -m benchmarks.zoo [--out FOLDER]``; what was measured before is kept."""

import argparse
import json
import multiprocessing
import os
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from benchmarks.zoo.architectures import Architecture, architectures
from benchmarks.zoo.measure import FAILED, PASSED, REFUSED, Record, measured
from benchmarks.zoo.table import NOT_INSTALLED, goals, page
from semexplain.system.files import write_text
from semexplain.system.trouble import told

ROOT = Path(__file__).parents[2]
LIMIT = 900.0  # seconds for one architecture, on however busy a machine; of computing it may take fewer
WARM = ["benchmarks.zoo.warm"]  # imported once, in the process from which all others are forked


def main() -> int:
    """Measure what has not passed yet, each in a process of its own, then write the results; 0 if the goals are met."""
    parser = argparse.ArgumentParser(prog="benchmarks.zoo", description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("outputs/zoo"), help="keeps what was measured")
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="processes at a time, one by core")
    parser.add_argument("--results", type=Path, default=ROOT / "benchmarks/results/zoo.json")
    parser.add_argument("--page", type=Path, default=ROOT / "docs/zoo.md")
    parser.add_argument("names", nargs="*", help="only those whose names contain one of these; nothing is written then")
    given = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = "1"
    everyone = architectures()
    chosen = [one for one in everyone if not given.names or any(name in one.key for name in given.names)]
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(WARM)
    with ThreadPoolExecutor(given.jobs) as pool:
        records = list(pool.map(lambda one: record_of(one, given.out, context), chosen))
    if given.names:
        return 0
    found = goals(records)
    write_text(given.results, json.dumps(found, indent=1) + "\n")
    write_text(given.page, page(records, found))
    for goal in found:
        print(f"{goal['goal']:60s} {goal['value']:8.4g}  {'met' if goal['met'] else 'MISSED'}")
    return 0 if all(goal["met"] for goal in found) else 1


def record_of(one: Architecture, out: Path, context: multiprocessing.context.ForkServerContext) -> Record:
    """What is known of an architecture, measured now unless it is known that it passes or is rightly refused."""
    if one.missing:
        return {"source": one.source, "name": one.name, "outcome": NOT_INSTALLED, "words": one.missing}
    file = out / f"{one.key.replace(':', '-').replace(' ', '_')}.json"
    known = _read(file)
    if known.get("outcome") in (PASSED, REFUSED):
        return known
    file.parent.mkdir(parents=True, exist_ok=True)
    file.unlink(missing_ok=True)
    process = context.Process(target=measured, args=(one.key, file))
    process.start()
    process.join(LIMIT)
    if process.is_alive():
        process.kill()
        process.join()
    failed = {"source": one.source, "name": one.name, "outcome": FAILED}
    record = _read(file) or failed | {"words": f"its process ended by {process.exitcode}, or after {LIMIT:.0f} s"}
    last = record["words"].strip().splitlines()[-1:] or [""]
    line = f"{one.key}: {record['outcome']} {record.get('seconds', 0):.0f} s {last[0]:.300}\n"
    print(line, end="", flush=True)  # in one piece: others print beside
    return record


def _read(file: Path) -> Record:
    return json.loads(file.read_text()) if file.exists() else {}


if __name__ == "__main__":
    with told():
        sys.exit(main())
