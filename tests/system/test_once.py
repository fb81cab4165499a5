"""Of all that need something, one makes it."""

import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from semexplain.system import once as module
from semexplain.system.once import address, once


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
