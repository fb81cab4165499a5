"""Whatever somebody gives: it is read rightly, or refused with a sentence; nothing in it runs."""

from pathlib import Path

import pytest
from malformed import MALFORMED, Malformed, fault


@pytest.mark.parametrize("case", MALFORMED, ids=lambda case: ascii(case.name))
def test_it_is_read_rightly_or_refused_with_a_sentence(
    case: Malformed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "input"
    folder.mkdir()
    monkeypatch.chdir(tmp_path)
    assert fault(case, folder) is None
    assert [path.name for path in tmp_path.iterdir()] == ["input"]  # nothing was executed that leaves a trace


def test_the_gallery_has_at_least_two_hundred_inputs_of_different_names() -> None:
    assert len({case.name for case in MALFORMED}) == len(MALFORMED) >= 200
