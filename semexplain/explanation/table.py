"""Explanations as a table, a row per image: written with a digest of its numbers, and read only if they add up."""

import hashlib
import io
import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from PIL import Image
from torch import Tensor

from semexplain.system.image_files import ImageError, decoded
from semexplain.system.trouble import DamagedFileError

METADATA = b"semexplain"
CENTRED = {"values": "centred"}  # of every concept, where alpha multiplies something else than y
KINDS = {"uncentred": "y", "weights": "alpha", "contributions": "contribution"}
ROUNDING = 1e-4  # how far sums may be from what they are of, as a share of what is added up: that of single precision


def as_table(batch: Any, *, pictures: bool) -> pa.Table:
    """The columns of :meth:`Explanation.to_frame` of an ``Explanation``, and the pictures as PNG.

    Noted in it are the target, how many rows there are, and the digest of all columns.
    """
    columns: dict[str, Any] = {"id": pa.array(batch.ids, pa.string())}
    if batch.label is not None:
        columns["label"] = batch.label.bool().numpy()
    columns |= {
        "score": batch.score.numpy(),
        "prediction": batch.prediction.numpy(),
        "base_value": batch.base_value.expand_as(batch.score).numpy(),
        "residual": batch.residual.numpy(),
    }
    for field, kind in (KINDS if batch.strengths is None else KINDS | CENTRED).items():
        columns |= {f"{kind}/{name}": getattr(batch, field)[:, i].numpy() for i, name in enumerate(batch.concepts)}
    if batch.part_contributions is not None:
        columns |= {f"part/{name}": batch.part_contributions[:, i].numpy() for i, name in enumerate(batch.parts)}
    if pictures and batch.image is not None:
        columns["image"] = pa.array([_png(image) for image in batch.image], pa.binary())
    noted: dict[str, Any] = {"target": batch.target, "concept_parts": list(batch.concept_parts)}
    if pictures and batch.heat is not None:
        flat = pa.array(batch.heat.float().flatten().numpy())
        columns["heat"] = pa.FixedSizeListArray.from_arrays(flat, batch.heat[0].numel())
        noted["heat"] = list(batch.heat.shape[1:])
    table = pa.table(columns)
    noted |= {"rows": len(table), "digest": digest(table)}
    return table.replace_schema_metadata({METADATA: json.dumps(noted).encode()})


def require_whole(table: pa.Table, noted: dict[str, Any]) -> None:
    """Refuse a table that is not as it was written.

    One that nothing is noted of (an older file, a frame) has to add up; one whose digest fits is as it was.

    Raises:
        Trouble: With the first row and column at fault, if they can be told.
    """
    if "digest" in noted and noted["digest"] == digest(table):
        return
    if "rows" in noted and noted["rows"] != len(table):
        raise DamagedFileError(f"it has {len(table)} rows, but {noted['rows']} were written")
    require_sums(table)
    if "digest" in noted:
        raise DamagedFileError("its numbers were changed after they were written")


def require_sums(table: pa.Table) -> None:
    """Refuse a table whose numbers are not those of an explanation.

    Raises:
        Trouble: With the first row and column at fault.
    """
    ids = ids_of(table)
    repeated = [name for name, times in Counter(ids).items() if times > 1]
    if repeated:
        raise DamagedFileError(f"the image {repeated[0]!r} has {ids.count(repeated[0])} rows")
    numbers = {name: _numbers(table, name, ids) for name in table.column_names if name not in ("id", "image", "heat")}
    for name in ("score", "prediction", "base_value", "residual"):
        _column(table, name)
    concepts = [name.removeprefix("y/") for name in numbers if name.startswith("y/")]
    centred = any(name.startswith("centred/") for name in numbers)
    kinds = tuple((KINDS | CENTRED if centred else KINDS).values())
    for kind in kinds:
        present = {name.removeprefix(f"{kind}/") for name in numbers if name.startswith(f"{kind}/")}
        if lone := present ^ set(concepts):
            words = f"{', '.join(kinds[:-1])} and {kinds[-1]}"
            raise DamagedFileError(f"the columns {words} of {min(lone)!r} are not all there")
    base, score, zero = numbers["base_value"], numbers["score"], np.zeros(len(ids))
    _require_close(ids, "base_value", base, base[:1].repeat(len(ids)), zero, "that of the first row")
    total, size = base.copy(), zero
    for name in concepts:
        strength, value = numbers[f"y/{name}"], numbers[f"{'centred' if centred else 'y'}/{name}"]
        found, product = numbers[f"contribution/{name}"], numbers[f"alpha/{name}"] * value
        what = f"alpha times {'the centred ' if centred else ''}y"
        _require_close(ids, f"contribution/{name}", found, product, ROUNDING * abs(product), what)
        mean, extent = strength - value, ROUNDING * (abs(strength) + abs(value))
        what = "that of the first row"
        _require_close(ids, f"the mean of {name}, y less centred,", mean, mean[:1].repeat(len(ids)), extent, what)
        total, size = total + product, size + abs(product)
    size = ROUNDING * (size + abs(base) + abs(score))
    _require_close(ids, "prediction", numbers["prediction"], total, size, "the sum of contributions and base value")
    _require_close(ids, "residual", numbers["residual"], score - total, size, "score minus prediction")
    parts = [values for name, values in numbers.items() if name.startswith("part/")]
    if parts:
        what = "the sum of the contributions"
        _require_close(ids, "part/...", np.stack(parts).sum(0), total - base, size, what)


def as_fields(table: pa.Table, noted: dict[str, Any]) -> dict[str, Any]:
    """What :class:`Explanation` is made of."""

    def stack(kind: str, names: Sequence[str]) -> Tensor:
        rows = [_tensor(table[f"{kind}/{name}"]) for name in names]
        return torch.stack(rows, 1) if rows else torch.zeros(len(table), 0)

    concepts = tuple(name.removeprefix("y/") for name in table.column_names if name.startswith("y/"))
    strengths = stack("y", concepts)
    centred = any(name.startswith("centred/") for name in table.column_names)
    parts = tuple(name.removeprefix("part/") for name in table.column_names if name.startswith("part/"))
    score, base = (_tensor(table[name]) for name in ("score", "base_value"))
    image = _pictures(table) if "image" in table.column_names else None
    return {
        "score": score,
        "values": stack("centred", concepts) if centred else strengths,
        "weights": stack("alpha", concepts),
        "base_value": base[0] if len(base) else torch.tensor(0.0),
        "concepts": concepts,
        "target": noted.get("target", "score"),
        "ids": ids_of(table),
        "label": _tensor(table["label"]).bool() if "label" in table.column_names else None,
        "parts": parts,
        "part_contributions": stack("part", parts) if parts else None,
        "image": image,
        "heat": _heat(table, noted.get("heat")) if "heat" in table.column_names else None,
        "strengths": strengths if centred else None,
        "concept_parts": tuple(map(str, noted.get("concept_parts", ()))),
    }


def ids_of(table: pa.Table) -> tuple[str, ...]:
    """Names of the images."""
    ids = _column(table, "id").to_pylist()
    if not all(isinstance(name, str) for name in ids):
        raise DamagedFileError(
            f"the column 'id' must name the images, got {next(i for i in ids if not isinstance(i, str))!r}"
        )
    return tuple(ids)


def digest(table: pa.Table) -> str:
    """SHA-256 of names and content of all columns; it does not depend on how they are stored."""
    sha = hashlib.sha256()
    for name in table.column_names:
        column = table[name].combine_chunks()
        rows = len(column)
        if pa.types.is_fixed_size_list(column.type):
            column = column.flatten()
        sha.update(json.dumps([name, str(column.type), rows, len(column)]).encode())
        if pa.types.is_string(column.type) or pa.types.is_binary(column.type):
            for value in column.to_pylist():
                sha.update(hashlib.sha256(value.encode() if isinstance(value, str) else value or b"").digest())
        else:
            sha.update(np.ascontiguousarray(column.to_numpy(zero_copy_only=False)).tobytes())
    return sha.hexdigest()


def read_noted(path: Path, expected: str) -> tuple[pa.Table, dict[str, Any]]:
    """A parquet file and what this package has noted in it; nothing if it has not.

    Args:
        path: The file.
        expected: What should be in it, for the error.

    Raises:
        FileNotFoundError: If there is no such file.
        Trouble: If it is not a parquet file.
    """
    if not path.is_file():
        raise FileNotFoundError(f"Expected {expected} in {path}, but there is no such file.")
    try:
        table = pq.read_table(path, partitioning=None)
        noted = json.loads((table.schema.metadata or {}).get(METADATA, b"{}"))
    except (pa.ArrowException, OSError, ValueError) as error:
        raise DamagedFileError(f"{path} is not a complete parquet file: {str(error).rstrip('.')}.") from error
    return table, noted if isinstance(noted, dict) else {}


def _require_close(
    ids: Sequence[str], name: str, found: np.ndarray, expected: np.ndarray, tolerance: np.ndarray, what: str
) -> None:
    wrong = np.flatnonzero(abs(found - expected) > tolerance)
    if len(wrong):
        row = wrong[0]
        raise DamagedFileError(f"row {row} ({ids[row]}): {name} is {found[row]:g}, but {what} is {expected[row]:g}")


def _column(table: pa.Table, name: str) -> pa.ChunkedArray:
    if table.column_names.count(name) != 1:
        raise DamagedFileError(f"it holds no explanations: the column {name!r} is missing or there twice")
    return table[name]


def _numbers(table: pa.Table, name: str, ids: Sequence[str]) -> np.ndarray:
    column = _column(table, name)
    kind = column.type
    if not (pa.types.is_floating(kind) or pa.types.is_integer(kind) or pa.types.is_boolean(kind)):
        raise DamagedFileError(f"the column {name!r} must hold numbers, not {kind}")
    values = np.asarray(column.to_numpy(), dtype=np.float64)
    wrong = np.flatnonzero(~np.isfinite(values) if name != "label" else ~np.isin(values, (0, 1)))
    if len(wrong):
        raise DamagedFileError(f"row {wrong[0]} ({ids[wrong[0]]}): {name} is {values[wrong[0]]}")
    return values


def _tensor(column: pa.ChunkedArray) -> Tensor:
    return torch.from_numpy(column.to_numpy().copy())


def _png(image: Tensor) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(image.permute(1, 2, 0).numpy()).save(buffer, "PNG")
    return buffer.getvalue()


def _pictures(table: pa.Table) -> Tensor:
    images = []
    for row, png in enumerate(table["image"].to_pylist()):
        try:
            images.append(torch.from_numpy(np.array(decoded(io.BytesIO(png), "RGB"))).permute(2, 0, 1))
        except (TypeError, ImageError) as error:
            raise DamagedFileError(f"row {row}: its image is none") from error
    if len({image.shape for image in images}) > 1:
        raise DamagedFileError("its images differ in size")
    return torch.stack(images).contiguous()


def _heat(table: pa.Table, shape: Sequence[int] | None) -> Tensor:
    try:
        flat = torch.from_numpy(np.array(table["heat"].to_pylist(), dtype=np.float32))
        side = round(flat.shape[1] ** 0.5)  # files of before say no shape, and are square
        return flat.view(-1, *(shape or (side, side)))
    except (TypeError, ValueError, RuntimeError, IndexError) as error:
        raise DamagedFileError(f"its heat is no table of numbers ({error})") from error
