"""Files that appear whole or not at all."""

import contextlib
import json
import math
import os
import uuid
from collections.abc import Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any


@contextlib.contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Where to write a file that takes the place of ``path`` when the block ends; if it fails, nothing is left of it.

    The temporary name is unlike that of any other writer. The content is on the disk before the file is renamed.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "runs" / "numbers.txt"
        >>> with whole_file(path) as partial:
        ...     _ = partial.write_text("42")
        >>> path.read_text(), len(list(path.parent.iterdir()))
        ('42', 1)
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{uuid.uuid4().hex}.partial")
    try:
        yield partial
        _to_disk(partial)
        os.replace(partial, path)
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
        os.replace(path, path.with_name(f"{path.stem}.until-{time:%Y-%m-%d_%H-%M-%S-%f}{path.suffix}"))


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object."""
    return json.loads(path.read_text(encoding="utf-8"))


def _to_disk(path: Path) -> None:
    """Wait until a file's content, or a folder's list of names, is on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
