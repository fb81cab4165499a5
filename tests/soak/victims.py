"""Commands in processes of their own, in which something goes wrong at a chosen moment."""

import errno
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

from semexplain.system.trouble import BUG, told

LONGEST = 600.0  # seconds that a command may take
WATCHED = ("os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.link")


class Fault(NamedTuple):
    """What goes wrong, and when: at a number of changes to files, or after some seconds."""

    kind: str = "none"
    """``kill`` (SIGKILL), ``full`` (from then on the disk is full), ``none``."""
    change: int | None = None
    """Number of the change, counted from 1."""
    seconds: float | None = None
    below: str = ""
    """Only changes of files below this folder count."""


NOTHING = Fault()


class Outcome(NamedTuple):
    """How a command ended."""

    status: int
    """Exit status; minus the signal that ended it."""
    text: str
    """All it said."""
    changes: int
    """Changes to files that it made."""
    seconds: float


def run(command: Callable[[], object], log: Path, fault: Fault = NOTHING, longest: float = LONGEST) -> Outcome:
    """Run a command in a process of its own, let the fault happen, and wait for its end.

    Args:
        command: What to run, as a user would: known trouble is told, and ends it with a status.
        log: File for what it says; the number of changes is kept beside it.
        fault: What goes wrong.
        longest: Seconds after which it is killed, and counts as one that hangs.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    log.touch()
    count = log.with_suffix(".count")
    count.write_bytes(b"0")
    start = time.monotonic()
    process = os.fork()
    if process == 0:
        _live(command, log, count, fault)
    moment = start + (fault.seconds if fault.kind == "kill" and fault.seconds is not None else longest)
    status = _wait(process, moment)
    if status is None:  # the moment has come
        os.kill(process, signal.SIGKILL)
        status = os.waitpid(process, 0)[1]
    seconds = time.monotonic() - start
    text = log.read_text(errors="replace")
    if seconds > longest:
        text += "\nhangs"
    return Outcome(os.waitstatus_to_exitcode(status), text, int(count.read_bytes() or b"0"), seconds)


def _wait(process: int, moment: float) -> int | None:
    while time.monotonic() < moment:
        ended, status = os.waitpid(process, os.WNOHANG)
        if ended:
            return status
        time.sleep(0.01)
    return None


def _live(command: Callable[[], object], log: Path, count: Path, fault: Fault) -> NoReturn:
    """The life of the process: it never returns to the caller's code."""
    status: object = BUG
    try:
        descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        for stream in (1, 2):
            os.dup2(descriptor, stream)
        sys.stdout, sys.stderr = (open(stream, "w", buffering=1, closefd=False) for stream in (1, 2))  # noqa: SIM115
        sys.addaudithook(_watcher(os.open(count, os.O_WRONLY), fault))
        with told():
            result = command()
        status = result if isinstance(result, int) else 0
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else 0 if end.code is None else BUG
        if isinstance(end.code, str):
            print(end.code, file=sys.stderr)
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status if isinstance(status, int) else BUG)


def _watcher(count: int, fault: Fault) -> Callable[[str, tuple[Any, ...]], None]:
    """Counts changes to files in this process and those that it starts, and lets the fault happen at its number."""
    seen = 0

    def watch(event: str, arguments: tuple[Any, ...]) -> None:
        nonlocal seen
        if not _is_change(event, arguments, fault.below):
            return
        seen += 1
        os.pwrite(count, str(seen).encode(), 0)
        if fault.change is None or seen < fault.change:
            return
        if fault.kind == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        if fault.kind == "full" and event in ("open", "os.mkdir"):
            raise OSError(errno.ENOSPC, "No space left on device", str(arguments[0]))

    return watch


def _is_change(event: str, arguments: tuple[Any, ...], below: str) -> bool:
    if event == "open":
        path, _, flags = arguments
        writes = isinstance(flags, int) and flags & (os.O_WRONLY | os.O_RDWR)
        return bool(writes) and isinstance(path, str | os.PathLike) and str(path).startswith(below)
    return event in WATCHED and str(arguments[0]).startswith(below)
