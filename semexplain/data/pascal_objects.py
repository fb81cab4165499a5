"""Objects of Pascal-Part without their masks: from a summary of the annotations, or from a file of boxes."""

import hashlib
import json
import logging
import math
from collections.abc import Mapping
from contextlib import suppress
from os import stat_result
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError
from tqdm import tqdm

from semexplain.data.pascal_annotations import Box, read_annotation
from semexplain.data.pascal_views import Instance
from semexplain.data.text_files import require_plain_name
from semexplain.system.files import write_text
from semexplain.system.once import ReadOnlyError, once
from semexplain.system.trouble import Trouble

Objects = dict[str, list[Instance]]  # of each photo
_INDEX_VERSION = 2  # goes up when the summary of the annotations changes its layout
_SUMMARY = TypeAdapter(Objects)

logger = logging.getLogger(__name__)


def annotated_objects(annotations: Mapping[str, Path], index: Path | None) -> Objects:
    """Objects of the photos that have part annotations.

    Args:
        annotations: The file of each photo.
        index: Folder for summaries of them; by default they are read each time.

    Raises:
        Trouble: If an annotation is not as expected.
    """
    if index is None:
        return _read(annotations)
    stats = {photo: path.stat() for photo, path in annotations.items()}
    path = index / f"{_digest(stats)}.json"

    def summarise(partial: Path) -> None:
        write_text(partial, json.dumps(_read(annotations)))

    remedy = "Set `data.index` to a folder that can be written, or null."
    once(path, summarise, f"the summary {path}", remedy=remedy)
    try:
        return _SUMMARY.validate_json(path.read_bytes())
    except ValidationError:
        logger.warning("The summary %s is damaged: the annotations are read again.", path)
    with suppress(OSError, ReadOnlyError):
        path.unlink()
        once(path, summarise, f"the summary {path}", remedy=remedy)
        return _SUMMARY.validate_json(path.read_bytes())
    return _read(annotations)


def boxed_objects(path: Path) -> Objects:
    """Objects of which only the boxes are known, from a JSON file of them; none if there is no such file.

    Raises:
        Trouble: If the file is not as expected, with the object at fault.
    """
    if not path.is_file():
        return {}
    try:
        items = json.loads(path.read_text(encoding="utf-8"))["objects"]
        if not isinstance(items, list):
            raise TypeError("`objects` is no list")
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise _not_boxes(path, f"reading it gave {error!r}") from error
    objects: Objects = {}
    for number, item in enumerate(items, start=1):
        try:
            image, name, box = str_of(item["image"]), str_of(item["cls"]), _box(item["bbox"])
            require_plain_name(path, image)
        except (ValueError, KeyError, TypeError) as error:
            raise _not_boxes(path, f"object {number} of it gave {error!r}") from error
        found = objects.setdefault(image, [])
        found.append(Instance(image, len(found) + 1, name, box))
    return objects


def str_of(value: Any) -> str:
    """A text that must be one."""
    if not isinstance(value, str) or not value:
        raise TypeError(f"expected a text, got {value!r:.60}")
    return value


def _box(value: Any) -> Box:
    """Left, top, right and bottom, counted from 0 and the last exclusive, of pixels counted from 1."""
    left, top, right, bottom = value
    if not all(isinstance(edge, int | float) and math.isfinite(edge) for edge in value):
        raise TypeError(f"expected four numbers, got {value!r:.60}")
    if left < 1 or top < 1 or right < left or bottom < top:
        raise ValueError(f"a box is [left, top, right, bottom] in pixels counted from 1, got {value!r:.60}")
    return math.floor(left) - 1, math.floor(top) - 1, math.ceil(right), math.ceil(bottom)


def _not_boxes(path: Path, problem: str) -> Trouble:
    return Trouble(
        f'{path} must hold {{"objects": [{{"image", "cls", "bbox": [left, top, right, bottom]}}]}}, but {problem}. '
        "Mend it, or set `data.object_boxes=null`."
    )


def _read(annotations: Mapping[str, Path]) -> Objects:
    return {
        photo: [
            Instance(photo, number, item.name, item.box, len(item.parts), item.size)
            for number, item in enumerate(read_annotation(path), start=1)
        ]
        for photo, path in tqdm(annotations.items(), desc="Reading part annotations", unit="photo", disable=None)
    }


def _digest(stats: Mapping[str, stat_result]) -> str:
    state = [_INDEX_VERSION, *((photo, stat.st_size, stat.st_mtime_ns) for photo, stat in sorted(stats.items()))]
    return hashlib.sha256(json.dumps(state).encode()).hexdigest()[:16]
