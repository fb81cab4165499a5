"""Anyone's network as a performer."""

import copy
import inspect

import awkward
import numpy as np
import pytest
import torch
from awkward import CASES, SHAPE, Case
from PIL import Image
from torch import Tensor, nn

from semexplain.concepts.filters import Filters
from semexplain.concepts.outputs import Outputs
from semexplain.concepts.priors import filter_jacobian
from semexplain.data.framing import Framing, read_image
from semexplain.performers.base import state_digest
from semexplain.performers.cut.structure import tensors
from semexplain.performers.grad_cam import score_heat
from semexplain.performers.network import Network, _source
from semexplain.performers.redrawn import with_redrawn_head
from semexplain.system.trouble import Trouble

TRANSFORM = {"size": SHAPE, "mean": [0.1, 0.2, 0.3], "std": [0.5, 0.6, 0.7], "scale": 255}


def pictures(count: int = 4, seed: int = 0) -> Tensor:
    return torch.randint(0, 256, (count, *SHAPE), generator=torch.Generator().manual_seed(seed), dtype=torch.uint8)


def normalised(image: Tensor) -> Tensor:
    mean, std = (torch.tensor(TRANSFORM[name]).view(3, 1, 1) for name in ("mean", "std"))
    return (image / 255 - mean) / std


def network(case: Case, **options: object) -> Network:
    return Network(case.network(), case.layer, output=case.output, transform=TRANSFORM, **(case.options | options))


def case_of(make: type, layer: str | None = None) -> Case:
    return next(case for case in CASES if case.make is make and layer in (None, case.layer))


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case}-{case.layer}")
def test_every_awkward_network_is_a_performer(case: Case):
    net, image = network(case), pictures()
    with torch.inference_mode():
        feature_map = net.encode(image)
    model = case.network().eval().requires_grad_(False)
    inputs = {
        name: value.expand(len(image), -1) if isinstance(value, Tensor) else value
        for name, value in case.options.get("inputs", {}).items()
    }
    with torch.no_grad():
        returned = model(normalised(image), **inputs)
    if callable(case.output):
        expected = case.output(returned)
    elif isinstance(case.output, list):
        expected = returned[:, case.output[1]].logit()
    else:
        returned = returned["logits"] if isinstance(returned, dict) else returned
        returned = returned[0] if isinstance(returned, tuple) else returned
        expected = returned if case.output is None else returned[:, case.output]
    performance, prior = net.perform(feature_map, filter_jacobian)
    torch.testing.assert_close(performance.score, expected)
    assert isinstance(case.output, list) or torch.equal(net.perform(feature_map)[0].score, expected)
    assert prior.shape == performance.concepts.shape == (4, len(net.concept_names))
    assert net.view(feature_map).shape[1:] == net.map_shape
    assert score_heat(net, feature_map).shape == (4, *net.map_shape[1:])
    assert net(image).score.shape == (4,)


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case}-{case.layer}")
def test_a_filter_that_is_taken_away_is_0_at_all_its_places(case: Case):
    net = network(case)
    feature_map = net.encode(pictures())
    x = net.feature(feature_map)
    grid = net.grid(x)
    assert torch.equal(net.with_grid(x, grid), x)
    game = net.game(feature_map, range(grid.shape[1]))
    present = torch.ones(2, len(x), grid.shape[1])
    present[1, :, 0] = 0
    without = x.clone().flatten(1)
    numbered = 1 + torch.arange(x[0].numel(), dtype=torch.float32).view(1, *x.shape[1:])
    places = net.grid(numbered)[0, 0].long().flatten()
    indices = places[places > 0] - 1  # between the cells of a coarser layer there are none
    without[:, indices] = 0
    with torch.no_grad():
        scores = game(present)
        torch.testing.assert_close(scores[0], net.head(x)[0])
        torch.testing.assert_close(scores[1], net.head(without.view_as(x))[0])
    strengths = net.head(x)[1]
    torch.testing.assert_close(strengths[:, 0], x.flatten(1)[:, indices].sum(1))


def test_tokens_are_a_grid_for_filters_and_heat_maps_only():
    net = network(case_of(awkward.ClassToken))
    x = net.feature(net.encode(pictures()))
    assert x.shape == (4, 17, 8)
    assert net.map_shape == (8, 4, 4)
    assert net.concept_names == tuple(f"filter_{i:03d}" for i in range(8))
    patches = x[:, 1:].transpose(1, 2).reshape(4, 8, 4, 4)
    assert torch.equal(net.view(x), patches)
    leaf = x.clone().requires_grad_()
    (slope,) = torch.autograd.grad(net.head(leaf)[0].sum(), leaf)
    _, prior = net.perform(net.encode(pictures()), filter_jacobian)
    torch.testing.assert_close(prior, slope[:, 1:].sum(1).clamp_min(0))
    heat = torch.einsum("bi,bihw->bhw", slope[:, 1:].mean(1), patches.relu()).relu()
    torch.testing.assert_close(score_heat(net, x), heat)


@pytest.mark.parametrize("kind", [Filters, Outputs])
def test_concepts_are_filters_or_the_other_outputs(kind: type):
    net = network(case_of(awkward.ClassToken), kind=kind(), classes=["cat", "dog", "cow"])
    performance, prior = net.perform(net.encode(pictures()), net.kind.prior)
    assert net.target_name == "dog"
    assert prior.shape == performance.concepts.shape
    if kind is Outputs:
        assert net.concept_names == ("cat", "cow")
        game = net.game(net.encode(pictures()), [0, 1], performance.concepts.mean(0))
        torch.testing.assert_close(game(torch.ones(1, 4, 2))[0], performance.score)


def test_the_explainer_may_see_a_lower_layer():
    model = awkward.Residual()
    net = Network(model, "blocks.1", "stem", output=0, transform=TRANSFORM)
    feature_map = net.encode(pictures())
    assert torch.equal(net.head(net.feature(feature_map))[0], model(normalised(pictures()))[:, 0])
    assert net.layers_read == ("blocks.1",)
    for bad in ("blocks.1.conv1", "last"):
        with pytest.raises(Trouble, match=f"map: {bad} does not determine blocks.0"):
            Network(model, "blocks.0", bad, output=0, transform=TRANSFORM)


@pytest.mark.parametrize(
    ("make", "layer"),
    [
        (awkward.Residual, "blocks"),
        (awkward.Dense, "join"),
        (awkward.ChannelsLast, "norm"),
        (awkward.ClassToken, "blocks.layers.1"),
        (awkward.ReusedReLU, "act:2"),
        (awkward.InPlace, "two"),
        (awkward.SequenceFirst, "block"),
    ],
)
def test_the_default_is_the_last_good_layer(make: type, layer: str):
    case = case_of(make)
    net = Network(case.network(), output=1, transform=TRANSFORM, **case.options)
    assert net.layers_read == (layer,)


def test_layers_are_listed():
    net = Network(awkward.Residual(), "stem", output=1, transform=TRANSFORM)
    found = {one.name: one for one in net.layers()}
    assert list(found) == [
        "stem",
        "blocks.0.conv1",
        "blocks.0.conv2",
        "blocks.0",
        "blocks.1.conv1",
        "blocks.1.conv2",
        "blocks.1",
        "blocks",
    ]
    assert [name for name, one in found.items() if one.good] == ["stem", "blocks.0", "blocks.1", "blocks"]
    assert [name for name, one in found.items() if one.suggested] == ["blocks"]
    inner, last = 4 * 4 * 9 * 49, 4 * 3
    stem = 3 * 4 * 9 * 49
    assert found["blocks.0"].share == pytest.approx((2 * inner + last) / (stem + 4 * inner + last))
    assert found["blocks"].share == pytest.approx(last / (stem + 4 * inner + last))
    assert found["blocks.1.conv1"].share is None
    assert "* blocks                   4 x 7 x 7  yes" in str(net.layers())
    token = network(case_of(awkward.ClassToken))
    assert "no slope" in str(token.layers())


def test_training_mode_and_gradients_are_switched_off_for_good():
    model = awkward.TrainModeNorm().train()
    digest = state_digest(model)
    net = Network(model, "norm", output=1, transform=TRANSFORM)
    net.train()
    net.encode(pictures())
    assert state_digest(model) == digest
    assert not any(module.training for module in model.modules())
    assert not any(parameter.requires_grad for parameter in net.parameters())


def test_a_forward_that_changes_the_state_is_refused():
    with pytest.raises(Trouble, match="a forward pass changes the network's parameters or buffers"):
        Network(awkward.Counting(), "body", output=1, transform=TRANSFORM)


def test_a_layer_that_does_not_separate_is_refused_with_the_one_that_does():
    with pytest.raises(Trouble, match="Choose 'blocks.1', the nearest module around it that does"):
        Network(awkward.Residual(), "blocks.1.conv1", output=1, transform=TRANSFORM)


class Seldom(nn.Module):
    """The image goes past the layer, but only where it is dark."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.last = nn.Conv2d(3, 4, 3), nn.Linear(4, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.body(x).relu().mean((2, 3))) + (x.mean((1, 2, 3)) < 0.05).float()[:, None]


def test_the_first_real_images_are_tried_too():
    net = Network(Seldom(), "body", transform={"size": SHAPE})
    net.encode(torch.zeros(1, *SHAPE, dtype=torch.uint8))  # a blank one, of which shapes are asked
    with pytest.raises(Trouble, match="body does not separate the network on these images"):
        net.encode(pictures() // 32)


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"output": None}, "the network has 3 outputs .output_0, output_1, output_2.: say which"),
        ({"output": 3}, "there is no output 3: expected 0 to 2, or a name"),
        (
            {"output": "cot", "classes": ["cat", "dog", "cow"]},
            "no output 'cot' .did you mean 'c.*: expected one of",
        ),
        ({"classes": ["cat"]}, "expected the names of 3 outputs, got 1"),
        ({"output": [1]}, "expected a difference"),
        ({"output": lambda returned: returned}, r"expected one number for each image, .B,., .* got .5, 3."),
        ({"transform": None}, "transform: the network does not say how pictures are prepared"),
        ({"transform": {"size": [4, 16, 16]}}, "cannot be run on images .5, 4, 16, 16.: .* Mend `transform`"),
        ({"layer": "bloks"}, "did you mean 'blocks'"),
        ({"layer": []}, "expected the names of one or several layers"),
    ],
)
def test_what_is_refused(options: dict, text: str):
    with pytest.raises(Trouble, match=text):
        Network(awkward.Residual(), **({"layer": "blocks", "output": 1, "transform": TRANSFORM} | options))


def test_images_of_another_size_are_refused():
    net = Network(awkward.Residual(), "blocks", output=1, transform=TRANSFORM)
    with pytest.raises(Trouble, match=r"expected images \('B', 3, 16, 16\), got \(1, 3, 8, 8\)"):
        net.encode(torch.zeros(1, 3, 8, 8, dtype=torch.uint8))
    with pytest.raises(TypeError, match="Expected images as uint8"):
        net.encode(torch.zeros(1, *SHAPE))


@pytest.mark.parametrize("dtype", ["uint16", "float32"])
def test_pixels_of_any_type_and_shape(dtype: str):
    model = nn.Sequential(nn.Conv2d(5, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2))
    net = Network(model, "1", output=1, transform={"size": [5, 12, 20], "dtype": dtype})
    assert (net.image_shape, net.map_shape, net.framing.dtype) == ((5, 12, 20), (4, 10, 18), dtype)
    shares = torch.rand(3, 5, 12, 20)
    image = (shares * net.framing.full).to(getattr(torch, dtype))
    expected = model(image.float() / net.framing.full)[:, 1]
    assert torch.equal(net.perform(net.encode(image))[0].score, expected)


def halved(picture: Image.Image) -> Tensor:
    pixels = np.asarray(picture.resize((SHAPE[2], SHAPE[1])), dtype=np.float32)
    return torch.from_numpy(pixels / 255 - 0.5).permute(2, 0, 1).contiguous()


def test_a_function_from_pictures_to_tensors_is_read_with_and_told_apart():
    net = Network(awkward.Residual(), "blocks", output=1, transform=halved)
    picture = Image.fromarray(pictures()[0].permute(1, 2, 0).numpy())
    image = read_image(picture, net.framing)[None]
    assert torch.equal(image[0], halved(picture))
    assert torch.equal(net.perform(net.encode(image))[0].score, net.model(image)[:, 1])
    other = Network(awkward.Residual(), "blocks", output=1, transform=lambda picture: halved(picture) * 2)
    assert net.encode_variant != other.encode_variant
    assert net.framing.shown(image).dtype == torch.uint8
    with pytest.raises(ValueError, match="made by a function, halved, which is in no file: give the network"):
        read_image(picture, Framing.of(SHAPE, net.framing.options))


def test_classes_with_one_name_are_told_apart():
    net = Network(awkward.Residual(), "blocks", output=1, classes=["cat", "dog", "cat"], transform=TRANSFORM)
    assert net.output_names == ("cat 0", "dog", "cat 2")


def test_a_difference_is_explained_by_the_other_outputs():
    model = awkward.Residual()
    net = Network(model, "blocks", output=[2, -1], classes=["a", "b", "c"], transform=TRANSFORM, kind=Outputs())
    outputs = model(normalised(pictures()))
    score, strengths = net.head(net.feature(net.encode(pictures())))
    assert net.target_name == "c - b"
    assert net.concept_names == ("a",)
    assert torch.equal(score, outputs[:, 2] - outputs[:, 1])
    assert torch.equal(strengths, outputs[:, :1])


def test_output_0_needs_a_sign_in_words():
    def target(output: list) -> str:
        return Network(awkward.Residual(), "blocks", output=output, transform=TRANSFORM).target_name

    assert target([2, "-0"]) == "output_2 - output_0"
    assert target([0, -2]) == "output_0 - output_2"
    with pytest.raises(Trouble, match='0 has none: write "-0" or "0" for output 0'):
        target([2, 0])


def test_inputs_for_each_image_come_from_a_function():
    model = awkward.TwoInputs()

    def inputs(image: Tensor) -> dict[str, object]:
        return {"tone": image.mean((2, 3))[:, [0, 1, 2, 0]], "power": 1}

    net = Network(model, "mixed", output=1, transform=TRANSFORM, inputs=inputs)
    x = normalised(pictures())
    assert torch.equal(net.head(net.feature(net.encode(pictures())))[0], model(x, **inputs(x))[:, 1])
    with pytest.raises(Trouble, match="body does not separate"):  # the tone enters above
        Network(model, "body", output=1, transform=TRANSFORM, inputs=inputs)


class NoGradients(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body, self.last = nn.Conv2d(3, 4, 3), nn.Linear(4, 1)

    def forward(self, x: Tensor) -> Tensor:
        with torch.no_grad():
            return self.last(self.body(x).relu().mean((2, 3)))


def test_priors_of_a_network_without_gradients_are_refused():
    net = Network(NoGradients(), "body", transform=TRANSFORM)
    feature_map = net.encode(pictures())
    assert net.perform(feature_map)[0].score.shape == (4,)
    with pytest.raises(Trouble, match="no gradient of the score can be taken at body"):
        net.perform(feature_map, filter_jacobian)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_gives_scores_in_float32(dtype: torch.dtype):
    model = awkward.Residual().to(dtype)
    net = Network(model, "blocks", output=1, transform=TRANSFORM)
    performance, prior = net.perform(net.encode(pictures()), filter_jacobian)
    assert performance.score.dtype == prior.dtype == torch.float32
    assert torch.equal(performance.score, model(normalised(pictures()).to(dtype))[:, 1].float())


def test_what_differs_has_another_address_in_a_cache():
    def net(model: nn.Module | None = None, **options: object) -> Network:
        torch.manual_seed(0)
        given = {"layer": "blocks.1", "output": 1, "transform": TRANSFORM} | options
        return Network(model or awkward.Residual(), **given)

    one = net()
    assert (one.variant, one.digest()) == (net().variant, net().digest())
    others = [net(layer="blocks.0"), net(map="stem"), net(output=[1, -2]), net(output=lambda returned: returned[:, 1])]
    assert len({other.head_variant for other in [one, *others]}) == 5
    assert net(layer="blocks.0").encode_variant != one.encode_variant
    assert net(map="stem").encode_variant != one.encode_variant
    assert net(output=2).head_variant == one.head_variant  # all outputs have one address
    assert net(output=2).variant != one.variant
    torch.manual_seed(0)
    model = awkward.Residual()
    model.stem.stride = (3, 3)
    assert net(model).encode_variant != one.encode_variant
    constants = [{"tone": torch.full((1, 4), value), "power": power} for value, power in ((1.0, 1), (2.0, 1), (1.0, 2))]
    two = [network(case_of(awkward.TwoInputs), inputs=inputs) for inputs in constants]
    assert len({other.encode_variant for other in two}) == 3
    assert net(transform=TRANSFORM | {"scale": 100}).digest() != one.digest()
    threshold = 1.0
    first = net(output=lambda returned: returned[:, 1] * threshold).head_variant
    threshold = 2.0
    assert net(output=lambda returned: returned[:, 1] * threshold).head_variant != first


def test_heads_can_be_redrawn():
    net = Network(awkward.Residual(), "blocks.0", output=1, transform=TRANSFORM)
    other = with_redrawn_head(net, 0).freeze()
    assert set(net.encode_modules()) >= {net.pixels, net.model.stem, net.model.blocks[0].conv1}
    feature_map = net.encode(pictures())
    assert torch.equal(other.encode(pictures()), feature_map)
    assert other.model.stem is net.model.stem
    assert not torch.equal(other.perform(feature_map)[0].score, net.perform(feature_map)[0].score)
    torch.testing.assert_close(other.perform(feature_map)[0].score, other.model(normalised(pictures()))[:, 1])


def test_a_copy_is_a_network_of_its_own():
    net = Network(awkward.Residual(), "blocks.0", output=1, transform=TRANSFORM)
    other = copy.deepcopy(net)
    nn.init.zeros_(other.model.last.weight)
    feature_map = net.encode(pictures())
    assert torch.equal(net.perform(feature_map)[0].score, net.model(normalised(pictures()))[:, 1])
    assert not torch.equal(other.perform(feature_map)[0].score, net.perform(feature_map)[0].score)


def test_checks_of_a_good_network():
    net = Network(awkward.Residual(), "blocks.0", output=1, transform=TRANSFORM)
    checks = net.check(pictures(12))
    assert {check.name: check.result for check in checks} == dict.fromkeys(
        ("repeatable", "state", "batch", "swap test", "gradient", "logits", "preprocessing", "memory"), "ok"
    )
    assert "swap test      ok     blocks.0 separates the network on 8 pairs of images" in str(checks)


def result_of(net: Network, name: str, images: Tensor | None = None, labels: Tensor | None = None) -> tuple[str, str]:
    check = next(check for check in net.check(pictures(12) if images is None else images, labels) if check.name == name)
    return check.result, check.finding


def test_a_layer_whose_values_are_too_large_to_be_kept_in_half_precision():
    model = awkward.NoBias()
    with torch.no_grad():
        model.one.weight.fill_(1e6)
    result, finding = result_of(Network(model, "one", transform=TRANSFORM), "memory")
    assert result == "doubt"
    assert "is no half precision: add `data.cache_dtype=float32`" in finding


def test_checks_that_find_something():
    with pytest.raises(Trouble, match="batch: an image's outputs depend on others of its batch"):
        Network(awkward.BatchDependent(), "norm", output=1, transform=TRANSFORM).check(pictures(12))
    result, finding = result_of(Network(awkward.SigmoidOutput(), "body", output=1, transform=TRANSFORM), "logits")
    assert (result, finding[:30]) == ("doubt", "outputs lie between 0 and 1: b")
    soft = nn.Sequential(awkward.Residual(), nn.Softmax(1))
    net = Network(soft, "0.blocks", output=1, transform=TRANSFORM)
    assert result_of(net, "logits")[1].startswith("outputs are probabilities that add up to 1")
    net = Network(soft, "0.blocks", output=["0.last", 1], transform=TRANSFORM)
    assert result_of(net, "logits")[0] == "ok"
    with pytest.raises(Trouble, match="gradient: it cannot be taken"):
        Network(NoGradients(), "body", transform=TRANSFORM).check(pictures(12))
    token = case_of(awkward.ClassToken)
    net = Network(token.network(), "blocks.layers.2", output=1, transform=TRANSFORM)
    assert result_of(net, "gradient")[1].startswith("only tokens without a place")
    with pytest.raises(Trouble, match="two or more images"):
        net.check(pictures(1))
    with pytest.raises(Trouble, match="expected a label for each of 12 images"):
        net.check(pictures(12), torch.zeros(3))


class Bright(nn.Module):
    """Right about which third of the brightness from 0 to 1 an image is in."""

    def __init__(self, order: tuple[int, ...] = (0, 1, 2)) -> None:
        super().__init__()
        self.body, self.order = nn.Conv2d(3, 1, 1, bias=False), order
        nn.init.constant_(self.body.weight, 1 / 3)

    def forward(self, x: Tensor) -> Tensor:
        middle = self.body(x).mean((2, 3))
        return 10 - (middle - torch.tensor([1 / 6, 1 / 2, 5 / 6])).abs()[:, list(self.order)]


def test_checks_with_labels():
    labels = torch.arange(30) % 3
    images = ((labels * 85 + 42).view(-1, 1, 1, 1) + torch.randint(-20, 20, (30, *SHAPE))).to(torch.uint8)
    good = {"size": SHAPE}
    assert result_of(Network(Bright(), "body", output=1, transform=good), "class order", images, labels) == (
        "ok",
        "accuracy 1.00",
    )
    with pytest.raises(Trouble, match=r"preprocessing: accuracy 0\.\d+ as declared, 1.00 with 0 to 1: mend"):
        Network(Bright(), "body", output=1, transform=good | {"scale": 1}).check(images, labels)
    net = Network(Bright((0, 2, 1)), "body", output=1, classes=["1", "2", "10"], transform=good)
    with pytest.raises(Trouble, match=r"class order: accuracy 0.33, but 1.00 with classes sorted the other way"):
        net.check(images, labels)


def test_structures_of_tensors():
    assert len(list(tensors({"a": (torch.zeros(1), None), "b": [torch.zeros(2)]}))) == 2


def test_the_source_of_a_class_is_looked_up_once(monkeypatch: pytest.MonkeyPatch):
    asked: list[type] = []
    right = inspect.getsource
    monkeypatch.setattr(inspect, "getsource", lambda kind: asked.append(kind) or right(kind))
    _source.cache_clear()
    one = network(case_of(awkward.Residual))
    assert one.variant == network(case_of(awkward.Residual)).variant
    assert awkward.Block in asked
    assert len(asked) == len(set(asked))
