"""Known trouble is told in a line or two with status 2; the rest is called a bug."""

import errno
import io
import logging
import os

import pytest
from hydra.errors import ConfigCompositionException

from semexplain.system.quiet import hush
from semexplain.system.trouble import DamagedFileError, Trouble, told


def end_of(error: BaseException, capsys: pytest.CaptureFixture[str]) -> tuple[int | str | None, str]:
    with pytest.raises(SystemExit) as end, told():
        raise error
    return end.value.code, capsys.readouterr().err


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (Trouble("beta: expected a number, got 'x'."), "beta: expected a number, got 'x'.\n"),
        (DamagedFileError("a.json is cut."), "a.json is cut.\n"),
        (FileNotFoundError("There is no run."), "There is no run.\n"),
        (OSError(errno.ENOSPC, "No space left on device"), "No space left on device. Free some space there; "),
        (PermissionError(errno.EACCES, "Permission denied", "runs/a"), "Permission denied: runs/a. You may not do "),
        (ConfigCompositionException("Could not override 'bta'.\nUse +bta=0"), "Could not override 'bta'. Use +bta=0\n"),
    ],
)
def test_known_trouble_is_told(error: BaseException, text: str, capsys: pytest.CaptureFixture[str]):
    status, message = end_of(error, capsys)
    assert status == 2
    assert message.startswith(text)
    assert len(message.splitlines()) <= 2
    assert "Traceback" not in message


@pytest.mark.parametrize("error", [ZeroDivisionError("division by zero"), ValueError("seven"), OSError("eight")])
def test_a_bug_is_called_one_and_shown_whole(error: Exception, capsys: pytest.CaptureFixture[str]):
    status, message = end_of(error, capsys)
    assert status == 1
    assert message.startswith("Traceback")
    assert message.splitlines()[-1].startswith("This is a bug of semexplain")


def test_an_interruption_has_no_stack(capsys: pytest.CaptureFixture[str]):
    assert end_of(KeyboardInterrupt(), capsys) == (130, "\nInterrupted.\n")


def test_names_that_are_not_utf_8_can_be_told(capsys: pytest.CaptureFixture[str]):
    assert end_of(Trouble(f"{os.fsdecode(b'a' + bytes([255]))}.jpg is damaged."), capsys)[0] == 2


def test_a_log_on_a_full_disk_does_not_fill_the_screen(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture):
    class Full(io.StringIO):
        def write(self, text: str) -> int:
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(logging, "raiseExceptions", True)
    hush()
    logging.StreamHandler(Full()).handle(logging.makeLogRecord({"msg": "a line"}))
    assert capsys.readouterr().err == ""
