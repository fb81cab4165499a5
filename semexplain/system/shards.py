"""Shards: some rows of several arrays in files, with a record of which rows they are and of a checksum for each."""

import io
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from semexplain.system.files import whole_file

SUM_BYTES = 4  # of a record's own checksum, at its end
Batch = Mapping[str, Tensor | np.ndarray]


@dataclass(frozen=True)
class Column:
    """One array of a shard.

    Attributes:
        shape: Of a row.
        dtype: Of its values.
        start: Where in the file the first row begins, behind the header.
        sums: uint32 ``(N,)``, the CRC-32 of each row.
    """

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    start: int
    sums: np.ndarray

    @property
    def row_bytes(self) -> int:
        """Size of a row."""
        return prod(self.shape) * self.dtype.itemsize


@dataclass(frozen=True)
class Shard:
    """A file ``<name>-<array>.npy`` for each array, and ``<name>-record.npz``, which is renamed into place last.

    The record is believed, not the files: their size, and each row by its checksum when it is read.

    Attributes:
        folder: Where the files lie.
        name: What their names begin with.
        keys: One for each row.
        columns: By the array's name.
    """

    folder: Path
    name: str
    keys: list[str]
    columns: dict[str, Column]

    def path(self, array: str) -> Path:
        """The file of an array."""
        return self.folder / f"{self.name}-{array}.npy"

    def is_whole(self) -> bool:
        """Whether every file is there and as long as it should be."""
        for array, column in self.columns.items():
            try:
                size = self.path(array).stat().st_size
            except OSError:
                return False
            if size != column.start + len(self.keys) * column.row_bytes:
                return False
        return True

    def write_record(self) -> None:
        """Write which rows the shard has, and their checksums."""
        content: dict[str, Any] = {"keys": np.array([key.encode() for key in self.keys])}
        for array, column in self.columns.items():
            content[f"sums-{array}"] = column.sums
            content[f"header-{array}"] = np.frombuffer(header(column, len(self.keys)), np.uint8)
        buffer = io.BytesIO()  # what numpy says of a full disk does not say that it is full
        np.savez(buffer, **content)
        with whole_file(record_path(self.folder, self.name)) as partial:
            partial.write_bytes(buffer.getvalue() + _sum(buffer.getvalue()))


def record_path(folder: Path, name: str) -> Path:
    """The file that says which rows a shard has."""
    return folder / f"{name}-record.npz"


def recorded_shard(folder: Path, name: str) -> Shard | None:
    """The shard of a name as its record describes it; None if there is no record, or a damaged one."""
    try:
        written = record_path(folder, name).read_bytes()
        if _sum(written[:-SUM_BYTES]) != written[-SUM_BYTES:]:
            return None
        with np.load(io.BytesIO(written[:-SUM_BYTES])) as record:
            content = {field: record[field] for field in record.files}
        arrays = [field.removeprefix("sums-") for field in content if field.startswith("sums-")]
        columns = {array: _column(content[f"header-{array}"].tobytes(), content[f"sums-{array}"]) for array in arrays}
        keys = [key.decode() for key in content["keys"]]
    except FileNotFoundError:
        return None
    return Shard(folder, name, keys, columns)


@contextmanager
def shard_of(folder: Path, name: str, keys: list[str]) -> Iterator[Callable[[Batch], None]]:
    """Write as many rows as there are keys, and then their record.

    Args:
        folder: Where to.
        name: Of the shard.
        keys: One for each row.

    Yields:
        What writes the arrays of some rows at a time, in the order of the keys. It raises a ``ValueError`` if a value
        is infinite or not a number as it would be stored.
    """
    columns: dict[str, Column] = {}
    files: dict[str, Any] = {}
    count = 0
    with ExitStack() as stack:

        def write(batch: Batch) -> None:
            nonlocal count
            rows = {array: finite(value, array, keys[count]) for array, value in batch.items()}
            if not files:
                for array, value in rows.items():
                    columns[array] = _empty_column(value, len(keys))
                    path = stack.enter_context(whole_file(folder / f"{name}-{array}.npy"))
                    files[array] = stack.enter_context(path.open("wb"))
                    files[array].write(header(columns[array], len(keys)))
            for array, value in rows.items():
                files[array].write(value.data)
                columns[array].sums[count : count + len(value)] = [zlib.crc32(row) for row in as_bytes(value)]
            count += len(value)

        yield write
    Shard(folder, name, keys, columns).write_record()


def finite(value: Tensor | np.ndarray, array: str, key: str) -> np.ndarray:
    """Rows of an array in one piece of memory.

    Raises:
        ValueError: If a value is infinite or not a number.
    """
    rows = np.ascontiguousarray(value)
    if rows.dtype.kind == "f" and not np.isfinite(rows).all():
        raise ValueError(
            f"{array} is infinite or not a number as {rows.dtype} for an image among {key} and the next {len(rows)}. "
            "Use `data.cache_dtype=float32` if only half precision is too small for it."
        )
    return rows


def as_bytes(rows: np.ndarray) -> np.ndarray:
    """The bytes of each row, uint8 ``(N, size)``."""
    return rows.reshape(len(rows), -1).view(np.uint8)


def _sum(content: bytes) -> bytes:
    return zlib.crc32(content).to_bytes(SUM_BYTES, "big")


def header(column: Column, rows: int) -> bytes:
    """What a ``.npy`` file begins with."""
    file = io.BytesIO()
    shape = (rows, *column.shape)
    descr = np.lib.format.dtype_to_descr(column.dtype)
    np.lib.format.write_array_header_1_0(file, {"descr": descr, "fortran_order": False, "shape": shape})
    return file.getvalue()


def _column(head: bytes, sums: np.ndarray) -> Column:
    file = io.BytesIO(head)
    np.lib.format.read_magic(file)
    shape, _, dtype = np.lib.format.read_array_header_1_0(file)
    return Column(shape[1:], dtype, len(head), sums)


def _empty_column(rows: np.ndarray, count: int) -> Column:
    column = Column(rows.shape[1:], rows.dtype, 0, np.zeros(count, np.uint32))
    return Column(column.shape, column.dtype, len(header(column, count)), column.sums)
