"""Files that several jobs need and one of them makes, such as a trained network."""

import hashlib
import json
import logging
import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from semexplain.system.processes import is_first, on_its_own

log = logging.getLogger(__name__)
SECONDS = 0.5


def once(target: Path, make: Callable[[Path], None], what: str, is_there: Callable[[Path], bool] = Path.exists) -> None:
    """Make a file or folder that is not there, once for all jobs that need it.

    It is made beside its place, as ``<target>.partial``, and then renamed. What an interrupted attempt leaves is
    continued by the next. A job that meets another one at work waits for it. Of the processes of a run only the first
    makes something, on its own, and the others wait.

    Args:
        target: Its place.
        make: Makes it at a given path, which holds what an interrupted attempt has left, if anything.
        what: Its name in messages.
        is_there: Whether a path holds it.

    Example:
        >>> import tempfile
        >>> target = Path(tempfile.mkdtemp()) / "answer.txt"
        >>> for _ in range(2):
        ...     once(target, lambda partial: print(partial.write_text("42"), "characters"), "the answer")
        2 characters
        >>> target.read_text()
        '42'
    """
    if is_there(target):
        return
    if not is_first():
        log.info("Waiting for the first process, which makes %s.", what)
        while not is_there(target):
            time.sleep(SECONDS)
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    with held(target.with_name(f"{target.name}.lock"), f"Another job is making {what}; waiting for it."):
        if not is_there(target):
            partial = target.with_name(f"{target.name}.partial")
            with on_its_own():
                make(partial)
            os.replace(partial, target)


def address(description: Mapping[str, Any]) -> str:
    """A name for what is determined by a description, whatever the order of its keys.

    Example:
        >>> address({"seed": 0, "data": "faces"}) == address({"data": "faces", "seed": 0})
        True
    """
    return hashlib.sha256(json.dumps(description, sort_keys=True).encode()).hexdigest()[:16]


@contextmanager
def held(lock: Path, message: str) -> Iterator[None]:
    """Hold a lock file; where another process has it, tell the user and wait.

    Args:
        lock: The file.
        message: What to tell.

    Example:
        >>> import tempfile
        >>> with held(Path(tempfile.mkdtemp()) / "lock", "Another process has it; waiting."):
        ...     print("alone")
        alone
    """
    file = FileLock(lock)
    try:
        file.acquire(timeout=0)
    except Timeout:
        log.info(message)
        file.acquire()
    try:
        yield
    finally:
        file.release()
