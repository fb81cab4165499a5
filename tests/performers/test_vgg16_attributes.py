"""The face performer: its layers, its cut at x, its preprocessing, and that frozen means frozen."""

from pathlib import Path
from urllib.error import URLError

import pytest
import torch
from safetensors.torch import save_file
from torch import nn
from torch.nn import functional as F
from torchvision.models import vgg16

from semexplain.concepts.outputs import concept_indices
from semexplain.concepts.priors import feature_ratio
from semexplain.data.attributes import ATTRIBUTES
from semexplain.explanation import Performance
from semexplain.performers.base import state_digest
from semexplain.performers.preprocessing import RECIPES, Preprocessing
from semexplain.performers.vgg16_attributes import VGG16Attributes
from semexplain.system.trouble import Trouble
from tests.concepts.three_layers import three_layer_feature_ratio

SMALL = {"image_size": 32, "width": 8, "hidden": 32}


def images(count: int) -> torch.Tensor:
    return torch.randint(0, 256, (count, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))


@pytest.mark.filterwarnings("ignore:The performer's convolutions start from random weights")
def test_the_default_is_vgg16_with_forty_outputs():
    with torch.device("meta"):
        performer, reference = VGG16Attributes(weights=None), vgg16(num_classes=40)
    sizes = sorted(tuple(parameter.shape) for parameter in performer.parameters())
    assert sizes == sorted(tuple(parameter.shape) for parameter in reference.parameters())
    assert (performer.map_shape, performer.fc1.in_features) == ((512, 14, 14), 25088)


@pytest.mark.filterwarnings("ignore:The performer's convolutions start from random weights")
def test_the_whole_is_torchvisions_network(performer: VGG16Attributes):
    """Same layers in the same order: with equal weights, torchvision's modules give the same logits."""
    performer.freeze()
    x = (images(3) / 255 - torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1)) / torch.tensor(
        [0.229, 0.224, 0.225]
    ).view(3, 1, 1)
    reference = vgg16(num_classes=40).features
    weights = iter(performer.trunk.state_dict().values())
    for layer in reference:
        x = F.conv2d(x, next(weights), next(weights), padding=1) if isinstance(layer, nn.Conv2d) else layer(x)
    for layer in (performer.fc1, performer.fc2):
        x = F.relu(F.linear(x.flatten(1), layer.weight, layer.bias))
    expected = F.linear(x, performer.fc3.weight, performer.fc3.bias)
    with torch.no_grad():
        torch.testing.assert_close(performer.logits(performer.encode(images(3))), expected)


@pytest.mark.filterwarnings("ignore:The performer's convolutions start from random weights")
@pytest.mark.parametrize("target", ["5_o_Clock_Shadow", "Attractive", "Young"])
def test_the_targets_column_is_the_score_and_the_others_keep_their_order(target: str):
    """Logits 0..39: with target 2 the concepts are 0, 1, 3, ..., 39, and the names follow."""
    performer = VGG16Attributes(target=target, weights=None, **SMALL).freeze()
    nn.init.zeros_(performer.fc3.weight)
    with torch.no_grad():
        performer.fc3.bias.copy_(torch.arange(40.0))
        score, concepts = performer.head(torch.randn(2, 32))
    column = ATTRIBUTES.index(target)
    assert score.tolist() == [column] * 2
    assert concepts[1].tolist() == [i for i in range(40) if i != column]
    assert performer.concept_names == tuple(ATTRIBUTES[int(i)] for i in concepts[0])
    assert len(performer.concept_names) == 39


def test_frozen_means_frozen(performer: VGG16Attributes):
    """Neither train() of the whole tree, nor optimiser steps, nor a backward pass reach the performer."""
    performer.freeze()
    tree = nn.ModuleDict({"performer": performer, "explainer": nn.Linear(32, 1)}).train()
    digest = state_digest(performer)
    assert not any(module.training for module in performer.modules())
    optimizer = torch.optim.SGD(tree.parameters(), lr=1.0, weight_decay=0.1)
    for _ in range(3):
        performance, prior = performer.perform(performer.encode(images(4)), feature_ratio)
        loss = (tree["explainer"](performance.feature) - performance.score[:, None]).square().mean() + prior.sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert state_digest(performer) == digest
    assert all(p.grad is None and not p.requires_grad for p in performer.parameters())
    first, second = performer(images(4)).score, performer(images(4)).score
    assert torch.equal(first, second)


def test_priors_of_an_image_do_not_depend_on_its_batch(performer: VGG16Attributes):
    performer.freeze()
    with torch.no_grad():
        feature_map = performer.encode(images(5))
    _, together = performer.perform(feature_map, feature_ratio)
    alone = torch.cat([performer.perform(feature_map[[i]], feature_ratio)[1] for i in range(5)])
    torch.testing.assert_close(together, alone)


@pytest.mark.filterwarnings("ignore:The performer's convolutions start from random weights")
@pytest.mark.parametrize("stage", ["pre_relu", "post_relu"])
def test_priors_are_those_of_the_three_layer_head(stage: str):
    performer = VGG16Attributes(weights=None, x_stage=stage, **SMALL).freeze()
    performance, prior = performer.perform(performer.encode(images(4)), feature_ratio)
    expected = three_layer_feature_ratio(
        performance.feature,
        performer.fc2,
        performer.fc3,
        performer.target_index,
        concept_indices(performer),
        pre_relu=stage == "pre_relu",
    )
    torch.testing.assert_close(prior, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.filterwarnings("ignore:The performer's convolutions start from random weights")
def test_the_stage_of_x_changes_the_prior_and_nothing_else(performer: VGG16Attributes):
    after = VGG16Attributes(weights=None, x_stage="post_relu", **SMALL)
    after.load_state_dict(performer.state_dict())
    (one, w_one), (two, w_two) = (p.freeze().perform(p.encode(images(4)), feature_ratio) for p in (performer, after))
    torch.testing.assert_close(one.score, two.score)
    assert (w_one - w_two).abs().max() > 1e-3


@pytest.mark.parametrize("context", [torch.inference_mode, torch.no_grad])
def test_priors_work_where_a_trainer_validates(performer: VGG16Attributes, context: type):
    performer.freeze()
    _, expected = performer.perform(performer.encode(images(4)), feature_ratio)
    with context():
        performance, prior = performer.perform(performer.encode(images(4)), feature_ratio)
    torch.testing.assert_close(prior, expected)
    assert not performance.score.requires_grad


def test_half_precision_around_the_performer_does_not_reach_the_prior(performer: VGG16Attributes):
    performer.freeze()
    feature_map = performer.encode(images(4)).detach()
    expected = performer.perform(feature_map, feature_ratio)
    with torch.autocast("cpu", torch.bfloat16):
        performance, prior = performer.perform(feature_map, feature_ratio)
    assert torch.equal(prior, expected[1])
    assert performance.score.dtype == prior.dtype == torch.float32


def test_chosen_concepts_have_the_priors_they_have_among_all(performer: VGG16Attributes):
    performer.freeze()
    feature_map = performer.encode(images(3)).detach()
    everything, few = (
        performer.perform(feature_map, feature_ratio),
        performer.perform(feature_map, feature_ratio, [4, 1]),
    )
    torch.testing.assert_close(few[1], everything[1][:, [4, 1]])
    torch.testing.assert_close(few[0].concepts, everything[0].concepts[:, [4, 1]])


def test_the_head_leaves_the_feature_map_as_it_was(performer: VGG16Attributes):
    """In-place layers would overwrite what the explainer is about to read."""
    performer.freeze()
    with torch.no_grad():
        feature_map = performer.encode(images(2))
        before = feature_map.clone()
        x = performer.feature(feature_map)
        x_before = x.clone()
        performer.head(x)
    assert torch.equal(feature_map, before)
    assert torch.equal(x, x_before)
    assert not any(layer.inplace for layer in performer.modules() if isinstance(layer, nn.ReLU))


def test_images_must_be_bytes(performer: VGG16Attributes):
    with pytest.raises(TypeError, match=r"uint8 RGB 0\.\.255 .* got torch.float32"):
        performer.encode(torch.rand(1, 3, 32, 32))


@pytest.mark.parametrize("name", RECIPES)
def test_preprocessing_is_the_recipe(name: str):
    recipe, pixels = RECIPES[name], images(1)
    expected = [[(value / recipe.divisor - m) / s for value in channel.flatten().tolist()]
                for channel, m, s in zip(pixels[0].float(), recipe.mean, recipe.std, strict=True)]  # fmt: skip
    torch.testing.assert_close(Preprocessing(name)(pixels)[0].flatten(1), torch.tensor(expected))


def trunk_file(folder: Path, metadata: dict[str, str] | None, width: int = 8) -> Path:
    with pytest.warns(UserWarning, match="random weights"):
        trunk = VGG16Attributes(weights=None, image_size=32, width=width, hidden=8).trunk
    save_file({key: value.half() for key, value in trunk.state_dict().items()}, folder / "w.safetensors", metadata)
    return folder / "w.safetensors"


def test_weights_bring_their_preprocessing(tmp_path: Path):
    path = trunk_file(tmp_path, {"input": RECIPES["caffe_rgb255"].description})
    performer = VGG16Attributes(weights=str(path), **SMALL)
    assert performer.preprocess.mean.flatten().tolist() == pytest.approx([123.68, 116.779, 103.939])
    assert performer.trunk[0].weight.dtype == torch.float32


def test_weights_that_do_not_say_what_they_expect_are_refused(tmp_path: Path):
    path = trunk_file(tmp_path, None)
    with pytest.raises(ValueError, match=r"do not say which input they expect.*performer.preprocessing="):
        VGG16Attributes(weights=str(path), **SMALL)
    VGG16Attributes(weights=str(path), preprocessing="torchvision", **SMALL)


def test_weights_contradicted_by_the_configuration_are_refused(tmp_path: Path):
    path = trunk_file(tmp_path, {"input": RECIPES["caffe_rgb255"].description})
    with pytest.raises(ValueError, match="expect `caffe_rgb255` input, but .* `torchvision`"):
        VGG16Attributes(weights=str(path), preprocessing="torchvision", **SMALL)


def test_weights_of_another_network_are_refused(tmp_path: Path):
    path = trunk_file(tmp_path, {"input": RECIPES["torchvision"].description}, width=4)
    with pytest.raises(ValueError, match="not those of a VGG-16 of width 8"):
        VGG16Attributes(weights=str(path), **SMALL)


def test_missing_and_damaged_files_are_named(tmp_path: Path):
    with pytest.raises(FileNotFoundError, match=r"IMAGENET1K_V1.* there is no file .*nothing.pth"):
        VGG16Attributes(weights=str(tmp_path / "nothing.pth"), **SMALL)
    (tmp_path / "bad.safetensors").write_bytes(b"not a file")
    with pytest.raises(ValueError, match="not a readable safetensors file"):
        VGG16Attributes(weights=str(tmp_path / "bad.safetensors"), **SMALL)


def test_a_download_that_fails_says_what_else_there_is(monkeypatch: pytest.MonkeyPatch):
    def offline(*_: object, **__: object) -> None:
        raise URLError("no route")

    monkeypatch.setattr("torchvision.models._api.load_state_dict_from_url", offline)
    with pytest.raises(OSError, match="IMAGENET1K_V1 could not be downloaded .*`performer.weights=<file>`"):
        VGG16Attributes(weights="IMAGENET1K_V1", image_size=32, hidden=8)


@pytest.mark.filterwarnings("ignore:The performer's convolutions start from random weights")
def test_a_saved_performer_is_the_same_function(performer: VGG16Attributes, tmp_path: Path):
    save_file(performer.state_dict(), tmp_path / "p.safetensors")
    again = VGG16Attributes(weights=None, checkpoint=str(tmp_path / "p.safetensors"), **SMALL)
    assert state_digest(again) == state_digest(performer)
    with pytest.raises(ValueError, match="does not fit `performer` in the configuration"):
        VGG16Attributes(weights=None, checkpoint=str(tmp_path / "p.safetensors"), image_size=32, width=8, hidden=16)
    with pytest.raises(FileNotFoundError, match="no trained performer .*`performer.checkpoint=auto`"):
        VGG16Attributes(weights=None, checkpoint=str(tmp_path / "q.safetensors"), **SMALL)


def test_a_checkpoint_cannot_execute_code(tmp_path: Path):
    class Malicious:
        def __reduce__(self) -> tuple:
            return (Path.touch, (tmp_path / "executed",))

    torch.save({"0.weight": Malicious()}, tmp_path / "evil.pth")
    with pytest.raises(Trouble, match="holds more than weights .* would run code of its own"):
        VGG16Attributes(weights=str(tmp_path / "evil.pth"), **SMALL)
    assert not (tmp_path / "executed").exists()


def test_performance_is_a_record(performer: VGG16Attributes):
    performance = performer.freeze()(images(2))
    assert isinstance(performance, Performance)
    assert [tuple(t.shape) for t in performance] == [(2,), (2, 39), (2, 32), (2, 64, 2, 2)]


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_gpu_says_what_the_cpu_says(performer: VGG16Attributes):
    performer.freeze()
    here = performer.perform(performer.encode(images(4)), feature_ratio)
    performer.cuda()
    there = performer.perform(performer.encode(images(4).cuda()), feature_ratio)
    torch.testing.assert_close(there[0].score.cpu(), here[0].score, rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(there[1].cpu(), here[1], rtol=1e-2, atol=1e-3)
