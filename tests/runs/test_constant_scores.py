"""A performer that gives every image the same score: there is nothing to explain, and every command says so."""

from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file
from support import configured, smoke

from evaluate import evaluate
from train import train

pytestmark = [
    pytest.mark.filterwarnings("ignore:The performer's convolutions start from random weights"),
    pytest.mark.filterwarnings(r"ignore:All \d+ scores of the performer"),
    pytest.mark.filterwarnings(r"ignore:The relative deviation is nan. all \d+ scores of the performer are"),
]


@pytest.fixture(scope="module")
def constant(sweep: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A performer whose last layer adds nothing to its bias."""
    (source,) = sweep.parent.glob("performers/*/performer.safetensors")
    state = load_file(source)
    *_, last = (name for name, value in state.items() if value.ndim == 2 and len(value) == 40)
    state[last].zero_()
    file = tmp_path_factory.mktemp("constant") / "performer.safetensors"
    save_file(state, file)
    return file


@pytest.mark.parametrize("method", [(), ("method=semexplain",)], ids=["paper", "semexplain"])
def test_it_is_trained_and_evaluated_and_told(
    method: tuple[str, ...], constant: Path, faces: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    words = smoke(faces, tmp_path, f"performer.checkpoint={constant}", "trainer.max_epochs=1", *method)
    train(configured(*words), tmp_path / "run")
    metrics = evaluate(
        configured(f"run={tmp_path / 'run'}", "controls=[constant]", name="evaluate"), tmp_path / "evaluation"
    )
    assert metrics["test/faithful"] == 0.5
    told = capsys.readouterr().out
    assert told.count("NOT SHOWN: all scores are equal, so there is nothing to explain.") == 1
