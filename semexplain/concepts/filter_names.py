"""What filters are called: names that were found elsewhere, for example by CLIP-Dissect, or given by hand."""

import csv
from collections import Counter
from collections.abc import Mapping, Sequence
from io import StringIO
from pathlib import Path
from typing import NamedTuple

from semexplain.system.config import suggest
from semexplain.system.files import write_edited
from semexplain.system.reading import read_text
from semexplain.system.trouble import Trouble

COLUMNS = ("layer", "unit", "description")
SIMILARITY = "similarity"


class Named(NamedTuple):
    """What a filter is called."""

    name: str
    similarity: float | None
    """How well the name fits, from 0 to 1, if that is known."""


def numbered(count: int) -> tuple[str, ...]:
    """Names of filters that nobody has named.

    Example:
        >>> numbered(2)
        ('filter_000', 'filter_001')
    """
    return tuple(f"filter_{unit:03d}" for unit in range(count))


def names_in(file: Path, layers: Sequence[str], count: int) -> tuple[str, ...]:
    r"""Names of a layer's filters from a table ``layer,unit,description,similarity``, as CLIP-Dissect writes it.

    Of several rows about a unit, the most similar is taken; ``similarity`` may be absent. What several units are called
    gets the number of each, a unit without a row keeps its number as its name.

    Args:
        file: CSV with a header, in UTF-8.
        layers: Where concepts are read; nothing if the network does not say, whose table must be about one layer then.
        count: How many filters there are.

    Raises:
        Trouble: If there is no such table, it is not about this layer, or about units that are not there.

    Example:
        >>> import tempfile
        >>> table = Path(tempfile.mkdtemp(), "units.csv")
        >>> rows = ["layer,unit,description,similarity", "layer4,0,fur,0.3", "layer4,2,sky,0.2", "layer4,3,fur,0.1"]
        >>> _ = table.write_text("\n".join(rows))
        >>> names_in(table, ["layer4"], 4)
        ('fur 0', 'filter_001', 'sky', 'fur 3')
    """
    best: dict[int, tuple[float, str]] = {}
    for line, row in _rows(file, layers):
        unit, name = _whole(row["unit"]), row["description"].strip()
        similarity = _number(row.get(SIMILARITY) or "0")
        if unit is None or similarity is None:
            raise Trouble(f"names: {file}, line {line}: expected a unit's number and a similarity, got {row}.")
        if unit >= count:
            raise Trouble(
                f"names: {file}, line {line}: unit {unit}, but the layer has {count}, from 0 on. Is the table about "
                "another network?"
            )
        if name and (unit not in best or similarity > best[unit][0]):
            best[unit] = similarity, name
    counts = Counter(name for _, name in best.values())
    names = list(numbered(count))
    for unit, (_, name) in best.items():
        names[unit] = name if counts[name] == 1 else f"{name} {unit}"
    return require_names(names, count)


def write_names(file: Path, layer: str, names: Mapping[int, Named], units: Sequence[int]) -> None:
    r"""Write a table that :func:`names_in` reads, and a person can fill in.

    Args:
        file: What is there and differs is kept aside.
        layer: Where concepts are read; several are joined by " and ".
        names: What filters are called.
        units: Those that come first, in this order, whether they have a name or not.

    Example:
        >>> import tempfile
        >>> table = Path(tempfile.mkdtemp(), "units.csv")
        >>> write_names(table, "layer4", {0: Named("fur", 0.25)}, [2])
        >>> table.read_text().splitlines()
        ['layer,unit,description,similarity', 'layer4,2,,', 'layer4,0,fur,0.25']
    """
    text = StringIO()
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow([*COLUMNS, SIMILARITY])
    for unit in dict.fromkeys([*units, *names]):
        name, similarity = names.get(unit, Named("", None))
        rows.writerow([layer, unit, name, "" if similarity is None else f"{similarity:.4g}"])
    write_edited(file, text.getvalue())


def require_names(names: Sequence[str], count: int) -> tuple[str, ...]:
    """Names of filters, each of which is there once.

    Raises:
        Trouble: If one is there twice, or they are not one for each.
    """
    if len(names) != count:
        raise Trouble(f"names: expected one for each of {count} filters, got {len(names)}.")
    name, times = Counter(names).most_common(1)[0]
    if times > 1:
        raise Trouble(f"names: two filters would be called {name!r}. Give each a name of its own.")
    return tuple(names)


def _rows(file: Path, layers: Sequence[str]) -> list[tuple[int, Mapping[str, str]]]:
    """The rows about the layer, with the number of the line where each ends."""
    if not file.is_file():
        raise Trouble(f"names: there is no file {file.absolute()}. Expected a table {','.join(COLUMNS)},similarity.")
    reader = csv.DictReader(
        StringIO(read_text(file).removeprefix("\ufeff"), newline=""), restval="", skipinitialspace=True
    )
    fields = list(reader.fieldnames or ())
    if absent := [column for column in COLUMNS if column not in fields]:
        raise Trouble(
            f"names: {file} has no column {absent[0]!r}{suggest(absent[0], fields)}. Expected {','.join(COLUMNS)},"
            f"similarity; got {','.join(fields)[:80] or 'nothing'}."
        )
    rows: list[tuple[int, Mapping[str, str]]] = [(reader.line_num, row) for row in reader]
    known = list(dict.fromkeys(row["layer"] for _, row in rows))
    if not layers and len(known) == 1:
        return rows
    wanted = " and ".join(layers)
    if not layers or wanted not in known:
        hint = suggest(wanted, known) if layers else "a layer that the network does not name"
        raise Trouble(f"names: concepts are read at {wanted}{hint}, {file} is about {', '.join(known) or 'none'}.")
    return [(line, row) for line, row in rows if row["layer"] == wanted]


def _whole(text: str) -> int | None:
    return int(text) if text.isascii() and text.isdecimal() else None


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None
