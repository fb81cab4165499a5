"""An explainer from Python: any network, any images, no file of the project edited."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import semexplain as sx
from semexplain.data.framing import read_image
from semexplain.runs.run import Run
from semexplain.system.config import ConfigError
from semexplain.system.trouble import Trouble

SHORT = ("trainer.max_epochs=1", "trainer.accelerator=cpu", "data.num_workers=0")


def network(**options: object) -> sx.Network:
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(3, 8, 3, stride=2, padding=1),
        nn.ReLU(),
        nn.Conv2d(8, 6, 3, stride=2, padding=1),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(2),
        nn.Flatten(),
        nn.Linear(24, 3),
    )
    told = {"layer": "3", "output": "dog", "classes": ["cat", "dog", "cow"], "transform": {"size": [3, 32, 32]}}
    return sx.Network(model, **(told | options))


@pytest.fixture(scope="module")
def images() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (80, 40, 36, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def fitted(images: np.ndarray, tmp_path_factory: pytest.TempPathFactory) -> tuple[sx.Explainer, Path]:
    folder = tmp_path_factory.mktemp("fit") / "run"
    paths = f"paths.cache={folder.parent / 'cache'}"
    return sx.Explainer(network(), options=[*SHORT, paths]).fit(images, out=folder), folder


def test_contributions_add_up_to_what_the_whole_network_says(fitted: tuple[sx.Explainer, Path], images: np.ndarray):
    explainer, _ = fitted
    found = explainer.explain(images[:5])
    resized = torch.stack([read_image(image, explainer.network.framing) for image in images[:5]])
    with torch.no_grad():
        score = explainer.network.model(resized / 255)[:, 1]
    assert torch.equal(found.score, score)
    assert found.concepts == tuple(f"filter_{i:03d}" for i in range(6)) == explainer.concepts
    assert torch.equal(found.contributions, found.values * found.weights)
    assert len(found.reasons()) == 5


def test_the_network_is_as_it_was(fitted: tuple[sx.Explainer, Path]):
    explainer, _ = fitted
    assert explainer.network.digest() == network().digest()
    assert not any(parameter.requires_grad for parameter in explainer.network.parameters())


def test_a_run_folder_gives_the_explainer_back_with_the_network(
    fitted: tuple[sx.Explainer, Path], images: np.ndarray, tmp_path: Path
):
    explainer, _ = fitted
    again = sx.load(explainer.save(tmp_path / "kept"), network=network())
    one, two = explainer.explain(images[:3]), again.explain(images[:3])
    assert torch.equal(one.contributions, two.contributions)


def test_a_run_folder_without_its_network_or_with_another_one_says_so(fitted: tuple[sx.Explainer, Path]):
    _, folder = fitted
    with pytest.raises(ConfigError, match=r"was given in Python and is in no file: give it again, .*network=\.\.\."):
        sx.load(folder)
    other = network()
    with torch.no_grad():
        other.model[6].weight[0] += 1
    with pytest.raises(ConfigError, match="explains a network with other weights"):
        sx.load(folder, network=other)


def test_other_outputs_explain_as_well_and_the_filters_stay(images: np.ndarray, tmp_path: Path):
    net = network()
    explainer = sx.Explainer(net, sx.Outputs(), options=[*SHORT, f"paths.cache={tmp_path / 'cache'}"])
    explainer.fit(images, out=tmp_path / "run")
    assert explainer.concepts == ("cat", "cow")
    assert explainer.verdict.word == "NOT SHOWN"  # so few test images
    again = Run(explainer.run.path, given=explainer.network)
    assert again.judgement is not None  # which its report shows
    assert again.judgement.said == str(explainer.verdict)
    assert again.judged_metrics == {**explainer.run.metrics, **explainer.verdict.numbers}
    assert isinstance(net.kind, sx.Filters)
    assert len(net.concept_names) == 6


def test_what_is_refused_before_any_work(images: np.ndarray, tmp_path: Path):
    with pytest.raises(Trouble, match=r"has seen no images yet: call `fit"):
        _ = sx.Explainer(network()).run
    with pytest.raises(ConfigError, match="max_epoch"):
        sx.Explainer(network(), options=["trainer.max_epoch=3"])
    (tmp_path / "full").mkdir()
    (tmp_path / "full/a").touch()
    with pytest.raises(ConfigError, match="is not empty"):
        sx.Explainer(network()).fit(images, out=tmp_path / "full")


def test_a_verdict_that_cannot_be_or_be_written_is_refused_before_the_work(
    fitted: tuple[sx.Explainer, Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    explainer, folder = fitted
    with pytest.raises(ConfigError, match=r"verdict\.images: expected a number of test images"):
        explainer.judge(images=0)
    (tmp_path / "file").touch()
    monkeypatch.setattr("semexplain.runs.explainer.EVALUATIONS", tmp_path / "file")
    with pytest.raises(ConfigError, match="verdict: .* cannot be a folder"):
        explainer.judge()
    assert folder.is_dir()
