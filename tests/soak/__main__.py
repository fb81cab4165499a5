"""Hurt everything that can be hurt, and count what was lost: ``make soak``, or ``python -m soak --only kill``.

What has been injected is kept in a journal, so that an interrupted soak goes on where it was.
"""

import argparse
import json
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import torch

from semexplain.system.quiet import hush
from soak.injections import Injection, of_commands
from soak.strangers import of_strangers
from soak.world import make

JOURNAL = "journal.jsonl"
ONE_KIND = ("damaged", "hostile", "malformed")


def main() -> int:
    """Inject what the journal does not have yet; the last line says what became of all."""
    parser = argparse.ArgumentParser(prog="soak", description=__doc__)
    parser.add_argument("--folder", type=Path, default=Path("outputs/soak"), help="for the world and the journal")
    parser.add_argument("--only", default="", help="injections whose name contains this")
    parser.add_argument("--kills", type=int, default=52, help="of every command")
    parser.add_argument("--full", type=int, default=12, help="moments at which the disk is full, of every command")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="injections at a time")
    parser.add_argument("--tmpdir", type=Path, default=Path("/dev/shm"), help="folder on another file system")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    hush()
    folder = arguments.folder.absolute()
    folder.mkdir(parents=True, exist_ok=True)
    journal = folder / JOURNAL
    lost = {entry["name"]: entry for entry in _entries(journal)}
    make(folder / "world")
    elsewhere = _another_file_system(folder, arguments.tmpdir)
    wanted = [each for each in _all(folder, elsewhere, arguments) if arguments.only in each.name]
    missing = [each for each in wanted if each.name not in lost]
    start = time.monotonic()
    with journal.open("a") as file:
        for number, entry in enumerate(_injected(missing, folder, arguments.jobs), start=1):
            lost[entry["name"]] = entry
            file.write(json.dumps(entry) + "\n")
            file.flush()
            if entry["lost"]:
                print(f"\nLOST {entry['name']}\n  {entry['lost']}")
            rest = (time.monotonic() - start) / number * (len(missing) - number)
            print(f"\r{number} of {len(missing)}, {rest / 60:.0f} min left", end="", flush=True)
    entries = [lost[each.name] for each in wanted]
    _summary(entries)
    injected = sum(entry["count"] for entry in entries)
    gone = sum(entry["count"] for entry in entries if entry["lost"])
    print(f"injected {injected}, survived {injected - gone}, lost {gone}")
    return 1 if gone else 0


def _all(folder: Path, elsewhere: Path | None, arguments: argparse.Namespace) -> Iterator[Injection]:
    yield from of_commands(folder / "world", elsewhere, folder / "unhurt", arguments.kills, arguments.full)
    yield from of_strangers(folder / "world")


def _injected(injections: list[Injection], folder: Path, jobs: int) -> Iterator[dict[str, object]]:
    """What became of each, in the order in which they end; each in a process of its own."""
    waiting, running = list(reversed(injections)), {}
    while waiting or running:
        while waiting and len(running) < jobs:
            injection = waiting.pop()
            place = folder / "work" / str(len(waiting))
            place.mkdir(parents=True, exist_ok=True)
            process = os.fork()
            if process == 0:
                _inject(injection, place)
            running[process] = (injection, place)
        process, status = os.waitpid(-1, 0)
        if process in running:
            injection, place = running.pop(process)
            said = place / "lost"
            lost = said.read_text() if status == 0 and said.exists() else f"the injection itself failed ({status})"
            said.unlink(missing_ok=True)
            yield {"name": injection.name, "count": injection.count, "lost": lost}


def _inject(injection: Injection, place: Path) -> None:
    status = 1
    try:
        try:
            lost = injection.inject(place / "here")
        except Exception as error:
            lost = f"{type(error).__name__}: {error}"
        (place / "lost").write_text(lost or "")
        status = 0
    finally:
        os._exit(status)


def _entries(journal: Path) -> Iterator[dict[str, object]]:
    for line in journal.read_text().splitlines() if journal.exists() else ():
        try:
            entry = json.loads(line)
        except ValueError:  # the line at which a soak was killed
            continue
        if not entry["lost"]:
            yield entry


def _summary(entries: list[dict[str, object]]) -> None:
    kinds: dict[str, list[int]] = {}
    for entry in entries:
        words = str(entry["name"]).split()
        kind = words[0] if words[0] in ONE_KIND else " ".join(words[:2])
        counts = kinds.setdefault(kind, [0, 0])
        counts[0] += int(str(entry["count"]))
        counts[1] += int(str(entry["count"])) if entry["lost"] else 0
    print()
    for kind, (injected, lost) in kinds.items():
        print(f"{kind:40} injected {injected:4}, lost {lost}")


def _another_file_system(folder: Path, candidate: Path) -> Path | None:
    if not candidate.is_dir() or candidate.stat().st_dev == folder.stat().st_dev:
        print(f"{candidate} is no other file system: kills with TMPDIR elsewhere are left out.")
        return None
    place = candidate / "semexplain-soak"
    place.mkdir(exist_ok=True)
    return place


if __name__ == "__main__":
    sys.exit(main())
