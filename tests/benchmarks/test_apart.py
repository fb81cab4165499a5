"""Parts of a benchmark in processes of their own."""

from pathlib import Path

import pytest

from benchmarks.apart import run_apart


def test_every_part_runs_with_its_words_and_one_thread_and_failures_are_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
):
    (tmp_path / "part.py").write_text(
        "import os, sys\nprint(sys.argv[1:], os.environ['OMP_NUM_THREADS'])\nint(sys.argv[1])\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    assert run_apart("part", {"one": ["1", "a"], "two": ["no"], "three": ["3"]}) == 1
    printed = capfd.readouterr().out
    assert {"one …", "two …", "three …", "['1', 'a'] 1", "['no'] 1", "['3'] 1"} == set(printed.splitlines())
