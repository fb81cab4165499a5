"""Whole runs of ``method=semexplain``: it trains, starts where it says, and comes back from its folder."""

from pathlib import Path

import pytest
import torch
from support import configured, smoke

from semexplain.explanation import Explanation
from semexplain.runs.build import build
from semexplain.runs.folder import BEST
from semexplain.runs.trained import load
from semexplain.system.reading import read_json
from train import train

pytestmark = [
    pytest.mark.filterwarnings("ignore:The performer's convolutions start from random weights"),
    pytest.mark.filterwarnings(r"ignore:All \d+ scores of the performer lie between 0 and 1"),
]
ANIMALS = ["experiment=pascal_part_dog", "data=synthetic_animals", "scale=smoke", "method=semexplain"]


def animals(folder: Path) -> list[str]:
    paths = [f"paths.{name}={folder / name}" for name in ("data", "performers", "cache", "outputs")]
    return [*ANIMALS, *paths, "trainer.max_epochs=2"]


def test_faces_are_explained_in_deviations_from_the_mean(faces: Path, tmp_path: Path):
    words = smoke(faces, tmp_path, "method=semexplain", "trainer.max_epochs=2", "data.cache_dtype=float32")
    metrics = train(configured(*words), tmp_path / "run")
    explanation = Explanation.load(tmp_path / "run/explanations.parquet")
    assert set(metrics) >= {"test/relative_deviation", "test/concept_reliance"}
    # Nothing is left of a concept on average over the training images, so little over the test images.
    datamodule, module, _ = build(configured(*words), tmp_path / "again")
    module.restore(tmp_path / "run" / BEST)
    strengths = torch.cat([batch["concepts"] for batch in datamodule.ordered("train")])
    torch.testing.assert_close(module.teacher.reference, strengths.mean(0), rtol=1e-4, atol=1e-5)
    # From the folder alone, without cache, images get the explanation that the run wrote down.
    split = datamodule.splits["test"]
    again = load(tmp_path / "run").explain([split.read(i, 32) for i in range(5)], progress=False)
    torch.testing.assert_close(again.weights, explanation.weights[:5], rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(again.contributions, explanation.contributions[:5], rtol=1e-4, atol=1e-4)


def test_stored_and_computed_batches_are_explained_alike(faces: Path, tmp_path: Path):
    """By an optimizer that does not enlarge differences, as Adam does; 2e-7 of the weights was the largest."""
    words = smoke(faces, tmp_path, "method=semexplain", "concepts=named", "concepts.include=[Smiling,Bald,Young]")
    words += ["optimizer=sgd", "data.cache_dtype=float32", "trainer.max_epochs=1"]
    found = []
    for cache in ("auto", "off"):
        train(configured(*words, f"data.cache={cache}"), tmp_path / cache)
        found.append(Explanation.load(tmp_path / cache / "explanations.parquet"))
    for name in ("weights", "contributions"):
        stored, computed = (getattr(explanation, name) for explanation in found)
        assert (stored - computed).norm() < 1e-5 * computed.norm()


@pytest.mark.filterwarnings("ignore:.*parts have no filter")
def test_filters_start_at_gradient_times_activation(tmp_path: Path):
    config = configured(*animals(tmp_path), "trainer.max_epochs=1", "optimizer.lr=1e-12")
    metrics = train(config, tmp_path / "run")
    for number in ("part_error_mean", "part_rank_correlation"):
        own, start = metrics[f"test/{number}"], metrics[f"test/gradient_activation_{number}"]
        assert own == pytest.approx(start, rel=1e-3, nan_ok=True), number
    assert read_json(tmp_path / "run/metrics.json") == metrics
