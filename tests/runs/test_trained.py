"""Tests of explaining one's own images, of a run's page, and of what a run leaves in its loggers."""

import csv
import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image
from support import ROOT, smoke

from semexplain.__main__ import main
from semexplain.data.framing import read_image
from semexplain.explanation import Explanation
from semexplain.report.own_images import image_files
from semexplain.runs.trained import load
from semexplain.system.config import ConfigError

pytestmark = [
    pytest.mark.filterwarnings("ignore:The performer's convolutions start from random weights"),
    pytest.mark.filterwarnings(r"ignore:All \d+ scores of the performer lie between 0 and 1"),
]


def test_own_images_are_explained_as_the_run_explained_them(sweep: Path, faces: Path) -> None:
    run = sweep / "1"
    written = Explanation.load(run / "explanations.parquet")
    paths = [faces / "img_align_celeba" / name for name in written.ids[:5]]
    explained = load(run).explain(paths, batch_size=2, progress=False)
    assert explained.ids == tuple(map(str, paths))
    assert (explained.concepts, explained.target) == (written.concepts, written.target)
    for field in ("score", "values", "weights"):
        torch.testing.assert_close(getattr(explained, field), getattr(written, field)[:5], rtol=1e-4, atol=1e-5)
    size = written.contributions[:5].abs().sum(1)  # of what is added up, and may cancel
    assert ((explained.prediction - written.prediction[:5]).abs() < 1e-5 * size).all()


def test_half_precision_moves_scores_by_a_percent_and_they_still_add_up(sweep: Path, faces: Path) -> None:
    paths = sorted((faces / "img_align_celeba").iterdir())[:20]
    exact = load(sweep / "1").explain(paths, progress=False)
    half = load(sweep / "1", precision="bfloat16").explain(paths, progress=False)
    assert half.weights.dtype == half.score.dtype == torch.float32
    assert 0 < (half.values - exact.values).norm() / exact.values.norm() < 0.02
    assert 0 < (half.weights - exact.weights).norm() / exact.weights.norm() < 0.02
    torch.testing.assert_close(half.contributions.sum(1) + half.base_value + half.residual, half.score)


def test_files_pictures_arrays_and_tensors_mean_the_same(sweep: Path, faces: Path) -> None:
    explainer = load(sweep / "0")
    path = sorted((faces / "img_align_celeba").iterdir())[0]
    with Image.open(path) as file:
        picture = file.convert("RGB")
    array = np.array(picture)
    kinds = [str(path), picture, array, torch.from_numpy(array).permute(2, 0, 1)]
    scores = explainer.explain(iter(kinds), progress=False).score
    torch.testing.assert_close(scores, scores[:1].expand(4))
    for one in kinds:
        torch.testing.assert_close(explainer.explain(one, progress=False).score, scores[:1])
    batch = torch.from_numpy(np.stack([array, array])).permute(0, 3, 1, 2)
    assert len(explainer.explain(batch, progress=False)) == 2


def test_pictures_come_with_their_heat(sweep: Path, faces: Path) -> None:
    explainer = load(sweep / "0")
    (shown,) = explainer.explain(sorted((faces / "img_align_celeba").iterdir())[:1], pictures=True, progress=False)
    assert shown.image.shape == (1, *explainer.image_shape)
    assert shown.heat.shape == (1, *explainer.image_shape[1:])
    assert (shown.heat >= 0).all()


def test_pictures_are_taken_in_any_size_and_in_grey(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (30, 20, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "one.png")
    for size in (8, (3, 24, 40), (1, 24, 40)):
        assert torch.equal(read_image(pixels, size), read_image(tmp_path / "one.png", size))
    assert read_image(pixels, (1, 24, 40)).shape == (1, 24, 40)


def test_what_is_no_image_is_refused() -> None:
    with pytest.raises(TypeError, match="uint8 RGB 0..255, got float32"):
        read_image(np.zeros((4, 4, 3), dtype=np.float32), 8)
    with pytest.raises(ValueError, match=r"got the shape \(2, 4, 4\)"):
        read_image(torch.zeros(2, 4, 4, dtype=torch.uint8), 8)
    with pytest.raises(ValueError, match=r"got the shape \(4, 4, 7\)"):
        read_image(np.zeros((4, 4, 7), dtype=np.uint8), 8)


def test_explain_reports_a_broken_image_and_does_the_rest(
    sweep: Path, faces: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()
    for path in sorted((faces / "img_align_celeba").iterdir())[:3]:
        shutil.copy(path, photos)
    (photos / "broken.jpg").write_bytes(b"no image")
    assert main(["explain", f"run={sweep / '1'}", f"images={photos}", f"out={tmp_path / 'out'}", "device=cpu"]) == 0
    assert str(tmp_path / "out/report.html") in capsys.readouterr().out
    page = (tmp_path / "out/report.html").read_text("utf-8")
    assert "broken.jpg" in page
    assert page.count("<article") == 3
    assert len(pq.read_table(tmp_path / "out/explanations.parquet")) == 3


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["explain", "images=x"], "Expected `semexplain explain run=<folder> images="),
        (["explain", "run=x", "images=y", "colour=red"], "colour: unknown"),
        (["explain", "run=RUN", "images=absent"], "there is no image file in 'absent'"),
        (["explain", "run=RUN", "images=RUN/config.yaml"], "None of the images could be read"),
        (["explain", "run=absent", "images=RUN/config.yaml"], "is not a run folder"),
        (["explain", "run=RUN", "images=RUN/config.yaml", "most=0"], "most: expected a whole number above 0"),
        (["explain", "run=RUN", "images=RUN", "precision=half"], "expected one of float32, bfloat16, got 'half'"),
        (["report", "absent"], "There is no folder absent"),
        (["report", "RUN/checkpoints"], "There are no finished explainer runs here"),
    ],
)
def test_wrong_commands_say_how_to_mend_them(
    sweep: Path, words: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([word.replace("RUN", str(sweep / "0")) for word in words]) == 2
    assert message in capsys.readouterr().err


def test_images_are_a_file_a_folder_or_a_pattern(tmp_path: Path) -> None:
    for name in ("b.png", "a.jpg", "deep/c.JPG", "notes.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    assert [path.name for path in image_files(str(tmp_path))] == ["a.jpg", "b.png", "c.JPG"]
    assert [path.name for path in image_files(f"{tmp_path}/*.png")] == ["b.png"]
    assert [path.name for path in image_files(f"{tmp_path}/a.jpg")] == ["a.jpg"]
    with pytest.raises(ConfigError, match="no image file"):
        image_files(f"{tmp_path}/*.gif")


def test_report_writes_a_page_for_each_run_and_one_that_compares_them(
    sweep: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["report", str(sweep), "--most", "10"]) == 0
    printed = capsys.readouterr().out
    metrics = json.loads((sweep / "1/metrics.json").read_text())
    page = (sweep / "1/report.html").read_text("utf-8")
    assert f"{metrics['test/relative_deviation']:.4f}" in page
    assert '<td class="printed">3.2250</td>' in page  # the paper's entropy
    assert page.count("<article") == 10
    compared = (sweep / "comparison.html").read_text("utf-8")
    assert 'href="0/report.html"' in compared
    assert 'href="1/report.html"' in compared
    assert "Without and with the prior" in compared
    assert "What the prior costs and buys" in compared
    assert all(str(sweep / name) in printed for name in ("0/report.html", "1/report.html", "comparison.html"))


def test_a_run_without_other_loggers_draws_into_its_folder(sweep: Path) -> None:
    for name in ("bars", "summary"):
        (path,) = (sweep / "1/figures" / name).iterdir()
        assert path.name == "epoch-0001.png"
        with Image.open(path) as file:
            assert file.width > 300


def test_a_sweep_can_be_compared_in_weights_and_biases(faces: Path, tmp_path: Path) -> None:
    """Two jobs, offline: what a dashboard would show, read back by wandb itself."""
    pytest.importorskip("wandb")
    overrides = [
        *smoke(faces, tmp_path, "trainer.max_epochs=2", "logger=[csv,wandb]", "beta=0,0.2"),
        "hydra.mode=MULTIRUN",
    ]
    done = subprocess.run(
        [sys.executable, str(ROOT / "train.py"), *overrides], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    (folder,) = (tmp_path / "multirun/celeba_attractive").iterdir()
    files = sorted(folder.glob("*/wandb/offline-run-*/*.wandb"))
    assert [file.relative_to(folder).parts[0].split("_")[1] for file in files] == ["beta0.2", "beta0"]
    for file, beta in zip(files, (0.2, 0), strict=True):
        said = json.loads(inspected(file, "--summary"))
        assert said["config"]["beta"] == beta
        assert said["config"]["n_concepts"] == 39
        assert said["config"]["explainer.depth"] == 18
        measured = json.loads((file.parents[2] / "metrics.json").read_text())
        for name in ("test/relative_deviation", "test/contribution_entropy", "test/explainer_accuracy_tau_eval"):
            assert said["summary"][name] == pytest.approx(measured[name])
        records = [json.loads(line) for line in inspected(file).splitlines()]
        (about,) = [record["run"] for record in records if record["type"] == "run"][:1]
        assert about["run_group"] == f"celeba_attractive/{folder.name}"
        assert about["job_type"] == "explainer"
        assert about["tags"] == ["Attractive", f"beta {beta:g}"]
        goals = {r["metric"]["name"]: r["metric"] for r in records if r["type"] == "metric" and "name" in r["metric"]}
        assert goals["val/relative_deviation"]["summary"]["min"]
        assert goals["val/contribution_entropy"]["summary"]["max"]
        assert goals["val/relative_deviation"]["step_metric"] == "epoch"
        with (file.parents[2] / "metrics.csv").open() as rows:
            deviations = [
                float(row["val/relative_deviation"]) for row in csv.DictReader(rows) if row["val/relative_deviation"]
            ]
        assert said["summary"]["val/relative_deviation"]["min"] == pytest.approx(min(deviations))
        (table,) = (file.parent / "files/media/table").rglob("*.table.json")
        held = json.loads(table.read_text())
        assert held["columns"] == ["id", "image", "score", "prediction", "residual", "reasons", "figure"]
        assert len(held["data"]) == 8
        for _, _, score, prediction, residual, reasons, _ in held["data"]:
            assert score == pytest.approx(prediction + residual, abs=1e-5)
            assert all(reason.split()[-1].startswith("+-"[score < 0]) for reason in reasons.split("; ") if reason)
        assert {
            path.name.split("_")[0] for path in (file.parent / "files/media/images/explanations").glob("*.png")
        } == {
            "bars",
            "summary",
        }
        assert {"explanations/weights", "explanations/contributions"} <= said["summary"].keys()


def inspected(file: Path, *options: str) -> str:
    command = [str(Path(sys.executable).with_name("wandb")), "leet", "inspect", *options, "--json", str(file)]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout
