"""The animal performers: layers by their published numbers, masks, the cut at x, and what training adds."""

import math
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional as F

from semexplain.concepts.geometry import MapGeometry
from semexplain.concepts.priors import filter_jacobian
from semexplain.performers.architectures import ARCHITECTURES, Norm, trunk_layers
from semexplain.performers.base import state_digest
from semexplain.performers.filter_loss import filter_loss, filter_masks, sharpness_target
from semexplain.performers.interpretable_cnn import InterpretableCNN

pytestmark = pytest.mark.filterwarnings("ignore:The performer's convolutions start from random weights")

SIZES = {"alexnet": 227, "vgg_m": 224, "vgg_s": 224, "vgg16": 224}
SMALL = {"alexnet": 99, "vgg_m": 96, "vgg_s": 96, "vgg16": 64}  # each leaves 2 x 2 cells for fc7


def small(architecture: str = "vgg16", **options: object) -> InterpretableCNN:
    """A narrow network whose score depends visibly on its input."""
    torch.manual_seed(0)
    size = {"image_size": SMALL[architecture], "width": 4, "hidden": 16, "fc7_kernel": 2}
    performer = InterpretableCNN(architecture, weights=None, **(size | options))
    for layer in (performer.conv6, performer.fc7, performer.fc8, performer.fc9):
        nn.init.kaiming_normal_(layer.weight)
    return performer


def images(count: int, side: int = 64) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.randint(0, 256, (count, 3, side, side), dtype=torch.uint8, generator=generator)


FULL = [  # parameters without the masks' sharpness; trunk; x; stride, first cell's centre, receptive field
    ("alexnet", 57_462_401, 2_334_080, (256, 13), (16, 17.0, 195)),
    ("vgg_m", 101_175_425, 6_528_640, (512, 13), (16, 17.0, 171)),
    ("vgg_s", 101_175_425, 6_528_640, (512, 17), (12, 20.0, 137)),
    ("vgg16", 136_624_449, 14_714_688, (512, 14), (16, 7.5, 228)),
]


@pytest.mark.parametrize(("architecture", "whole", "trunk", "x", "geometry"), FULL)
def test_full_sizes_are_the_published_ones(architecture: str, whole: int, trunk: int, x: tuple, geometry: tuple):
    with torch.device("meta"):
        performer = InterpretableCNN(architecture, image_size=SIZES[architecture], weights=None)
        image = torch.zeros(2, 3, SIZES[architecture], SIZES[architecture])
        score, concepts = performer.head(performer.refine(performer.trunk(image)))
        feature_map = performer.refine(performer.trunk(image))
    counts = {name: parameter.numel() for name, parameter in performer.named_parameters()}
    assert sum(count for name, count in counts.items() if "sharpness" not in name) == whole
    assert sum(count for name, count in counts.items() if name.startswith("trunk")) == trunk
    assert performer.map_shape == (x[0], x[1], x[1])
    assert tuple(feature_map.shape) == (2, x[0], x[1], x[1])
    assert (tuple(score.shape), tuple(concepts.shape)) == ((2,), (2, x[0]))
    assert performer.geometry == MapGeometry(*geometry)
    assert len(performer.concept_names) == x[0]


def test_caffes_alexnet_layer_by_layer():
    trunk = trunk_layers(ARCHITECTURES["alexnet"].trunk, 64)
    convolutions = [layer for layer in trunk if isinstance(layer, nn.Conv2d)]
    described = [(c.out_channels, c.kernel_size[0], c.stride[0], c.padding[0], c.groups) for c in convolutions]
    assert described == [(96, 11, 4, 0, 1), (256, 5, 1, 2, 2), (384, 3, 1, 1, 1), (384, 3, 1, 1, 2), (256, 3, 1, 1, 2)]
    sides = []
    with torch.no_grad():
        x = torch.zeros(1, 3, 227, 227)
        for layer in trunk:
            x = layer(x)
            sides += [] if isinstance(layer, nn.ReLU | nn.LocalResponseNorm) else [x.shape[-1]]
    assert sides == [55, 27, 27, 13, 13, 13, 13]


@pytest.mark.parametrize(("architecture", "sides"), [("vgg_m", [109, 54, 26, 13]), ("vgg_s", [109, 37, 33, 17])])
def test_pools_that_reach_over_the_border(architecture: str, sides: list[int]):
    found, x = [], torch.zeros(1, 3, 224, 224)
    for layer in trunk_layers(ARCHITECTURES[architecture].trunk, 4)[:8]:
        x = layer(x)
        if isinstance(layer, nn.Conv2d | nn.MaxPool2d):
            found.append(x.shape[-1])
    assert found[:4] == sides


@pytest.mark.parametrize(
    ("architecture", "count", "k", "alpha", "expected"),
    [
        ("alexnet", 2, 1, 2e-5, None),
        ("vgg_m", 2, 2, 1e-4, 23.237),
        ("vgg_s", 1, 2, 1e-4, 23.237),
        ("vgg16", 0, 0, 0, 0),
    ],
)
def test_normalisation_is_matconvnets(architecture: str, count: int, k: float, alpha: float, expected: float | None):
    """MatConvNet does not divide alpha by the window, PyTorch does: 43.869 would mean that it was not converted."""
    norms = [
        layer for layer in trunk_layers(ARCHITECTURES[architecture].trunk, 4) if isinstance(layer, nn.LocalResponseNorm)
    ]
    assert len(norms) == count == sum(isinstance(layer, Norm) for layer in ARCHITECTURES[architecture].trunk)
    for norm in norms:
        x = torch.rand(1, 96, 1, 1, generator=torch.Generator().manual_seed(0)) * 200
        for channel in range(96):
            window = x[0, max(channel - 2, 0) : channel + 3].double()
            by_hand = x[0, channel].item() / (k + alpha * window.square().sum().item()) ** 0.75
            assert norm(x)[0, channel].item() == pytest.approx(by_hand, rel=1e-5)
        constant = norm(torch.full((1, 96, 1, 1), 100.0))[0, 48].item()
        assert constant == pytest.approx(expected or 100 / (1 + 1e-4 * 1e4) ** 0.75, abs=1e-3)


def test_an_image_size_that_does_not_fit_is_refused_with_what_fits():
    refused = (
        "AlexNet leaves 5 x 5 cells of an image of 224 pixels, but fc7 needs 6 x 6. Use `performer.image_size=227`"
    )
    with pytest.raises(ValueError, match=rf"{refused}, or `performer.fc7_kernel=5`"):
        InterpretableCNN("alexnet", image_size=224, weights=None)
    with pytest.raises(ValueError, match=r"VGG-16 leaves 4 x 4 cells of an image of 128 .* `performer.image_size=224`"):
        InterpretableCNN("vgg16", image_size=128, weights=None)
    with pytest.raises(ValueError, match=r"leaves 0 x 0 cells of an image of 32 pixels.*image_size=227`\.$"):
        InterpretableCNN("alexnet", image_size=32, weights=None)


def test_torchvisions_alexnet_is_not_this_one():
    with pytest.raises(ValueError, match="does not have Caffe's AlexNet of width 4"):
        InterpretableCNN("alexnet", image_size=99, fc7_kernel=2, width=4, hidden=4, weights="IMAGENET1K_V1")


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_the_whole_is_the_described_network(architecture: str):
    """Mask, conv6, mask, ReLU, pool, three layers, written once more with masks after the ReLU."""
    performer = small(architecture).freeze()
    with torch.no_grad():
        a = performer.trunk_map(images(3, SMALL[architecture]))
        z = performer.conv6((a * filter_masks(a, performer.mask5.sharpness)).clamp_min(0))
        relu6 = (z.relu() * filter_masks(z.relu(), performer.mask6.sharpness, z)).clamp_min(0)
        x = performer.pool6(relu6).flatten(1)
        for layer in (performer.fc7, performer.fc8):
            x = F.linear(x, layer.weight, layer.bias).relu()
        expected = F.linear(x, performer.fc9.weight, performer.fc9.bias)
        logits = performer.logits(a)
    torch.testing.assert_close(logits, expected)
    assert logits.std() > 1e-3
    assert performer.pool6(relu6).shape[-2:] == (2, 2)


def test_concepts_are_the_sums_of_the_masked_maps_before_their_relu():
    performance = small().freeze()(images(4))
    torch.testing.assert_close(performance.concepts, performance.feature.double().sum((2, 3)).float())
    torch.testing.assert_close(performance.feature, performance.feature_map)
    assert (performance.concepts < 0).any()
    assert (performance.feature == 0).float().mean() > 0.2  # masked cells


def test_strengths_of_half_precision_maps_do_not_overflow():
    """4 x 4 cells of 6,000 are 96,000, more than float16 can hold."""
    performer = small().half()
    x = torch.full((1, performer.map_shape[0], 4, 4), 6000.0, dtype=torch.float16)
    assert (performer.head(x)[1] == 96000).all()


def test_the_stage_of_x_changes_the_concepts_and_not_the_score():
    before, after = small().freeze(), small(x_stage="masked_post_relu").freeze()
    one, two = before(images(4)), after(images(4))
    torch.testing.assert_close(one.score, two.score)
    torch.testing.assert_close(one.feature.relu(), two.feature)
    assert (two.concepts >= 0).all()
    assert before.variant != after.variant
    assert before.encode_variant != after.encode_variant


def test_zeroed_filters_do_not_count():
    """What removing a part's filters does: the score of maps that are 0, with ReLU and pool computed again."""
    performer = small().freeze()
    x = performer.encode(images(2))
    removed = x.clone()
    removed[:, :10] = 0
    score, concepts = performer.head(removed)
    assert (concepts[:, :10] == 0).all()
    performer.fc7.weight.data.view(16, 32, 4)[:, :10] = 0
    torch.testing.assert_close(score, performer.head(x)[0])


def test_gradient_times_x_adds_up_to_the_score_of_a_head_without_biases():
    """Euler: fails for a sigmoid-ed score, for dropout, or for another layer than the head's input."""
    performer = small().double().freeze()
    for layer in (performer.fc7, performer.fc8, performer.fc9):
        nn.init.zeros_(layer.bias)
    x = torch.randn(3, 32, 4, 4, dtype=torch.float64, requires_grad=True)

    def sums(score: Tensor) -> Tensor:
        (gradient,) = torch.autograd.grad(score.sum(), x, retain_graph=True)
        return (gradient * x.detach()).sum((1, 2, 3))

    score = performer.head(x)[0]
    torch.testing.assert_close(sums(score), score.detach())
    assert (sums(score.sigmoid()) - score.detach().sigmoid()).abs().max() > 0.1


def test_priors_of_one_image_do_not_depend_on_the_others():
    performer = small().freeze()
    feature_map = performer.encode(images(5)).detach()
    _, together = performer.perform(feature_map, filter_jacobian)
    alone = torch.cat([performer.perform(feature_map[[i]], filter_jacobian)[1] for i in range(5)])
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-6)
    assert (together > 0).any()


def test_frozen_means_frozen():
    performer = small().freeze()
    tree = nn.ModuleDict({"performer": performer}).train()
    assert not any(module.training for module in tree["performer"].modules())
    assert not any(parameter.requires_grad for parameter in performer.parameters())
    first, second = performer(images(2)), performer(images(2))
    assert torch.equal(first.score, second.score)


def test_refining_leaves_the_trunks_output_as_it_was():
    performer = small()
    trunk_map = performer.trunk_map(images(2)).detach()
    before = trunk_map.clone()
    performer.training_loss(trunk_map, torch.tensor([[True], [False]]), 1).backward()
    assert torch.equal(trunk_map, before)


@pytest.mark.parametrize("factor", [1.0, 0.0, 3.0])
def test_training_minimises_the_sum_over_the_batch_divided_by_its_size(factor: float):
    """Gradients of logistic loss and both filter losses; the value is the logistic loss's."""
    performer = small(dropout=0.0, filter_loss=factor).double().eval()
    label, epoch = torch.tensor([[True], [False], [True]]), 2
    trunk_map = performer.trunk_map(images(3)).detach().requires_grad_()
    loss = performer.training_loss(trunk_map, label, epoch)
    loss.backward()
    names, parameters = zip(*[(n, p) for n, p in performer.named_parameters() if "trunk" not in n], strict=True)
    got = [trunk_map.grad.clone(), *[parameter.grad.clone() for parameter in parameters]]

    a = trunk_map.detach().requires_grad_()
    mask5 = filter_masks(a, performer.mask5.sharpness)
    z = performer.conv6(a * mask5.clamp_min(0))
    mask6 = filter_masks(z.relu(), performer.mask6.sharpness, z)
    score = performer.head(z * mask6.clamp_min(0))[0]
    signs = torch.tensor([1.0, -1.0, 1.0])
    logistic = torch.stack([F.softplus(-c * y) for c, y in zip(signs, score, strict=True)]).sum()
    total = logistic
    for x, mask in ((a, mask5), (z.relu(), mask6)):
        total = total + factor * filter_loss(x, mask, label[:, 0], epoch)
    expected = torch.autograd.grad(total / 3, [a, *parameters])
    for name, one, two in zip(("trunk_map", *names), got, expected, strict=True):
        torch.testing.assert_close(one, two, rtol=1e-9, atol=1e-15, msg=lambda text, name=name: f"{name}: {text}")
    torch.testing.assert_close(loss.detach(), logistic.detach() / 3)


@pytest.mark.parametrize("optimizer", [torch.optim.SGD, torch.optim.Adam])
def test_sharpness_reaches_its_target_whatever_the_optimizer(optimizer: type[torch.optim.Optimizer]):
    performer = small(dropout=0.0)
    label, trunk_map = torch.tensor([[True], [False], [True]]), performer.trunk_map(images(3)).detach()
    wanted = sharpness_target(performer.mask5.sharpness, trunk_map, performer.mask5(trunk_map), label[:, 0])
    steps = optimizer(performer.parameters(), lr=1e-4)
    performer.eval().training_loss(trunk_map, label, 1)
    assert (performer.mask5.sharpness == 2).all()  # only training moves it
    performer.train()
    performer.training_loss(trunk_map, label, 1).backward()
    steps.step()
    torch.testing.assert_close(performer.mask5.sharpness, 2 + 0.016 * (wanted - 2))
    for _ in range(400):
        with torch.no_grad():
            performer.training_loss(trunk_map, label, 1)
    left = sharpness_target(performer.mask5.sharpness, trunk_map, performer.mask5(trunk_map), label[:, 0])
    assert (performer.mask5.sharpness - left).abs().median() < 0.01  # few filters have no target to settle at
    assert (performer.mask5.sharpness != 2).any()


def test_the_filter_loss_reaches_the_filters():
    with_loss, without = small(dropout=0.0, filter_loss=1e4), small(dropout=0.0, filter_loss=0.0)
    for performer in (with_loss, without):
        performer.training_loss(performer.trunk_map(images(2)), torch.tensor([[True], [False]]), 1).backward()
    assert (with_loss.conv6.weight.grad - without.conv6.weight.grad).abs().max() > 1e-3
    assert (with_loss.trunk[0].weight.grad - without.trunk[0].weight.grad).abs().max() > 1e-6
    torch.testing.assert_close(with_loss.fc7.weight.grad, without.fc7.weight.grad)


def test_without_masks_it_is_a_plain_network():
    performer = small(masks=False, dropout=0.0).eval()
    with torch.no_grad():
        trunk_map = performer.trunk_map(images(3))
        torch.testing.assert_close(performer.refine(trunk_map), performer.conv6(trunk_map))
    label = torch.tensor([[True], [False], [True]])
    loss = performer.training_loss(trunk_map, label, 1)
    by_hand = [
        math.log1p(math.exp(-s * y))
        for s, y in zip((1, -1, 1), performer.logits(trunk_map)[:, 0].tolist(), strict=True)
    ]
    assert loss.item() == pytest.approx(sum(by_hand) / 3, rel=1e-5)
    assert not any("mask" in name for name in performer.state_dict())
    assert performer.encode_variant != small().encode_variant
    groups = [
        {**group, "lr": 1e-3 * group.pop("lr_factor")} for group in performer.parameter_groups(1.0) if group["params"]
    ]
    torch.optim.SGD(groups)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_learning_rates_are_the_authors(architecture: str):
    performer = small(architecture)
    names = {id(parameter): name for name, parameter in performer.named_parameters()}
    found = {}
    for group in performer.parameter_groups(0.5):
        for parameter in group["params"]:
            found[names.pop(id(parameter))] = (group["lr_factor"], group.get("weight_decay"))
    assert not names  # every parameter, once
    for name, (factor, decay) in found.items():
        if name == f"trunk.{len(performer.trunk) - 2}.bias":
            expected = (2.5, None)
        elif name.startswith("trunk"):
            expected = (0.5, None)
        else:
            expected = (2.0, 0.0) if name.endswith("bias") else (1.0, None)
        assert (factor, decay) == expected, name


def test_new_layers_start_small_and_keep_their_signal_in_a_narrow_network():
    torch.manual_seed(0)
    performer = InterpretableCNN(image_size=64, fc7_kernel=2, width=8, hidden=256, weights=None)
    fewer_inputs = {"conv6": 512 / 64, "fc7": (512 * 49) / (64 * 4), "fc8": 4096 / 256}
    for name, factor in fewer_inputs.items():
        layer = getattr(performer, name)
        assert layer.weight.std().item() == pytest.approx(0.01 * factor**0.5, rel=0.02)
        assert (layer.bias == 0).all()
    assert (performer.mask5.sharpness == 2).all()


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_the_last_convolutions_can_be_tuned_with_the_new_layers(architecture: str):
    """Where the trunk ends changes what is computed once and what trains, not the function."""
    side = SMALL[architecture]
    plain = small(architecture).eval()
    for tuned in (1, 3):
        performer = small(architecture, tuned=tuned).eval()
        performer.load_state_dict(plain.state_dict())
        with torch.no_grad():
            torch.testing.assert_close(performer.encode(images(2, side)), plain.encode(images(2, side)))
        performer.train()
        for module in performer.trunk_modules():
            module.requires_grad_(False)
        performer.training_loss(performer.trunk_map(images(2, side)), torch.tensor([[True], [False]]), 1).backward()
        learnt = [isinstance(layer, nn.Conv2d) and layer.weight.grad is not None for layer in performer.trunk]
        assert sum(learnt) == tuned
        assert learnt.index(True) == performer.cut
        sizes = [
            sum(p.numel() for module in part for p in module.parameters())
            for part in (performer.trunk_modules(), performer.head_modules())
        ]
        assert sum(sizes) == sum(p.numel() for p in performer.parameters())


def test_every_parameter_belongs_to_the_trunk_or_the_head():
    performer = small()
    modules = [*performer.trunk_modules(), *performer.head_modules()]
    owned = [id(parameter) for module in modules for parameter in module.parameters()]
    assert sorted(owned) == sorted(id(parameter) for parameter in performer.parameters())
    assert performer.preprocess in performer.encode_modules()
    digest = state_digest(*performer.encode_modules())
    nn.init.zeros_(performer.fc9.weight)
    assert state_digest(*performer.encode_modules()) == digest
    with torch.no_grad():
        performer.mask6.sharpness[0] = 3
    assert state_digest(*performer.encode_modules()) != digest


def test_a_saved_performer_is_the_same_function(tmp_path: Path):
    performer = small(preprocessing="caffe_rgb255")
    save_file(performer.state_dict(), tmp_path / "p.safetensors")
    shape = {"image_size": 64, "width": 4, "hidden": 16, "fc7_kernel": 2}
    again = InterpretableCNN(**shape, checkpoint=str(tmp_path / "p.safetensors"))
    assert state_digest(again) == state_digest(performer)
    with pytest.raises(ValueError, match="does not fit `performer` in the configuration"):
        InterpretableCNN("vgg_m", **{**shape, "image_size": 96}, checkpoint=str(tmp_path / "p.safetensors"))


def test_names_are_known_without_memory():
    with torch.device("meta"):
        performer = InterpretableCNN("vgg_s", width=8, target="cat", hidden=3, weights=None)
    names = performer.concept_names
    assert (names[0], names[-1], len(names)) == ("filter_000", "filter_063", 64)
    assert performer.output_names == ("cat",)


@pytest.mark.parametrize("dead", ["argmax", "corner"])
def test_maps_without_activation_have_the_chosen_centre(dead: str):
    performer = small(dead_map_center=dead).eval()
    maps = torch.full((1, 32, 4, 4), -2.0)
    maps[..., 2, 3] = -1.0
    assert performer.mask6(maps)[0, 0].argmax().item() == (11 if dead == "argmax" else 0)


@pytest.mark.slow
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_two_training_steps_at_full_size(architecture: str):
    torch.manual_seed(0)
    performer = InterpretableCNN(architecture, image_size=SIZES[architecture], weights=None)
    groups = performer.parameter_groups(1.0)
    for group in groups:
        group["lr"] = 1e-4 * group.pop("lr_factor")
    optimizer = torch.optim.SGD(groups, momentum=0.9, weight_decay=5e-4)
    before = {name: parameter.detach().flatten()[:1000].clone() for name, parameter in performer.named_parameters()}
    for epoch in (1, 2):
        optimizer.zero_grad()
        trunk_map = performer.trunk_map(images(2, SIZES[architecture]))
        loss = performer.training_loss(trunk_map, torch.tensor([[True], [False]]), epoch)
        loss.backward()
        optimizer.step()
        assert loss.item() == pytest.approx(math.log(2), abs=0.05)
    for name, parameter in performer.named_parameters():
        assert torch.isfinite(parameter).all()
        assert not torch.equal(parameter.detach().flatten()[:1000], before[name]), name
