"""What people stumble over with networks of their own, one test for each kind that no other file has.

``docs/networks.md`` lists all kinds and where they are tested.
"""

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import awkward
import numpy as np
import pandas as pd
import pytest
import torch
from awkward import SHAPE
from PIL import Image
from torch import Tensor, nn

import semexplain as sx
from semexplain.concepts import outputs as output_concepts
from semexplain.concepts.priors import filter_jacobian
from semexplain.performers.cut import Cut
from semexplain.performers.cut.whole import Whole
from semexplain.system.trouble import Trouble

TRANSFORM = {"size": SHAPE}
SHORT = ("trainer.max_epochs=1", "trainer.accelerator=cpu", "data.num_workers=0")


def pictures(count: int = 4, seed: int = 0) -> Tensor:
    return torch.randint(0, 256, (count, *SHAPE), generator=torch.Generator().manual_seed(seed), dtype=torch.uint8)


def network(make: Callable[[], nn.Module], layer: str = "body", **options: object) -> sx.Network:
    torch.manual_seed(3)
    return sx.Network(make(), layer, **({"transform": TRANSFORM} | options))


# -- in place --------------------------------------------------------------------------------------------------------


def test_in_place_what_is_kept_is_not_rewritten_by_what_follows():
    """A ReLU in place comes after the first layer, and before the second one has ended the pass."""
    model = awkward.InPlace().eval().requires_grad_(False)
    image = pictures() / 255
    cut = Cut(Whole(model), ["norm", "two"], image)
    with torch.no_grad():
        norm = model.norm(model.one(image - 0.5))
        two = model.two(norm.relu())
    assert bool((norm < 0).any())
    assert torch.equal(cut.read(image), torch.cat([norm.flatten(1), two.flatten(1)], 1))


def test_in_place_with_backward_hooks_of_ones_own_is_refused_for_priors():
    """PyTorch itself refuses to write into what such a hook has passed on."""
    net = network(awkward.InPlace, "one", output=1)
    assert net.perform(net.encode(pictures()), filter_jacobian)[1].shape == (4, 4)
    model = awkward.InPlace()
    model.norm.register_full_backward_hook(lambda *_: None)
    net = sx.Network(model, "one", output=1, transform=TRANSFORM)
    feature_map = net.encode(pictures())
    assert net.perform(feature_map)[0].score.shape == (4,)
    with pytest.raises(Trouble, match=r"no gradient of the score can be taken at one, .* write in place"):
        net.perform(feature_map, filter_jacobian)


# -- tuples and model outputs ----------------------------------------------------------------------------------------


class Pair(NamedTuple):
    maps: Tensor
    note: str


@dataclass
class Said:
    loss: Tensor | None
    logits: Tensor
    states: tuple[Tensor, ...]


class ModelOutput(OrderedDict):
    """As Hugging Face's: a dict whose items are attributes as well."""

    def __getattr__(self, name: str) -> Any:
        return self[name]


class Telling(nn.Module):
    """A layer that returns a structure, in a network that returns one."""

    def __init__(self, inner: Callable[[Tensor], Any], outer: Callable[[Tensor, Tensor], Any]) -> None:
        super().__init__()
        self.body, self.last, self.outer = Inner(inner), nn.Linear(4, 3), outer

    def forward(self, x: Tensor) -> Any:
        said = self.body(x)
        maps = said["maps"] if isinstance(said, dict) else said[0] if isinstance(said, tuple | list) else said.logits
        return self.outer(self.last(maps.relu().mean((2, 3))), maps)


class Inner(nn.Module):
    def __init__(self, told: Callable[[Tensor], Any]) -> None:
        super().__init__()
        self.conv, self.told = nn.Conv2d(3, 4, 3), told

    def forward(self, x: Tensor) -> Any:
        return self.told(self.conv(x))


INNER = {
    "tuple": lambda maps: (maps, None),
    "list": lambda maps: [maps, torch.tensor(3)],
    "named tuple": lambda maps: Pair(maps, "b"),
    "dict": lambda maps: {"count": len(maps), "maps": maps},
    "model output": lambda maps: ModelOutput(maps=maps),
    "dataclass": lambda maps: Said(None, maps, ()),
}
OUTER = {
    "tuple": lambda logits, maps: (logits, maps),
    "dict": lambda logits, maps: {"maps": maps, "logits": logits},
    "model output": lambda logits, maps: ModelOutput(loss=None, logits=logits, hidden_states=(maps,)),
    "dataclass": lambda logits, maps: Said(None, logits, (maps,)),
}


@pytest.mark.parametrize("outer", OUTER)
@pytest.mark.parametrize("inner", INNER)
def test_structures_that_layers_and_networks_return(inner: str, outer: str):
    net = network(lambda: Telling(INNER[inner], OUTER[outer]), output=1)
    x = net.feature(net.encode(pictures()))
    with torch.no_grad():
        maps = net.model.body.conv(pictures() / 255)
        assert torch.equal(x, maps)
        assert torch.equal(net.head(x)[0], net.model.last(maps.relu().mean((2, 3)))[:, 1])
    assert net.output_names == ("output_0", "output_1", "output_2")


# -- a layer that returns several maps -------------------------------------------------------------------------------


class Auxiliary(nn.Module):
    """A layer returns a map that goes on, and a second one that does not."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.last = awkward.Fork(), nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        first, _ = self.body(x)
        return self.last(first.relu().mean((2, 3)))


def test_of_a_layers_several_maps_the_first_is_its_value():
    """If more than that goes on, the layer is refused: ``test_refusals.py``."""
    net = network(Auxiliary, output=1)
    assert net.map_shape == (4, 14, 14)
    with torch.no_grad():
        assert torch.equal(net.encode(pictures()), net.model.body.one(pictures() / 255))


# -- training mode ---------------------------------------------------------------------------------------------------


def test_a_model_that_somebody_trains_on_meanwhile_is_asked_in_evaluation_mode():
    net = network(awkward.TrainModeNorm, "one", output=1)
    before, digest = net.perform(net.encode(pictures()))[0].score, net.digest()
    net.model.train()
    x = net.encode(pictures())
    net.model.train()
    assert torch.equal(net.perform(x)[0].score, before)
    assert net.digest() == digest


# -- one logit, regression, sign -------------------------------------------------------------------------------------


class Single(nn.Module):
    """One number for an image, in any of the forms in which networks return one."""

    def __init__(self, form: tuple[int, ...]) -> None:
        super().__init__()
        self.body, self.last, self.form = nn.Conv2d(3, 4, 3), nn.Linear(4, 1), form

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.body(x).relu().mean((2, 3))).view(len(x), *self.form)


@pytest.mark.parametrize("form", [(), (1,), (1, 1, 1)])
def test_one_logit_or_a_regression_needs_no_choice_and_its_sign_can_be_turned(form: tuple[int, ...]):
    net = network(lambda: Single(form))
    turned = network(lambda: Single(form), output=lambda returned: -returned.flatten())
    assert net.output_names == ("score",)
    (one, slope), (other, back) = (with_slope(each) for each in (net, turned))
    with torch.no_grad():
        assert torch.equal(one, net.model(pictures() / 255).flatten())
    assert torch.equal(other, -one)
    assert torch.equal(back, -slope)
    with pytest.raises(ValueError, match="score is the only output: there is no other that could explain it"):
        sx.Outputs().names(net)


def test_a_difference_of_outputs_is_a_sign_as_well():
    net, turned = (network(awkward.Residual, "blocks", output=output) for output in ([2, -1], [1, -2]))
    assert torch.equal(with_slope(net)[0], -with_slope(turned)[0])
    assert torch.equal(with_slope(net)[1], -with_slope(turned)[1])


def with_slope(net: sx.Network) -> tuple[Tensor, Tensor]:
    leaf = net.feature(net.encode(pictures())).requires_grad_()
    score, _ = net.head(leaf)
    return score.detach(), torch.autograd.grad(score.sum(), leaf)[0]


# -- precision, memory, devices --------------------------------------------------------------------------------------


def test_mixed_precision_around_it_changes_no_score_and_no_prior():
    net = network(awkward.Residual, "blocks", output=1)
    with torch.autocast("cpu", torch.bfloat16):
        rounded = net.encode(pictures())  # tried with its first images, which is done in full precision
    feature_map = net.encode(pictures())
    assert not torch.equal(rounded, feature_map)
    performance, prior = net.perform(feature_map, filter_jacobian)
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        again, same = net.perform(feature_map, filter_jacobian)
    assert torch.equal(again.score, performance.score)
    assert torch.equal(same, prior)
    assert (again.score.dtype, same.dtype) == (torch.float32, torch.float32)


class Wide(nn.Module):
    """Many outputs."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.last = nn.Conv2d(3, 4, 3), nn.Linear(4, 30)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.body(x).relu().mean((2, 3)))


def test_memory_is_bounded_by_bytes_over_images_and_outputs(monkeypatch: pytest.MonkeyPatch):
    """A gradient of every output at once needs images x outputs x the size of x."""
    net = network(Wide, output=0, kind=sx.Outputs())
    feature_map = net.encode(pictures(6))
    sizes: list[int] = []
    outputs = net.outputs
    net.outputs = lambda x: sizes.append(len(x)) or outputs(x)
    answers = net.kind.answers(net, net.kind.prior)
    whole = answers.compute(feature_map)
    assert max(sizes) == 6
    sizes.clear()
    monkeypatch.setattr(output_concepts, "GRADIENT_BYTES", 2 * 30 * feature_map[0].nbytes)
    parts = answers.compute(feature_map)
    assert max(sizes) == 2
    for name in answers.names:
        torch.testing.assert_close(parts[name], whole[name])


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an accelerator")
def test_devices_network_constants_and_recordings_move_together():
    given = {"inputs": {"tone": torch.tensor([[1.0, 2.0, 3.0, 4.0]]), "power": 2}, "output": 1}
    net = network(awkward.TwoInputs, "mixed", **given)
    here = net.perform(net.encode(pictures()), filter_jacobian)
    net.to("cuda")
    there = net.perform(net.encode(pictures().cuda()), filter_jacobian)
    torch.testing.assert_close(there[0].score.cpu(), here[0].score, rtol=1e-3, atol=1e-4)
    net.to("cpu")
    assert torch.equal(net.perform(net.encode(pictures()), filter_jacobian)[0].score, here[0].score)


@pytest.mark.filterwarnings("ignore")
def test_a_quantised_network_has_scores_but_no_priors():
    if "none" in torch.backends.quantized.engine or not torch.backends.quantized.supported_engines:
        pytest.skip("no quantised kernels here")
    torch.manual_seed(3)
    model = torch.ao.quantization.quantize_dynamic(awkward.Residual().eval(), {nn.Linear})
    net = sx.Network(model, "blocks", output=1, transform=TRANSFORM)
    feature_map = net.encode(pictures())
    with torch.no_grad():
        assert torch.equal(net.perform(feature_map)[0].score, model(pictures() / 255)[:, 1])
    with pytest.raises(Trouble, match="no gradient of the score can be taken at blocks, .*: is the network quantised"):
        net.perform(feature_map, filter_jacobian)


# -- 11 channels, rectangles -----------------------------------------------------------------------------------------


class Bands(nn.Module):
    """Of eleven spectral bands and a rectangle, one number."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.last = nn.Conv2d(11, 6, 3, 2, 1), nn.Linear(6, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.body(x).relu().mean((2, 3)))[:, 0]


@pytest.mark.slow
def test_eleven_channels_of_a_rectangle_are_fitted_and_explained(tmp_path: Path):
    bands = {"size": [11, 16, 32], "dtype": "uint16", "mean": [0.1] * 11, "std": [0.5] * 11}
    net = network(Bands, transform=bands)
    images = np.random.default_rng(0).integers(0, 65536, (60, 16, 32, 11)).astype(np.uint16)
    explainer = sx.Explainer(net, options=[*SHORT, f"paths.cache={tmp_path / 'cache'}"])
    found = explainer.fit(images, out=tmp_path / "run").explain(images[:5])
    with torch.no_grad():
        shares = torch.from_numpy(images[:5].astype(np.float32)).permute(0, 3, 1, 2) / 65535
        torch.testing.assert_close(found.score, net.model((shares - 0.1) / 0.5))
    assert net.map_shape == (6, 8, 16)
    assert len(found.concepts) == 6


# -- inputs that are in no pixel -------------------------------------------------------------------------------------


class WithAge(nn.Module):
    """It reads a person's age, and how high and how far to the right the photo was taken, besides the photo."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.age, self.last = nn.Conv2d(3, 4, 3), nn.Linear(3, 4), nn.Linear(4, 2)

    def forward(self, x: Tensor, age: Tensor, place: Tensor) -> Tensor:
        maps = self.join(self.body(x), self.age(torch.cat([age[:, None], place], 1)))
        return self.last(maps.relu().mean((2, 3)))

    def join(self, maps: Tensor, said: Tensor) -> Tensor:
        raise NotImplementedError


class Joining(WithAge):
    """What is said of the person enters in a module of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.mixed = nn.Bilinear(4, 4, 4)

    def join(self, maps: Tensor, said: Tensor) -> Tensor:
        said = said[:, None, None].expand(-1, *maps.shape[2:], -1)
        return self.mixed(maps.movedim(1, 3).contiguous(), said.contiguous()).movedim(3, 1)


AGES = {"age": {"channel": 3}, "place": {"channel": [5, 4]}}
WITH_AGES = {"size": [6, *SHAPE[1:]], "std": [1, 1, 1, 1 / 255, 1, 1]}  # an age comes in years


def people(count: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Photos, ages, and the photos with the ages and two further numbers as channels."""
    generator = np.random.default_rng(0)
    photos = generator.integers(0, 256, (count, *SHAPE[1:], 3), dtype=np.uint8)
    told = generator.integers(0, 100, (count, 3), dtype=np.uint8)
    planes = np.broadcast_to(told[:, None, None], (count, *SHAPE[1:], 3))
    return photos, told, np.concatenate([photos, planes], 3)


def test_inputs_in_no_pixel_come_as_channels_of_their_own():
    photos, told, images = people(6)
    net = network(Joining, "mixed", output=1, transform=WITH_AGES, inputs=AGES)
    image, numbers = torch.from_numpy(photos).permute(0, 3, 1, 2) / 255, torch.from_numpy(told).float()
    stored = torch.from_numpy(images).permute(0, 3, 1, 2)
    with torch.no_grad():
        expected = net.model(image, age=numbers[:, 0], place=numbers[:, [2, 1]] / 255)[:, 1]
        other = net.model(image, age=numbers[:, 0].flip(0), place=numbers[:, [2, 1]] / 255)[:, 1]
    found = net.perform(net.encode(stored), filter_jacobian)[0].score
    torch.testing.assert_close(found, expected)
    assert not torch.allclose(found, other)
    mirrored = net.model(image.flip(3), numbers[:, 0], numbers[:, [2, 1]] / 255)[:, 1]
    torch.testing.assert_close(net.perform(net.encode(stored.flip(3)))[0].score, mirrored)
    swapped = {"age": {"channel": 4}, "place": {"channel": [5, 3]}}
    variants = [
        network(Joining, "mixed", output=1, transform=WITH_AGES, inputs=inputs).encode_variant
        for inputs in (AGES, swapped)
    ]
    assert len(set(variants)) == 2
    assert "swap test      ok" in str(net.check(torch.cat([stored] * 2)))


def test_inputs_that_enter_above_the_layer_are_refused_unless_what_is_said_of_them_is_read_too():
    with pytest.raises(Trouble, match=r"body does not separate the network"):
        network(Joining, "body", output=1, transform=WITH_AGES, inputs=AGES)
    net = network(Joining, ["body", "age"], output=1, transform=WITH_AGES, inputs=AGES)
    assert net.map_shape == (4 + 4, 14, 14)  # a concept for each number that is said of the person


@pytest.mark.parametrize("channel", [6, [3, 9], -1, [0, 1, 2, 3, 4, 5]])
def test_channels_that_there_are_not(channel: int | list[int]):
    with pytest.raises(Trouble, match=r"^inputs: age and its like are channels .*, images have 6 \(from 0 on\)"):
        network(Joining, "mixed", output=1, transform=WITH_AGES, inputs={"age": {"channel": channel}, "place": 0})


@pytest.mark.slow
@pytest.mark.parametrize("way", ["array", "table"])
def test_inputs_in_no_pixel_are_fitted_and_explained(way: str, tmp_path: Path):
    """As channels of an array, or as columns of a table beside photos."""
    photos, told, images = people(60)
    net = network(Joining, "mixed", output=1, transform=WITH_AGES, inputs=AGES)
    options = [*SHORT, f"paths.cache={tmp_path / 'cache'}"]
    if way == "array":
        explainer = sx.Explainer(net, options=options).fit(images, out=tmp_path / "run")
        asked: Any = images[:5]
    else:
        names = [f"{at:02d}.png" for at in range(60)]
        for name, photo in zip(names, photos, strict=True):
            Image.fromarray(photo).save(tmp_path / name)
        table = pd.DataFrame(told, columns=["age", "up", "right"]).assign(image=names)
        table.to_csv(tmp_path / "people.csv", index=False)
        further = {"numbers": ["age", "up", "right"]}
        explainer = sx.Explainer(net, options=options).fit(tmp_path / "people.csv", out=tmp_path / "run", **further)
        asked = [sx.WithNumbers(tmp_path / name, row.tolist()) for name, row in zip(names[:5], told, strict=False)]
    found = explainer.explain(asked, pictures=True)
    image, numbers = torch.from_numpy(photos[:5]).permute(0, 3, 1, 2) / 255, torch.from_numpy(told[:5]).float()
    with torch.no_grad():
        expected = net.model(image, numbers[:, 0], numbers[:, [2, 1]] / 255)[:, 1]
    torch.testing.assert_close(found.score, expected)
    assert torch.equal(found.image, torch.from_numpy(photos[:5]).permute(0, 3, 1, 2))
    assert found.ids[0] == (str(tmp_path / "00.png") if way == "table" else "0")
    assert explainer.verdict.word == "NOT SHOWN"  # so few test images
