"""What a run wrote about itself, with the shape that its readers rely on: anything else is a damaged file."""

import math
from collections.abc import Callable, Iterable
from functools import cache
from pathlib import Path
from typing import Any, Literal, cast

import pyarrow as pa
import pyarrow.parquet as pq
from omegaconf import DictConfig, OmegaConf
from pydantic import BaseModel, Field, TypeAdapter, ValidationError

from semexplain.explanation import Explanation
from semexplain.metrics.verdict import FAITHFUL, FAITHFUL_AS
from semexplain.system.reading import read_json
from semexplain.system.references import is_reference
from semexplain.system.trouble import DamagedFileError

Group = dict[str, Any]


class _Target(BaseModel):
    target: str = Field(alias="_target_")


class _Performer(BaseModel):
    target: str | int | list[int | str | list[int | str]]


class _Concepts(BaseModel):
    target: str = Field("", alias="_target_")
    count: int | None = None
    include: list[str] | None = None
    seed: int | None = None


class _Configuration(BaseModel):
    """What a comparison reads of a run's configuration; all else is checked when something is built of it."""

    performer: _Performer
    beta: float
    seed: int
    concepts: _Concepts
    task: Literal["explainer", "performer"] = "explainer"
    metrics: dict[str, _Target] | None = None
    report_figures: dict[str, _Target] | None = None
    control: _Target | None = None
    data: Group = {}
    trainer: Group = {}
    module: Group = {}
    paths: dict[str, str]  # the end of the file: what is cut off is missed


class _Facts(BaseModel):
    path: str | None = None
    sha256: str
    data_sha256: str
    test_objects: int = 0


class JudgedStatement(BaseModel):
    """A statement of a verdict as it was written: its numbers with the ends of their intervals."""

    name: str
    holds: bool | None
    reason: str
    numbers: dict[str, list[float | None]]


class Judgement(BaseModel):
    """A verdict as it was written."""

    word: Literal["FAITHFUL", "NOT FAITHFUL", "NOT SHOWN"]
    reason: str
    means: str
    said: str
    images: int
    seeds: int
    statements: list[JudgedStatement]


def require_configuration(config: DictConfig, path: Path) -> None:
    """Refuse what is no configuration of a run.

    Args:
        config: The content of ``config.yaml``.
        path: The file.

    Raises:
        DamagedFileError: Naming what is missing or of another type.
    """
    _require(path, "a run's configuration", _Configuration, OmegaConf.to_container(config), but=is_reference)


def numbers(path: Path, needed: Iterable[str] = ()) -> dict[str, float | None]:
    """Numbers by their names, as in ``metrics.json``; null is what was no number.

    Args:
        path: The file.
        needed: Names that must be there.

    Raises:
        DamagedFileError: If the file holds anything else.
    """
    content = read_json(path)
    _require(path, "numbers by their names", dict[str, float | None], content)
    values = cast(dict[str, float | None], content)
    wrong = [name for name, value in values.items() if value is not None and not math.isfinite(value)]
    if wrong:
        raise _damaged(path, "numbers by their names", f"{wrong[0]} is {values[wrong[0]]}, which is written as null")
    if values.get(FAITHFUL) not in (None, *FAITHFUL_AS.values()):
        raise _damaged(path, "numbers by their names", f"{FAITHFUL} is {values[FAITHFUL]}, none of 0, 0.5 and 1")
    if absent := [name for name in needed if name not in values]:
        raise _damaged(path, "numbers by their names", f"{absent[0]} is missing")
    return values


def facts(path: Path) -> dict[str, Any]:
    """What ``performer.json`` says of a run's performer and data.

    Raises:
        DamagedFileError: If the file holds anything else.
    """
    content = read_json(path)
    _require(path, "facts about performer and data", _Facts, content)
    return content


def judgement(path: Path) -> Judgement:
    """The verdict in ``verdict.json``.

    Raises:
        DamagedFileError: If the file holds anything else.
    """
    content = read_json(path)
    _require(path, "a verdict", Judgement, content)
    return Judgement.model_validate(content)


def explanations(path: Path) -> Explanation:
    """The explanations in ``explanations.parquet``.

    Raises:
        DamagedFileError: If the file holds anything else.
    """
    try:
        return Explanation.load(path)
    except _NO_TABLE as error:
        raise _unless_refused(path, "a table of explanations", error) from error


def size_of_explanations(path: Path) -> tuple[int, int]:
    """How many images and concepts ``explanations.parquet`` has, from the head of the file.

    Raises:
        DamagedFileError: If it has none.
    """
    try:
        schema, rows = pq.read_schema(path), pq.read_metadata(path).num_rows
    except _NO_TABLE as error:
        raise _unless_refused(path, "a table of explanations", error) from error
    return rows, sum(name.startswith("alpha/") for name in schema.names)


_NO_TABLE = (pa.ArrowException, ValueError, KeyError, IndexError, TypeError, AttributeError, RuntimeError, OSError)


def _unless_refused(path: Path, kind: str, error: Exception) -> Exception:
    """Damage, unless the file may be whole but the system does not let it be read."""
    known = isinstance(error, DamagedFileError) or (isinstance(error, OSError) and error.errno is not None)
    return error if known else _damaged(path, kind, error)


def _require(path: Path, kind: str, shape: Any, content: Any, but: Callable[[Any], bool] = lambda value: False) -> None:
    """Refuse content of another shape, but for some values; a reference to the environment has its type there."""
    try:
        _adapter(shape).validate_python(content, strict=True)
    except ValidationError as error:
        problems = [problem for problem in error.errors() if not but(problem["input"])]
        if not problems:
            return
        first = problems[0]
        place = ".".join(str(part) for part in first["loc"])
        raise _damaged(path, kind, f"{place}: {first['msg']}" if place else first["msg"]) from error


def _damaged(path: Path, kind: str, reason: Exception | str) -> DamagedFileError:
    line = " ".join(str(reason).replace(f"{path}", "it").split())[:160] or type(reason).__name__
    return DamagedFileError(f"{path} is damaged: expected {kind} ({line.rstrip('.')}). Restore it, or delete the run.")


@cache
def _adapter(shape: Any) -> TypeAdapter[Any]:
    return TypeAdapter(shape)
