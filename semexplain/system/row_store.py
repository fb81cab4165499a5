"""Rows of arrays on disk, each found again by the key of what it was computed from."""

import logging
import os
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from typing import NamedTuple

import numpy as np
from tqdm.auto import tqdm

from semexplain.system.once import held
from semexplain.system.rows import OpenFiles, Rows
from semexplain.system.shards import Batch, Shard, as_bytes, finite, recorded_shard, shard_of
from semexplain.system.trouble import DamagedFileError

log = logging.getLogger(__name__)
SHARD_BYTES = 256 * 2**20
Compute = Callable[[np.ndarray], Iterable[Batch]]


class Source(NamedTuple):
    """How rows are computed.

    Attributes:
        keys: Of the rows that can be.
        compute: Given positions within ``keys``, yields the arrays of all of them, batch by batch, in that order.
        batch_size: Rows of every batch but the last.
    """

    keys: Sequence[str]
    compute: Compute
    batch_size: int = 1


class JointSource(NamedTuple):
    """How rows of several stores are computed from one pass.

    Attributes:
        keys: Of the rows that can be.
        compute: Given positions within ``keys`` and numbers of stores, yields what each of these stores keeps of all of
            them, batch by batch, in that order.
        batch_size: Rows of every batch but the last.
    """

    keys: Sequence[str]
    compute: Callable[[np.ndarray, Sequence[int]], Iterable[Sequence[Batch]]]
    batch_size: int = 1

    def of(self, number: int) -> Source:
        """The source of one of the stores."""
        return Source(self.keys, lambda at: (batch for (batch,) in self.compute(at, [number])), self.batch_size)


class RowStore:
    """Arrays with a row for every key, kept in a folder of shards.

    Filling can stop at any moment and goes on with the next shard. Jobs that fill the same store take turns. A shard
    whose files are not all there, as long as they were, is computed again; so is a row that is not what was written,
    when it is read.

    Args:
        folder: Where the shards lie.
        shard_bytes: Size at which a shard is closed, at least a batch.

    Example:
        >>> import tempfile
        >>> store = RowStore(Path(tempfile.mkdtemp()))
        >>> squares = lambda positions: iter([{"square": np.square(positions)}])
        >>> store.fill(Source(["a", "b", "c"], squares, 3), "squares")
        3
        >>> store.rows("square", ["c", "a"])[np.array([0, 1])]
        array([4, 0])
    """

    def __init__(self, folder: Path, shard_bytes: int = SHARD_BYTES, source: Source | None = None) -> None:
        self.folder = folder
        self.shard_bytes = shard_bytes
        self.source = source
        self._files = OpenFiles()
        self._found: list[Shard] | None = None

    def missing(self, keys: Sequence[str]) -> list[int]:
        """Positions of the keys that have no row yet, each key once."""
        have, positions = set(self._places()), []
        for position, key in enumerate(keys):
            if key not in have:
                have.add(key)
                positions.append(position)
        return positions

    def fill(self, source: Source, description: str) -> int:
        """Compute the rows that are missing.

        Args:
            source: Of all rows that are needed.
            description: What is computed, for the progress bar.

        Returns:
            Number of rows computed.

        Raises:
            ValueError: If a value is infinite or not a number as it would be stored.
            Trouble: If the folder can only be read, and rows are missing.
        """
        self.source = source
        joint = JointSource(source.keys, lambda at, _: ([batch] for batch in source.compute(at)), source.batch_size)
        return fill_together([self], joint, description)

    def rows(self, name: str, keys: Sequence[str]) -> Rows:
        """The rows of an array that belong to some keys.

        Raises:
            KeyError: If there is none for a key.
        """
        places = self._places()
        shards = sorted({places[key][0] for key in keys})
        number = {shard: place for place, shard in enumerate(shards)}
        order = np.array([(number[shard], row) for shard, row in map(places.__getitem__, keys)], np.int64)
        found = self._shards()
        return Rows(name, [found[shard] for shard in shards], order.reshape(-1, 2), self._files, self._mend)

    def _shards(self) -> list[Shard]:
        """All that are whole, looked for once."""
        if self._found is None:
            names = sorted({path.name.split("-")[0] for path in self.folder.glob("*-record.npz")})
            shards = [recorded_shard(self.folder, name) for name in names]
            self._found = [shard for shard in shards if shard is not None and shard.is_whole()]
        return self._found

    def _places(self) -> dict[str, tuple[int, int]]:
        """Shard and row of every key."""
        return {key: (at, row) for at, shard in enumerate(self._shards()) for row, key in enumerate(shard.keys)}

    def _alone(self) -> AbstractContextManager[None]:
        return held(
            self.folder / "lock",
            f"Another job is filling {self.folder}; waiting for it.",
            "Set `paths.cache` to a folder that can be written, or `data.cache=off` to keep nothing.",
        )

    def _remove_fragments(self) -> None:
        """Delete what an interruption or damage left of shards that do not count."""
        shards = {shard.name for shard in self._shards()}
        for path in {*self.folder.glob("*-*.np[yz]"), *self.folder.glob("*.partial")}:
            if path.suffix == ".partial" or path.name.split("-")[0] not in shards:
                if path.name.endswith("-record.npz"):
                    log.warning("Not all that was written is there, so it is computed again: %s.", path)
                path.unlink(missing_ok=True)

    def _next_name(self) -> str:
        """Of a shard that is to be written."""
        numbers = [int(path.name.split("-")[0]) for path in self.folder.glob("*-*.np[yz]")]
        return f"{max(numbers, default=-1) + 1:05d}"

    def _mend(self, shard: Shard, name: str, rows: Sequence[int]) -> None:
        """Compute damaged rows again, and write them where they were, as well as other arrays' rows beside them.

        They are computed in the batches in which they were, as far as their keys are known here.
        """
        log.warning("Damaged: %d of %d rows of %s; computing them again.", len(rows), len(shard.keys), shard.path(name))
        place = {key: position for position, key in enumerate(self.source.keys)} if self.source else {}
        if self.source is None or any(shard.keys[row] not in place for row in rows):
            raise DamagedFileError(f"{shard.path(name)} is damaged. Delete {self.folder}; it will be computed again.")
        size = self.source.batch_size
        with self._alone():
            self._files.forget()
            record = recorded_shard(shard.folder, shard.name) or shard
            if record.keys != shard.keys:
                raise DamagedFileError(f"{shard.path(name)} was replaced while it was in use. Begin again.")
            for array, column in record.columns.items():  # another process may have mended them
                shard.columns[array].sums[:] = column.sums
            for block in sorted({row // size for row in rows}):
                lines = [row for row in _block(block, size, shard) if shard.keys[row] in place]
                batches = list(self.source.compute(np.array([place[shard.keys[row]] for row in lines])))
                for array in shard.columns:
                    _write_anew(shard, array, lines, np.concatenate([np.asarray(batch[array]) for batch in batches]))
            shard.write_record()


def fill_together(stores: Sequence[RowStore], source: JointSource, description: str) -> int:
    """Compute the rows that several stores miss; those that miss the same rows get them from one pass.

    Args:
        stores: The stores.
        source: Of all rows that are needed.
        description: What is computed, for the progress bar.

    Returns:
        Number of rows computed, each once for all stores of a pass.

    Raises:
        ValueError: If a value is infinite or not a number as it would be stored.
        Trouble: If a folder can only be read, and rows are missing.

    Example:
        >>> import tempfile
        >>> one, two = (RowStore(Path(tempfile.mkdtemp())) for _ in range(2))
        >>> powers = lambda positions, numbers: iter([[{"power": positions ** (2 + number)} for number in numbers]])
        >>> fill_together([one, two], JointSource(["a", "b", "c"], powers, 3), "powers")
        3
        >>> one.rows("power", ["c"])[:], two.rows("power", ["c"])[:]
        (array([4]), array([8]))
    """
    keys = source.keys
    wanting = [store for store in stores if store.missing(keys)]
    count = 0
    with ExitStack() as stack:
        for store in sorted(wanting, key=lambda store: store.folder):  # in one order, so that no two jobs hang
            stack.enter_context(store._alone())
            store._found = None
            store._remove_fragments()
        groups: dict[tuple[int, ...], list[int]] = {}
        for number, store in enumerate(stores):
            if store in wanting and (missing := tuple(store.missing(keys))):
                groups.setdefault(missing, []).append(number)
        for missing, numbers in groups.items():
            batches = iter(source.compute(np.array(missing, dtype=np.int64), numbers))
            group = [stores[number] for number in numbers]
            with tqdm(total=len(missing), desc=f"{description}, once", unit="image", mininterval=2) as progress:
                written = 0
                while written < len(missing):
                    absent = [keys[position] for position in missing[written:]]
                    written += _write_shards(group, absent, batches, source.batch_size, progress)
            count += len(missing)
            for store in group:
                store._found = None
    return count


def _write_shards(
    stores: list[RowStore], keys: Sequence[str], batches: Iterator[Sequence[Batch]], batch_size: int, progress: tqdm
) -> int:
    """Write batches until a shard of each store, all together, is full or all keys have their rows; returns how many.

    All stores get shards of the same rows: after an interruption they still miss the same ones.
    """
    parts = next(batches)
    row_bytes = sum(np.asarray(value)[0].nbytes for part in parts for value in part.values())
    most = max(store.shard_bytes for store in stores)
    size = min(len(keys), max(most // max(row_bytes * batch_size, 1), 1) * batch_size)
    count = 0
    with ExitStack() as stack:
        writes = [
            stack.enter_context(shard_of(store.folder, store._next_name(), list(keys[:size]))) for store in stores
        ]
        while True:
            for write, part in zip(writes, parts, strict=True):
                write(part)
            rows = len(next(iter(parts[0].values())))
            count += rows
            progress.update(rows)
            if count >= size:
                return size
            parts = next(batches)


def _block(block: int, size: int, shard: Shard) -> range:
    return range(block * size, min((block + 1) * size, len(shard.keys)))


def _write_anew(shard: Shard, array: str, lines: list[int], values: np.ndarray) -> None:
    """Write those rows that are not what was written."""
    column = shard.columns[array]
    rows = as_bytes(finite(values.astype(column.dtype, copy=False), array, shard.keys[lines[0]]))
    file = os.open(shard.path(array), os.O_RDWR | os.O_CREAT, 0o666)
    try:
        for line, row in zip(lines, rows, strict=True):
            start = column.start + line * column.row_bytes
            if zlib.crc32(os.pread(file, column.row_bytes, start)) != column.sums[line]:
                os.pwrite(file, row, start)
                column.sums[line] = zlib.crc32(row)
        os.fsync(file)
    finally:
        os.close(file)
