"""Digests of files' contents, remembered while the files do not change."""

import hashlib
import json
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from semexplain.system.files import write_text
from semexplain.system.once import held


def content_digests(paths: Sequence[Path], index: Path) -> dict[Path, str]:
    """SHA-256 of every file's content.

    A file whose size and time of change are those of an earlier call is not read again.

    Args:
        paths: The files.
        index: JSON file that remembers; it is made or completed.

    Raises:
        FileNotFoundError: If there is no such file.

    Example:
        >>> import tempfile
        >>> folder = Path(tempfile.mkdtemp())
        >>> _ = (folder / "a").write_text("a")
        >>> content_digests([folder / "a"], folder / "index.json")[folder / "a"][:8]
        'ca978112'
    """
    index.parent.mkdir(parents=True, exist_ok=True)
    with held(index.with_suffix(".lock"), f"Another job is reading the images for {index}; waiting for it."):
        return _digests(paths, index)


def _digests(paths: Sequence[Path], index: Path) -> dict[Path, str]:
    try:
        entries = json.loads(index.read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        entries = {}
    stamps = {}
    for path in paths:
        status = path.stat()
        stamps[path] = [status.st_size, status.st_mtime_ns]
    changes = [path for path in paths if entries.get(str(path), [None])[:-1] != stamps[path]]
    if changes:
        with ThreadPoolExecutor() as pool:
            digests = pool.map(_digest, changes)
            entries |= {str(path): [*stamps[path], digest] for path, digest in zip(changes, digests, strict=True)}
        write_text(index, json.dumps(entries))
    return {path: entries[str(path)][-1] for path in paths}


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
