"""What readers of data sets share: text files, and complaints about missing or repeated images."""

import csv
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from semexplain.system.trouble import Trouble

MOST_CHARACTERS = 100_000  # of a line; 40 attributes take a hundred, and a csv field could have 131,072


def first_few(names: Sequence[str], most: int = 5) -> str:
    """The first names of a list that may be long.

    Example:
        >>> first_few(["1.jpg", "2.jpg", "3.jpg"], most=2)
        '1.jpg, 2.jpg, ...'
    """
    return ", ".join(names[:most]) + (", ..." if len(names) > most else "")


def fields_of_lines(path: Path, remedy: str) -> Iterator[tuple[int, list[str]]]:
    """Line number and fields of every line that is not blank, split at commas in a ``.csv`` and at blanks elsewhere.

    Args:
        path: The file.
        remedy: How to get a proper one.

    Raises:
        Trouble: If the file is empty, not UTF-8, or has what no table has: null bytes, an endless line or field.
    """
    if path.stat().st_size == 0:
        raise Trouble(f"{path} is empty. {remedy}")
    number = 0
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            lines = csv.reader(_proper(path, file), skipinitialspace=True, strict=True)
            for number, fields in enumerate(lines if path.suffix == ".csv" else map(str.split, _proper(path, file)), 1):
                if fields:
                    yield number, fields
    except UnicodeDecodeError as error:
        raise Trouble(f"{path} is no text in UTF-8 (byte {error.object[error.start]:#x}). {remedy}") from error
    except csv.Error as error:
        raise Trouble(f"{path}, line {number + 1}: {error}. {remedy}") from error


def _proper(path: Path, file: Iterable[str]) -> Iterator[str]:
    """The lines of a table, none of which is endless or has what no text has."""
    for number, line in enumerate(file, start=1):
        if len(line) > MOST_CHARACTERS or "\0" in line:
            fault = "has null bytes" if "\0" in line else f"has more than {MOST_CHARACTERS:,} characters"
            raise Trouble(f"{path}, line {number} {fault}: it is no table of text. Copy or download it again.")
        yield line


def require_plain_name(path: Path, name: str) -> str:
    """The name of an image, which must not lead out of its folder.

    Raises:
        Trouble: If it does.

    Example:
        >>> require_plain_name(Path("val.txt"), "../../secret")
        Traceback (most recent call last):
        semexplain.system.trouble.Trouble: val.txt names '../../secret': expected the name of an image, not a path.
    """
    if not name or name in (".", "..") or "/" in name or "\\" in name or "\0" in name:
        raise Trouble(f"{path} names {name!r:.60}: expected the name of an image, not a path.")
    return name


def require_unique(path: Path, images: Sequence[str]) -> None:
    """Complain about images that a file lists more than once.

    Raises:
        ValueError: With the first of them.

    Example:
        >>> require_unique(Path("train.txt"), ["1.jpg", "2.jpg", "1.jpg"])
        Traceback (most recent call last):
        semexplain.system.trouble.Trouble: train.txt lists 1 images more than once: 1.jpg. Keep one line of each.
    """
    duplicates = [image for image, times in Counter(images).items() if times > 1]
    if duplicates:
        raise Trouble(
            f"{path} lists {len(duplicates)} images more than once: {first_few(duplicates)}. Keep one line of each."
        )


def require_present(images: Sequence[str], folder: Path, *, source: str, remedy: str) -> None:
    """Complain about files that should be in a folder; a folder or a pipe of that name is none.

    Args:
        images: Names of the files.
        folder: Where they should be.
        source: What asks for them, as ``... of the 12 images in <source>``.
        remedy: What to do about it.

    Raises:
        FileNotFoundError: With the first of those missing.

    Example:
        >>> require_present(["1.jpg"], Path(__file__).parent, source="train.txt", remedy="Copy them there.")
        Traceback (most recent call last):
        FileNotFoundError: 1 of the 1 images in train.txt are not in ...data: 1.jpg. Copy them there.
    """
    with os.scandir(folder) as entries:
        present = {entry.name for entry in entries if entry.is_file()}
    missing = [image for image in images if image not in present]
    if missing:
        raise FileNotFoundError(
            f"{len(missing)} of the {len(images)} images in {source} are not in {folder}: {first_few(missing)}. "
            f"{remedy}"
        )
