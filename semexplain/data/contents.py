"""Digests of files' contents, remembered while the files do not change."""

import hashlib
import json
import logging
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from torch import Tensor

from semexplain.data.framing import Picture, WithNumbers
from semexplain.system.files import write_text
from semexplain.system.image_files import ORIENTATION
from semexplain.system.once import ReadOnlyError, held

log = logging.getLogger(__name__)
Entries = dict[str, list[Any]]


def content_digests(paths: Sequence[Path], index: Path) -> dict[Path, str]:
    """SHA-256 of every file's content.

    A file whose size and time of change are those of an earlier call is not read again.

    Args:
        paths: The files.
        index: JSON file that remembers; it is made or completed, if it can be.

    Raises:
        FileNotFoundError: If there is no such file.

    Example:
        >>> import tempfile
        >>> folder = Path(tempfile.mkdtemp())
        >>> _ = (folder / "a").write_text("a")
        >>> content_digests([folder / "a"], folder / "index.json")[folder / "a"][:8]
        'ca978112'
    """
    stamps = {path: _stamp(path) for path in paths}
    known = _remembered(index)
    if any(known.get(str(path), [])[:-1] != stamp for path, stamp in stamps.items()):
        try:
            with held(index.with_suffix(".lock"), f"Another job is reading the images for {index}; waiting for it."):
                known = _completed(_remembered(index), stamps)
                write_text(index, json.dumps(known))
        except ReadOnlyError as error:
            log.info("What the images hold cannot be remembered, so it is read in every run: %s", error)
            known = _completed(known, stamps)
    return {path: known[str(path)][-1] for path in paths}


def picture_digest(picture: Picture) -> str:
    """SHA-256 of the content of a picture: its bytes, or the kind, shape and numbers of one in memory.

    Example:
        >>> picture_digest(np.zeros((2, 2))) == picture_digest(np.zeros((2, 2), np.uint8))
        False
    """
    if isinstance(picture, WithNumbers):
        words = f"{picture_digest(picture.picture)} {list(map(float, picture.numbers))}"
        return hashlib.sha256(words.encode()).hexdigest()
    if isinstance(picture, Path | str):
        return _digest(Path(picture))
    if isinstance(picture, Image.Image):
        orientation = picture.getexif().get(ORIENTATION)  # which decides how it is read
        kind, data = f"{picture.mode} {picture.size} {orientation} {picture.getpalette()}", picture.tobytes()
    elif isinstance(picture, np.ndarray | Tensor):
        array = picture.cpu().numpy() if isinstance(picture, Tensor) else picture
        kind, data = f"{type(picture).__name__} {array.dtype} {array.shape}", np.ascontiguousarray(array).tobytes()
    else:
        kind, data = "", picture.read()
    return hashlib.sha256(kind.encode() + data).hexdigest()


def _remembered(index: Path) -> Entries:
    """What earlier calls have found; nothing where the file is not what was written, for it can be found again."""
    try:
        entries = json.loads(index.read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return {}
    if not isinstance(entries, dict) or not all(_is_entry(value) for value in entries.values()):
        return {}
    return entries


def _is_entry(value: Any) -> bool:
    return isinstance(value, list) and [type(item) for item in value] == [int, int, str]


def _completed(entries: Entries, stamps: Mapping[Path, list[int]]) -> Entries:
    """The entries, with those of files that have changed."""
    changes = [path for path, stamp in stamps.items() if entries.get(str(path), [])[:-1] != stamp]
    with ThreadPoolExecutor() as pool:
        digests = pool.map(_digest, changes)
        return entries | {str(path): [*stamps[path], digest] for path, digest in zip(changes, digests, strict=True)}


def _stamp(path: Path) -> list[int]:
    status = path.stat()
    return [status.st_size, status.st_mtime_ns]


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
