"""Where a network may not be cut: each kind is refused with the reason and what to do instead, and that works."""

import re

import awkward
import pytest
import torch
from awkward import SHAPE
from torch import Tensor, nn

from semexplain.concepts.priors import filter_jacobian
from semexplain.performers.network import Network
from semexplain.system.trouble import Trouble

TRANSFORM = {"size": SHAPE}
KINDS = {  # network, the layer, the module around it that will do, what goes past it
    "a convolution inside a residual block": (awkward.Residual, "blocks.1.conv1", "blocks.1", ["blocks.0"]),
    "a dense layer inside a DenseNet block": (awkward.Dense, "block.b", None, ["stem", "block.a"]),
    "one Inception branch": (awkward.Inception, "mixed.wide", "mixed", ["stem", "mixed.narrow"]),
    "the bottleneck of a U-Net": (awkward.UNet, "deep", None, ["down"]),
    "the up-convolution of a U-Net": (awkward.UNet, "up", None, ["down"]),
    "an output that is later added to its own input": (awkward.AddedLater, "one", None, ["stem"]),
    "one resolution of an HRNet": (awkward.HighResolution, "coarse", None, ["fine"]),
}


def pictures(count: int = 4, seed: int = 0) -> Tensor:
    return torch.randint(0, 256, (count, *SHAPE), generator=torch.Generator().manual_seed(seed), dtype=torch.uint8)


def network(make: type, layer: str | list[str]) -> Network:
    torch.manual_seed(3)
    output = (lambda returned: returned[:, 1].mean((1, 2))) if make is awkward.UNet else 1
    return Network(make(), layer, output=output, transform=TRANSFORM)


@pytest.mark.parametrize("kind", KINDS)
def test_a_layer_that_others_go_past_names_what_will_do(kind: str):
    make, layer, around, past = KINDS[kind]
    with pytest.raises(Trouble) as refused:
        network(make, layer)
    text = str(refused.value)
    assert text.startswith(f"{layer} does not separate the network: the outputs depend on the image past it")
    assert re.findall("'([^']*)', the nearest module around it", text) == ([around] if around else [])
    assert f"ive layer={[layer, *past]}, which do together" in text
    if around:
        network(make, around)


@pytest.mark.parametrize("kind", KINDS)
def test_concepts_can_be_read_there_together_with_what_goes_past(kind: str):
    """The right partial derivative: of each image's own pass, with a hook on that layer alone."""
    make, layer, _, past = KINDS[kind]
    net = network(make, [layer, *past])
    torch.manual_seed(3)
    model, leaves = make().eval().requires_grad_(False), []

    def hook(module: nn.Module, arguments: object, output: Tensor) -> Tensor:
        leaves.append(output.clone().requires_grad_())
        return leaves[-1].clone()

    model.get_submodule(layer).register_forward_hook(hook)
    returned = model(pictures() / 255)
    expected = returned[:, 1] if returned.ndim == 2 else returned[:, 1].mean((1, 2))
    (slope,) = torch.autograd.grad(expected.sum(), leaves[0])

    performance, prior = net.perform(net.encode(pictures()), filter_jacobian)
    channels = leaves[0].shape[1]  # the first filters; after them, those of what goes past
    assert torch.equal(performance.score, expected)
    torch.testing.assert_close(prior[:, :channels], slope.sum((2, 3)).clamp_min(0))
    torch.testing.assert_close(performance.concepts[:, :channels], leaves[0].sum((2, 3)))
    assert prior.shape[1] > channels


class PastByHand(nn.Module):
    """The image itself goes past its only layer."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.last = nn.Conv2d(3, 3, 3, padding=1), nn.Linear(3, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.last((self.body(x) * x).mean((2, 3)))


def test_where_the_image_itself_goes_past_no_layers_are_offered():
    with pytest.raises(Trouble, match=r"body does not separate the network: .*\. Choose a layer further up\.$"):
        network(PastByHand, "body")


class ManyPast(nn.Module):
    """More goes past than a message can name."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Conv2d(3, 2, 1) for _ in range(10))
        self.last = nn.Linear(20, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(torch.cat([layer(x) for layer in self.layers], 1).relu().mean((2, 3)))


def test_not_too_many_layers_are_named():
    with pytest.raises(Trouble, match=r"by [\d.e-]+\)\. Choose a layer further up\.$"):
        network(ManyPast, "layers.9")


# -- what an output is not -------------------------------------------------------------------------------------------


class TwoMaps(nn.Module):
    """A layer returns two maps, and both go on."""

    def __init__(self) -> None:
        super().__init__()
        self.fork, self.last = awkward.Fork(), nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        one, two = self.fork(x)
        return self.last(torch.cat([one.relu().mean((2, 3)), two.relu().mean((2, 3))], 1))


def test_a_layer_that_returns_several_maps_of_which_more_than_one_goes_on():
    with pytest.raises(Trouble, match=r"fork does not separate .*\. Give the layers inside it: it returns several ten"):
        network(TwoMaps, "fork")
    assert network(TwoMaps, ["fork.one", "fork.two"]).map_shape == (6, 14, 14)
