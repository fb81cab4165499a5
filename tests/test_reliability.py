"""Every promise of docs/reliability.md, and every kind of docs/networks.md, names a test that there is."""

import re
from pathlib import Path

import pytest
from support import ROOT

PAGES = {"reliability.md": "| promise | test |", "networks.md": "| kind | what happens | test |"}  # and their headings
PROMISES = [
    promise
    for page in PAGES
    for promise in re.findall(r"^\| (.+?) \| `(\S+)::(\w+)` \|$", (ROOT / "docs" / page).read_text(), re.MULTILINE)
]


def test_there_are_promises():
    lines = [line for page in PAGES for line in (ROOT / "docs" / page).read_text().splitlines()]
    rows = [line for line in lines if line.startswith("| ")]
    assert len(PROMISES) == len(rows) - sum(map(rows.count, PAGES.values())) > 60


@pytest.mark.parametrize(("promise", "file", "name"), PROMISES)
def test_the_test_is_there(promise: str, file: str, name: str):
    assert re.search(rf"^def {name}\(", Path(ROOT / file).read_text(), re.MULTILINE), promise
