"""Trouble that a user can mend, and the one place where the commands tell of it."""

import errno
import os
import signal
import sys
import threading
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NoReturn

from hydra.errors import CompactHydraException, HydraException
from omegaconf.errors import InterpolationResolutionError, OmegaConfBaseException

REFUSED, INTERRUPTED, READER_GONE, BUG = 2, 130, 141, 1  # exit statuses
REMEDIES = {
    errno.ENOSPC: "Free some space there; what was begun goes on when the same command is given again.",
    errno.EDQUOT: "Free some of your quota; what was begun goes on when the same command is given again.",
    errno.EROFS: "It lies on a file system that can only be read: choose another folder.",
    errno.EACCES: "You may not do that there: change its permissions, or choose another place.",
    errno.EPERM: "You may not do that there: change its permissions, or choose another place.",
    errno.EMFILE: "Allow this process more open files (`ulimit -n`).",
    errno.ENOENT: "There is no such file or folder: was it moved or deleted in the meantime?",
    errno.ENOTDIR: "A part of this path is a file: choose another place.",
    errno.EISDIR: "It is a folder, where a file was expected.",
    errno.EEXIST: "There is something else of that name already: choose another place.",
    errno.ENOTEMPTY: "There is something else of that name already: choose another place.",
    errno.ENAMETOOLONG: "Choose a shorter name.",
    errno.EIO: "The disk could not be read or written: look after it, then give the same command again.",
}


class Trouble(ValueError):  # noqa: N818
    r"""What is wrong is known: the message says what was expected, what came and how to mend it, in a line or two.

    Trouble in a worker process of a data loader is raised again with the worker's stack as its message: of that only
    the message is kept.

    Example:
        >>> class Torn(Trouble): ...
        >>> torn = f"{Torn.__module__}.{Torn.__qualname__}: a.jpg is torn.\n"
        >>> print(Torn(f"Caught Torn in DataLoader worker process 0.\nOriginal Traceback ...\n{torn}"))
        a.jpg is torn.
    """

    def __init__(self, text: str = "") -> None:
        if text.startswith("Caught ") and " in DataLoader worker process " in text.partition("\n")[0]:
            text = text.rpartition(f"{type(self).__module__}.{type(self).__qualname__}: ")[2].strip()
        super().__init__(text)


class DamagedFileError(Trouble):
    """A file is not what it was written as: cut, changed, or something else under its name."""


@contextmanager
def told() -> Iterator[None]:
    """End a command as its user expects: known trouble is told, anything else is shown whole and called a bug.

    Ctrl+C and SIGTERM end it as a ``KeyboardInterrupt``, whose message, if it has one, says how to go on.

    Raises:
        SystemExit: With status 2 for trouble that the user can mend, 130 for Ctrl+C and SIGTERM, and 1 for a bug.

    Example:
        >>> with told():
        ...     print("done")
        done
    """
    with _listening() as signals:
        try:
            yield
            sys.stdout.flush()
        except KeyboardInterrupt as interruption:
            _leave(f"\n{interruption.args[0] if interruption.args else 'Interrupted.'}", INTERRUPTED)
        except Trouble as trouble:
            _leave(str(trouble), REFUSED)
        except (CompactHydraException, HydraException) as error:
            _leave(_of_hydra(error), REFUSED)
        except OmegaConfBaseException as error:
            if (sentence := _of_omegaconf(error)) is None:
                _bug()
            _leave(sentence, REFUSED)
        except BrokenPipeError:  # whoever read what is printed has gone, as `head` does
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise SystemExit(READER_GONE) from None
        except (SystemExit, Exception) as error:
            if signals:  # libraries end on a signal in ways of their own
                _leave("\nInterrupted.", INTERRUPTED)
            if isinstance(error, SystemExit):
                raise
            sentence = of_system(error) if isinstance(error, OSError) else None
            if sentence is None:
                _bug()
            _leave(sentence, REFUSED)


@contextmanager
def _listening() -> Iterator[list[int]]:
    """Signals that were received while the block ran, each of which raised a ``KeyboardInterrupt``."""
    signals: list[int] = []
    process = os.getpid()

    def interrupt(number: int, _: object) -> None:
        if os.getpid() != process and number == signal.SIGTERM:  # a worker, which inherits this and is told to end
            os._exit(128 + number)
        signals.append(number)
        raise KeyboardInterrupt

    before = {}
    if threading.current_thread() is threading.main_thread():  # no other may
        for number in (signal.SIGINT, signal.SIGTERM):
            if signal.getsignal(number) is not signal.SIG_IGN:  # as in a shell's background
                before[number] = signal.signal(number, interrupt)
    try:
        yield signals
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def of_system(error: OSError) -> str | None:
    """What the system refused, in a sentence with its remedy; None if no user can mend it.

    Example:
        >>> of_system(OSError(errno.ENOSPC, "No space left on device", "runs/metrics.json"))[:44]
        'No space left on device: runs/metrics.json. '
    """
    if error.errno is None and isinstance(error, FileNotFoundError):  # one of ours, with a sentence
        return str(error)
    if error.errno not in REMEDIES:
        return None
    place = f": {os.fsdecode(error.filename)}" if isinstance(error.filename, str | bytes) else ""
    return f"{error.strerror}{place}. {REMEDIES[error.errno]}"


def _of_omegaconf(error: OmegaConfBaseException) -> str | None:
    """Known trouble in a resolver, or a reference to nothing such as ``${nowhere}`` in the place of a run."""
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, Trouble):
        cause = cause.__cause__ or cause.__context__
    if cause is None and isinstance(error, InterpolationResolutionError):
        return f"{error.full_key}: {str(error).splitlines()[0]}"
    return None if cause is None else str(cause)


def _of_hydra(error: Exception) -> str:
    """A command line that Hydra cannot compose: its sentences, without the notes for programmers under them."""
    texts = [str(error).split("Config search path")[0], *([str(error.__cause__)] if error.__cause__ else [])]
    return "\n".join(" ".join(line.strip() for line in text.split("\n    ")[0].splitlines() if line) for text in texts)


def _bug() -> NoReturn:
    traceback.print_exc()
    _leave("This is a bug of semexplain, not a fault of your input: please report it with the lines above.", BUG)


def _leave(text: str, status: int) -> NoReturn:
    sys.stdout.flush()
    encoding = sys.stderr.encoding or "utf-8"
    print(text.encode(encoding, "backslashreplace").decode(encoding), file=sys.stderr)
    raise SystemExit(status)
