"""Rows on disk: found by key, whole or not there, read in any order."""

import gc
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from children import kill, started

from semexplain.system.files import write_text
from semexplain.system.once import once
from semexplain.system.row_store import JointSource, RowStore, Source, fill_together
from semexplain.system.rows import Derived
from semexplain.system.trouble import DamagedFileError


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


class Powers:
    """Computes the squares and cubes of keys for two stores, and remembers what was asked."""

    def __init__(self, stop_after: int | None = None) -> None:
        self.stop_after = stop_after
        self.asked: list[tuple[int, list[int]]] = []

    def __call__(self, positions: np.ndarray, numbers: Sequence[int]) -> Iterator[list[dict[str, np.ndarray]]]:
        for start in range(0, len(positions), 4):
            if self.stop_after is not None and start >= self.stop_after:
                raise KeyboardInterrupt
            self.asked.append((len(positions[start : start + 4]), list(numbers)))
            yield [{"power": np.float32(positions[start : start + 4]) ** (2 + number)} for number in numbers]


def test_stores_that_miss_the_same_rows_are_filled_from_one_pass(tmp_path: Path):
    keys = [str(k) for k in range(24)]

    def stores() -> list[RowStore]:
        return [RowStore(tmp_path / name, shard_bytes=64) for name in ("squares", "cubes")]  # 8 rows of both a shard

    with pytest.raises(KeyboardInterrupt):
        fill_together(stores(), JointSource(keys, Powers(stop_after=12), 4), "powers")
    assert [store.missing(keys) for store in stores()] == [list(range(8, 24))] * 2
    compute = Powers()
    assert fill_together(stores(), JointSource(keys, compute, 4), "powers") == 16
    assert compute.asked == [(4, [0, 1])] * 4
    for at, store in enumerate(stores()):
        assert np.array_equal(store.rows("power", keys)[:], np.float32(range(24)) ** (2 + at))
    shutil.rmtree(tmp_path / "cubes")
    compute = Powers()
    assert fill_together(stores(), JointSource([*keys, "24"], compute, 4), "powers") == 1 + 25
    assert compute.asked == [(1, [0]), *[(4, [1])] * 6, (1, [1])]


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


KEYS = [str(k) for k in range(24)]
PAIRS = np.array([[k**2, (k + 1) ** 2] for k in range(24)], dtype=np.float32)


def flip(path: Path, *places: int) -> None:
    """Change some bytes of a file, counted from its end."""
    content = bytearray(path.read_bytes())
    for place in places:
        content[-place] ^= 0x10
    path.write_bytes(content)


def swap(one: Path, other: Path) -> None:
    first, second = one.read_bytes(), other.read_bytes()
    one.write_bytes(second)
    other.write_bytes(first)


DAMAGES = {
    "several rows": lambda at: flip(at / "00000-pair.npy", 1, 9, 10, 64),
    "rows of every shard": lambda at: [flip(path, 3) for path in at.glob("*-pair.npy")],
    "another array": lambda at: flip(at / "00001-number.npy", 2),
    "a header": lambda at: flip(at / "00000-pair.npy", 64 + 40),
    "files of two shards swapped": lambda at: swap(at / "00000-pair.npy", at / "00002-pair.npy"),
    "records of two shards swapped": lambda at: swap(at / "00000-record.npz", at / "00002-record.npz"),
    "a record": lambda at: flip(at / "00001-record.npz", 700),
    "most bytes of a record": lambda at: flip(at / "00001-record.npz", *range(300, 1400)),
    "a record cut": lambda at: (at / "00001-record.npz").write_bytes((at / "00001-record.npz").read_bytes()[:-50]),
    "a file cut": lambda at: (at / "00001-pair.npy").write_bytes((at / "00001-pair.npy").read_bytes()[:-5]),
    "a file too long": lambda at: (at / "00001-pair.npy").write_bytes((at / "00001-pair.npy").read_bytes() + b"more"),
    "zeros": lambda at: (at / "00001-pair.npy").write_bytes(bytes((at / "00001-pair.npy").stat().st_size)),
    "a file gone": lambda at: (at / "00001-number.npy").unlink(),
    "all gone": lambda at: shutil.rmtree(at),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_whatever_is_damaged_the_rows_are_what_was_written(tmp_path: Path, damage: str):
    """Found when the store is opened, or while it is in use."""
    for place, opened in (("before", False), ("meanwhile", True)):
        store, _ = filled(tmp_path / place, KEYS)
        rows = {name: store.rows(name, KEYS) for name in ("pair", "number")}
        DAMAGES[damage](tmp_path / place)
        if not opened:
            store, _ = filled(tmp_path / place, KEYS)
            rows = {name: store.rows(name, KEYS) for name in ("pair", "number")}
        for _ in range(2):
            assert np.array_equal(rows["pair"][:], PAIRS)
            assert rows["number"][np.array([23, 0, 9])].tolist() == [23, 0, 9]
        again, _ = filled(tmp_path / place, KEYS)
        assert np.array_equal(again.rows("pair", KEYS)[:], PAIRS)


def test_of_damaged_rows_only_their_batches_are_computed_again_and_the_file_is_named(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    filled(tmp_path, KEYS)
    flip(tmp_path / "00001-pair.npy", 1, 5)  # the last row of the second shard
    store, compute = filled(tmp_path, KEYS)
    assert compute.asked == []
    rows = store.rows("pair", KEYS)
    assert rows[np.arange(8)].tolist() == PAIRS[:8].tolist()
    assert compute.asked == []  # what is not read is not compared
    assert np.array_equal(rows[:], PAIRS)
    assert compute.asked == KEYS[12:16]
    assert caplog.messages == [f"Damaged: 1 of 8 rows of {tmp_path / '00001-pair.npy'}; computing them again."]
    assert np.array_equal(filled(tmp_path, KEYS)[0].rows("pair", KEYS)[:], PAIRS)  # it was written as well
    assert len(caplog.messages) == 1


def test_damaged_rows_of_images_that_are_not_here_are_left_to_those_who_have_them(tmp_path: Path):
    filled(tmp_path, KEYS)
    flip(tmp_path / "00000-pair.npy", 1, 33)  # rows 7 and 3
    few = KEYS[:6]
    store, _ = filled(tmp_path, few)
    assert np.array_equal(store.rows("pair", few)[:], PAIRS[:6])
    with pytest.raises(DamagedFileError, match="00000-pair.npy is damaged. Delete .*; it will be computed again"):
        store.rows("pair", KEYS)[np.array([7])]
    assert np.array_equal(filled(tmp_path, KEYS)[0].rows("pair", KEYS)[:], PAIRS)


def test_what_is_computed_again_with_other_last_digits_is_kept(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    """A batch of other images may round otherwise; two jobs that have the same shard open agree on what counts."""
    filled(tmp_path, KEYS)
    mine, _ = filled(tmp_path, KEYS)
    theirs, _ = filled(tmp_path, KEYS)
    rows = [store.rows("pair", KEYS) for store in (mine, theirs)]
    flip(tmp_path / "00000-pair.npy", 1)
    squares = mine.source.compute
    mine.source = mine.source._replace(
        compute=lambda positions: ({"pair": b["pair"] + 0.25, "number": b["number"]} for b in squares(positions))
    )
    assert rows[0][np.array([6, 7])].tolist() == [PAIRS[6].tolist(), (PAIRS[7] + 0.25).tolist()]  # a sound row stays
    assert rows[1][np.array([7])].tolist() == [(PAIRS[7] + 0.25).tolist()]
    assert len(caplog.messages) == 2


def test_rows_that_cannot_be_computed_again_are_refused(tmp_path: Path):
    filled(tmp_path, KEYS)
    flip(tmp_path / "00000-pair.npy", 1)
    with pytest.raises(DamagedFileError, match="00000-pair.npy is damaged. Delete .*; it will be computed again"):
        RowStore(tmp_path).rows("pair", KEYS)[:]


FEW_FILES = """
import os, resource, sys
from pathlib import Path
import numpy as np
from semexplain.system.row_store import JointSource, RowStore, Source, fill_together

def compute(positions):
    for position in positions:
        yield {name: np.array([position + plus], np.float32) for plus, name in enumerate("abc")}

os.fsync = lambda file: None
allowed = len(list(Path("/proc/self/fd").iterdir())) + 24
resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, allowed))
keys = [str(k) for k in range(60)]
order = np.random.default_rng(0).permutation(60)
for shard_bytes in (1, 1):  # a shard for every row: filled, then found
    store = RowStore(Path(sys.argv[1]), shard_bytes)
    store.fill(Source(keys, compute), "rows")
    arrays = [store.rows(name, keys) for name in "abc" for _ in range(3)]
    for _ in range(2):
        assert all(np.array_equal(array[order], order + plus // 3) for plus, array in enumerate(arrays))
print(len(list(Path(sys.argv[1]).glob("*-a.npy"))), "shards")
"""


def test_ten_processes_that_want_one_thing_and_one_store(tmp_path: Path):
    """Each is made once, whoever comes first, and all get the same."""
    (tmp_path / "log").touch()

    def noted(name: str) -> None:
        with (tmp_path / "log").open("a") as file:
            file.write(f"{name}\n")

    def make(partial: Path) -> None:
        noted("thing")
        write_text(partial, "made")

    def compute(positions: np.ndarray) -> Iterator[dict[str, np.ndarray]]:
        for position in positions:
            noted(f"row {position}")
            yield {"square": np.array([position**2])}

    def job(stay: Callable[[], None]) -> None:
        once(tmp_path / "thing", make, "the thing")
        store = RowStore(tmp_path / "store", 1)
        store.fill(Source(KEYS, compute), "squares")
        assert (tmp_path / "thing").read_text() == "made"
        assert np.array_equal(store.rows("square", KEYS)[:], np.arange(24) ** 2)
        stay()

    with ThreadPoolExecutor(10) as pool:
        children = [child.result() for child in [pool.submit(started, job) for _ in range(10)]]
    for child in children:
        kill(child)
    assert sorted((tmp_path / "log").read_text().splitlines()) == sorted(["thing", *(f"row {k}" for k in range(24))])
    assert not list(tmp_path.rglob("*.partial"))


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="counts open files in /proc")
def test_open_files_do_not_grow_with_the_data(tmp_path: Path):
    command = [sys.executable, "-c", FEW_FILES, str(tmp_path)]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (result.stdout, result.returncode) == ("60 shards\n", 0), result.stderr


def test_files_that_no_array_reads_any_more_are_closed(tmp_path: Path):
    before = set(os.listdir("/proc/self/fd"))
    store, _ = filled(tmp_path, KEYS)
    rows = store.rows("pair", KEYS)
    assert len(rows[:]) == 24
    assert len(set(os.listdir("/proc/self/fd")) - before) == 3
    del store, rows
    gc.collect()
    assert not set(os.listdir("/proc/self/fd")) - before
