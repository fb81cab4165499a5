"""Files that appear whole or not at all."""

import contextlib
import errno
import functools
import hashlib
import itertools
import json
import math
import os
import socket
from collections.abc import Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

NUMBERS = itertools.count()  # of the files that this process has begun
MEBIBYTE = 2**20
TIME = "%Y-%m-%d_%H-%M-%S-%f"  # in names of files and folders


@contextlib.contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Where to write a file that takes the place of ``path`` when the block ends; if it fails, nothing is left of it.

    The temporary name is unlike that of any other writer. The content is on the disk before the file is renamed. What
    killed processes of this machine have left of the same file is removed.

    Raises:
        OSError: If it cannot be written, for example to a full disk, whatever the block's own words for that are.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "runs" / "numbers.txt"
        >>> with whole_file(path) as partial:
        ...     _ = partial.write_text("42")
        >>> path.read_text(), len(list(path.parent.iterdir()))
        ('42', 1)
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    _remove_leftovers(path)
    partial = path.with_name(f"{_prefix(path)}{os.getpid()}.{next(NUMBERS)}.partial")
    try:
        yield partial
        _to_disk(partial)
        os.replace(partial, path)
    except Exception as error:
        _say_what_failed(partial, path, error)
        raise
    finally:
        partial.unlink(missing_ok=True)
    with contextlib.suppress(OSError):  # not every file system can do it for a folder
        _to_disk(path.parent)


def write_text(path: Path, text: str) -> None:
    """Write a text file, whole or not at all."""
    with whole_file(path) as partial:
        partial.write_text(text, encoding="utf-8", newline="")


def write_json(path: Path, values: Mapping[str, Any]) -> None:
    """Write a mapping as JSON; what is not a number becomes null, which every reader knows."""
    content = {k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in values.items()}
    write_text(path, json.dumps(content, indent=2, allow_nan=False) + "\n")


def keep_aside(path: Path) -> None:
    """Rename a file that is about to be written anew, so that an interrupted attempt's content is not lost."""
    if path.exists():
        time = datetime.fromtimestamp(path.stat().st_mtime)
        os.replace(path, path.with_name(f"{path.stem}.until-{time:{TIME}}{path.suffix}"))


def write_edited(path: Path, text: str) -> None:
    """Write a file that a person may have edited: what is there and differs is kept aside."""
    if path.is_file() and path.read_bytes() != text.encode():
        keep_aside(path)
    write_text(path, text)


def _prefix(path: Path) -> str:
    """What the names of this machine's partial files of a path begin with; never too long for a name."""
    name = path.name if len(os.fsencode(path.name)) < 200 else hashlib.sha256(os.fsencode(path.name)).hexdigest()
    return f".{name}.{_machine()}."


@functools.cache
def _machine() -> str:
    """Where the number of a process means that process: this machine, or this container on it."""
    namespace = ""
    with contextlib.suppress(OSError):
        namespace = os.readlink("/proc/self/ns/pid")
    return hashlib.sha256(f"{socket.gethostname()} {namespace}".encode()).hexdigest()[:8]


def _remove_leftovers(path: Path) -> None:
    """Delete the partial files of a path whose writers are dead."""
    with contextlib.suppress(OSError):  # a folder that may be written but not listed
        for name in os.listdir(path.parent):
            if name.startswith(_prefix(path)):
                _remove_if_left(path.parent / name)


def remove_leftovers(folder: Path) -> None:
    """Delete whatever partial files killed processes of this machine have left in a folder and below.

    Example:
        >>> import tempfile
        >>> folder = Path(tempfile.mkdtemp())
        >>> (folder / f".numbers.txt.{_machine()}.{2**22 + 1}.0.partial").touch()
        >>> remove_leftovers(folder)
        >>> list(folder.iterdir())
        []
    """
    for path in folder.rglob(".*.partial"):
        _remove_if_left(path)


def _remove_if_left(path: Path) -> None:
    *_, machine, process, _, _ = ("", "", "", *path.name.split("."))
    if machine == _machine() and path.suffix == ".partial" and process.isdigit() and not is_alive(int(process)):
        with contextlib.suppress(OSError):
            path.unlink()


def is_alive(process: int) -> bool:
    """Whether there is a process of this number on this machine.

    Example:
        >>> is_alive(os.getpid())
        True
    """
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:  # another user's
        return True
    return True


def _say_what_failed(partial: Path, path: Path, error: Exception) -> None:
    """Name the file that could not be written, and what the system said.

    Writers such as torch, safetensors, Arrow and numpy tell of a full disk in words of their own, or not at all. Then
    the system says it itself, when asked to write some more.
    """
    if isinstance(error, OSError) and error.errno is not None:
        if error.filename is None or error.filename == str(partial):
            error.strerror, error.filename, error.filename2 = os.strerror(error.errno), str(path), None
        return
    for number in (errno.ENOSPC, errno.EDQUOT):
        if os.strerror(number) in str(error):
            raise OSError(number, os.strerror(number), str(path)) from error
    if not isinstance(error, ValueError) and partial.is_file():
        try:
            with partial.open("ab") as file:
                file.write(bytes(MEBIBYTE))
                os.fsync(file.fileno())
        except OSError as reason:
            raise OSError(reason.errno, reason.strerror, str(path)) from error


def _to_disk(path: Path) -> None:
    """Wait until a file's content, or a folder's list of names, is on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
