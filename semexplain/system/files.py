"""Files that appear whole or not at all."""

import contextlib
import json
import logging
import math
import os
from collections.abc import Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

log = logging.getLogger(__name__)


def write_text(path: Path, text: str) -> None:
    """Write a text file under a temporary name, then rename it."""
    write_bytes(path, text.encode("utf-8"))


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file under a temporary name, then rename it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{path.name}.partial")
    partial.write_bytes(content)
    os.replace(partial, path)


def write_json(path: Path, values: Mapping[str, Any]) -> None:
    """Write a mapping as JSON; what is not a number becomes null, which every reader knows."""
    plain = {k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in values.items()}
    write_text(path, json.dumps(plain, indent=2, allow_nan=False) + "\n")


def keep_aside(path: Path) -> None:
    """Rename a file that is about to be written anew, so that an interrupted attempt's content is not lost."""
    if path.exists():
        written = datetime.fromtimestamp(path.stat().st_mtime)
        os.replace(path, path.with_name(f"{path.stem}.until-{written:%Y-%m-%d_%H-%M-%S-%f}{path.suffix}"))


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object."""
    return json.loads(path.read_text(encoding="utf-8"))


@contextlib.contextmanager
def held(lock: Path, told: str) -> Iterator[None]:
    """Hold a lock file; where another process has it, tell the user and wait.

    Args:
        lock: The file.
        told: What to tell.

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
        log.info(told)
        file.acquire()
    try:
        yield
    finally:
        file.release()
