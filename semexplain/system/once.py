"""Files that several jobs need and one of them makes, such as a trained network."""

import errno
import hashlib
import json
import logging
import os
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from semexplain.system.files import remove_leftovers
from semexplain.system.processes import PATIENCE, is_first, on_its_own, patience
from semexplain.system.trouble import Trouble

log = logging.getLogger(__name__)
SECONDS = 0.5  # between two looks
TOLD_EVERY_S = 60.0
DAY_S = 86400.0
READ_ONLY = (errno.EROFS, errno.EACCES, errno.EPERM)


def once(
    target: Path,
    make: Callable[[Path], None],
    what: str,
    is_there: Callable[[Path], bool] = Path.exists,
    remedy: str = "",
) -> None:
    """Make a file or folder that is not there, once for all jobs that need it.

    It is made beside its place, as ``<target>.partial``, and then renamed. What an interrupted attempt leaves is
    continued by the next. A job that meets another one at work waits for it. Of the processes of a run only the first
    makes something, on its own, and the others wait. Where it is there, nothing is written, not even a lock.

    Args:
        target: Its place.
        make: Makes it at a given path, which holds what an interrupted attempt has left, if anything.
        what: Its name in messages.
        is_there: Whether a path holds it.
        remedy: What to do if it is not there and cannot be written there.

    Raises:
        Trouble: If its place can only be read, or it does not come for as long as ``SEMEXPLAIN_PATIENCE_S`` says.

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
        wait = Wait(f"Waiting for the first process, which makes {what}.", f"{what} is not there")
        while not is_there(target):
            wait.goes_on()
        return
    with held(target.with_name(f"{target.name}.lock"), f"Another job is making {what}; waiting for it.", remedy):
        if not is_there(target):
            partial = target.with_name(f"{target.name}.partial")
            remove_leftovers(partial)
            with on_its_own():
                make(partial)
            _take_place(partial, target, is_there)


def address(description: Mapping[str, Any]) -> str:
    """A name for what is determined by a description, whatever the order of its keys.

    Example:
        >>> address({"seed": 0, "data": "faces"}) == address({"data": "faces", "seed": 0})
        True
    """
    return hashlib.sha256(json.dumps(description, sort_keys=True).encode()).hexdigest()[:16]


@contextmanager
def held(lock: Path, message: str, remedy: str = "") -> Iterator[None]:
    """Hold a lock file; where another process has it, tell the user and wait. The lock of a dead process holds nobody.

    Args:
        lock: The file.
        message: What to tell.
        remedy: What to do if the folder can only be read.

    Raises:
        ReadOnlyError: If the folder can only be read.
        Trouble: If the wait is longer than ``SEMEXPLAIN_PATIENCE_S`` says.

    Example:
        >>> import tempfile
        >>> with held(Path(tempfile.mkdtemp()) / "lock", "Another process has it; waiting."):
        ...     print("alone")
        alone
    """
    file, wait = FileLock(lock), None
    while not file.is_locked:
        try:
            lock.parent.mkdir(parents=True, exist_ok=True)
            file.acquire(timeout=0)
        except Timeout:
            wait = wait or Wait(message, f"another process holds {lock}")
            wait.goes_on()
        except OSError as error:
            if error.errno not in READ_ONLY:
                raise
            raise ReadOnlyError(
                f"{lock.parent} can only be read, and what is needed from there is not all there ({error.strerror}: "
                f"{lock.name}). {remedy or 'Choose a folder that can be written.'}"
            ) from error
    try:
        yield
    finally:
        file.release()


class ReadOnlyError(Trouble):
    """Something is missing in a folder that can only be read."""


class Wait:
    """A wait that is told of when it begins and every minute, and that does not last for ever.

    Args:
        message: What is waited for, a sentence.
        state: What is still so if it ends in vain, without a full stop.

    Raises:
        Trouble: If ``SEMEXPLAIN_PATIENCE_S`` is not a number of seconds.
    """

    def __init__(self, message: str, state: str) -> None:
        self.message, self.state = message, state
        self.patience = patience(DAY_S)
        self.began = self.told = time.monotonic()
        log.info(message)

    def goes_on(self) -> None:
        """Pass some time.

        Raises:
            Trouble: If it has lasted too long.
        """
        now = time.monotonic()
        if now - self.began > self.patience:
            raise Trouble(
                f"{self.message} In vain for {_minutes(now - self.began)}: {self.state}. End that job if it hangs, "
                f"then give the same command again; to wait longer, set the environment variable {PATIENCE} (seconds)."
            )
        if now - self.told >= TOLD_EVERY_S:
            self.told = now
            log.info("%s (for %s now)", self.message, _minutes(now - self.began))
        time.sleep(SECONDS)


def _minutes(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 100 else f"{seconds / 60:.0f} min"


def _take_place(partial: Path, target: Path, is_there: Callable[[Path], bool]) -> None:
    """Rename what was made; if another has made it meanwhile, where locks do not reach, that one counts."""
    try:
        os.replace(partial, target)
    except OSError:
        if not is_there(target):
            raise
        log.info("Another job has made %s in the meantime.", target)
        if partial.is_dir():
            shutil.rmtree(partial, ignore_errors=True)
        else:
            partial.unlink(missing_ok=True)
