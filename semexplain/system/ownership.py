"""Whether a file is as this user's own commands wrote it: signed with a key that nobody else has."""

import contextlib
import hashlib
import hmac
import logging
import os
import secrets
import tempfile
from pathlib import Path

from semexplain.system.files import write_text
from semexplain.system.reading import read_text
from semexplain.system.trouble import DamagedFileError

log = logging.getLogger(__name__)
SIGNATURE = ".own"
PURPOSE = b"semexplain run folder\n"
LEAST = 64  # characters of a key


def sign(file: Path) -> None:
    """Note beside a file that it is one's own as it is now; without a key it is not, which the log says."""
    if (key := _key(make=True)) is not None:
        write_text(file.with_name(SIGNATURE), _digest(key, file))


def is_own(file: Path) -> bool:
    """Whether a file was signed by this user, and is what it was then.

    Example:
        >>> folder = Path(tempfile.mkdtemp())
        >>> os.environ["XDG_CONFIG_HOME"] = str(folder)
        >>> (folder / "config.yaml").write_text("beta: 1")
        7
        >>> sign(folder / "config.yaml"), is_own(folder / "config.yaml")
        (None, True)
        >>> (folder / "config.yaml").write_text("beta: 2")
        7
        >>> is_own(folder / "config.yaml")
        False
    """
    try:
        signature = read_text(file.with_name(SIGNATURE), most=1000)
        key = _key(make=False)
        return key is not None and hmac.compare_digest(signature.encode(), _digest(key, file).encode())
    except (OSError, DamagedFileError):
        return False


def _digest(key: bytes, file: Path) -> str:
    return hmac.new(key, PURPOSE + read_text(file).encode(), hashlib.sha256).hexdigest() + "\n"


def _place() -> Path:
    folder = os.environ.get("XDG_CONFIG_HOME") or "~/.config"
    return Path(folder).expanduser() / "semexplain" / "key"


def _key(*, make: bool) -> bytes | None:
    """This user's key, made on first use; None if there is none and none can be made."""
    try:
        path = _place()
        if make and not path.exists():
            _make(path)
        key = read_text(path, most=10_000).strip()
    except (OSError, RuntimeError, DamagedFileError) as error:  # RuntimeError: there is no home
        if make:
            _tell(error)
        return None
    return key.encode() if len(key) >= LEAST else None


def _make(path: Path) -> None:
    """Write a new key, which only its owner can read; of several processes that do, one wins and all use its key."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    descriptor, partial = tempfile.mkstemp(dir=path.parent, prefix=".key")  # with mode 0600
    try:
        with open(descriptor, "w", encoding="ascii") as file:
            file.write(secrets.token_hex(LEAST // 2) + "\n")
            file.flush()
            os.fsync(file.fileno())
        with contextlib.suppress(FileExistsError):
            os.link(partial, path)
    finally:
        os.unlink(partial)


def _tell(error: Exception, told: list[bool] = []) -> None:  # noqa: B006  what was told stays told
    if not told:
        told.append(True)
        log.info("This run folder will count as foreign later, as no key could be made to sign it with (%s).", error)
