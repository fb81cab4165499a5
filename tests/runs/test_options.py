"""Options of earlier versions are refused with the name that they have now."""

import re
import runpy
import sys

import pytest
from hydra.errors import HydraException
from support import ROOT, configured

from semexplain.runs.options import RENAMED, check, renamed


@pytest.mark.parametrize("old", RENAMED)
def test_an_old_option_is_gone_and_those_it_became_are_there(old: str):
    with pytest.raises(HydraException):
        configured(old if "=" in old else f"{old}=laptop")
    message = renamed(["beta=0", old if "=" in old else f"+{old}=laptop"])
    assert message is not None
    assert message.startswith(f"{old} is now ")
    new = [option.split() for option in re.findall("`(.+?)`", message)]
    assert new
    for options in new:
        experiment = "pascal_part_dog" if "case=filters" in options else "celeba_attractive"
        check(configured(f"experiment={experiment}", *options))


def test_options_of_today_are_let_through_and_all_old_ones_are_named():
    assert renamed(["start=prior", "start.share=0.5", "scale=laptop", "-m", "paths.cache=size"]) is None
    message = renamed(["size=laptop", "explainer.head_init=default,linear"])
    assert [line.split()[0] for line in str(message).splitlines()] == ["size", "explainer.head_init"]


@pytest.mark.parametrize("program", ["train", "evaluate"])
def test_a_command_ends_before_anything_is_read(
    program: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setattr(sys, "argv", [f"{program}.py", "explainer.head_init=linear"])
    with pytest.raises(SystemExit) as end:
        runpy.run_path(str(ROOT / f"{program}.py"), run_name="__main__")
    assert end.value.code == 2
    line = (
        "explainer.head_init is now start: `start=least_squares` for linear and calibrated, `start=none` for default.\n"
    )
    assert capsys.readouterr().err == line
