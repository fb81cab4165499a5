"""Digests of files: remembered where they can be, right where they cannot."""

import errno
import hashlib
import json
from pathlib import Path

import pytest
from disks import full_at, read_only

from semexplain.data import contents
from semexplain.data.contents import content_digests


@pytest.fixture
def paths(tmp_path: Path) -> list[Path]:
    """Three files."""
    (tmp_path / "images").mkdir()
    for name in "abc":
        (tmp_path / "images" / name).write_text(name)
    return sorted((tmp_path / "images").iterdir())


def expected(paths: list[Path]) -> dict[Path, str]:
    return {path: hashlib.sha256(path.read_bytes()).hexdigest() for path in paths}


def test_a_file_is_read_again_if_it_has_changed(paths: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    index = tmp_path / "deep/index.json"
    assert content_digests(paths, index) == expected(paths)
    read, digest = [], contents._digest
    monkeypatch.setattr(contents, "_digest", lambda path: read.append(path.name) or digest(path))
    paths[1].write_text("changed")
    assert content_digests(paths, index) == expected(paths)
    assert read == ["b"]


def test_an_index_that_can_only_be_read_is_used_without_a_lock(paths: list[Path], tmp_path: Path, caplog):
    index = tmp_path / "cache/index.json"
    content_digests(paths[:2], index)
    (tmp_path / "cache/index.lock").unlink()
    before = index.read_text()
    caplog.set_level("INFO", "semexplain")
    with read_only(tmp_path / "cache"):
        assert content_digests(paths[:2], index) == expected(paths[:2])
        assert not caplog.messages
        assert content_digests(paths, index) == expected(paths)  # computed, not kept
    assert "cannot be remembered, so it is read in every run: " in caplog.messages[0]
    assert [path.name for path in index.parent.iterdir()] == ["index.json"]
    assert index.read_text() == before


@pytest.mark.parametrize(
    "damage", ["", "{", "[]", '{"A": 3}', '{"A": []}', '{"A": [1, 2]}', '{"A": [1, 2, 3]}', '{"A": ["1", 2, "x"]}']
)
def test_a_damaged_index_is_made_again(paths: list[Path], tmp_path: Path, damage: str):
    index = tmp_path / "index.json"
    index.write_text(damage.replace("A", str(paths[0])))
    assert content_digests(paths, index) == expected(paths)
    assert set(json.loads(index.read_text())) == {str(path) for path in paths}


def test_on_a_full_disk_the_old_index_stays(paths: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    index = tmp_path / "cache/index.json"
    content_digests(paths[:1], index)
    before = index.read_text()
    full_at(monkeypatch, 1)
    with pytest.raises(OSError, match="No space left on device: '.*index.json'") as caught:
        content_digests(paths, index)
    assert caught.value.errno == errno.ENOSPC
    assert index.read_text() == before
    assert not list(index.parent.glob(".*"))
