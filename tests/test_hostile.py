"""Opening a foreign run folder never executes, never writes elsewhere, and never tells what is in the environment."""

import shutil
import sys
import warnings
from pathlib import Path

import pytest
from hostile import HOSTILE, SECRET, Hostile, harm, opened
from support import configured, smoke

from train import train

pytestmark = [
    pytest.mark.filterwarnings("ignore:The performer's convolutions start from random weights"),
    pytest.mark.filterwarnings(r"ignore:All \d+ scores of the performer lie between 0 and 1"),
]


@pytest.fixture(scope="module")
def finished(faces: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of few bytes."""
    folder = tmp_path_factory.mktemp("finished")
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The performer's convolutions start from random weights")
        warnings.filterwarnings("ignore", r"All \d+ scores of the performer lie between 0 and 1")
        train(configured(*smoke(faces, folder, "trainer.max_epochs=1", "explainer=linear")), folder / "sweep/1")
    return folder / "sweep/1"


def attempt(
    hostile: Hostile, verb: str, finished: Path, faces: Path, place: Path, monkeypatch: pytest.MonkeyPatch
) -> int:
    """Open a spoilt copy of a run; returns the exit status."""
    photo = faces / "img_align_celeba" / "000001.jpg"
    monkeypatch.setattr(sys, "path", list(sys.path))
    status, done = harm(hostile, finished, place, lambda run, out: opened(verb, run, photo, out))
    assert done is None
    shutil.rmtree(place)
    return status


def test_the_gallery_is_large():
    assert len(HOSTILE) >= 60
    assert len({hostile.name for hostile in HOSTILE}) == len(HOSTILE)


@pytest.mark.parametrize("hostile", HOSTILE, ids=lambda hostile: hostile.name)
def test_a_hostile_folder_does_nothing(
    hostile: Hostile,
    finished: Path,
    faces: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
):
    attempt(hostile, hostile.verbs[0], finished, faces, tmp_path, monkeypatch)
    printed = capsys.readouterr()
    assert SECRET not in printed.out + printed.err


@pytest.mark.slow
@pytest.mark.parametrize(
    ("hostile", "verb"),
    [(h, verb) for h in HOSTILE for verb in h.verbs[1:]],
    ids=lambda value: getattr(value, "name", value),
)
def test_a_hostile_folder_does_nothing_to_any_command(
    hostile: Hostile, verb: str, finished: Path, faces: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    attempt(hostile, verb, finished, faces, tmp_path, monkeypatch)
