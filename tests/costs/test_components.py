"""A performer, data set, prior, rival, figure, start or control costs one Python file and one yaml.

All lie in ``tests/costs/outside``, which nothing in the package names. Python finds them by its path, Hydra by
``hydra.searchpath``, and the package trusts them by ``SEMEXPLAIN_TRUSTED``.
"""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf
from PIL import Image
from support import ROOT

from evaluate import evaluate
from semexplain.__main__ import main
from semexplain.explanation import Explanation
from semexplain.runs.options import check
from semexplain.runs.trained import load
from semexplain.system.config import ConfigError
from tests.costs.conftest import OUTSIDE
from train import train

COMPONENTS = {
    "performer": "grey_network",
    "data": "stripes",
    "prior": "uniform",
    "rival": "even_share",
    "figures": "dots",
    "start": "half",
    "control": "doubled",
    "case": "atoms",
}
pytestmark = pytest.mark.filterwarnings(r"ignore:All \d+ scores of the performer lie between 0 and 1")


def overrides(folder: Path, *more: str) -> list[str]:
    """The smallest run of a network and data that the package has never seen."""
    return [
        "performer=grey_network",
        "data=stripes",
        "case=filters",
        "explainer=resnet18",
        "beta=1",
        "trainer=cpu",
        "trainer.max_epochs=1",
        "data.num_workers=0",
        "data.batch_size=8",
        *(f"paths.{name}={folder / name}" for name in ("data", "performers", "cache", "outputs", "multirun")),
        *more,
    ]


@pytest.mark.parametrize("group", COMPONENTS)
def test_a_component_is_one_short_file_and_one_yaml(group: str):
    yaml = OUTSIDE / "conf" / group / f"{COMPONENTS[group]}.yaml"
    (target,) = {
        line.split("_target_:")[1].split(".")[0].strip() for line in yaml.read_text().splitlines() if "_target_" in line
    }
    assert len((OUTSIDE / f"{target}.py").read_text().splitlines()) <= 80
    texts = [path.read_text() for folder in ("semexplain", "conf") for path in (ROOT / folder).rglob("*.yaml")]
    texts += [path.read_text() for path in (ROOT / "semexplain").rglob("*.py")]
    assert texts
    assert not any(f"{target}." in text for text in texts)


def test_a_network_of_grey_oblong_pictures_is_explained(tmp_path: Path, configured: Callable):
    """Strengths are sums of its maps, predictions add up, pictures keep their shape, labels are found by name."""
    from grey_network import GreyNetwork

    config = configured(*overrides(tmp_path, "figures=[bars,dots]"))
    metrics = train(config, tmp_path / "run")
    table, network = Explanation.load(tmp_path / "run/explanations.parquet"), GreyNetwork().freeze()
    assert table.concepts == ("filter_000", "filter_001", "filter_002", "filter_003")
    for row, name in enumerate(table.ids):
        with Image.open(tmp_path / "data/stripes" / name) as file:
            pixels = np.array(file.convert("L").resize((24, 16), Image.Resampling.BILINEAR))
        maps = network.filters(torch.from_numpy(pixels)[None, None].float() / 255)[0]
        for i in range(4):
            assert float(table.values[row, i]) == pytest.approx(float(maps[i].sum()), rel=1e-3, abs=1e-2)
        score = float(network.layer(maps.relu().flatten())[1])  # b is the second output, and the second label
        assert float(table.score[row]) == pytest.approx(score, rel=1e-3, abs=1e-3)
        assert bool(table.label[row]) == (int(name[:2]) % 2 == 0)
    assert np.isfinite(metrics["test/relative_deviation"])
    assert list((tmp_path / "run").rglob("dots/*.png"))

    assert main(["report", str(tmp_path / "run")]) == 0
    mine = load(tmp_path / "run").explain([tmp_path / "data/stripes/00.png"], pictures=True, progress=False)
    assert mine.image is not None
    assert mine.image.shape == (1, 3, 16, 24)
    assert mine.heat is not None
    assert mine.heat.shape == (1, 16, 24)


def test_prior_start_and_control_are_used(tmp_path: Path, configured: Callable):
    """A first step from weights of 1/2 under a uniform prior: the start is what the explainer says before it learns."""
    options = ["prior=uniform", "prior_loss=l2", "start=half", "control=doubled", "explainer.output=identity"]
    config = configured(*overrides(tmp_path, *options, "optimizer.lr=1e-12"))
    train(config, tmp_path / "run")
    told = Explanation.load(tmp_path / "run/explanations.parquet")
    plain = train(configured(*overrides(tmp_path, *options[:3], options[4], "optimizer.lr=1e-12")), tmp_path / "plain")
    true = Explanation.load(tmp_path / "plain/explanations.parquet")
    torch.testing.assert_close(told.values, 2 * true.values)
    torch.testing.assert_close(true.weights, torch.full_like(true.weights, 0.5), rtol=1e-5, atol=1e-5)
    assert plain["test/prior_contribution_entropy"] > 0
    with pytest.raises(ConfigError, match="softplus goes one way"):
        check(configured(*overrides(tmp_path, "start=half")))


def test_a_rival_is_measured(tmp_path: Path, configured: Callable):
    train(configured(*overrides(tmp_path)), tmp_path / "run")
    config = OmegaConf.load(ROOT / "conf/evaluate.yaml")
    empty = {key: config[key] for key in ("data", "performer", "trainer", "parts")}
    asked = {"run": str(tmp_path / "run"), "controls": [], "images": 4, "verdict": None, "metrics": {}}
    rival = OmegaConf.load(OUTSIDE / "conf/rival/even_share.yaml")
    evaluate(OmegaConf.create({**empty, **asked, "rival": rival}), tmp_path / "measured")
    shares = Explanation.load(tmp_path / "measured/explanations.parquet").contributions
    torch.testing.assert_close(shares, shares[:, :1].expand_as(shares), rtol=1e-4, atol=1e-5)
