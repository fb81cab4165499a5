"""The reference of all numbers is what the code says of them."""

import re

from tests.metrics.reference import PAGE, reference


def test_the_reference_is_that_of_the_code() -> None:
    assert PAGE.read_text(encoding="utf-8") == reference(), (
        "docs/metrics.md is stale: run `PYTHONPATH=. python tests/metrics/reference.py`"
    )


def test_no_number_is_described_twice_and_none_is_without_words() -> None:
    rows = [re.split(r"(?<!\\) ?\| ?", line)[1:-1] for line in reference().splitlines() if line.startswith("| `")]
    names = [row[0] for row in rows]
    assert len(set(names)) == len(names) > 50
    assert all(all(row) and len(row) == 5 for row in rows)
