"""Checkpoints are whole: a failed write loses nothing, a damaged one is named and the one before is used."""

import errno
import logging
import os
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from semexplain.performers.base import weights_digest
from semexplain.system.trouble import DamagedFileError
from semexplain.training.checkpoints import DIGEST, WholeCheckpoints, previous, read_checkpoint, to_resume


def written(path: Path, epoch: int) -> Path:
    """A checkpoint of an epoch, as a trainer writes it."""
    state = {"layer.weight": torch.full((4, 4), float(epoch)), "layer.steps": torch.tensor(epoch)}
    WholeCheckpoints().save_checkpoint({"epoch": epoch, "state_dict": state}, path)
    return path


def cut(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def emptied(path: Path) -> None:
    path.write_bytes(b"")


def flipped(path: Path) -> None:
    """Another value of one weight: the file stays one that PyTorch reads."""
    content = bytearray(path.read_bytes())
    weights = read_checkpoint(path)["state_dict"]["layer.weight"]
    content[content.index(weights.numpy().tobytes())] ^= 1
    path.write_bytes(content)


def replaced(path: Path) -> None:
    """Whole, and with the digest of other weights."""
    checkpoint = torch.load(path, weights_only=True)
    checkpoint["state_dict"]["layer.weight"] += 1
    torch.save(checkpoint, path)


def other(path: Path) -> None:
    path.write_text("<html>not found</html>")


DAMAGES = [cut, emptied, flipped, replaced, other]


@pytest.mark.parametrize("damage", DAMAGES)
def test_damage_is_recognised(tmp_path: Path, damage: Callable[[Path], None]):
    path = written(tmp_path / "best.ckpt", 3)
    damage(path)
    with pytest.raises(DamagedFileError, match=r"^The checkpoint .*best.ckpt is damaged: .*\.$"):
        read_checkpoint(path)


def test_a_checkpoint_carries_the_digest_of_its_weights(tmp_path: Path):
    checkpoint = torch.load(written(tmp_path / "best.ckpt", 3), weights_only=True)
    assert checkpoint[DIGEST] == weights_digest(checkpoint["state_dict"])
    assert read_checkpoint(tmp_path / "best.ckpt").keys() == {"epoch", "state_dict"}


def test_one_of_before_there_were_digests_is_read(tmp_path: Path):
    torch.save({"epoch": 1, "state_dict": {}}, tmp_path / "last.ckpt")
    assert read_checkpoint(tmp_path / "last.ckpt")["epoch"] == 1


def test_the_one_before_is_kept_of_last_alone(tmp_path: Path):
    for epoch in range(3):
        written(tmp_path / "last.ckpt", epoch)
        written(tmp_path / "best.ckpt", epoch)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["best.ckpt", "last.ckpt", "last.previous.ckpt"]
    assert [read_checkpoint(tmp_path / f"last{name}.ckpt")["epoch"] for name in ("", ".previous")] == [2, 1]


def test_at_every_instant_a_whole_one_is_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Whatever call of the system ends the process: the newest whole one is that before, or the new one."""
    for call in ("os.replace", "os.link", "os.fsync"):
        folder = tmp_path / call
        for epoch in range(2):
            written(folder / "last.ckpt", epoch)
        written(folder / "best.ckpt", 1)
        with monkeypatch.context() as patch:

            def killed(*_: object) -> None:
                raise KeyboardInterrupt

            patch.setattr(call, killed)
            with pytest.raises(KeyboardInterrupt):
                written(folder / "last.ckpt", 2)
        resumed = to_resume(folder)
        assert resumed == folder / "last.ckpt"
        assert read_checkpoint(resumed)["epoch"] == 1


def test_a_file_system_without_links(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def refused(*_: object) -> None:
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr("os.link", refused)
    for epoch in range(3):
        written(tmp_path / "last.ckpt", epoch)
    assert [read_checkpoint(tmp_path / f"last{name}.ckpt")["epoch"] for name in ("", ".previous")] == [2, 1]


@pytest.mark.parametrize("where", ["write", "fsync"])
def test_a_full_disk_loses_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str):
    for epoch in range(2):
        written(tmp_path / "last.ckpt", epoch)
    written(tmp_path / "best.ckpt", 1)

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("pathlib.Path.write_bytes" if where == "write" else "os.fsync", full)
        for name in ("last.ckpt", "best.ckpt"):
            with pytest.raises(OSError, match=f"No space left on device: .*{name}"):
                written(tmp_path / name, 2)
    assert read_checkpoint(to_resume(tmp_path) or Path())["epoch"] == 1
    assert read_checkpoint(tmp_path / "best.ckpt")["epoch"] == 1
    assert not list(tmp_path.glob("*.partial"))


def test_nothing_is_written_where_tmpdir_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "nowhere"))
    monkeypatch.setenv("TMPDIR", str(tmp_path / "nowhere"))
    assert read_checkpoint(written(tmp_path / "run/last.ckpt", 1))["epoch"] == 1


def training(folder: Path) -> None:
    for epoch in range(2):
        written(folder / "best.ckpt", epoch)
        written(folder / "last.ckpt", epoch)


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_one_is_named_and_the_one_before_is_used(
    tmp_path: Path, damage: Callable[[Path], None], caplog: pytest.LogCaptureFixture
):
    training(tmp_path)
    damage(tmp_path / "last.ckpt")
    with caplog.at_level(logging.WARNING):
        assert to_resume(tmp_path) == tmp_path / "last.previous.ckpt"
    (record,) = caplog.records
    assert "last.ckpt is damaged: " in record.message
    assert f"The run goes on from the one before, {tmp_path / 'last.previous.ckpt'}." in record.message
    assert len(list(tmp_path.glob("last.until-*.ckpt"))) == 1  # nothing is deleted
    written(tmp_path / "last.ckpt", 7)  # takes no whole one away
    assert read_checkpoint(tmp_path / "last.previous.ckpt")["epoch"] == 0


def test_a_missing_one_is_named_and_the_one_before_is_used(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    training(tmp_path)
    (tmp_path / "last.ckpt").unlink()  # as where a process was killed on a file system without links
    assert to_resume(tmp_path) == tmp_path / "last.previous.ckpt"
    assert f"There is no checkpoint {tmp_path / 'last.ckpt'}. The run goes on from the one before" in caplog.text


def test_if_none_is_whole_both_are_named_and_left(tmp_path: Path):
    training(tmp_path)
    cut(tmp_path / "last.ckpt")
    cut(previous(tmp_path / "last.ckpt"))
    before = {path: path.stat() for path in tmp_path.iterdir()}
    with pytest.raises(DamagedFileError, match=r"last.ckpt is damaged.*last.previous.ckpt is damaged.*Put back a copy"):
        to_resume(tmp_path)
    assert {path: path.stat() for path in tmp_path.iterdir()} == before


@pytest.mark.parametrize("damage", [cut, Path.unlink])
def test_without_the_best_epoch_there_is_nothing_to_go_on_to(tmp_path: Path, damage: Callable[[Path], None]):
    training(tmp_path)
    damage(tmp_path / "best.ckpt")
    with pytest.raises(
        DamagedFileError, match=r"best.ckpt.* The run cannot go on from there. Put back a copy, or delete"
    ):
        to_resume(tmp_path)


@pytest.mark.parametrize("names", [["last.ckpt", "last.previous.ckpt"], ["best.ckpt"]])
def test_what_others_wait_for_begins_anew(tmp_path: Path, names: list[str], caplog: pytest.LogCaptureFixture):
    training(tmp_path)
    for name in names:
        cut(tmp_path / name)
    with caplog.at_level(logging.WARNING):
        assert to_resume(tmp_path, anew=True) is None
    assert "is damaged: " in caplog.text
    assert "The training begins anew." in caplog.text
    assert to_resume(tmp_path) is None
    assert len(list(tmp_path.glob("*.until-*.ckpt"))) == 3


def test_a_training_that_has_not_begun(tmp_path: Path):
    assert to_resume(tmp_path / "nothing") is None
