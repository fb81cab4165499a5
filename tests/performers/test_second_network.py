"""A score is explained by outputs of another network that shares its feature."""

import copy
from pathlib import Path

import awkward
import numpy as np
import pytest
import torch
from awkward import SHAPE
from torch import Tensor, nn

import semexplain as sx
from semexplain.concepts.answers import TargetAnswers
from semexplain.system.config import ConfigError
from semexplain.system.trouble import Trouble

TRANSFORM = {"size": SHAPE}


def pictures(count: int = 4, seed: int = 0) -> Tensor:
    return torch.randint(0, 256, (count, *SHAPE), generator=torch.Generator().manual_seed(seed), dtype=torch.uint8)


def network(layer: str = "blocks", **options: object) -> sx.Network:
    torch.manual_seed(3)
    given = {"classes": ["cat", "dog", "cow"], "output": "dog", "transform": TRANSFORM} | options
    return sx.Network(awkward.Residual(), layer, **given)


def second(layer: str = "blocks", output: int = 0, stem: float = 0.0) -> sx.Network:
    """The same backbone with a head of four attributes."""
    torch.manual_seed(3)
    model = awkward.Residual()
    torch.manual_seed(4)
    model.last = nn.Linear(4, 4)
    with torch.no_grad():
        model.stem.weight += stem
    return sx.Network(model, layer, output=output, classes=["smiling", "bald", "dog", "old"], transform=TRANSFORM)


def explained(names: list[str] | None = None, **options: object) -> sx.Network:
    return network(kind=sx.Outputs(names, network=second()), **options)


def test_score_concepts_and_prior_are_those_of_two_heads_on_one_feature():
    net, other = explained(["old", "smiling"]), second()
    assert net.concept_names == ("old", "smiling")
    assert explained().concept_names == ("smiling", "bald", "dog", "old")  # its `dog` is another one
    performance, prior = net.perform(net.encode(pictures()), net.kind.prior)
    with torch.no_grad():
        assert torch.equal(performance.score, net.model(pictures() / 255)[:, 1])
        assert torch.equal(performance.concepts, other.model(pictures() / 255)[:, [3, 0]])
    for row, x in enumerate(net.feature(net.encode(pictures()))):
        leaf = x[None].clone().requires_grad_()
        slopes = [
            torch.autograd.grad(head(leaf.mean((2, 3)))[0, at], leaf)[0].flatten()
            for head, at in ((net.model.last, 1), (other.model.last, 3), (other.model.last, 0))
        ]
        expected = [float(slopes[0] @ slope / (slope @ slope)) for slope in slopes[1:]]
        torch.testing.assert_close(prior[row], torch.tensor(expected))


def test_a_concept_is_taken_away_by_moving_the_shared_feature():
    net = explained(["old", "smiling"])
    feature_map = net.encode(pictures())
    performance, _ = net.perform(feature_map)
    game = net.game(feature_map, [0, 1], performance.concepts.mean(0))
    with torch.no_grad():
        torch.testing.assert_close(game(torch.ones(1, 4, 2))[0], performance.score)
        assert not torch.equal(game(torch.zeros(1, 4, 2))[0], performance.score)


@pytest.mark.parametrize("stem", [0.0, 1e-6])
def test_that_the_feature_is_shared_is_tried_with_the_first_images(stem: float):
    net = network(kind=sx.Outputs(network=second(stem=stem)))
    if stem:
        with pytest.raises(Trouble, match="does not share the feature of the first: .* reads another x .off by"):
            net.encode(pictures())
    net.encode(torch.zeros(1, *SHAPE, dtype=torch.uint8))
    if not stem:
        net.encode(pictures())
    used = network()
    used.encode(pictures())
    other = copy.copy(used)
    other.kind = net.kind
    if stem:  # also of a network that has seen images
        with pytest.raises(Trouble, match="does not share"):
            other.encode(pictures())


def test_features_of_other_shapes_and_names_that_are_none_are_refused():
    with pytest.raises(ValueError, match=r"reads concepts of x .4, 14, 14., the first of .4, 7, 7.. Cut both at"):
        _ = network(kind=sx.Outputs(network=sx.Network(Wide(), "stem", output=0, transform=TRANSFORM))).concept_names
    with pytest.raises(ValueError, match=r"expected some of the outputs smiling, bald, dog, old, got 'smilin' .did"):
        _ = explained(["smilin"]).concept_names
    with pytest.raises(ConfigError, match="Cut both at the same layer"):
        sx.Explainer(network(), sx.Outputs(network=sx.Network(Wide(), "stem", output=0, transform=TRANSFORM)))


class Wide(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem, self.last = nn.Conv2d(3, 4, 3), nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.stem(x).relu().mean((2, 3)))


def test_addresses_in_a_cache_tell_the_second_network_apart():
    one, other = sx.Outputs(network=second()), sx.Outputs(network=second(stem=1.0))
    assert len({one.variant, other.variant, sx.Outputs().variant}) == 3
    assert one.variant == sx.Outputs(network=second(output=1)).variant
    assert isinstance(one.answers(network(), one.prior), TargetAnswers)


@pytest.mark.slow
def test_fitted_kept_and_loaded(tmp_path: Path):
    images = np.random.default_rng(0).integers(0, 256, (60, *SHAPE[1:], 3), dtype=np.uint8)
    options = ["trainer.max_epochs=1", "trainer.accelerator=cpu", "data.num_workers=0", f"paths.cache={tmp_path / 'c'}"]
    explainer = sx.Explainer(network(), sx.Outputs(["old", "bald"], network=second()), options=options)
    found = explainer.fit(images, out=tmp_path / "run").explain(images[:5])
    assert found.concepts == ("old", "bald")
    with torch.no_grad():
        said = second().model(torch.from_numpy(images[:5]).permute(0, 3, 1, 2) / 255)[:, [3, 1]]
    torch.testing.assert_close(found.uncentred, said)
    again = sx.load(explainer.save(tmp_path / "kept"), network=explained(["old", "bald"]))
    assert torch.equal(again.explain(images[:5]).contributions, found.contributions)
    other = network(kind=sx.Outputs(["old", "bald"], network=second(stem=1.0)))
    with pytest.raises(Trouble, match="belongs to another explanation: its performer_variant"):
        sx.load(tmp_path / "kept", network=other)
