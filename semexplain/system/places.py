"""Where to write: a place that a user names is looked at before the work whose results go there."""

import os
import tempfile
from pathlib import Path

from semexplain.system.config import ConfigError

PROBE = bytes(4096)


def expanded(option: str, path: Path | str) -> Path:
    """A path of which ``~`` is the home folder.

    Args:
        option: Its name in messages.
        path: As the user gave it.

    Raises:
        ConfigError: If it is of a user who is not known here.

    Example:
        >>> expanded("out", "~/pages") == Path.home() / "pages"
        True
    """
    try:
        return Path(path).expanduser()
    except RuntimeError as error:
        raise ConfigError(f"{option}: {path}: there is no such user here whose home folder it could be in.") from error


def require_folder(option: str, folder: Path) -> Path:
    """Refuse a place that is no folder and cannot become one.

    Args:
        option: Its name in messages.
        folder: The place.

    Returns:
        The folder, or that which is to hold it.

    Raises:
        ConfigError: If a part of its path is a file.

    Example:
        >>> require_folder("paths.cache", Path("/nowhere/cache"))
        PosixPath('/')
    """
    place = next(parent for parent in (folder, *folder.absolute().parents) if os.path.lexists(parent))
    if not place.is_dir():
        raise ConfigError(f"{option}: {folder} cannot be a folder, {place} is a file: choose another place.")
    return place


def require_writable(option: str, *files: Path) -> None:
    """Refuse files that cannot be written; nothing is left of the trial.

    Args:
        option: Their name in messages.
        files: Each will be written or overwritten; their folders need not exist.

    Raises:
        ConfigError: Saying why.

    Example:
        >>> require_writable("out", Path(tempfile.gettempdir()) / "pages" / "report.html")
    """
    for file in files:
        if file.is_dir():
            raise ConfigError(
                f"{option}: {file} should be written, but it is a folder: move it, or choose another place."
            )
    for folder in dict.fromkeys(file.parent for file in files):
        place = require_folder(option, folder)
        try:
            with tempfile.TemporaryFile(dir=place, buffering=0) as trial:
                trial.write(PROBE)
                os.fsync(trial.fileno())
        except OSError as error:
            raise ConfigError(
                f"{option}: nothing can be written into {place} ({error.strerror}): choose another place."
            ) from error
