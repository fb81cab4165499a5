"""Tests of semexplain.report: what a page says, without a browser."""

import base64
import json
import re
from pathlib import Path

import pytest
import torch
from omegaconf import OmegaConf
from support import configured

from semexplain.explanation import Explanation
from semexplain.metrics.catalogue import measures_of
from semexplain.metrics.measure import describe
from semexplain.report.page import chosen_rows
from semexplain.report.paper import paper_numbers
from semexplain.report.run import images_report, in_order
from semexplain.system.config import instantiate

FIGURES = instantiate(configured().report_figures)


def explanation(images: int = 6, n: int = 12, names: tuple[str, ...] = ()) -> Explanation:
    generator = torch.Generator().manual_seed(0)
    values, weights = (torch.randn(images, n, generator=generator) for _ in range(2))
    return Explanation(
        torch.randn(images, generator=generator),
        values,
        weights,
        torch.tensor(0.25),
        tuple(f"Concept_{i}" for i in range(n)),
        "Male",
        names,
        label=torch.arange(images) % 2 == 0,
        image=torch.randint(0, 256, (images, 3, 16, 16), generator=generator, dtype=torch.uint8),
        heat=torch.rand(images, 16, 16, generator=generator),
    )


def test_a_page_holds_everything_and_asks_for_nothing(tmp_path: Path) -> None:
    shown = explanation(names=("a.jpg", "<script>alert(1)</script>", "c", "d", "e", "f"))
    page = images_report(tmp_path / "report.html", shown, shown, "six images", ["broken.jpg"], FIGURES).read_text(
        "utf-8"
    )
    addresses = re.findall(r'(?:src|href)="([^"]*)"', page)
    assert addresses
    assert all(address.startswith(("data:", "#")) for address in addresses)
    assert "<script>alert" not in page
    assert "broken.jpg" in page
    assert page.count("<article") == 6
    assert all('alt="' in tag for tag in re.findall(r"<img [^>]*>", page))
    assert [path.name for path in tmp_path.iterdir()] == ["report.html"]


def test_the_data_of_the_page_are_those_of_the_explanation(tmp_path: Path) -> None:
    shown = explanation()
    page = images_report(tmp_path / "report.html", shown, shown, "", [], FIGURES).read_text("utf-8")
    data = json.loads(re.search(r'<script type="application/json" id="data">(.*?)</script>', page, re.DOTALL)[1])
    for row, item in enumerate(data):
        assert item["score"] == pytest.approx(float(shown.score[row]))
        assert item["residual"] == pytest.approx(abs(float(shown.score[row] - shown.prediction[row])), abs=1e-6)
        assert item["wrong"] == (bool(shown.label[row]) != (float(shown.score[row]) > 0))
        assert item["contributions"] == pytest.approx(shown.contributions[row].tolist(), rel=1e-4)
    bars = [float(value) for value in re.findall(r'<tr class="\w+" data-value="([^"]*)">', page)]
    each = len(bars) // 6
    for row in range(6):
        assert sum(bars[row * each : (row + 1) * each]) == pytest.approx(float(shown.score[row]), abs=1e-5)


def test_two_hundred_images_stay_below_15_megabytes(tmp_path: Path) -> None:
    generator = torch.Generator().manual_seed(0)
    noise = torch.randint(0, 256, (200, 3, 160, 160), generator=generator, dtype=torch.uint8)  # hardest to compress
    large = Explanation(**{**vars(explanation(200, 39)), "image": noise, "heat": None})
    path = images_report(tmp_path / "report.html", large, large, "", [], FIGURES)
    assert path.stat().st_size < 15e6


def test_a_gallery_has_the_extremes_and_no_image_twice() -> None:
    many = explanation(1000)
    rows = list(chosen_rows(many, 100))
    assert len(rows) == len(set(rows)) == 100
    assert rows == sorted(rows)
    assert set(many.residual.abs().argsort(descending=True)[:20].tolist()) <= set(rows)
    assert list(chosen_rows(many, 1000)) == list(range(1000))


def test_the_papers_numbers_are_those_of_the_experiment() -> None:
    dog = {"architecture": "vgg16", "target": "dog"}
    ours = paper_numbers(OmegaConf.create({"performer": dog, "beta": 10}))
    assert ours["test/contribution_entropy"] == 5.972
    assert ours["test/part_error/eye"] == 0.181
    assert ours["test/explainer_accuracy_tau_eval"] == pytest.approx(0.970)
    baseline = paper_numbers(OmegaConf.create({"performer": dog, "beta": 0}))
    assert baseline["test/contribution_entropy"] == 4.844
    assert "test/part_error/ear" not in baseline
    assert set(paper_numbers(OmegaConf.create({"performer": dog, "beta": 3}))) == {"test/performer_accuracy"}
    assert paper_numbers(OmegaConf.create({"performer": {"target": "Smiling"}, "beta": 0.2})) == {}


def test_every_number_has_a_meaning() -> None:
    metrics = "relative_deviation.RelativeDeviation", "part_error.PartError", "accuracy.ExplainerAccuracy"
    measures = measures_of([{name: {"_target_": f"semexplain.metrics.{name}"} for name in metrics}])
    for name in ("relative_deviation", "part_error/eye", "performer_accuracy_low", "tau_eval", "part_share/other"):
        assert describe(f"test/{name}", measures).meaning
    first, more = in_order(["test/tau_eval", "test/part_error/eye", "test/relative_deviation"], measures)
    assert list(first) == ["test/relative_deviation", "test/part_error/eye"]
    assert list(more) == ["test/tau_eval"]


def test_pictures_are_readable(tmp_path: Path) -> None:
    shown = explanation()
    page = images_report(tmp_path / "report.html", shown, shown, "", [], FIGURES).read_text("utf-8")
    figures = re.findall(r"data:image/svg\+xml;base64,([^\"]*)", page)
    assert len(figures) == 5
    assert all(base64.b64decode(figure).startswith(b"<?xml") for figure in figures)
