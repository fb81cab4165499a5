"""Folders of drawn images: written once, whole, and recognised when they are there already."""

import io
import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from semexplain.system.files import write_json
from semexplain.system.once import once

RECORD = "ground_truth.json"
Colour = tuple[int, int, int]


def write_once(root: Path, truth: Mapping[str, Any], what: str, write: Callable[[Path], None]) -> None:
    """Let a function write a folder that appears complete or not at all; do nothing if it is there.

    Only one of several processes writes. The folder's ``ground_truth.json`` tells whether it is the one asked for.

    Args:
        root: Folder to make.
        truth: What decides the content, with ``settings``; ``write`` gets it written beside the images.
        what: What is drawn, in the plural.
        write: Writes the content into a new folder, given its path.

    Raises:
        ValueError: If ``root`` holds something else.
    """

    def draw(partial: Path) -> None:
        if partial.exists():  # of a drawing that was killed, perhaps with other settings
            shutil.rmtree(partial)
        partial.mkdir()
        try:
            write(partial)
            write_json(partial / RECORD, truth)
        except BaseException as error:
            shutil.rmtree(partial, ignore_errors=True)
            if isinstance(error, OSError) and error.errno is not None:
                error.filename = str(root)  # an image that cannot be written does not say which it is
            raise

    remedy = "Set `data.root` to a folder that can be written, or to one that holds them."
    once(root, draw, f"the {what} in {root}", lambda place: _holds(place, truth, what), remedy)


def require_at_least(least: int, **numbers: int) -> None:
    """Refuse numbers below a bound, by their name.

    Raises:
        ValueError: For the first that is too small.

    Example:
        >>> require_at_least(1, train=0)
        Traceback (most recent call last):
        ...
        ValueError: train must be at least 1, got 0.
    """
    for name, number in numbers.items():
        if number < least:
            raise ValueError(f"{name} must be at least {least}, got {number}.")


def jpeg(pixels: NDArray[np.uint8]) -> bytes:
    """The file of a picture ``(H, W, 3)``."""
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=90, subsampling="4:4:4")
    return file.getvalue()


def mix(colour: Colour, other: Colour, percent: int) -> Colour:
    """``percent`` parts of the other colour in a hundred.

    Example:
        >>> mix((0, 0, 0), (100, 200, 50), 50)
        (50, 100, 25)
    """
    red, green, blue = (((100 - percent) * a + percent * b) // 100 for a, b in zip(colour, other, strict=True))
    return red, green, blue


def _holds(root: Path, truth: Mapping[str, Any], what: str) -> bool:
    """Whether the images are there already; raises if anything else is."""
    if not root.exists() or (root.is_dir() and not any(root.iterdir())):
        return False
    remedy = "Choose another root, or delete this one."
    if not (root / RECORD).is_file():
        raise ValueError(f"{root} is to hold drawn {what} but holds something else (no {RECORD}). {remedy}")
    record = json.loads((root / RECORD).read_text())
    if record == truth:
        return True
    if record.get("settings") != truth["settings"]:
        settings = truth["settings"]
        raise ValueError(f"{root} holds {what} of {record.get('settings')}, but {settings} was asked for. {remedy}")
    raise ValueError(f"{root} holds {what} from another version of the drawing ({RECORD}). {remedy}")
