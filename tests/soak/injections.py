"""Everything that ``make soak`` injects, by name, each with its check: nothing lost, nothing wrong, nothing unsaid."""

import os
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from semexplain.system.trouble import INTERRUPTED, REFUSED
from soak.victims import Fault, Outcome, run
from soak.world import JOBS, RUN, SWEEP, Job, copy

TOGETHER = 10  # processes that want one performer and one cache


class Injection(NamedTuple):
    """One fault."""

    name: str
    inject: Callable[[Path], str | None]
    """Injects it in an empty folder; says what was lost, or nothing."""
    count: int = 1
    """How many faults it is."""


class Reference(NamedTuple):
    """A command that nobody hurt."""

    result: dict[str, str]
    changes: int
    seconds: float


def reference(job: Job, world: Path, folder: Path) -> Reference:
    """Run a command unhurt, in a copy of the world."""
    with copy(world, folder / "work", job.needs) as work:
        outcome = run(lambda: job.act(work), folder / "log", Fault(below=str(work / job.hurt)))
        if outcome.status != 0:
            raise RuntimeError(f"{job.name} fails unhurt:\n{outcome.text}")
        return Reference(job.result(work), outcome.changes, outcome.seconds)


def kills(job: Job, world: Path, unhurt: Reference, number: int, label: str = "") -> Iterator[Injection]:
    """SIGKILL at random changes to files, and now and then at any moment."""
    chance = random.Random(f"{job.name}{label}")
    for place in range(number):
        if place % 4 == 3:
            share = chance.random()
            fault = Fault("kill", seconds=share * unhurt.seconds)
            name = f"kill {job.name}{label} {place}: after {share:.0%} of its time"
        else:
            fault = Fault("kill", change=chance.randint(1, unhurt.changes))
            name = f"kill {job.name}{label} {place}: at change {fault.change}"
        yield Injection(name, _hurt(job, world, unhurt, fault, _was_killed))


def full_disk(job: Job, world: Path, unhurt: Reference, number: int) -> Iterator[Injection]:
    """A disk that is full from some change on, and later has space again."""
    chance = random.Random(job.name)
    for place in range(number):
        fault = Fault("full", change=chance.randint(1, unhurt.changes))
        yield Injection(
            f"full disk {job.name} {place}: from change {fault.change}", _hurt(job, world, unhurt, fault, _was_told)
        )


def together(world: Path) -> Injection:
    """Processes that begin at once, each with a run of its own, and want the same performer and cache."""

    def inject(folder: Path) -> str | None:
        with copy(world, folder / "work", ("faces",)) as work:
            folders = [work / f"of{number}" for number in range(TOGETHER)]
            for own in folders:
                own.mkdir()
                for shared in ("faces", "performers", "cache"):
                    (work / shared).mkdir(exist_ok=True)
                    (own / shared).symlink_to(work / shared)
            processes = []
            for own in folders:
                process = os.fork()
                if process == 0:
                    outcome = run(lambda own=own: RUN.act(own), own / "log")  # type: ignore[misc]
                    os._exit(abs(outcome.status))
                processes.append(process)
            ends = [os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]) for process in processes]
            texts = [(own / "log").read_text() for own, end in zip(folders, ends, strict=True) if end != 0]
            if texts:
                return f"{len(texts)} of {TOGETHER} failed: {texts[0][-400:]}"
            results = {str(sorted(RUN.result(own).values())) for own in folders}
            trained = len(list((work / "performers").glob("*/metrics.json")))
            return None if len(results) == 1 and trained == 1 else f"{len(results)} results, {trained} performers"

    return Injection("ten processes that want one performer and cache", inject, TOGETHER)


def _hurt(
    job: Job, world: Path, unhurt: Reference, fault: Fault, check: Callable[[Outcome], str | None]
) -> Callable[[Path], str | None]:
    """Hurt a command, go on with it, and compare what comes out with what comes out of an unhurt one."""

    def inject(folder: Path) -> str | None:
        with copy(world, folder / "work", job.needs) as work:
            at = fault._replace(below=str(work / job.hurt))
            victim = run(lambda: job.act(work), folder / "victim.log", at)
            if (wrong := check(victim)) is not None:
                return f"{wrong}: {victim.text[-600:]}"
            again = run(lambda: job.act(work), folder / "again.log")
            if again.status != 0:
                return f"cannot go on (status {again.status}): {again.text[-600:]}"
            result = job.result(work)
            different = [name for name in {**unhurt.result, **result} if unhurt.result.get(name) != result.get(name)]
            if different:
                return f"differs from an unhurt one: {', '.join(different)}"
            left = [str(path.relative_to(work)) for path in work.rglob("*.partial")]
            return f"left behind: {', '.join(left)}" if left else None

    return inject


def _was_killed(victim: Outcome) -> str | None:
    """A command that is killed ends by the signal, or was done before it; a sweep tells of a job that was."""
    return None if victim.status in (-9, 0) or "Killed by signal 9" in victim.text else f"status {victim.status}"


def _was_told(victim: Outcome) -> str | None:
    """A full disk is told in a line; what needs no space any more may be done all the same."""
    if "Traceback" in victim.text:
        return "a full disk ends in a traceback"
    if victim.status not in (0, REFUSED, INTERRUPTED) and "jobs failed" not in victim.text:
        return f"status {victim.status}"
    return None if victim.status == 0 or "No space left on device" in victim.text else "the disk is not named"


def of_commands(world: Path, elsewhere: Path | None, folder: Path, number: int, full: int) -> Iterator[Injection]:
    """Kills and full disks of all commands.

    Args:
        world: What :func:`soak.world.make` has made.
        elsewhere: A folder of another file system, for temporary files.
        folder: For the unhurt commands.
        number: Kills of every command: three of four at a change to a file, the others at any moment.
        full: Moments from which the disk is full, of every command.
    """
    for job in JOBS:
        unhurt = reference(job, world, folder / job.name)
        yield from kills(job, world, unhurt, number)
        if job is not SWEEP:  # whose jobs are runs
            yield from full_disk(job, world, unhurt, full)
        if job is RUN and elsewhere is not None:
            for injection in kills(job, world, unhurt, number, " with TMPDIR on another file system"):
                yield injection._replace(inject=_with_temporary(injection.inject, elsewhere))
    yield together(world)


def _with_temporary(inject: Callable[[Path], str | None], elsewhere: Path) -> Callable[[Path], str | None]:
    def injected(folder: Path) -> str | None:
        before = os.environ.get("TMPDIR")
        os.environ["TMPDIR"] = str(elsewhere)
        try:
            return inject(folder)
        finally:
            if before is None:
                del os.environ["TMPDIR"]
            else:
                os.environ["TMPDIR"] = before

    return injected
