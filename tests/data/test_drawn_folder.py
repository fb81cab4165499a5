"""Drawn images appear whole, whoever is killed while drawing and whatever the disk is like."""

import errno
from collections.abc import Callable
from pathlib import Path

import pytest
from children import kill, started
from disks import read_only, tiny_disk
from support import FACES

from semexplain.data.drawn.folder import write_once
from semexplain.data.synthetic_faces import SyntheticFacesDataModule
from semexplain.system.once import ReadOnlyError

TRUTH = {"settings": {"size": 3}}


def draw(folder: Path) -> None:
    for number in range(3):
        (folder / f"{number}.jpg").write_bytes(bytes(1000))


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_what_a_killed_drawing_left_is_drawn_anew(tmp_path: Path):
    def killed(stay: Callable[[], None]) -> None:
        def half(folder: Path) -> None:
            (folder / "half.jpg").write_bytes(b"half")
            stay()

        write_once(tmp_path / "drawn", TRUTH, "images", half)

    kill(started(killed))
    assert names(tmp_path / "drawn.partial") == {"half.jpg"}
    write_once(tmp_path / "drawn", TRUTH, "images", draw)
    assert names(tmp_path / "drawn") == {"0.jpg", "1.jpg", "2.jpg", "ground_truth.json"}
    assert names(tmp_path) == {"drawn", "drawn.lock"}


def test_images_that_are_there_may_lie_where_nothing_can_be_written(tmp_path: Path, faces: Path):
    with read_only(faces.parent):
        data = SyntheticFacesDataModule(root=str(faces), **FACES)
        data.prepare_data()
        data.setup()
    write_once(tmp_path / "drawn", TRUTH, "images", draw)
    with read_only(tmp_path):
        write_once(tmp_path / "drawn", TRUTH, "images", pytest.fail)
        with pytest.raises(
            ReadOnlyError, match=r"can only be read, .* Set `data.root` to a folder that can be written"
        ):
            write_once(tmp_path / "others", TRUTH, "images", pytest.fail)


def test_on_a_full_disk_nothing_is_left_of_a_drawing(tmp_path: Path):
    def much(folder: Path) -> None:
        for number in range(100):
            (folder / f"{number}.jpg").write_bytes(bytes(10_000))

    with tiny_disk(tmp_path / "disk") as disk:
        with pytest.raises(OSError, match="No space left on device") as caught:
            write_once(disk / "drawn", TRUTH, "images", much)
        assert (caught.value.errno, caught.value.filename) == (errno.ENOSPC, str(disk / "drawn"))
        assert names(disk) == {"drawn.lock"}
        write_once(disk / "drawn", TRUTH, "images", draw)
        assert len(names(disk / "drawn")) == 4
