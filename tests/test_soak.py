"""The soak in small: every command is killed once and once meets a full disk, and nothing is lost."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from support import ROOT

WORDS = ("--kills", "1", "--full", "1", "--jobs", "1")


def soak(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'tests'}", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "soak", "--folder", str(folder), *WORDS, *words]
    return subprocess.run(command, capture_output=True, text=True, env=environment, timeout=900, check=False)


def test_nothing_is_lost(tmp_path: Path):
    done = soak(tmp_path, "--only", "kill")
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
    last = done.stdout.splitlines()[-1]
    assert last.startswith("injected ")
    assert last.endswith(", lost 0")
    again = soak(tmp_path, "--only", "kill")  # all of it is in the journal
    assert again.stdout.splitlines()[-1] == last
    assert "of" not in again.stdout.splitlines()[0]


@pytest.mark.slow
def test_a_full_disk_loses_nothing(tmp_path: Path):
    done = soak(tmp_path, "--only", "full disk")
    assert done.stdout.splitlines()[-1].endswith(", lost 0"), done.stdout[-4000:] + done.stderr[-2000:]
