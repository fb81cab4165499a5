"""``python evaluate.py rival=...``: a rival measured in the explainer's place, on the run's own images and metrics."""

import copy
import json
import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from support import FACES, configured, smoke

from evaluate import evaluate
from semexplain.runs.build import build
from semexplain.runs.records import judgement
from semexplain.runs.run import Run
from semexplain.system.config import ConfigError
from train import train

pytestmark = [
    pytest.mark.filterwarnings("ignore:The performer's convolutions start from random weights"),
    pytest.mark.filterwarnings(r"ignore:All \d+ scores of the performer lie between 0 and 1"),
]


def measured(run: Path, folder: Path, *overrides: str) -> tuple[dict[str, float], dict[str, np.ndarray]]:
    """Metrics, and the columns of the table of explanations."""
    config = configured(f"run={run}", *overrides, name="evaluate")
    metrics = evaluate(config, folder)
    assert metrics == json.loads((folder / "metrics.json").read_text())
    table = pq.read_table(folder / "explanations.parquet").to_pydict()
    return metrics, {name: np.array(column) for name, column in table.items()}


def of_concepts(table: dict[str, np.ndarray], kind: str) -> np.ndarray:
    return np.stack([column for name, column in table.items() if name.startswith(f"{kind}/")], axis=1)


def test_a_linear_map_is_measured_in_the_explainers_place(
    sweep: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    """The metric of the same name fits the same map to the same images, so the two must agree."""
    metrics, table = measured(sweep / "0", tmp_path, "rival=linear_map")
    size = np.abs(of_concepts(table, "contribution")).sum(1).mean() / np.ptp(table["score"])  # of what cancels
    deviation, entropy = (metrics[f"test/linear_map_{name}"] for name in ("relative_deviation", "contribution_entropy"))
    assert metrics["test/relative_deviation"] == pytest.approx(deviation, abs=1e-6 * size)
    assert metrics["test/contribution_entropy"] == pytest.approx(entropy, rel=1e-4)
    own = json.loads((sweep / "0/metrics.json").read_text())
    assert metrics["test/linear_map_relative_deviation"] == own["test/linear_map_relative_deviation"]
    assert metrics["test/relative_deviation"] != own["test/relative_deviation"]
    assert metrics["test/explainer_accuracy_tau_train"] >= 0
    weights = of_concepts(table, "alpha")
    np.testing.assert_allclose(weights, weights[:1].repeat(len(weights), axis=0), rtol=1e-3, atol=1e-6)
    assert metrics["test/bias"] == pytest.approx(table["base_value"][0])
    assert metrics["test/rival_fit_seconds"] > 0
    assert metrics["test/rival_milliseconds_per_image"] > 0
    assert "rival: linear_map, fitted in " in capsys.readouterr().out
    assert "test/prior_loss" in own
    assert "test/prior_loss" not in metrics


@pytest.mark.parametrize(
    "overrides",
    [
        ["rival=integrated_gradients", "rival.steps=200"],
        ["rival=kernel_shap", "rival.n_samples=200"],
        ["rival=random"],
        ["rival=masked_network", "rival.epochs=1"],
    ],
)
def test_contributions_of_an_efficient_rival_add_up(sweep: Path, tmp_path: Path, overrides: list[str]):
    """To what the concepts are worth: the score with all but the score at their means, worked out image by image."""
    metrics, table = measured(sweep / "0", tmp_path, *overrides, "images=7")
    assert len(table["id"]) == 7
    assert "test/explainer_accuracy_tau_train" not in metrics
    assert "test/linear_map_relative_deviation" in metrics
    totals = of_concepts(table, "contribution").sum(1)
    worth = worths(sweep / "0", table["id"].tolist(), tmp_path / "rebuilt")
    tolerance = 0.02 if "rival=integrated_gradients" in overrides else 1e-3  # the slope of a ReLU jumps
    assert np.linalg.norm(totals - worth) < tolerance * np.linalg.norm(worth)
    np.testing.assert_allclose(table["prediction"], totals + table["base_value"], rtol=1e-4, atol=1e-5)


def worths(run: Path, ids: list[str], folder: Path) -> np.ndarray:
    """By how much the score of test images falls when all concepts take their means over the training images."""
    datamodule, module, _ = build(Run(run).config, folder)
    mean = torch.cat([batch["concepts"] for batch in datamodule.ordered("train")]).double().mean(0)
    exact, found = copy.deepcopy(module.performer).double(), {}
    for batch in datamodule.ordered("test"):
        for row, feature_map in zip(batch["index"].tolist(), batch["feature_map"].float(), strict=True):
            x = module.performer.feature(feature_map[None])[0].double()
            jacobian = torch.autograd.functional.jacobian(lambda x: exact.head(x[None])[1][0], x)
            products = jacobian @ jacobian.T
            products += 1e-3 * products.diagonal().mean() * torch.eye(len(mean))
            moved = x - jacobian.T @ torch.linalg.inv(products) @ (exact.head(x[None])[1][0] - mean)
            fall = exact.head(x[None])[0] - exact.head(moved[None])[0]
            found[datamodule.splits["test"].ids[row]] = fall.item()
    return np.array([found[name] for name in ids])


def test_images_are_spread_evenly_and_the_explainer_is_measured_on_them_too(sweep: Path, tmp_path: Path):
    whole = pq.read_table(sweep / "0/explanations.parquet").to_pydict()
    metrics, table = measured(sweep / "0", tmp_path, "images=12")
    assert table["id"].tolist() == whole["id"][::2]  # 23 test images: every second one from the first to the last
    score, prediction = table["score"], table["prediction"]
    size = np.abs(of_concepts(table, "contribution")).sum(1)  # of what is added up, in other batches
    assert (np.abs(prediction - np.array(whole["prediction"])[::2]) < 1e-5 * size).all()
    assert metrics["test/relative_deviation"] == pytest.approx(
        np.abs(score - prediction).mean() / np.ptp(score), rel=1e-5
    )
    assert metrics["test/explainer_accuracy_tau_train"] >= 0  # an explainer is fast enough for all of training
    assert not any(name.startswith("test/control/") for name in metrics)  # those are measured on all test images


def test_the_prior_alone_is_the_runs_own(sweep: Path, tmp_path: Path):
    """Its weights are the prior, so that the metric of agreement with the prior finds nothing amiss."""
    metrics, _ = measured(sweep / "1", tmp_path, "rival=prior_only")
    assert metrics["test/prior_cosine"] == pytest.approx(1, abs=1e-4)


def test_what_cannot_be_measured_is_refused(sweep: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    with pytest.raises(ConfigError, match="images: expected a number of test images of at least 1, got 0"):
        measured(sweep / "0", tmp_path, "images=0")
    with pytest.raises(ConfigError, match="rival.steps: expected greater than or equal to 1, got 0"):
        measured(sweep / "0", tmp_path, "rival=integrated_gradients", "rival.steps=0")
    with pytest.raises(ConfigError, match="rival: a rival is fitted and measured by one process"):
        measured(sweep / "0", tmp_path, "rival=random", "trainer.devices=2", "trainer.strategy=ddp")
    monkeypatch.setitem(sys.modules, "captum.attr", None)
    with pytest.raises(ConfigError, match=r"needs the package captum, which is not installed: `pip install .\[rivals"):
        measured(sweep / "0", tmp_path, "rival=shapley_sampling")


def test_relevance_of_outputs_is_refused(sweep: Path, tmp_path: Path):
    pytest.importorskip("zennit")
    with pytest.raises(
        ConfigError, match="rival: zennit_relevance hands the score down to maps, but no output .* is a map of its own"
    ):
        measured(sweep / "0", tmp_path, "rival=zennit_relevance")


def test_a_rival_answers_the_same_twice(sweep: Path, tmp_path: Path):
    """Whatever is drawn is drawn from a seed of its own, and nothing else is drawn from."""
    torch.manual_seed(1)
    _, one = measured(sweep / "0", tmp_path / "one", "rival=lime", "rival.n_samples=50", "images=5")
    torch.manual_seed(2)
    _, two = measured(sweep / "0", tmp_path / "two", "rival=lime", "rival.n_samples=50", "images=5")
    assert all((one[name] == two[name]).all() for name in one)


@pytest.mark.parametrize("method", [(), ("method=semexplain",)], ids=["paper", "semexplain"])
@pytest.mark.parametrize("means", ["drawn", "moved"])
def test_random_shares_are_not_faithful(method: tuple[str, ...], means: str, tmp_path: Path):
    """They add up, so that nothing but the verdict can tell."""
    words = smoke(tmp_path / "faces", tmp_path, "data=synthetic_faces", "trainer.max_epochs=1", *method)
    train(configured(*words, *(f"data.{key}={value}" for key, value in FACES.items())), tmp_path / "run")
    asked = ("rival=random", f"verdict.means={means}", "metrics=[]")
    metrics, _ = measured(tmp_path / "run", tmp_path / "judged", *asked)
    found = judgement(tmp_path / "judged/verdict.json")
    assert found.word != "FAITHFUL"
    assert metrics["test/faithful"] < 1
    assert found.statements[1].holds is not True


def test_what_cannot_be_drawn_is_refused(sweep: Path, tmp_path: Path):
    for means, needed in {"drawn": "drawn data", "erased": "named parts and their masks"}.items():
        with pytest.raises(ConfigError, match=f"verdict.means: concepts cannot be {means} away here.* {needed}"):
            measured(sweep / "0", tmp_path / means, f"verdict.means={means}")


def test_runs_of_several_seeds_are_judged_together(sweep: Path, tmp_path: Path, faces: Path):
    other = tmp_path / "other"
    train(configured(*smoke(faces, sweep.parent, "trainer.max_epochs=1", "beta=0", "seed=1")), other)
    measured(sweep / "0", tmp_path / "judged", f"verdict.others=[{other}]", "metrics=[]")
    found = judgement(tmp_path / "judged/verdict.json")
    assert found.seeds == 2
    assert found.said.endswith("23 images and 2 seeds.")
    with pytest.raises(ConfigError, match=r"verdict.others: .*nowhere is not the folder of a run, it has no performer"):
        measured(sweep / "0", tmp_path / "none", f"verdict.others=[{tmp_path / 'nowhere'}]")
    with pytest.raises(ConfigError, match="verdict.others: a rival is judged by itself"):
        measured(sweep / "0", tmp_path / "rival", f"verdict.others=[{other}]", "rival=random")
    words = smoke(faces, tmp_path, "trainer.max_epochs=1", "performer_training.seed=1")
    train(configured(*words), tmp_path / "strange")
    with pytest.raises(ConfigError, match="strange explains another performer or other data"):
        measured(sweep / "0", tmp_path / "strange-judged", f"verdict.others=[{tmp_path / 'strange'}]")
