"""What a run's folder holds is read once, explained once, and the same wherever it is shown."""

import json
import re
from pathlib import Path

import pytest
import torch
from support import configured

from evaluate import evaluate
from semexplain.explanation import Explanation
from semexplain.metrics.accuracy import wilson_interval
from semexplain.report import run as report
from semexplain.report.own_images import explain_files
from semexplain.report.run import run_report
from semexplain.runs import build, run
from semexplain.runs.run import Run
from semexplain.runs.trained import Precision, load
from semexplain.system.config import ConfigError
from semexplain.training.distillation import Distillation

pytestmark = [
    pytest.mark.filterwarnings("ignore:The performer's convolutions start from random weights"),
    pytest.mark.filterwarnings(r"ignore:All \d+ scores of the performer lie between 0 and 1"),
]


def test_nothing_is_read_before_it_is_asked_for_and_nothing_twice(sweep: Path):
    absent = Run(sweep / "nowhere")
    with pytest.raises(ConfigError, match="is not a run folder"):
        _ = absent.config
    opened = Run(sweep / "1")
    for name in ("written", "config", "recorded", "metrics", "judged_metrics", "explanation", "data", "module"):
        assert getattr(opened, name) is getattr(opened, name)
    assert opened.module.performer is opened.performer


def test_overrides_are_of_the_configuration_and_not_of_what_was_written(sweep: Path):
    opened = Run(sweep / "1", {"data.batch_size": 5})
    assert opened.config.data.batch_size == 5
    assert opened.written.data.batch_size != 5
    assert opened.config.performer.checkpoint == opened.recorded["path"]


def test_a_run_that_is_not_finished_has_no_explanation(sweep: Path, tmp_path: Path):
    (tmp_path / "config.yaml").write_text((sweep / "1/config.yaml").read_text())
    with pytest.raises(ConfigError, match=r"has no metrics.json or no explanations.parquet: it is not finished"):
        _ = Run(tmp_path).explanation


def test_an_evaluation_reads_the_data_once(sweep: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    config = configured(f"run={sweep / '0'}", "controls=[constant]", name="evaluate")
    first = evaluate(config, tmp_path / "first")  # trains the control
    read = []
    for module in (run, build):
        ready = module.ready_data
        monkeypatch.setattr(module, "ready_data", lambda node, ready=ready: read.append(node) or ready(node))
    assert evaluate(config, tmp_path / "second") == first
    assert len(read) == 1


def test_the_interval_is_that_of_the_noted_objects(sweep: Path):
    opened = Run(sweep / "1")
    right = torch.tensor(opened.metrics["test/performer_accuracy"], dtype=torch.float64)
    low, high = wilson_interval(right, opened.recorded["test_objects"])
    assert opened.metrics["test/performer_accuracy_low"] == pytest.approx(float(low), abs=1e-6)
    assert opened.metrics["test/performer_accuracy_high"] == pytest.approx(float(high), abs=1e-6)


def never(*_: object, **__: object) -> None:
    raise AssertionError("explained again")


def test_a_page_shows_the_numbers_that_the_run_wrote(sweep: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(Distillation, "explain_maps", never)
    page = run_report(Run(sweep / "1"), most=7).read_text("utf-8")
    written = Explanation.load(sweep / "1/explanations.parquet")
    data = json.loads(re.search(r'<script type="application/json" id="data">(.*?)</script>', page, re.DOTALL)[1])
    assert len(data) == 7
    for item in data:
        row = written.ids.index(item["id"])
        assert item["score"] == float(written.score[row])
        assert item["prediction"] == float(written.prediction[row])


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_own_images_are_explained_once(
    precision: Precision, sweep: Path, faces: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    rows = []
    explain_maps = Distillation.explain_maps

    def counted(self: Distillation, feature_map: torch.Tensor, image: torch.Tensor | None = None) -> Explanation:
        rows.append(len(feature_map))
        return explain_maps(self, feature_map, image)

    monkeypatch.setattr(Distillation, "explain_maps", counted)
    folder = faces / "img_align_celeba"
    options = {"most": 10, "device": "cpu", "precision": precision}
    page = explain_files(Run(sweep / "1"), str(folder), tmp_path, **options).read_text("utf-8")
    assert sum(rows) == len(list(folder.iterdir()))
    assert page.count("<article") == 10
    assert page.count("The same image under its Grad-CAM") == 10


def test_pictures_made_later_are_those_of_the_explanation(sweep: Path, faces: Path):
    paths = sorted((faces / "img_align_celeba").iterdir())[:5]
    trained = load(sweep / "1", device="cpu")
    whole = trained.explain(paths, pictures=True, progress=False)
    later = trained.pictured(trained.explain(paths, progress=False), paths)
    assert torch.equal(later.image, whole.image)
    torch.testing.assert_close(later.heat, whole.heat)
    assert torch.equal(later.score, whole.score)


def test_a_page_is_called_by_its_run_wherever_it_is_written_from(sweep: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(sweep)
    assert f"? {sweep.name}/1</title>" in run_report(Run(Path("1")), most=2).read_text("utf-8")


def test_the_gallery_asks_the_network_nothing_that_the_cache_knows(sweep: Path, monkeypatch: pytest.MonkeyPatch):
    fresh = Run(sweep / "1")
    with monkeypatch.context() as without:
        without.setattr(report, "_kept_maps", lambda *_: None)
        expected = report._gallery(fresh, 7)
    opened = Run(sweep / "1")
    monkeypatch.setattr(type(opened.performer), "encode", never)
    found = report._gallery(opened, 7)
    assert found.ids == expected.ids
    assert torch.equal(found.image, expected.image)
    largest = float(expected.heat.max())
    torch.testing.assert_close(found.heat, expected.heat, rtol=0, atol=2e-2 * largest)  # maps are kept as float16
    monkeypatch.undo()
    monkeypatch.setattr(opened.data, "cache", "off")
    assert torch.equal(report._gallery(opened, 7).heat, expected.heat)


def test_pages_draw_what_the_configuration_says(sweep: Path):
    figures = {"mine": {"_target_": "semexplain.report.figures.summary.summary", "_partial_": True, "top": 2}}
    opened = Run(sweep / "0")
    opened.config.report_figures = figures
    page = run_report(opened, most=3).read_text("utf-8")
    assert page.count("<figure>") == 1
    assert "<h3>What counts overall</h3>" in page
    page = run_report(Run(sweep / "0"), most=3).read_text("utf-8")
    titles = ["What counts overall", "How contributions are spread", "Every contribution", "From b to the score: "]
    titles.append("Signed contributions")
    places = [page.index(f"<h3>{title}") for title in titles]
    assert places == sorted(places)
    assert page.count("<figure>") == len(titles)  # no pie: there are no parts
