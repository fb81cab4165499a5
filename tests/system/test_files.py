"""Files appear whole or not at all."""

import errno
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from children import kill, started
from disks import tiny_disk
from PIL import Image
from safetensors.torch import save_file

from semexplain.system.files import whole_file, write_json, write_text
from semexplain.system.reading import read_json
from semexplain.system.trouble import Trouble, of_system


def test_what_is_not_a_number_is_null(tmp_path: Path):
    write_json(tmp_path / "m.json", {"a": float("nan"), "b": float("inf"), "c": 0.5, "d": "x"})
    assert json.loads((tmp_path / "m.json").read_text(), parse_constant=pytest.fail) == read_json(tmp_path / "m.json")
    assert read_json(tmp_path / "m.json") == {"a": None, "b": None, "c": 0.5, "d": "x"}


def test_an_interrupted_write_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    write_text(tmp_path / "deep" / "t.txt", "old")

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("os.replace", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write_text(tmp_path / "deep" / "t.txt", "new")
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["t.txt"]
    assert (tmp_path / "deep" / "t.txt").read_text() == "old"


def test_a_writer_that_fails_half_way_leaves_nothing(tmp_path: Path):
    def fail() -> None:
        with whole_file(tmp_path / "t.bin") as partial:
            partial.write_bytes(b"half")
            raise RuntimeError("the disk is full")

    with pytest.raises(RuntimeError, match="the disk is full"):
        fail()
    assert not list(tmp_path.iterdir())


def test_two_writers_of_one_file_do_not_meet(tmp_path: Path):
    with whole_file(tmp_path / "t.txt") as one, whole_file(tmp_path / "t.txt") as other:
        one.write_text("one")
        other.write_text("other")
        assert not (tmp_path / "t.txt").exists()
    assert (tmp_path / "t.txt").read_text() == "one"  # whose block ends last
    assert len(list(tmp_path.iterdir())) == 1


def test_a_file_has_the_permissions_that_any_new_file_has(tmp_path: Path):
    (tmp_path / "plain.txt").touch()
    write_text(tmp_path / "whole.txt", "text")
    assert (tmp_path / "whole.txt").stat().st_mode == (tmp_path / "plain.txt").stat().st_mode


def writer_of(path: Path) -> int:
    """Another process that has written half of a file, and waits."""

    def write(stay: Callable[[], None]) -> None:
        with whole_file(path) as partial:
            partial.write_bytes(b"half")
            stay()

    return started(write)


def test_what_a_killed_writer_left_is_removed_by_the_next_who_writes_the_file(tmp_path: Path):
    writers = [writer_of(tmp_path / "a.txt"), writer_of(tmp_path / "b.txt")]
    write_text(tmp_path / "a.txt", "mine")
    assert len(list(tmp_path.glob(".*.partial"))) == 2  # they are alive
    for writer in writers:
        kill(writer)
    write_text(tmp_path / "a.txt", "mine")
    assert [path.name[:7] for path in tmp_path.iterdir() if path.name != "a.txt"] == [".b.txt."]
    elsewhere = tmp_path / ".b.txt.00000000.1.0.partial"  # of a process of another machine
    elsewhere.touch()
    write_text(tmp_path / "b.txt", "mine")
    assert {path.name for path in tmp_path.iterdir()} == {"a.txt", "b.txt", elsewhere.name}


def test_a_name_may_be_as_long_as_the_system_allows(tmp_path: Path):
    for name in ("ä" * 125 + ".txt", "n" * 255):
        write_text(tmp_path / name, "text")
        assert (tmp_path / name).read_text() == "text"
    assert len(list(tmp_path.iterdir())) == 2


NOISE = np.random.default_rng(0).random((400, 400, 3)).astype(np.float32)
WRITERS = {
    "text": lambda path: path.write_text("x" * 10**6),
    "numpy": lambda path: np.save(path.open("wb"), NOISE),
    "torch": lambda path: torch.save({"noise": torch.from_numpy(NOISE)}, path),
    "safetensors": lambda path: save_file({"noise": torch.from_numpy(NOISE)}, path),
    "parquet": lambda path: pq.write_table(pa.table({"noise": NOISE.ravel()}), path),
    "picture": lambda path: Image.fromarray((NOISE * 255).astype(np.uint8)).save(path, "PNG"),
    "csv": lambda path: pd.DataFrame(NOISE[:, :, 0]).to_csv(path),
}


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # files that writers cannot close
@pytest.mark.parametrize("writer", WRITERS)
def test_on_a_full_disk_the_old_file_stays_and_the_system_says_why(tmp_path: Path, writer: str):
    with tiny_disk(tmp_path / "disk") as disk:
        path = disk / "file"
        path.write_text("old")
        with pytest.raises(OSError, match="No space left on device") as caught, whole_file(path) as partial:
            WRITERS[writer](partial)
        assert caught.value.errno == errno.ENOSPC
        assert of_system(caught.value) == (
            f"No space left on device: {path}. Free some space there; what was begun goes on when the same command "
            "is given again."
        )
        assert [each.name for each in disk.iterdir()] == ["file"]
        assert path.read_text() == "old"


def test_another_failure_is_told_as_it_is(tmp_path: Path):
    def fail(error: Exception) -> None:
        with whole_file(tmp_path / "file") as partial:
            partial.write_text("half")
            raise error

    for error in (RuntimeError("of its own"), OSError("without a number"), Trouble("known")):
        with pytest.raises(type(error), match=str(error)):
            fail(error)
    assert not list(tmp_path.iterdir())
