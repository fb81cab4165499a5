"""Files appear whole or not at all."""

import json
from pathlib import Path

import pytest

from semexplain.system.files import read_json, write_json, write_text


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
    assert (tmp_path / "deep" / "t.txt").read_text() == "old"
