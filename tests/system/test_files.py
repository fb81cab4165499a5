"""Files appear whole or not at all."""

import json
from pathlib import Path

import pytest

from semexplain.system.files import read_json, whole_file, write_json, write_text


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
