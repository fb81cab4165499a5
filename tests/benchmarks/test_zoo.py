"""The zoo: its slower way, its outcomes, its page."""

import json
from pathlib import Path

import pytest
import torch
from awkward import CASES, NoBias, Residual
from torch import Tensor, nn

import semexplain as sx
from benchmarks.zoo import measure
from benchmarks.zoo.architectures import Architecture, architectures, settled
from benchmarks.zoo.slower import Ways
from benchmarks.zoo.table import goals, page


def outcome(one: Architecture, monkeypatch: pytest.MonkeyPatch) -> dict:
    monkeypatch.setattr(measure, "_explain", lambda *_: None)
    record: dict = {"source": one.source, "name": one.name, "side": one.side}
    return record | measure._outcome(one, record, 0.0) | record


def test_the_zoo_is_large_and_its_names_differ():
    keys = [one.key for one in architectures()]
    assert len(set(keys)) == len(keys) >= 150
    assert sum(one.source == "awkward" and not one.refused for one in architectures()) >= 10


def test_the_slower_way_says_what_a_network_of_two_parts_says():
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3)).eval()
    image, other = torch.rand(2, 3, 6, 6), torch.rand(2, 3, 6, 6)
    ways = Ways(model, ["1"], 1, {})
    score, values, gradients = ways.sloped(image)
    assert torch.equal(score, model(image)[:, 1].detach())
    assert torch.equal(values[0], model[1](model[0](image)).detach())
    assert torch.allclose(gradients[0], (model[4].weight[1] / 16)[:, None, None].expand(2, 4, 4, 4))
    assert torch.equal(ways.given(other, values), score)


def test_an_architecture_passes_is_refused_or_fails(monkeypatch: pytest.MonkeyPatch):
    passed = outcome(Architecture("awkward", "NoBias", NoBias, 16, "one", None), monkeypatch)
    assert (passed["outcome"], passed["pairs"], passed["off"], passed["allowed"]) == ("passed", 5, 0, 0)
    bad = {"side": 16, "layer": "blocks.1.conv1"}
    refused = outcome(Architecture("awkward", "R", Residual, **bad, refused="does not separate"), monkeypatch)
    assert refused["outcome"] == "refused"
    assert outcome(Architecture("awkward", "R", Residual, **bad), monkeypatch)["outcome"] == "failed"
    other = outcome(Architecture("awkward", "R", Residual, **bad, refused="is quantised"), monkeypatch)
    assert other["outcome"] == "failed"
    accepted = outcome(Architecture("awkward", "N", NoBias, 16, "one", None, refused="never"), monkeypatch)
    assert accepted["outcome"] == "wrong"


def test_a_replay_that_is_off_is_called_wrong(monkeypatch: pytest.MonkeyPatch):
    right = sx.Network.outputs
    monkeypatch.setattr(sx.Network, "outputs", lambda self, feature: right(self, feature) * (1 + 1e-6))
    found = outcome(Architecture("awkward", "NoBias", NoBias, 16, "one", None), monkeypatch)
    assert found["outcome"] == "wrong"
    assert "score: off by" in found["words"]


def test_a_gradient_that_is_off_is_called_wrong(monkeypatch: pytest.MonkeyPatch):
    right = sx.Network.outputs

    def steeper(self: sx.Network, feature: Tensor) -> Tensor:
        outputs = right(self, feature)
        return 2 * outputs - outputs.detach()  # equal to the bit

    monkeypatch.setattr(sx.Network, "outputs", steeper)
    found = outcome(Architecture("awkward", "NoBias", NoBias, 16, "one", None), monkeypatch)
    assert found["outcome"] == "wrong"
    assert "gradient: off by" in found["words"]


@torch.no_grad()
def test_everything_matters_in_a_settled_network():
    image = torch.rand(8, 3, 6, 6)
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4, momentum=0.2), nn.ReLU(), nn.Conv2d(4, 2, 3))
    nn.init.zeros_(model[3].weight)
    model[0].weight.mul_(1e6)
    assert settled(model, image) is model
    assert bool(model[3].weight.any())
    before = model[0](image)
    assert torch.allclose(model[1].running_mean, before.mean((0, 2, 3)), rtol=1e-4, atol=1.0)
    assert torch.allclose(model[1].running_var, before.var((0, 2, 3)), rtol=1e-4)
    assert (model[1].momentum, model.training, model[1].training) == (0.2, False, False)
    assert float(model[:3](image).max()) < 100


DOZEN = [  # small ones of each source; a run of the whole zoo is `make zoo`
    "torchvision:resnet18",
    "torchvision:squeezenet1_1",
    "torchvision:mobilenet_v3_small",
    "torchvision:shufflenet_v2_x0_5",
    "torchvision:densenet121",
    "timm:test_resnet",
    "timm:test_convnext",
    "timm:test_vit",
    "timm:test_efficientnet",
    "hf:ResNet",
    "hf:ViT",
    "hf:Swin",
    "onnx:squeezenet1_1",
    "awkward:UNet at down+deep",
    "awkward:ChannelsLast at mix",
]


@pytest.mark.filterwarnings("ignore")  # of the libraries, as where the zoo is measured
@pytest.mark.parametrize("key", DOZEN)
def test_a_dozen_are_checked_compared_fitted_and_explained(key: str):
    one = next(one for one in architectures() if one.key == key)
    if one.missing:
        pytest.skip(f"{one.missing} is not installed")
    record: dict = {"source": one.source, "name": one.name, "side": one.side}
    found = record | measure._outcome(one, record, 0.0) | record
    assert (found["outcome"], found["words"]) == ("passed", "")
    assert found["reached"] == "explained"


@pytest.mark.slow
def test_an_awkward_one_is_measured_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(measure.resource, "setrlimit", lambda *_: None)
    file = tmp_path / "record.json"
    measure.measured(f"awkward:{CASES[0]} at act:2", file)
    record = json.loads(file.read_text())
    assert (record["outcome"], record["reached"]) == ("passed", "explained")


def test_the_page_has_a_row_for_each(monkeypatch: pytest.MonkeyPatch):
    one = Architecture("awkward", "NoBias", NoBias, 16, "one", None)
    records = [
        outcome(one, monkeypatch),
        {"source": "timm", "name": "a", "outcome": "failed", "words": "Stack\nValueError: no"},
        {"source": "timm", "name": "b", "outcome": "refused", "words": "past | it"},
        {"source": "hf", "name": "c", "outcome": "not installed", "words": "transformers"},
    ]
    found = goals(records)
    assert [goal["value"] for goal in found[:3]] == [3, 2 / 3, 0]
    text = page(records, found)
    assert "| awkward: NoBias | 16 | `one` |" in text
    assert "| timm: a | ValueError: no |" in text
    assert "| timm: b | past \\| it |" in text
    assert "| hf |  |  |  |  | 1 |" in text
