"""Pictures that nobody has labelled, of any kind of numbers, are explained, judged and shown."""

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf
from PIL import Image
from support import ROOT

from evaluate import evaluate
from semexplain.__main__ import main
from semexplain.data.framing import Framing, read_image
from semexplain.explanation import Explanation
from semexplain.runs.options import check
from semexplain.runs.run import Run
from semexplain.runs.trained import load
from semexplain.system.config import ConfigError
from tests.costs.conftest import OUTSIDE
from tests.costs.test_components import overrides
from train import train

pytestmark = pytest.mark.filterwarnings(r"ignore:All \d+ scores of the performer lie between 0 and 1")
BY_LABEL = ("accuracy", "tau", "positive", "negative")


def drawn(root: Path, dtype: type = np.uint8, top: int = 255) -> Path:
    root.mkdir()
    for number in range(60):
        pixels = np.random.default_rng(number).integers(0, top + 1, (20, 30)).astype(dtype)
        Image.fromarray(pixels).save(root / f"{number:02}.png")
    return root


def judged(run: Path, folder: Path, images: int = 4, **more: Any) -> dict[str, float]:
    config = OmegaConf.load(ROOT / "conf/evaluate.yaml")
    empty = {key: config[key] for key in ("data", "performer", "trainer", "parts")}
    asked = {"run": str(run), "controls": [], "images": images, "metrics": {}, "verdict": config.verdict}
    return evaluate(OmegaConf.create({**empty, **asked, **more}), folder)


def test_unlabelled_pictures_are_explained(tmp_path: Path, configured: Callable, caplog: pytest.LogCaptureFixture):
    """All numbers but those that compare with a label, which one line of the log says."""
    root = drawn(tmp_path / "photos")
    config = configured(*overrides(tmp_path, "data=pictures", f"data.root={root}"))
    check(config)
    with caplog.at_level(logging.INFO):
        metrics = train(config, tmp_path / "run")
    said = [record.message for record in caplog.records if "no labels of 'b'" in record.message]
    assert said == ["The data have no labels of 'b': accuracies and thresholds are left out."]
    labelled = configured(*overrides(tmp_path))
    numbers = train(labelled, tmp_path / "labelled")
    left_out = set(numbers) - set(metrics)
    assert left_out
    assert all(any(word in name for word in BY_LABEL) for name in left_out)
    assert set(metrics) < set(numbers)
    assert all(np.isfinite(value) for value in metrics.values())

    table = Explanation.load(tmp_path / "run/explanations.parquet")
    assert table.label is None
    assert np.isfinite(judged(tmp_path / "run", tmp_path / "judged")["test/relative_deviation"])
    rival = OmegaConf.load(OUTSIDE / "conf/rival/even_share.yaml")
    assert np.isfinite(judged(tmp_path / "run", tmp_path / "rival", rival=rival)["test/relative_deviation"])
    assert main(["report", str(tmp_path / "run")]) == 0
    page = (tmp_path / "run/report.html").read_text("utf-8")
    assert "wrong decisions of the network" not in page
    assert page.count("<article") == len(table)
    assert main(["report", str(tmp_path)]) == 0  # beside the labelled one


def test_labels_of_other_things_do_no_harm(tmp_path: Path, configured: Callable, caplog: pytest.LogCaptureFixture):
    root = tmp_path / "photos"
    for number in range(48):
        path = root / f"{('train', 'val', 'test')[number % 3]}/{('cat', 'dog')[number % 2]}/{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((16, 24), 5 * number, np.uint8)).save(path)
    with caplog.at_level(logging.INFO):
        metrics = train(configured(*overrides(tmp_path, "data=pictures", f"data.root={root}")), tmp_path / "run")
    assert "no labels of 'b', but of cat, dog: accuracies" in caplog.text
    assert "test/performer_accuracy" not in metrics
    assert Run(tmp_path / "run").config.data.root == str(root)


def test_pictures_are_framed_as_the_performer_takes_them(tmp_path: Path, configured: Callable):
    """A run completes how they are framed; the page and one's own images follow it."""
    from deep_network import DeepNetwork

    root = drawn(tmp_path / "photos", np.uint16, 4095)
    words = ["data=pictures", f"data.root={root}", "performer._target_=deep_network.DeepNetwork"]
    train(configured(*overrides(tmp_path, *words)), tmp_path / "run")
    run, network = Run(tmp_path / "run"), DeepNetwork().freeze()
    options = {"shorter": 26, "interpolation": "bicubic", "dtype": "uint16", "top": 4095.0}
    assert OmegaConf.to_container(run.written.data.framing) == options
    assert run.data.framing == Framing(1, 16, 24, 26, "bicubic", "uint16", 4095)
    table = run.explanation
    for row, name in enumerate(table.ids):
        image = read_image(root / name, network.framing)[None]
        score = network.head(network.feature(network.encode(image)))[0]
        torch.testing.assert_close(table.score[row : row + 1], score, rtol=1e-2, atol=1e-2)  # of rounded maps
    paths = [root / name for name in table.ids[:3]]
    mine = load(tmp_path / "run").explain(paths, pictures=True, progress=False)
    torch.testing.assert_close(mine.score, table.score[:3], rtol=1e-2, atol=1e-2)
    assert mine.image is not None
    assert torch.equal(mine.image[0], network.framing.shown(read_image(paths[0], network.framing)))
    assert main(["report", str(tmp_path / "run")]) == 0
    assert np.isfinite(judged(tmp_path / "run", tmp_path / "judged")["test/relative_deviation"])
    with pytest.raises(ConfigError, match=r"data.framing: .* but the performer sees images framed by .* Leave it out"):
        check(configured(*overrides(tmp_path, *words, "data.framing={shorter: 30}")))
