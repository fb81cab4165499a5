"""Of all that need something, one makes it."""

import errno
import os
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from children import kill, started
from disks import read_only
from filelock import FileLock

from semexplain.system import once as module
from semexplain.system.once import ReadOnlyError, address, held, once
from semexplain.system.trouble import Trouble


def test_of_several_jobs_one_makes_it_and_the_others_are_told(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    makers = []

    def make(partial: Path) -> None:
        makers.append(threading.get_ident())
        time.sleep(0.5)
        partial.write_text("made")

    caplog.set_level("INFO", "semexplain")
    with ThreadPoolExecutor(3) as pool:
        for job in [pool.submit(once, tmp_path / "deep/thing", make, "the thing") for _ in range(3)]:
            job.result()
    assert len(makers) == 1
    assert (tmp_path / "deep/thing").read_text() == "made"
    assert caplog.messages == ["Another job is making the thing; waiting for it."] * 2


def test_an_interrupted_attempt_is_continued(tmp_path: Path):
    def interrupted(partial: Path) -> None:
        partial.mkdir()
        (partial / "first half").touch()
        raise KeyboardInterrupt

    def rest(partial: Path) -> None:
        (partial / "second half").touch()

    with pytest.raises(KeyboardInterrupt):
        once(tmp_path / "thing", interrupted, "the thing")
    assert not (tmp_path / "thing").exists()
    once(tmp_path / "thing", rest, "the thing")
    assert {path.name for path in (tmp_path / "thing").iterdir()} == {"first half", "second half"}
    assert not (tmp_path / "thing.partial").exists()


def test_what_is_there_is_neither_locked_nor_made(tmp_path: Path):
    (tmp_path / "thing").mkdir()
    once(tmp_path / "thing", pytest.fail, "the thing")
    assert [path.name for path in tmp_path.iterdir()] == ["thing"]


def test_a_folder_without_what_is_asked_for_does_not_count(tmp_path: Path):
    (tmp_path / "thing").mkdir()

    def make(partial: Path) -> None:
        partial.mkdir()
        (partial / "weights").touch()

    once(tmp_path / "thing", make, "the thing", lambda place: (place / "weights").exists())
    assert (tmp_path / "thing/weights").exists()


def test_the_first_process_makes_it_on_its_own_and_the_others_wait(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    variables = []

    def make(partial: Path) -> None:
        variables.append({"RANK", "WORLD_SIZE"} & set(os.environ))
        partial.touch()

    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setattr(module, "SECONDS", 0.01)
    monkeypatch.setattr(module, "is_first", lambda: threading.current_thread() is threading.main_thread())
    with ThreadPoolExecutor(1) as pool:
        second = pool.submit(once, tmp_path / "thing", pytest.fail, "the thing")
        time.sleep(0.1)
        assert not second.done()
        once(tmp_path / "thing", make, "the thing")
        second.result(5)
    assert variables == [set()]
    assert os.environ["WORLD_SIZE"] == "2"


def test_an_address_is_of_all_that_is_described():
    descriptions = [{"a": 1, "b": 2}, {"a": 1, "b": 3}, {"a": 1}, {"a": {"b": 2}}]
    assert len({address(description) for description in descriptions}) == 4
    assert address({"b": 2, "a": 1}) == address(descriptions[0])


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """A day that is over soon."""
    monkeypatch.setattr(module, "SECONDS", 0.01)
    monkeypatch.setattr(module, "TOLD_EVERY_S", 0.1)
    monkeypatch.setenv("SEMEXPLAIN_PATIENCE_S", "0.5")


@pytest.mark.usefixtures("hasty")
def test_a_wait_for_another_job_is_told_again_and_ends(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    caplog.set_level("INFO", "semexplain")
    with FileLock(tmp_path / "thing.lock"), pytest.raises(Trouble) as caught:
        once(tmp_path / "thing", pytest.fail, "the thing")
    assert str(caught.value) == (
        f"Another job is making the thing; waiting for it. In vain for 1 s: another process holds {tmp_path}/thing.lock"
        ". End that job if it hangs, then give the same command again; to wait longer, set the environment variable "
        "SEMEXPLAIN_PATIENCE_S (seconds)."
    ).replace("1 s", str(caught.value).split("In vain for ")[1].split(":")[0])
    assert caplog.messages[0] == "Another job is making the thing; waiting for it."
    assert caplog.messages[1] == "Another job is making the thing; waiting for it. (for 0 s now)"
    assert len(caplog.messages) > 2


@pytest.mark.usefixtures("hasty")
def test_a_wait_for_the_first_process_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(module, "is_first", lambda: False)
    with pytest.raises(Trouble, match="Waiting for the first process, which makes the thing. In vain for .* the thing"):
        once(tmp_path / "thing", pytest.fail, "the thing")


@pytest.mark.parametrize("text", ["soon", "0", "-1", "nan"])
def test_patience_is_a_number_of_seconds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str):
    monkeypatch.setenv("SEMEXPLAIN_PATIENCE_S", text)
    with FileLock(tmp_path / "lock"), pytest.raises(Trouble, match=f"number of seconds above 0, got '{text}'"):
        held(tmp_path / "lock", "Waiting.").__enter__()


def test_the_lock_of_a_killed_job_holds_nobody(tmp_path: Path):
    def killed(stay: Callable[[], None]) -> None:
        with held(tmp_path / "thing.lock", "Waiting."):
            stay()

    kill(started(killed))
    once(tmp_path / "thing", Path.touch, "the thing")
    assert (tmp_path / "thing").exists()


@pytest.mark.parametrize("kind", [Path.mkdir, Path.touch])
def test_where_locks_do_not_reach_what_is_there_first_counts(tmp_path: Path, kind: Callable[[Path], None]):
    """On some network file systems a lock is of one machine only; somebody may also delete it."""

    def make(partial: Path) -> None:
        kind(partial)
        (tmp_path / "thing").mkdir()
        (tmp_path / "thing/of another").touch()

    once(tmp_path / "thing", make, "the thing", lambda place: (place / "of another").exists())
    assert sorted(path.name for path in tmp_path.iterdir()) == ["thing", "thing.lock"]
    assert [path.name for path in (tmp_path / "thing").iterdir()] == ["of another"]


def test_what_is_there_may_lie_where_nothing_can_be_written(tmp_path: Path):
    (tmp_path / "thing").touch()
    with read_only(tmp_path):
        once(tmp_path / "thing", pytest.fail, "the thing")
        with pytest.raises(ReadOnlyError) as caught:
            once(tmp_path / "deep/other", pytest.fail, "the other", remedy="Set `paths.cache`.")
    assert str(caught.value) == (
        f"{tmp_path}/deep can only be read, and what is needed from there is not all there (Read-only file system: "
        "other.lock). Set `paths.cache`."
    )


@pytest.mark.parametrize("number", [errno.EACCES, errno.EPERM, errno.EROFS])
def test_a_folder_of_somebody_else_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int):
    opened = os.open

    def refuse(path: object, *rest: int, **more: int) -> int:
        if str(path).endswith(".lock"):
            raise OSError(number, os.strerror(number), str(path))
        return opened(path, *rest, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(ReadOnlyError, match="can only be read, and what .* Choose a folder that can be written"):
        once(tmp_path / "thing", pytest.fail, "the thing")
