"""Experiment 1 as a whole, on drawn animals: four networks, named filters, a person's names, pictures of filters."""

import json
import math
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
import yaml
from PIL import Image
from scipy.io import loadmat, savemat
from support import ROOT, configured

from semexplain.__main__ import main
from semexplain.config import ConfigError, instantiate
from semexplain.data.module import ready_data
from semexplain.data.synthetic_animals import SyntheticAnimalsDataModule
from semexplain.runs.controls import trained_controls
from semexplain.runs.performer_store import trained_performer
from semexplain.runs.performer_training import class_weights
from semexplain.runs.run import Run
from semexplain.runs.tasks import evaluate_run
from semexplain.training.calibration import platt_scaling
from train import train

PASCAL_PART = "semexplain.data.pascal_part.PascalPartDataModule"
ANIMALS = {"train": 72, "valid": 72, "negatives_count": 40, "draw_size": 128}
pytestmark = [
    pytest.mark.filterwarnings("ignore:The performer's convolutions start from random weights"),
    pytest.mark.filterwarnings(r"ignore:All \d+ scores of the performer lie between 0 and 1"),
]


@pytest.fixture(scope="module")
def animals(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of drawn animals in Pascal-Part's layout."""
    root = tmp_path_factory.mktemp("animals") / "pascal_part"
    SyntheticAnimalsDataModule(root=str(root), category="dog", **ANIMALS).prepare_data()
    return root


def overrides(animals: Path, folder: Path, *more: str) -> list[str]:
    return [
        "experiment=pascal_part_dog",
        "scale=smoke",
        "data=synthetic_animals",
        f"data.root={animals}",
        *(f"data.{key}={value}" for key, value in ANIMALS.items()),
        f"paths.performers={folder / 'performers'}",
        f"paths.cache={folder / 'cache'}",
        *more,
    ]


@pytest.fixture(scope="module")
def run(animals: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a finished run with VGG-16's shape."""
    folder = tmp_path_factory.mktemp("whole") / "run"
    learned = ["performer_training.optimizer.lr=2e-3", "performer_training.max_epochs=40", "performer.dropout=0"]
    train(configured(*overrides(animals, folder.parent, *learned, "performer_training.patience=null")), folder)
    return folder


@pytest.mark.parametrize("network", ["alexnet", "vgg_m", "vgg_s"])
def test_every_network_runs(network: str, animals: Path, tmp_path: Path):
    config = configured(*overrides(animals, tmp_path, f"performer=interpretable_{network}"))
    metrics = train(config, tmp_path / "run")
    assert metrics["test/relative_deviation"] > 0
    assert metrics["test/part_error_images"] + metrics["test/part_error_skipped"] > 0


@pytest.mark.parametrize("control", ["constant", "shuffled", "redrawn"])
def test_every_control_measures_parts(control: str, run: Path, animals: Path, tmp_path: Path):
    """Removal is the performer's matter: only one with other weights changes what the parts are worth."""
    own = json.loads((run / "metrics.json").read_text())
    checkpoint = json.loads((run / "performer.json").read_text())["path"]
    told = (f"control={control}", f"performer.checkpoint={checkpoint}", "trainer.max_epochs=1")
    metrics = train(configured(*overrides(animals, run.parent, *told)), tmp_path / "run")
    assert math.isfinite(metrics["test/part_error_mean"])
    shares = [name for name in own if name.startswith("test/part_share/")]
    same = [metrics[name] == pytest.approx(own[name], rel=1e-3, abs=1e-5) for name in shares]
    assert shares
    assert not any(same) if control == "redrawn" else all(same)
    if control != "redrawn":
        assert metrics["test/faithful"] == 0.0


def test_the_explainer_of_filters_is_evaluated_beside_controls(run: Path, tmp_path: Path):
    controls = trained_controls(run, {}, ["constant", "shuffled"])
    metrics = evaluate_run(Run(run), tmp_path, controls=controls)
    assert metrics["test/excess_over_control"] == pytest.approx(
        min(value for name, value in controls.items() if "deviation" in name) - metrics["test/relative_deviation"]
    )


def test_the_run_names_its_filters_and_measures_parts(run: Path):
    named = yaml.safe_load((run / "parts.yaml").read_text())
    assert (named["source"], named["performer"]["n"], named["performer"]["category"]) == ("peak", 64, "dog")
    assert named["performer"]["sha256"] == json.loads((run / "performer.json").read_text())["sha256"]
    metrics = json.loads((run / "metrics.json").read_text())
    used = set(named["assignment"].values()) - {"none"}
    assert used
    for name in used:
        assert {
            f"test/{kind}/{name}" for kind in ("part_error", "gradient_activation_part_error", "part_share")
        } <= metrics.keys()
    for kind in ("", "gradient_activation_"):
        assert -1 <= metrics[f"test/{kind}part_rank_correlation"] <= 1
        assert 0 <= metrics[f"test/{kind}part_sign_agreement"] <= 1
    assert not any(
        "part_" in key for key in (run / "metrics.csv").read_text().splitlines()[0].split(",") if "val/" in key
    )


def test_the_part_error_is_that_of_the_table(run: Path, animals: Path):
    """Recomputed image by image and part by part from the explanations, with one pass through the head per part."""
    config = Run(run).config
    performer = instantiate(config.performer).freeze()
    datamodule = instantiate(config.data)
    datamodule.prepare_data()
    datamodule.setup()
    table = pq.read_table(run / "explanations.parquet").to_pydict()
    assignment = yaml.safe_load((run / "parts.yaml").read_text())["assignment"]
    parts = sorted(set(assignment.values()))  # "none" is the part `other`
    wrong, scores = dict.fromkeys(parts, 0.0), 0.0
    for row, label in enumerate(table["label"]):
        if not label:
            continue
        image = datamodule.dataset("test")[row]["image"][None]
        with torch.no_grad():
            x = performer.encode(image)
            score = performer.head(x)[0].item()
            effects = {}
            for part in parts:
                removed = x.clone()
                for i, name in assignment.items():
                    if name == part:
                        removed[:, i] = 0
                effects[part] = score - performer.head(removed)[0].item()
        if abs(sum(effects.values())) < 1e-3 * abs(score):
            continue
        scores += score
        for part in parts:
            given = sum(table[f"contribution/filter_{i:03d}"][row] for i, name in assignment.items() if name == part)
            wrong[part] += abs(given - score * effects[part] / sum(effects.values()))
    metrics = json.loads((run / "metrics.json").read_text())
    for part in parts:
        name = "other" if part == "none" else part
        assert metrics[f"test/part_error/{name}"] == pytest.approx(wrong[part] / scores, rel=2e-3)


def test_evaluate_repeats_the_numbers_and_takes_a_persons_names(run: Path, tmp_path: Path):
    assert evaluate_run(Run(run), tmp_path / "again") == json.loads((run / "metrics.json").read_text())
    named = yaml.safe_load((run / "parts.yaml").read_text())
    one, two = [i for i, name in named["assignment"].items() if name not in ("none", "tail")][:2]
    mine = {**named, "source": "manual", "assignment": {one: "tail", two: "none"}}
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(mine))
    metrics = evaluate_run(Run(run, {"parts.file": str(tmp_path / "mine.yaml")}), tmp_path / "mine")
    assert "test/part_error/tail" in metrics
    written = yaml.safe_load((tmp_path / "mine/parts.yaml").read_text())
    assert written["assignment"] == {**named["assignment"], one: "tail", two: "none"}
    assert written["manual"] == [one, two]
    mine["performer"]["sha256"] = "0" * 64
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(mine))
    with pytest.raises(ConfigError, match=r"parts.file: .*names the filters of another performer: its sha256 is '000"):
        evaluate_run(Run(run, {"parts.file": str(tmp_path / "mine.yaml")}), tmp_path / "other")


def test_the_filters_are_drawn_for_a_person_to_name(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    assert main(["parts", str(run), "--out", str(tmp_path / "filters")]) == 0
    printed = capsys.readouterr().out
    for page in ("page-001.png", "page-002.png"):  # 32 filters each
        assert np.asarray(Image.open(tmp_path / "filters" / page)).std() > 10
    numbers = json.loads((tmp_path / "filters/interpretability.json").read_text())
    assert numbers["filters"] == 64
    assert numbers["named"] == sum(value for name, value in numbers.items() if name.startswith("named/"))
    assert 0 < numbers["location_instability"] < 1
    assert "location_instability" in printed
    assert (tmp_path / "filters/parts.yaml").read_text() == (run / "parts.yaml").read_text()


def test_filters_that_cannot_be_drawn_are_explained(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    assert main(["parts", str(tmp_path)]) == 1
    assert "is not a run folder" in capsys.readouterr().err
    unnamed = tmp_path / "unnamed"
    shutil.copytree(run, unnamed, ignore=shutil.ignore_patterns("parts.yaml", "checkpoints"))
    assert main(["parts", str(unnamed)]) == 1
    assert "has no parts.yaml: its concepts are not filters" in capsys.readouterr().err
    assert main(["parts", str(run), "performer.checkpoint=nowhere.safetensors"]) == 1
    assert "which is no longer at nowhere.safetensors" in capsys.readouterr().err
    assert main(["parts", str(run), "data.rot=elsewhere"]) == 1
    assert "data.rot=elsewhere: expected one of data.root=..., performer.checkpoint=..." in capsys.readouterr().err


def test_kept_names_belong_to_the_masks_they_come_from(animals: Path, run: Path, tmp_path: Path):
    """The same photos with torso and tail exchanged in the annotations: other names, though no image has changed."""
    shutil.copytree(animals, tmp_path / "animals")
    for path in (tmp_path / "animals/Annotations_Part").glob("*.mat"):
        content = loadmat(path)
        for one in content["anno"]["objects"][0, 0].ravel():
            for part in one["parts"].ravel():
                swapped = {"torso": "tail", "tail": "torso"}
                part["part_name"] = np.array([swapped.get(str(part["part_name"][0]), str(part["part_name"][0]))])
        savemat(path, {"anno": content["anno"]})
    config = Run(run, {"data.root": str(tmp_path / "animals"), "data._target_": PASCAL_PART}).config
    for key in ("train", "valid", "negatives_count", "draw_size", "draw_seed"):
        config.data.pop(key)
    config.data.index = None
    performer = instantiate(config.performer).freeze()
    names = {}
    for root in (animals, tmp_path / "animals"):
        datamodule = instantiate(config.data, root=str(root))
        datamodule.setup()
        parts = instantiate(config.parts)(performer, datamodule, torch.device("cpu"), tmp_path / "cache")
        names[root] = [name for name in parts.names_with_other if name in ("torso", "tail")], parts.assignment
    assert len(list((tmp_path / "cache").glob("parts-*.yaml"))) == 2
    assert names[animals] != names[tmp_path / "animals"]


def test_data_of_the_other_experiment_are_refused(animals: Path, faces: Path, tmp_path: Path):
    config = configured(*overrides(animals, tmp_path, "~parts", "metrics=[relative_deviation]", "figures=[bars]"))
    config.data = {"_target_": "semexplain.data.celeba.CelebADataModule", "root": str(faces), "image_size": 64}
    with pytest.raises(ConfigError, match="data: .*CelebADataModule has no labels of 'dog'"):
        train(config, tmp_path / "run")
    assert not (tmp_path / "performers").exists()  # refused before anything was trained


def test_the_papers_protocol_counts_replicas_and_writes_each_image_once(animals: Path, tmp_path: Path):
    more = ["data.split=icnn", "data.limit=12", "performer_training.max_epochs=1", "trainer.max_epochs=1"]
    config = configured(*overrides(animals, tmp_path, *more))
    metrics = train(config, tmp_path / "run")
    datamodule = instantiate(config.data)
    datamodule.prepare_data()
    datamodule.setup()
    test = datamodule.splits["test"]
    assert test.repeats.max() > 1
    table = pq.read_table(tmp_path / "run/explanations.parquet").to_pydict()
    assert table["id"] == list(test.ids)
    assert Run(tmp_path / "run").recorded["test_objects"] == len(np.unique(test.groups))
    right = [(score > 0) == label for score, label in zip(table["score"], table["label"], strict=True)]
    assert metrics["test/performer_accuracy"] == pytest.approx(np.average(right, weights=test.repeats))


def test_a_calibrated_performer_cannot_be_calibrated_further(animals: Path, tmp_path: Path):
    """Its scores on the validation split already are what their labels say."""
    learned = ["performer_training.optimizer.lr=2e-3", "performer_training.max_epochs=10", "performer.dropout=0"]
    scores = []
    for calibrate in (False, True):
        given = [*learned, f"performer_training.calibrate={calibrate}", "performer_training.balance=true"]
        config = configured(*overrides(animals, tmp_path, *given))
        datamodule = ready_data(config.data)
        performer = instantiate(config.performer, checkpoint=str(trained_performer(config, datamodule)))
        with torch.no_grad():
            batches = [
                (performer.logits(performer.trunk_map(b["image"])), b["label"]) for b in datamodule.ordered("val")
            ]
        logits, label = (torch.cat(part) for part in zip(*batches, strict=True))
        scores.append(logits[:, 0])
    assert not torch.allclose(scores[0], scores[1], rtol=0.05)
    scale, offset = platt_scaling(logits, label, class_weights(datamodule, datamodule.names))
    assert scale.item() == pytest.approx(1, abs=1e-3)
    assert offset.item() == pytest.approx(0, abs=1e-3)


@pytest.mark.slow
@pytest.mark.parametrize("network", ["alexnet", "vgg_m", "vgg_s", "vgg16"])
def test_the_papers_size_runs_two_steps(network: str, animals: Path, tmp_path: Path):
    """227 or 224 px, the whole network, ResNet-152, batch 8, computed in the step."""
    command = [
        "experiment=pascal_part_dog",
        f"performer=interpretable_{network}",
        "performer.weights=null",
        "data=synthetic_animals",
        f"data.root={animals}",
        *(f"data.{key}={value}" for key, value in ANIMALS.items()),
        "data.split=voc",
        "data.limit=16",
        "data.batch_size=8",
        "data.num_workers=0",
        "data.cache=off",
        "performer_training.max_epochs=1",
        "performer_training.batch_size=8",
        "trainer=cpu",
        "trainer.max_epochs=1",
        "+trainer.limit_train_batches=2",
        *(f"paths.{name}={tmp_path / name}" for name in ("performers", "cache", "outputs")),
    ]
    done = subprocess.run(
        [sys.executable, str(ROOT / "train.py"), *command], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    (metrics,) = tmp_path.rglob("outputs/**/metrics.json")
    assert json.loads(metrics.read_text())["test/relative_deviation"] > 0


@pytest.mark.parametrize(
    "rival", ["gradient_times_activation", "feature_ablation", "concept_vectors", "zennit_relevance"]
)
def test_rivals_share_the_score_out_among_filters(rival: str, run: Path, tmp_path: Path):
    """Gradient times activation is the control that the metrics of parts print anyway; relevance equals it here."""
    pytest.importorskip("zennit" if rival == "zennit_relevance" else "torch")
    metrics = evaluate_run(Run(run), tmp_path, rival=configured(f"rival={rival}", name="evaluate").rival, images=30)
    control = pytest.approx(metrics["test/gradient_activation_part_error_mean"], rel=1e-3)
    same = rival in ("gradient_times_activation", "zennit_relevance")
    assert (metrics["test/part_error_mean"] == control) is same
    assert metrics["test/part_rank_correlation"] > 0
    assert "test/explainer_accuracy_tau_train" not in metrics
