"""Object parts and the filters that stand for them: proposals from masks, files of names, contributions (Sec. 3.3)."""

import reprlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
import yaml
from torch import Tensor

from semexplain.system.files import write_text
from semexplain.system.reading import read_yaml
from semexplain.system.trouble import Trouble

OTHER = -1  # this filter stands for no part
NONE = "none"  # ... and this is what a file says then
SOURCES = ("peak", "iou", "manual")
UNSAID = -2  # a person's file leaves this filter to the proposal


class Parts(NamedTuple):
    """Which filter of one performer stands for which object part."""

    names: tuple[str, ...]
    """Names of the ``P`` parts."""
    assignment: tuple[int, ...]
    """Position in ``names`` of each of the ``n`` filters, or ``OTHER``; ``UNSAID`` only in a person's file."""
    source: str
    """``peak``, ``iou`` or ``manual``."""
    scores: np.ndarray | None
    """``(n, P)``: how well each filter fits each part, by the proposal."""
    performer: Mapping[str, str | int]
    """What the names belong to: category, SHA-256, layer and number of filters ``n``."""
    manual: tuple[int, ...] = ()
    """Filters whose proposed name a person has changed."""

    @property
    def names_with_other(self) -> tuple[str, ...]:
        """Names of the columns of contributions and effects: the parts that have a filter, then ``other`` if needed.

        A part without filters has nothing to measure: contribution and effect would agree at 0.
        """
        return tuple("other" if part < 0 else self.names[part] for part in self._columns)

    def contributions(self, contributions: Tensor, filters: Sequence[int] | None = None) -> Tensor:
        """What all filters of each part contribute together, one column for each of ``names_with_other``.

        Args:
            contributions: ``(B, n)``, or one column for each of ``filters``.
            filters: The filters that contribute; all by default.
        """
        groups = self._groups if filters is None else [self._groups[i] for i in filters]
        return part_contributions(contributions, groups, len(self._columns))

    def ablation_effects(
        self, head: Callable[[Tensor], tuple[Tensor, Tensor]], feature: Tensor, score: Tensor
    ) -> Tensor:
        """Drop of the score without each part's filters, one column for each of ``names_with_other``."""
        return ablation_effects(head, feature, score, self._groups, len(self._columns))

    @property
    def _columns(self) -> list[int]:
        return sorted({max(part, OTHER) for part in self.assignment}, key=lambda part: (part < 0, part))

    @property
    def _groups(self) -> list[int]:
        columns = self._columns
        return [columns.index(max(part, OTHER)) for part in self.assignment]


# -- contributions and effects of parts --------------------------------------------------------------------------------


def part_contributions(contributions: Tensor, assignment: Sequence[int], n_parts: int) -> Tensor:
    r"""Add up the contributions of the filters of each part.

    .. math:: \mathrm{Contri}_p = \sum_{i \in \Omega_p} \alpha_i y_i

    Args:
        contributions: ``(B, n)``.
        assignment: Part of each of the ``n`` filters, negative for none.
        n_parts: ``P``.

    Returns:
        ``(B, P)``.

    Example:
        >>> part_contributions(torch.tensor([[1.0, 2.0, 4.0, 8.0]]), [0, 1, 0, -1], 2)
        tensor([[5., 2.]])
    """
    return contributions @ _members(assignment, n_parts, contributions.device).T.to(contributions.dtype)


@torch.no_grad()
def ablation_effects(
    head: Callable[[Tensor], tuple[Tensor, Tensor]],
    feature: Tensor,
    score: Tensor,
    assignment: Sequence[int],
    n_parts: int,
    *,
    chunk_bytes: int = 256 * 2**20,
) -> Tensor:
    r"""How much the score drops when all filters of a part are set to 0.

    .. math:: \Delta_p = \hat y(x) - \hat y(x \text{ with } x_i = 0 \text{ for } i \in \Omega_p)

    The head computes everything above ``x`` anew, its ReLU and pool included. Parts are taken as many at a time as fit
    into ``chunk_bytes``, at least one; half precision is switched off, since it would drown the differences.

    Args:
        head: From ``x`` to score ``(B,)`` and concepts, in evaluation mode.
        feature: ``(B, n, H, W)``.
        score: ``(B,)``. The head's score of ``feature``.
        assignment: Part of each of the ``n`` filters, negative for none.
        n_parts: ``P``.
        chunk_bytes: Memory for copies of ``feature``.

    Returns:
        Signed effects ``(B, P)``.

    Example:
        >>> x = torch.tensor([1.0, 2.0, 4.0])[None, :, None, None]
        >>> head = lambda x: (x.sum((1, 2, 3)), x.sum((2, 3)))
        >>> ablation_effects(head, x, torch.tensor([7.0]), [0, 1, 0], 2)
        tensor([[5., 2.]])
    """
    step = max(1, chunk_bytes // max(1, feature.numel() * feature.element_size()))
    without = []
    with torch.autocast(feature.device.type, enabled=False):
        for members in _members(assignment, n_parts, feature.device).split(step):
            features = feature.masked_fill(members[:, None, :, None, None], 0)  # (parts, B, n, H, W)
            without.append(head(features.flatten(0, 1))[0].unflatten(0, features.shape[:2]))
    return (score - torch.cat(without)).T


def _members(assignment: Sequence[int], n_parts: int, device: torch.device) -> Tensor:
    """Bool ``(P, n)``: whether a filter belongs to a part."""
    return torch.tensor(assignment, device=device) == torch.arange(n_parts, device=device)[:, None]


# -- proposals from part masks -----------------------------------------------------------------------------------------


# -- files -------------------------------------------------------------------------------------------------------------


def merge(automatic: Parts, manual: Parts) -> Parts:
    """A proposal with a person's names in place of its own, filter by filter.

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
    assignment = list(automatic.assignment)
    for i in filters:
        name = None if manual.assignment[i] < 0 else manual.names[manual.assignment[i]]
        if name is not None and name not in automatic.names:
            raise ValueError(f"Filter {i} is named {name!r}, but the parts are {', '.join(automatic.names)}, or none.")
        assignment[i] = OTHER if name is None else automatic.names.index(name)
    changes = {i for i in filters if assignment[i] != automatic.assignment[i]}
    return automatic._replace(assignment=tuple(assignment), manual=tuple(sorted({*automatic.manual, *changes})))


def write_parts(path: Path, parts: Parts) -> None:
    """Write names to a YAML file that a person can edit: under ``assignment`` a line ``<filter>: <part or none>`` each.

    Raises:
        ValueError: If assignment or scores do not have one entry for each filter.
    """
    n, scores = int(parts.performer["n"]), parts.scores
    if len(parts.assignment) != n or (scores is not None and scores.shape != (n, len(parts.names))):
        raise ValueError(
            f"Expected a part for each of {n} filters and no scores or ({n}, {len(parts.names)}), got "
            f"{len(parts.assignment)} parts and scores {None if scores is None else tuple(scores.shape)}."
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
    if scores is not None:
        rows = [[round(float(score), 3) for score in row] for row in scores]
        text += yaml.safe_dump({"scores": rows}, default_flow_style=None, width=120)
    write_text(path, text)


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
    return Parts(names, tuple(assignment), source, _scores(path, content, n), dict(performer), tuple(manual))


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
    proper = [name for name in names if isinstance(name, str) and name and name != NONE]
    if len(proper) != len(names) or len(set(proper)) != len(names) or not names:
        raise Trouble(f"{path}: `parts` must be names, each once and none of them {NONE!r}, got {_short(names)}.")
    return content


def _require_filter(path: Path, where: str, i: object, n: int) -> None:
    if not isinstance(i, int) or isinstance(i, bool) or not 0 <= i < n:
        raise Trouble(f"{path} names the filter {_short(i)} under `{where}`, but the filters are 0 to {n - 1}.")


def _scores(path: Path, content: Mapping[str, Any], n: int) -> np.ndarray | None:
    rows = content.get("scores")
    if rows is None:
        return None
    lists = isinstance(rows, list) and all(isinstance(row, list) and len(row) == len(rows[0]) for row in rows)
    if not lists or not all(isinstance(value, int | float) for row in rows for value in row):
        raise Trouble(f"{path} has scores that are no table of numbers: {_short(rows)}; delete `scores`.")
    scores = np.array(rows, dtype=np.float64)
    shape = (n, len(content["parts"]))
    if scores.shape != shape:
        raise Trouble(f"{path} has scores of shape {scores.shape} instead of {shape}; delete `scores`.")
    return scores


def _short(value: object) -> str:
    """A value for a message; what repeats itself a billion times (aliases) takes a line as well."""
    return reprlib.repr(value)[:80]
