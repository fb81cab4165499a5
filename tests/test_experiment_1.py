"""Experiment 1 as a whole, on drawn animals: four networks, named filters, a person's names, pictures of filters."""

import json
import math
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
import yaml
from PIL import Image
from scipy.io import loadmat, savemat
from support import ROOT, configured

from evaluate import evaluate
from semexplain.__main__ import main
from semexplain.data.module import ready_data
from semexplain.data.synthetic_animals import SyntheticAnimalsDataModule
from semexplain.explanation import Explanation
from semexplain.runs import performer_training
from semexplain.runs.build import build
from semexplain.runs.controls import trained_controls
from semexplain.runs.performer_store import trained_performer
from semexplain.runs.performer_training import class_weights
from semexplain.runs.records import judgement
from semexplain.runs.run import Run
from semexplain.runs.tasks import evaluate_run
from semexplain.system.config import ConfigError, instantiate
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
    table = pq.read_table(tmp_path / "run/explanations.parquet").to_pydict()
    score, prediction, label = (np.array(table[name]) for name in ("score", "prediction", "label"))
    deviation = np.abs(score - prediction).mean() / np.ptp(score)
    assert metrics["test/relative_deviation"] == pytest.approx(deviation, rel=1e-5)
    assert metrics["test/part_error_images"] + metrics["test/part_error_skipped"] == label.sum() > 0


@pytest.mark.parametrize("control", ["constant", "shuffled", "redrawn"])
def test_every_control_measures_parts(control: str, run: Path, animals: Path, tmp_path: Path):
    """Removal is the performer's matter: with the same weights the parts have the same shares, with others theirs."""
    own = json.loads((run / "metrics.json").read_text())
    checkpoint = json.loads((run / "performer.json").read_text())["path"]
    told = (f"control={control}", f"performer.checkpoint={checkpoint}", "trainer.max_epochs=1")
    metrics = train(configured(*overrides(animals, run.parent, *told)), tmp_path / "run")
    shares = [name for name in own if name.startswith("test/part_share/")]
    assert shares
    assert all(math.isfinite(metrics[name.replace("share", "error")]) for name in shares)
    if control == "redrawn":
        removed = by_removal(tmp_path / "run", tmp_path)
        total = sum(score for score, _ in removed.values())
        expected = {
            name: sum(score * drops[name] / sum(drops.values()) for score, drops in removed.values()) / total
            for name in (name.removeprefix("test/part_share/") for name in shares)
        }
        found = {name: metrics[f"test/part_share/{name}"] for name in expected}
        assert found == pytest.approx(expected, rel=1e-3, abs=1e-4)
    else:
        assert [metrics[name] for name in shares] == pytest.approx([own[name] for name in shares], rel=1e-3, abs=1e-5)
    if control == "constant":  # nothing gets worse with the same strengths again
        assert metrics["test/concept_reliance"] == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize(
    ("asked", "rests", "images"),
    [
        ("auto", "drawing the image again without a concept", 12),
        ("erased", "erasing a part from the image", 12),
        ("moved", "taking concepts away at the feature x, not in the image", 40),
    ],
)
def test_it_is_judged_by_what_its_images_allow(asked: str, rests: str, images: int, run: Path, tmp_path: Path):
    words = (f"run={run}", f"verdict.means={asked}", f"verdict.images={images}", "metrics=[]")
    metrics = evaluate(configured(*words, name="evaluate"), tmp_path)
    found = judgement(tmp_path / "verdict.json")
    assert found.means == rests
    assert found.images <= images
    assert metrics["test/faithful"] == {"FAITHFUL": 1, "NOT FAITHFUL": 0, "NOT SHOWN": 0.5}[found.word]
    if found.images < 20:
        assert (found.word, found.statements) == ("NOT SHOWN", [])
        assert f"{found.images} images are too few" in found.reason
        return
    assert [s.name for s in found.statements] == ["adds_up", "own_concepts", "shares", "learned"]
    for statement in found.statements:
        for name, (value, low, high) in statement.numbers.items():
            assert [metrics[f"test/verdict/{name}{end}"] for end in ("", "_low", "_high")] == [value, low, high]


def by_removal(run: Path, folder: Path) -> dict[str, tuple[float, dict[str, float]]]:
    """Score of each test image of the target and its drop without each part's filters, each by a pass through the head.

    Images whose drops cancel are left out, as the metrics leave them out. The feature maps are those of the cache.
    """
    datamodule, module, _ = build(Run(run).config, folder / "rebuilt", named=run / "parts.yaml")
    split, head = datamodule.splits["test"], module.performer.head
    shares = shares_of(run)
    found = {}
    for batch in datamodule.ordered("test"):
        for row, x, score in zip(batch["index"], batch["feature_map"].float(), batch["score"].tolist(), strict=True):
            if not split.labels[row, 0]:
                continue
            drops = {}
            with torch.no_grad():
                for part in shares[0]:
                    removed = x.clone()
                    for i, share in enumerate(shares):
                        removed[i] *= 1 - share[part]
                    drops[part] = (head(x[None])[0] - head(removed[None])[0]).item()
            if abs(sum(drops.values())) >= 1e-3 * abs(score):
                found[split.ids[row]] = score, drops
    return found


def shares_of(run: Path) -> list[dict[str, float]]:
    """Which share of each filter each part and the background have, as the file of names says; without empty parts."""
    named = yaml.safe_load((run / "parts.yaml").read_text())
    rows = [dict(zip(named["parts"], row, strict=True)) for row in named["matrix"]]
    shares = [{**row, "background": float(sum(row.values()) < 0.5)} for row in rows]  # all of a filter, or nothing
    return [{part: row[part] for part in row if any(one[part] for one in shares)} for row in shares]


def test_the_explainer_of_filters_is_evaluated_beside_controls(run: Path, tmp_path: Path):
    controls = trained_controls(Run(run), ["constant", "shuffled"])
    metrics = evaluate_run(Run(run), tmp_path, controls=controls)
    assert {name: metrics[name] for name in controls} == controls
    assert all(controls[f"test/control/{name}/relative_deviation"] > 0 for name in ("constant", "shuffled"))


def test_the_run_names_its_filters_and_measures_parts(run: Path):
    named = yaml.safe_load((run / "parts.yaml").read_text())
    assert (named["source"], named["performer"]["n"], named["performer"]["category"]) == ("erased", 64, "dog")
    assert named["performer"]["sha256"] == json.loads((run / "performer.json").read_text())["sha256"]
    metrics = json.loads((run / "metrics.json").read_text())
    assert list(named["assignment"]) == list(range(64))
    assert set(named["assignment"].values()) <= {*named["parts"], "none"}
    for i, row in enumerate(named["matrix"]):
        best = named["parts"][int(np.argmax(row))] if any(row) else "none"
        assert named["assignment"][i] == best
        assert sum(row) == pytest.approx(1 if any(row) else 0, abs=1e-5)
    for name in shares_of(run)[0]:
        assert {
            f"test/{kind}/{name}" for kind in ("part_error", "gradient_activation_part_error", "part_share")
        } <= metrics.keys()
    assert -1 <= metrics["test/constant_part_rank_correlation"] <= 1
    for kind in ("", "gradient_activation_"):
        assert -1 <= metrics[f"test/{kind}part_rank_correlation"] <= 1
        assert -1 <= metrics[f"test/{kind}part_image_correlation"] <= 1
        assert 0 <= metrics[f"test/{kind}part_sign_agreement"] <= 1
    assert not any(
        "part_" in key for key in (run / "metrics.csv").read_text().splitlines()[0].split(",") if "val/" in key
    )


def test_the_part_error_is_that_of_the_table(run: Path, tmp_path: Path):
    """Recomputed image by image and part by part from the explanations, with one pass through the head per part."""
    metrics, expected = json.loads((run / "metrics.json").read_text()), errors_of(run, run, tmp_path)
    assert {name: metrics[f"test/part_error/{name}"] for name in expected} == pytest.approx(expected, rel=1e-3)


def errors_of(run: Path, evaluation: Path, folder: Path) -> dict[str, float]:
    """Table 3's error of every part, from the contributions that an evaluation of a run wrote down."""
    explained = Explanation.load(evaluation / "explanations.parquet")
    shares = shares_of(run)
    wrong: Counter[str] = Counter()
    scores = 0.0
    for name, (score, drops) in by_removal(run, folder).items():
        if name not in explained.ids:
            continue
        given = dict.fromkeys(drops, 0.0)
        for i, contribution in enumerate(explained.contributions[explained.ids.index(name)].tolist()):
            for part, share in shares[i].items():
                given[part] += share * contribution
        scores += score
        for part, drop in drops.items():
            wrong[part] += abs(given[part] - score * drop / sum(drops.values()))
    return {part: value / scores for part, value in wrong.items()}


def test_evaluate_repeats_the_numbers_and_takes_a_persons_names(run: Path, tmp_path: Path):
    assert evaluate_run(Run(run), tmp_path / "again") == json.loads((run / "metrics.json").read_text())
    named = yaml.safe_load((run / "parts.yaml").read_text())
    one, two = 3, 60
    called = {i: "tail" if named["assignment"][i] == "torso" else "torso" for i in (one, two)}  # other than proposed
    mine = {**named, "source": "manual", "assignment": called}
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(mine))
    metrics = evaluate_run(Run(run, {"parts.file": str(tmp_path / "mine.yaml")}), tmp_path / "mine")
    assert {f"test/part_error/{name}" for name in called.values()} <= metrics.keys()
    written = yaml.safe_load((tmp_path / "mine/parts.yaml").read_text())
    assert written["assignment"] == named["assignment"] | called
    assert written["manual"] == [one, two]
    for i, row in enumerate(
        written["matrix"]
    ):  # a person's filter belongs to its part as a whole, the others as before
        assert row == ([float(part == called[i]) for part in named["parts"]] if i in called else named["matrix"][i])
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
    assert 0 <= numbers["location_instability"] <= 0.5  # the spread of numbers between 0 and 1
    assert "location_instability" in printed
    assert 0 <= numbers["sees_whole_object"] <= 1
    assert numbers["receptive_field"] == Run(run).performer.geometry.receptive_field > 200
    lines = (tmp_path / "filters/filters.csv").read_text().splitlines()
    assert len(lines) == 65
    assert lines[0].endswith("background,receptive field,sees whole object")
    assert (tmp_path / "filters/parts.yaml").read_text() == (run / "parts.yaml").read_text()


def test_filters_that_cannot_be_drawn_are_explained(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    assert main(["parts", str(tmp_path)]) == 2
    assert "is not a run folder" in capsys.readouterr().err
    unnamed = tmp_path / "unnamed"
    shutil.copytree(run, unnamed, ignore=shutil.ignore_patterns("parts.yaml", "checkpoints"))
    assert main(["parts", str(unnamed)]) == 2
    assert "has no parts.yaml, the names that it gave to filters. Restore it from a copy." in capsys.readouterr().err
    assert main(["parts", str(run), "performer.checkpoint=nowhere.safetensors"]) == 2
    assert "which is no longer at nowhere.safetensors" in capsys.readouterr().err
    assert main(["parts", str(run), "data.rot=elsewhere"]) == 2
    assert "data.rot: unknown (did you mean 'data.root'?)." in capsys.readouterr().err


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
    for number, root in enumerate((animals, tmp_path / "animals")):
        datamodule = instantiate(config.data, root=str(root))
        datamodule.setup()
        kept, afresh = (
            instantiate(config.parts)(performer, datamodule, torch.device("cpu"), tmp_path / folder)
            for folder in ("cache", f"empty {number}")
        )
        assert kept.assignment == afresh.assignment
    assert len(list((tmp_path / "cache").glob("parts-*.yaml"))) == 2


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


def test_a_calibrated_performer_cannot_be_calibrated_further(
    animals: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Its scores on the validation split are those of the training, stretched and moved; they are what labels say."""
    given = ["performer_training.optimizer.lr=2e-3", "performer_training.max_epochs=10", "performer.dropout=0"]
    given += ["performer_training.calibrate=true", "performer_training.balance=true"]
    config, before = configured(*overrides(animals, tmp_path, *given)), []

    def fitted(logits: torch.Tensor, label: torch.Tensor, weights: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        before.append((logits, *platt_scaling(logits, label, weights)))
        return before[-1][1:]

    monkeypatch.setattr(performer_training, "platt_scaling", fitted)
    datamodule = ready_data(config.data)
    performer = instantiate(config.performer, checkpoint=str(trained_performer(config, datamodule)))
    with torch.no_grad():
        batches = [(performer.logits(performer.trunk_map(b["image"])), b["label"]) for b in datamodule.ordered("val")]
    logits, label = (torch.cat(part) for part in zip(*batches, strict=True))
    ((trained, scale, offset),) = before
    torch.testing.assert_close(logits.double(), scale * trained + offset, rtol=1e-4, atol=1e-4)
    again = platt_scaling(logits, label, class_weights(datamodule, datamodule.names))
    assert [value.item() for value in again] == pytest.approx([1, 0], abs=1e-3)


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
    """By their definitions, filter by filter, up to maps kept in half precision.

    Relevance is gradient times activation, the control that the metrics of parts print anyway.
    """
    pytest.importorskip("zennit" if rival == "zennit_relevance" else "torch")
    metrics = evaluate_run(Run(run), tmp_path, rival=configured(f"rival={rival}", name="evaluate").rival, images=30)
    found = Explanation.load(tmp_path / "explanations.parquet")
    config = Run(run).config
    performer, datamodule = instantiate(config.performer).freeze(), ready_data(config.data)
    split = datamodule.splits["test"]
    images = [split.read(split.ids.index(name), config.data.image_size) for name in found.ids]
    x = performer.encode(torch.stack(images)).detach().requires_grad_()
    (slope,) = torch.autograd.grad(performer.head(x)[0].sum(), x)
    with torch.no_grad():
        score, y = performer.head(x)
        if rival == "feature_ablation":
            expected = torch.stack(
                [score - performer.head(x * (torch.arange(64) != i).view(-1, 1, 1))[0] for i in range(64)], 1
            )
        elif rival == "concept_vectors":
            strengths = [performer(batch["image"]).concepts for batch in datamodule.ordered("train")]
            expected = slope.mean((2, 3)) * (y - torch.cat(strengths).mean(0))
        else:
            expected = (slope * x).sum((2, 3))
            for name in (name for name in metrics if name.startswith("test/part_")):
                control = metrics.get(name.replace("/part", "/gradient_activation_part"))
                assert control is None or metrics[name] == pytest.approx(control, rel=1e-3, abs=1e-4), name
    assert (found.contributions - expected).norm() < 2e-3 * expected.norm()  # 5e-4 at most
    errors = errors_of(run, tmp_path, tmp_path)
    assert {name: metrics[f"test/part_error/{name}"] for name in errors} == pytest.approx(errors, rel=1e-3)
    assert "test/explainer_accuracy_tau_train" not in metrics
