"""Every promise of docs/reliability.md names a test that there is."""

import re
from pathlib import Path

import pytest
from support import ROOT

PROMISES = re.findall(r"^\| (.+?) \| `(\S+)::(\w+)` \|$", (ROOT / "docs/reliability.md").read_text(), re.MULTILINE)


def test_there_are_promises():
    rows = [line for line in (ROOT / "docs/reliability.md").read_text().splitlines() if line.startswith("| ")]
    assert len(PROMISES) == len(rows) - rows.count("| promise | test |") > 30


@pytest.mark.parametrize(("promise", "file", "name"), PROMISES)
def test_the_test_is_there(promise: str, file: str, name: str):
    assert re.search(rf"^def {name}\(", Path(ROOT / file).read_text(), re.MULTILINE), promise
