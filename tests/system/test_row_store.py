"""Rows on disk: found by key, whole or not there, read in any order."""

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from semexplain.system.row_store import RowStore, Source
from semexplain.system.rows import Derived


class Squares:
    """Computes ``[k, k + 1] ** 2`` for key ``str(k)`` and remembers what it was asked."""

    def __init__(self, keys: list[str], batch_size: int = 4, stop_after: int | None = None) -> None:
        self.keys, self.batch_size, self.stop_after = keys, batch_size, stop_after
        self.asked: list[str] = []

    def __call__(self, positions: np.ndarray) -> Iterator[dict[str, np.ndarray]]:
        for start in range(0, len(positions), self.batch_size):
            if self.stop_after is not None and start >= self.stop_after:
                raise KeyboardInterrupt
            keys = [self.keys[position] for position in positions[start : start + self.batch_size]]
            self.asked += keys
            numbers = np.array([int(key) for key in keys], dtype=np.float32)
            yield {"pair": np.stack([numbers**2, (numbers + 1) ** 2], 1), "number": numbers.astype(np.float16)}


def filled(folder: Path, keys: list[str], **options: int) -> tuple[RowStore, Squares]:
    store, compute = RowStore(folder, shard_bytes=80), Squares(keys, **options)  # 8 rows of 10 bytes a shard
    store.fill(Source(keys, compute, compute.batch_size), "squares")
    return store, compute


def test_rows_come_in_the_order_asked_for_across_shards(tmp_path: Path):
    keys = [str(k) for k in range(21)]
    store, _ = filled(tmp_path, keys)
    assert len(list(tmp_path.glob("*-record.npz"))) == 3
    order = np.random.default_rng(0).permutation(21)
    rows = store.rows("pair", [keys[k] for k in order])
    assert rows.shape == (21, 2)
    for positions in (np.arange(21), np.array([20, 3, 3, 11]), slice(2, 19), np.array([], dtype=int)):
        expected = np.array([[k**2, (k + 1) ** 2] for k in order[positions]], dtype=np.float32).reshape(-1, 2)
        assert np.array_equal(rows[positions], expected)
    assert store.rows("number", ["7", "0"])[:].dtype == np.float16


def test_only_what_is_missing_is_computed_and_each_key_once(tmp_path: Path):
    filled(tmp_path, [str(k) for k in range(5)])
    store, compute = filled(tmp_path, ["3", "9", "4", "9", "8"])
    assert compute.asked == ["9", "8"]
    assert store.rows("pair", ["9", "3"])[:].tolist() == [[81, 100], [9, 16]]
    assert store.fill(Source(["9"], compute), "squares") == 0


def test_filling_that_was_cut_off_goes_on_with_the_next_shard(tmp_path: Path):
    keys = [str(k) for k in range(24)]
    with pytest.raises(KeyboardInterrupt):
        filled(tmp_path, keys, stop_after=12)
    assert not list(tmp_path.glob("*.partial"))
    assert RowStore(tmp_path).missing(keys) == list(range(8, 24))
    with pytest.raises(KeyError):
        RowStore(tmp_path).rows("pair", keys)
    store, compute = filled(tmp_path, keys)
    assert compute.asked == keys[8:]
    assert np.array_equal(store.rows("pair", keys)[:][:, 0], np.arange(24) ** 2)


@pytest.mark.parametrize("damage", ["truncated", "no record", "emptied"])
def test_a_shard_that_is_not_whole_is_computed_again(tmp_path: Path, damage: str):
    keys = [str(k) for k in range(16)]
    filled(tmp_path, keys)
    victim = tmp_path / ("00000-record.npz" if damage == "no record" else "00000-pair.npy")
    if damage == "no record":
        victim.unlink()
    else:
        victim.write_bytes(victim.read_bytes()[: -5 if damage == "truncated" else 0])
    store, compute = filled(tmp_path, keys)
    assert compute.asked == keys[:8]
    assert len(list(tmp_path.glob("*.np[yz]"))) == 6  # nothing is left of it
    assert np.array_equal(store.rows("pair", keys)[:][:, 1], np.arange(1, 17) ** 2)


@pytest.mark.filterwarnings("ignore:overflow encountered in cast")
def test_what_half_precision_cannot_hold_is_refused(tmp_path: Path):
    with pytest.raises(ValueError, match="number is infinite .* as float16 .*data.cache_dtype=float32"):
        filled(tmp_path, ["70000"])
    assert not list(tmp_path.glob("*.npy"))


def test_a_file_that_shrinks_while_it_is_read_is_mended(tmp_path: Path):
    store, _ = filled(tmp_path, ["1", "2"])
    rows = store.rows("pair", ["1", "2"])
    with (tmp_path / "00000-pair.npy").open("r+b") as file:
        file.truncate(130)
    assert rows[np.array([1])].tolist() == [[4, 9]]


def test_derived_rows_are_those_of_the_function(tmp_path: Path):
    store, _ = filled(tmp_path, [str(k) for k in range(9)])
    rows = store.rows("pair", [str(k) for k in range(9)])
    total = Derived(lambda pair, more: pair.sum(1) + more, rows, np.arange(9))
    assert total.shape == (9,)
    assert total[np.array([2, 8])].tolist() == [4 + 9 + 2, 64 + 81 + 8]


def test_rows_are_read_in_the_order_in_which_they_lie_on_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    store = RowStore(tmp_path)
    keys = [str(number) for number in range(20)]
    store.fill(Source(keys, lambda positions: iter([{"a": positions.astype(np.float32)}]), 20), "rows")
    rows, starts, read = store.rows("a", keys), [], os.preadv
    monkeypatch.setattr(os, "preadv", lambda file, into, start: starts.append(start) or read(file, into, start))
    assert rows[np.array([17, 3, 11, 3, 0])].tolist() == [17, 3, 11, 3, 0]
    assert starts == sorted(starts)
