"""Rows of arrays on disk, read when they are asked for."""

import functools
import os
import resource
import zlib
from collections.abc import Callable, Sequence

import numpy as np

from semexplain.system.shards import Shard
from semexplain.system.trouble import DamagedFileError

MOST_OPEN, SHARE_OPEN = 512, 8  # files of a store that stay open: at most 512, and an eighth of what a process may open
Mend = Callable[[Shard, str, list[int]], None]


class Rows:
    """Rows of several shards as one array, read from disk when they are asked for.

    They are read with ``pread``, not mapped: mapped pages of a large file would count as this process's memory. Rows
    asked for in ascending order are read in the order in which they lie on disk, if they were stored in it. Every row
    that is read is compared with its checksum, and mended if it is not what was written.

    Args:
        array: Its name.
        shards: Which hold the rows.
        places: int ``(N, 2)``. Shard and row in it of each row of this array.
        files: Where open files are found.
        mend: Writes rows of a shard anew.

    Attributes:
        shape: ``(N, ...)``.
        dtype: Of the values.
    """

    def __init__(self, array: str, shards: Sequence[Shard], places: np.ndarray, files: "OpenFiles", mend: Mend) -> None:
        columns = [shard.columns[array] for shard in shards]
        self.shape = (len(places), *columns[0].shape)
        self.dtype = columns[0].dtype
        self._array = array
        self._shards = shards
        self._places = places
        self._paths = [str(shard.path(array)) for shard in shards]
        self._sums = [column.sums for column in columns]
        self._starts = np.array([column.start for column in columns])
        self._row_bytes = columns[0].row_bytes
        self._files = files
        self._mend = mend

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, positions: np.ndarray | slice) -> np.ndarray:
        """The rows at these positions, as a new array.

        Raises:
            DamagedFileError: If a row is not what was written and cannot be mended.
        """
        rows, damaged = self._read(positions)
        if damaged:
            for shard in sorted({shard for shard, _ in damaged}):
                self._mend(self._shards[shard], self._array, [row for other, row in damaged if other == shard])
            rows, damaged = self._read(positions)
        if damaged:
            shard, row = damaged[0]
            path = self._shards[shard].path(self._array)
            raise DamagedFileError(
                f"{path} cannot be mended: its row {row} changes while it is read. Is the disk sound?"
            )
        return rows

    def _read(self, positions: np.ndarray | slice) -> tuple[np.ndarray, list[tuple[int, int]]]:
        """The rows, and the places of those that are not what was written."""
        places = self._places[positions]
        rows = np.empty((len(places), *self.shape[1:]), self.dtype)
        memory, size = rows.reshape(-1).view(np.uint8).data, self._row_bytes
        starts = (self._starts[places[:, 0]] + places[:, 1] * size).tolist()
        shards, lines = places[:, 0].tolist(), places[:, 1].tolist()
        damaged = []
        for number in np.lexsort((places[:, 1], places[:, 0])).tolist():
            shard, line, target = shards[number], lines[number], memory[number * size : (number + 1) * size]
            read = self._files.read(self._paths[shard], target, starts[number])
            if not read or zlib.crc32(target) != self._sums[shard][line]:
                damaged.append((shard, line))
        return rows, damaged


class OpenFiles:
    """Files that are read often, a bounded number of them open at a time: those that were used last."""

    def __init__(self) -> None:
        allowed, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        most = MOST_OPEN if allowed == resource.RLIM_INFINITY else min(max(allowed // SHARE_OPEN, 1), MOST_OPEN)
        self._opened = functools.lru_cache(most)(_Descriptor)

    def read(self, path: str, target: memoryview, start: int) -> bool:
        """Fill memory with what a file has from a place on; False if it has not as much, or is gone."""
        try:
            descriptor = self._opened(path)  # stays open while it is held, whatever others open meanwhile
        except FileNotFoundError:
            return False
        return os.preadv(descriptor.number, [target], start) == len(target)

    def forget(self) -> None:
        """Open every file anew when it is asked for."""
        self._opened.cache_clear()


class _Descriptor:
    """An open file, closed with the last reference to it."""

    def __init__(self, path: str) -> None:
        self.number = os.open(path, os.O_RDONLY | os.O_CLOEXEC)

    def __del__(self) -> None:
        if hasattr(self, "number"):
            os.close(self.number)


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
