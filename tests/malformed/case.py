"""One malformed, damaged or odd input, and what has to become of it."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from semexplain.system.trouble import Trouble


class Malformed(NamedTuple):
    """An input that somebody may give."""

    name: str
    make: Callable[[Path], Path]
    """Writes it into an empty folder and says where."""
    read: Callable[[Path], Any]
    """Reads it as the software does."""
    expected: Any
    """A pattern that the message of the refusal has, or what must be read: an array, or a plain value."""


def fault(case: Malformed, folder: Path) -> str | None:
    """What is wrong with how an input is read; None: nothing.

    A refusal is a ``Trouble`` or a ``FileNotFoundError`` with a sentence; anything else that is raised is a bug.
    """
    path = case.make(folder)
    try:
        found = case.read(path)
    except (Trouble, FileNotFoundError) as error:
        if isinstance(case.expected, str) and re.search(case.expected, str(error), re.DOTALL):
            return None
        return f"refused with {str(error)!r}, expected {case.expected!r}"
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    if isinstance(case.expected, str):
        return f"accepted as {found!r:.80}, expected the message {case.expected!r}"
    same = np.array_equal(found, case.expected) if isinstance(case.expected, np.ndarray) else found == case.expected
    return None if same else f"read as {found!r:.400}, expected {case.expected!r:.400}"
