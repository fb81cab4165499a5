"""What readers of data sets share: text files, and complaints about missing or repeated images."""

import csv
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path


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
        ValueError: If the file is empty.
    """
    if path.stat().st_size == 0:
        raise ValueError(f"{path} is empty. {remedy}")
    with path.open(encoding="utf-8-sig", errors="replace", newline="") as file:
        lines = csv.reader(file, skipinitialspace=True) if path.suffix == ".csv" else map(str.split, file)
        for number, fields in enumerate(lines, start=1):
            if fields:
                yield number, fields


def require_unique(path: Path, images: Sequence[str]) -> None:
    """Complain about images that a file lists more than once.

    Raises:
        ValueError: With the first of them.

    Example:
        >>> require_unique(Path("train.txt"), ["1.jpg", "2.jpg", "1.jpg"])
        Traceback (most recent call last):
        ValueError: train.txt lists 1 images more than once: 1.jpg. Keep one line of each.
    """
    duplicates = [image for image, times in Counter(images).items() if times > 1]
    if duplicates:
        raise ValueError(
            f"{path} lists {len(duplicates)} images more than once: {first_few(duplicates)}. Keep one line of each."
        )


def require_present(images: Sequence[str], folder: Path, *, source: str, remedy: str) -> None:
    """Complain about files that should be in a folder.

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
        present = {entry.name for entry in entries}
    missing = [image for image in images if image not in present]
    if missing:
        raise FileNotFoundError(
            f"{len(missing)} of the {len(images)} images in {source} are not in {folder}: {first_few(missing)}. "
            f"{remedy}"
        )
