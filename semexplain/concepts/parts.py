"""Object parts and the filters that stand for them: contributions of parts, files of names (Sec. 3.3)."""

import reprlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
import yaml
from torch import Tensor

from semexplain.system.files import write_edited
from semexplain.system.reading import read_yaml
from semexplain.system.trouble import Trouble

OTHER = -1  # this filter stands for no part
NONE = "none"  # ... and this is what a file says then
BACKGROUND = "background"  # ... and this is the column of what belongs to no part
SOURCES = ("erased", "peak", "iou", "manual")
UNSAID = -2  # a person's file leaves this filter to the proposal
DIGITS = 6  # of scores and shares in a file
ROUNDING = 10.0**-DIGITS
MOST = 1e300  # what is larger, or not a number, is no score


class Parts(NamedTuple):
    """Which filter of one performer stands for which object part."""

    names: tuple[str, ...]
    """Names of the ``P`` parts."""
    assignment: tuple[int, ...]
    """Position in ``names`` of each of the ``n`` filters, or ``OTHER``; ``UNSAID`` only in a person's file."""
    source: str
    """``erased``, ``peak``, ``iou`` or ``manual``."""
    scores: np.ndarray | None
    """``(n, P)``: how well each filter fits each part, by the proposal."""
    performer: Mapping[str, str | int]
    """What the names belong to: category, SHA-256, layer and number of filters ``n``."""
    manual: tuple[int, ...] = ()
    """Filters whose proposed name a person has changed."""
    matrix: np.ndarray | None = None
    """``A`` ``(n, P)``: which share of each filter belongs to each part; None: all of it to the part of its name."""

    @property
    def names_with_background(self) -> tuple[str, ...]:
        """Names of the columns of contributions and effects: all parts, then ``background``."""
        return (*self.names, BACKGROUND)

    @property
    def shares(self) -> np.ndarray:
        """Share of each filter in each of ``names_with_background``, ``(n, P + 1)``; they add up to 1.

        Example:
            >>> Parts(("eye", "leg"), (1, OTHER), "peak", None, {"n": 2}).shares.tolist()
            [[0.0, 1.0, 0.0], [0.0, 0.0, 1.0]]
        """
        matrix = self._hard(self.assignment) if self.matrix is None else self.matrix
        rest = 1 - matrix.sum(1)
        return np.column_stack([matrix, np.where(rest > ROUNDING * len(self.names), rest, 0)])

    def contributions(self, contributions: Tensor, filters: Sequence[int] | None = None) -> Tensor:
        r"""What all filters contribute to each part, one column for each of ``names_with_background``.

        .. math:: \mathrm{Contri}_p = \sum_i A_{ip}\, \alpha_i y_i

        Args:
            contributions: ``(B, n)``, or one column for each of ``filters``.
            filters: The filters that contribute; all by default.

        Example:
            >>> matrix = np.array([[1.0, 0.0], [0.25, 0.5]])
            >>> parts = Parts(("eye", "leg"), (0, 1), "erased", None, {"n": 2}, matrix=matrix)
            >>> parts.contributions(torch.tensor([[3.0, 8.0]]))
            tensor([[5., 4., 2.]])
        """
        shares = self.shares if filters is None else self.shares[list(filters)]
        return contributions @ torch.from_numpy(shares).to(contributions)

    def renamed(self, names: Mapping[int, int]) -> "Parts":
        """The same where some filters stand for another part, each as a whole.

        Args:
            names: Position in ``names``, or ``OTHER``, by filter.
        """
        assignment = tuple(names.get(i, part) for i, part in enumerate(self.assignment))
        if self.matrix is None:
            return self._replace(assignment=assignment)
        matrix, rows = self.matrix.copy(), list(names)
        matrix[rows] = self._hard([names[i] for i in rows])
        return self._replace(assignment=assignment, matrix=matrix)

    def _hard(self, assignment: Sequence[int]) -> np.ndarray:
        return (np.array(assignment)[:, None] == np.arange(len(self.names))).astype(np.float64)


# -- files -------------------------------------------------------------------------------------------------------------


def merge(automatic: Parts, manual: Parts) -> Parts:
    """A proposal with a person's names in place of its own, filter by filter.

    A filter that a person has named otherwise than the proposal belongs to that part as a whole; the shares of the
    others stay.

    Args:
        automatic: Names for all filters.
        manual: Names for some filters or all.

    Raises:
        ValueError: If the two belong to different performers, or a person names a part that the proposal does not know.

    Example:
        >>> performer = {"n": 3}
        >>> automatic = Parts(("eye", "leg"), (0, 1, -1), "peak", None, performer)
        >>> merge(automatic, Parts(("leg",), (UNSAID, -1, 0), "manual", None, performer))[1:3]
        ((0, -1, 1), 'peak')
    """
    if dict(automatic.performer) != dict(manual.performer):
        raise ValueError(f"The names belong to different performers: {automatic.performer} and {manual.performer}.")
    filters = tuple(i for i, part in enumerate(manual.assignment) if part != UNSAID)
    changes = {}
    for i in filters:
        name = None if manual.assignment[i] < 0 else manual.names[manual.assignment[i]]
        if name is not None and name not in automatic.names:
            raise ValueError(f"Filter {i} is named {name!r}, but the parts are {', '.join(automatic.names)}, or none.")
        part = OTHER if name is None else automatic.names.index(name)
        if part != automatic.assignment[i]:
            changes[i] = part
    return automatic.renamed(changes)._replace(manual=tuple(sorted({*automatic.manual, *changes})))


def write_parts(path: Path, parts: Parts) -> None:
    """Write names to a YAML file that a person can edit: under ``assignment`` a line ``<filter>: <part or none>`` each.

    What is there and differs is kept aside.

    Raises:
        ValueError: If assignment, scores or matrix do not have one entry for each filter.
    """
    n, tables = int(parts.performer["n"]), {"scores": parts.scores, "matrix": parts.matrix}
    shapes = {name: table.shape for name, table in tables.items() if table is not None}
    if len(parts.assignment) != n or any(shape != (n, len(parts.names)) for shape in shapes.values()):
        found = "".join(f", {name} {shape}" for name, shape in shapes.items())
        raise ValueError(
            f"Expected a part for each of {n} filters, and no scores and matrix or ({n}, {len(parts.names)}), got "
            f"{len(parts.assignment)} parts{found}."
        )
    parts_by_filter = {i: part for i, part in enumerate(parts.assignment) if part != UNSAID}
    assignment = {i: NONE if part < 0 else parts.names[part] for i, part in parts_by_filter.items()}
    head = {
        "performer": dict(parts.performer),
        "source": parts.source,
        "manual": list(parts.manual),
        "parts": list(parts.names),
    }
    text = yaml.safe_dump(head, sort_keys=False, default_flow_style=None, width=120)
    text += yaml.safe_dump({"assignment": assignment}, sort_keys=False)
    for name, table in tables.items():
        if table is not None:
            rows = [[float(f"{value:.{DIGITS}g}") for value in row] for row in table]
            text += yaml.safe_dump({name: rows}, default_flow_style=None, width=120)
    write_edited(path, text)


def read_parts(path: Path, *, performer: Mapping[str, str | int]) -> Parts:
    """Read names that were written by :func:`write_parts` or by a person, who may leave filters out.

    A person's file needs ``performer`` and ``parts``, best copied from the proposal, and ``assignment``.

    Args:
        path: The file.
        performer: Whose filters are to be named.

    Raises:
        FileNotFoundError: If there is no such file.
        Trouble: If it belongs to another performer, layer or number of filters, names what does not exist, or has
            another shape.
    """
    content = _content(path)
    for key, expected in performer.items():
        if content["performer"].get(key) != expected:
            raise Trouble(
                f"{path} names the filters of another performer: its {key} is {_short(content['performer'].get(key))}, "
                f"not {expected!r}. Names hold for one performer only; name the filters of this one."
            )
    names, n = tuple(content["parts"]), int(performer["n"])
    assignment = [UNSAID] * n
    for i, name in content["assignment"].items():
        _require_filter(path, "assignment", i, n)
        if name is not None and (not isinstance(name, str) or name not in (*names, NONE)):
            raise Trouble(
                f"{path} gives filter {i} the part {_short(name)}; the parts are {', '.join(names)}, or {NONE}."
            )
        assignment[i] = names.index(name) if name in names else OTHER
    manual = content.get("manual") or ()
    if not isinstance(manual, list | tuple):
        raise Trouble(f"{path}: `manual` must be a list of filters, got {_short(manual)}. Leave the line out.")
    for i in manual:
        _require_filter(path, "manual", i, n)
    source = content.get("source", "manual")
    if source not in SOURCES:
        raise Trouble(
            f"{path}: `source` must be one of {', '.join(SOURCES)}, got {_short(source)}. Leave the line out."
        )
    scores, matrix = (_table(path, content, name, n) for name in ("scores", "matrix"))
    if matrix is not None and (bool((matrix < 0).any()) or bool((matrix.sum(1) > 1 + ROUNDING * len(names)).any())):
        raise Trouble(
            f"{path}: the `matrix` must hold shares from 0 to 1 that add up to at most 1 for each filter. Delete "
            "`matrix`; then each filter belongs to the part of its name."
        )
    return Parts(names, tuple(assignment), source, scores, dict(performer), tuple(manual), matrix)


def _content(path: Path) -> dict[str, Any]:
    """What a file of names says, with the entries that it must have."""
    if not path.is_file():
        raise FileNotFoundError(f"Expected a file with names of filters at {path}, but there is none.")
    content = read_yaml(path)
    content = content if isinstance(content, dict) else {}
    for key, kind in {"performer": dict, "parts": list, "assignment": dict}.items():
        if not isinstance(content.get(key), kind):
            raise Trouble(
                f"{path} must have `performer` and `parts`, copied from the names that were proposed, and `assignment` "
                f"with lines `<filter>: <part or none>`; {key} is {_short(content.get(key))}."
            )
    names = content["parts"]
    proper = [name for name in names if isinstance(name, str) and name and name not in (NONE, BACKGROUND)]
    if len(proper) != len(names) or len(set(proper)) != len(names) or not names:
        raise Trouble(
            f"{path}: `parts` must be names, each once and none of them {NONE!r} or {BACKGROUND!r}, got "
            f"{_short(names)}."
        )
    return content


def _require_filter(path: Path, where: str, i: object, n: int) -> None:
    if not isinstance(i, int) or isinstance(i, bool) or not 0 <= i < n:
        raise Trouble(f"{path} names the filter {_short(i)} under `{where}`, but the filters are 0 to {n - 1}.")


def _table(path: Path, content: Mapping[str, Any], name: str, n: int) -> np.ndarray | None:
    """Numbers ``(n, P)`` that a file may have."""
    rows = content.get(name)
    if rows is None:
        return None
    lists = isinstance(rows, list) and all(isinstance(row, list) and len(row) == len(rows[0]) for row in rows)
    if not lists or not all(isinstance(value, int | float) and abs(value) < MOST for row in rows for value in row):
        raise Trouble(f"{path}: `{name}` is no table of numbers: {_short(rows)}. Delete `{name}`.")
    table = np.array(rows, dtype=np.float64)
    shape = (n, len(content["parts"]))
    if table.shape != shape:
        raise Trouble(f"{path}: `{name}` has the shape {table.shape} instead of {shape}. Delete `{name}`.")
    return table


def _short(value: object) -> str:
    """A value for a message; what repeats itself a billion times (aliases) takes a line as well."""
    return reprlib.repr(value)[:80]
