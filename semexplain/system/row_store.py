"""Rows of arrays on disk, each found again by the key of what it was computed from."""

import os
import weakref
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor
from tqdm.auto import tqdm

from semexplain.system.files import whole_file
from semexplain.system.once import held

SHARD_BYTES = 256 * 2**20
Batch = Mapping[str, Tensor | np.ndarray]


class RowStore:
    """Arrays with a row for every key, kept in a folder of shards.

    A shard is a ``.npy`` file per array and one of keys, which is renamed into place last: a shard without it counts as
    not there. Filling can stop at any moment and goes on with the next shard. Jobs that fill the same store take turns.

    Args:
        folder: Where the shards lie.
        shard_bytes: Size at which a shard is closed, at least a batch.

    Example:
        >>> import tempfile
        >>> store = RowStore(Path(tempfile.mkdtemp()))
        >>> squares = lambda positions: iter([{"square": np.square(positions)}])
        >>> store.fill(["a", "b", "c"], squares, "squares")
        3
        >>> store.rows("square", ["c", "a"])[np.array([0, 1])]
        array([4, 0])
    """

    def __init__(self, folder: Path, shard_bytes: int = SHARD_BYTES) -> None:
        self.folder = folder
        self.shard_bytes = shard_bytes

    def missing(self, keys: Sequence[str]) -> list[int]:
        """Positions of the keys that have no row yet, each key once."""
        have, positions = set(self._places()), []
        for position, key in enumerate(keys):
            if key not in have:
                have.add(key)
                positions.append(position)
        return positions

    def fill(
        self,
        keys: Sequence[str],
        compute: Callable[[np.ndarray], Iterable[Batch]],
        description: str,
        batch_size: int = 1,
    ) -> int:
        """Compute the rows that are missing.

        Args:
            keys: All keys that are needed.
            compute: Given positions within ``keys``, yields the arrays of all of them, batch by batch, in that order.
            description: What is computed, for the progress bar.
            batch_size: Rows of every batch but the last.

        Returns:
            Number of rows computed.

        Raises:
            ValueError: If a value is infinite or not a number as it would be stored.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        with held(self.folder / "lock", f"Another job is filling {self.folder}; waiting for it."):
            self._remove_fragments()
            missing = np.array(self.missing(keys), dtype=np.int64)
            if not len(missing):
                return 0
            batches = iter(compute(missing))
            with tqdm(total=len(missing), desc=f"{description}, once", unit="image", mininterval=2) as progress:
                count = 0
                while count < len(missing):
                    count += self._write_shard([keys[i] for i in missing[count:]], batches, batch_size, progress)
        return len(missing)

    def rows(self, name: str, keys: Sequence[str]) -> "Rows":
        """The rows of an array that belong to some keys.

        Raises:
            KeyError: If there is none for a key.
        """
        places = self._places()
        shards = sorted({places[key][0] for key in keys})
        number = {shard: place for place, shard in enumerate(shards)}
        order = [(number[shard], row) for shard, row in map(places.__getitem__, keys)]
        return Rows([self.folder / f"{shard}-{name}.npy" for shard in shards], np.array(order, np.int64).reshape(-1, 2))

    def _places(self) -> dict[str, tuple[str, int]]:
        """Shard and row of every key."""
        places: dict[str, tuple[str, int]] = {}
        for path in sorted(self.folder.glob("*-keys.npy")):
            shard = path.name.removesuffix("-keys.npy")
            if all(_is_whole(file) for file in self.folder.glob(f"{shard}-*.npy")):
                places |= {key.decode(): (shard, row) for row, key in enumerate(np.load(path))}
        return places

    def _remove_fragments(self) -> None:
        """Delete what an interruption or damage left of shards that do not count."""
        shards = {shard for shard, _ in self._places().values()}
        for path in (*self.folder.glob("*-*.npy"), *self.folder.glob("*.partial")):
            if path.suffix == ".partial" or path.name.split("-")[0] not in shards:
                path.unlink()

    def _write_shard(self, keys: Sequence[str], batches: Any, batch_size: int, progress: Any) -> int:
        """Write batches until the shard is full or all keys have their rows; returns how many it holds."""
        first = {name: np.asarray(value) for name, value in next(batches).items()}
        row_bytes = sum(array[0].nbytes for array in first.values())
        size = min(len(keys), max(self.shard_bytes // max(row_bytes * batch_size, 1), 1) * batch_size)
        numbers = [int(path.name.split("-")[0]) for path in self.folder.glob("*-*.npy")]
        shard = f"{max(numbers, default=-1) + 1:05d}"
        with ExitStack() as stack:
            paths = {name: stack.enter_context(whole_file(self.folder / f"{shard}-{name}.npy")) for name in first}
            files = {name: stack.enter_context(path.open("wb")) for name, path in paths.items()}
            for name, array in first.items():
                _write_header(files[name], (size, *array.shape[1:]), array.dtype)
            count, batch = 0, first
            while True:
                for name, value in batch.items():
                    array = np.ascontiguousarray(value)
                    if array.dtype.kind == "f" and not np.isfinite(array).all():
                        raise ValueError(
                            f"{name} is infinite or not a number as {array.dtype} for an image among "
                            f"{keys[count]} and the next {len(array)}. Use `data.cache_dtype=float32` if only half "
                            "precision is too small for it."
                        )
                    files[name].write(array.data)
                count += len(array)
                progress.update(len(array))
                if count >= size:
                    break
                batch = {name: np.asarray(value) for name, value in next(batches).items()}
        with whole_file(self.folder / f"{shard}-keys.npy") as path, path.open("wb") as file:
            np.save(file, np.array([key.encode() for key in keys[:size]]))
        return size


class Rows:
    """Rows of several ``.npy`` files as one array, read from disk when they are asked for.

    They are read with ``pread``, not mapped: mapped pages of a large file would count as this process's memory. Rows
    asked for in ascending order are read in the order in which they lie on disk, if they were stored in it.

    Args:
        paths: The files, with rows of one shape and type.
        places: int ``(N, 2)``. File and row of each row of this array.

    Attributes:
        shape: ``(N, ...)``.
        dtype: Of the values.
    """

    def __init__(self, paths: Sequence[Path], places: np.ndarray) -> None:
        arrays = [np.load(path, mmap_mode="r") for path in paths]
        self.shape = (len(places), *arrays[0].shape[1:])
        self.dtype = arrays[0].dtype
        self._places = places
        self._offsets = np.array([array.offset for array in arrays])
        self._row_bytes = int(np.prod(self.shape[1:])) * self.dtype.itemsize
        self._files = [os.open(path, os.O_RDONLY) for path in paths]
        for file in self._files:
            weakref.finalize(self, os.close, file)

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, positions: np.ndarray | slice) -> np.ndarray:
        """The rows at these positions, as a new array."""
        places = self._places[positions]
        rows = np.empty((len(places), *self.shape[1:]), self.dtype)
        memory, size = rows.reshape(-1).view(np.uint8).data, self._row_bytes
        files, starts = places[:, 0].tolist(), (self._offsets[places[:, 0]] + places[:, 1] * size).tolist()
        for number in np.lexsort((places[:, 1], places[:, 0])).tolist():
            target = memory[number * size : (number + 1) * size]
            if os.preadv(self._files[files[number]], [target], starts[number]) != size:
                raise OSError("A stored array is shorter than it was; delete its folder, it will be computed again.")
        return rows


class Derived:
    """Rows computed from those of other arrays whenever they are asked for.

    Args:
        function: Gives the rows, given those of ``sources``.
        sources: Arrays of equal length.

    Example:
        >>> Derived(lambda a, b: a + b, np.arange(3), np.ones(3))[np.array([2, 0])]
        array([3., 1.])
    """

    def __init__(self, function: Callable[..., np.ndarray], *sources: Rows | np.ndarray) -> None:
        self.function = function
        self.sources = sources
        one = self[slice(0, 1)]
        self.shape = (len(sources[0]), *one.shape[1:])
        self.dtype = one.dtype

    def __len__(self) -> int:
        return len(self.sources[0])

    def __getitem__(self, positions: np.ndarray | slice) -> np.ndarray:
        """The rows at these positions."""
        return self.function(*(source[positions] for source in self.sources))


def _write_header(file: Any, shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
    header = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(file, header)


def _is_whole(path: Path) -> bool:
    """Whether a file is as long as its header says."""
    try:
        np.load(path, mmap_mode="r")
    except (OSError, EOFError, ValueError):
        return False
    return True
