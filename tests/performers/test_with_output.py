"""Another output of the same network: it is what a network of its own would be, and no trial is made twice."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import semexplain.performers.cut.swap as swap
import semexplain.performers.network as module
from semexplain.concepts.outputs import Outputs
from semexplain.concepts.priors import filter_jacobian
from semexplain.performers.network import Network
from semexplain.system.trouble import Trouble

SIZE = (3, 16, 16)


def sum_of_two(returned: Tensor) -> Tensor:
    return returned[:, 0] + returned[:, 2]


def model(past: float = 0.0) -> nn.Module:
    """A classifier with a softmax; some of the image may go past the layer, into the last two outputs alike."""

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body, self.pool = nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(2)
            self.fc, self.softmax = nn.Linear(16, 3), nn.Softmax(1)

        def forward(self, x: Tensor) -> Tensor:
            logits = self.fc(self.pool(self.body(x).relu()).flatten(1))
            if past:
                logits = logits + past * x.mean((1, 2, 3))[:, None] * torch.tensor([0.0, 1.0, 1.0])
            return self.softmax(logits) if not past else logits

    torch.manual_seed(0)
    return Net()


def network(output: Any, past: float = 0.0, **options: Any) -> Network:
    told = {"layer": "body", "classes": ["cat", "dog", "cow"], "transform": {"size": list(SIZE)}}
    return Network(model(past), output=output, **(told | options))


def pictures(count: int = 5) -> Tensor:
    return torch.randint(0, 256, (count, *SIZE), dtype=torch.uint8, generator=torch.Generator().manual_seed(3))


@pytest.fixture
def tests(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Of which networks a swap test was made."""
    made: list[str] = []

    def counted(function: Callable[..., Any]) -> Callable[..., Any]:
        return lambda *given: made.append(function.__name__) or function(*given)

    monkeypatch.setattr(swap, "swap_fault", counted(swap.swap_fault))
    monkeypatch.setattr(module, "swap_fault", counted(module.swap_fault))
    return made


@pytest.mark.parametrize("output", [0, "cow", -1, [2, -1], ["cat", "-dog"], sum_of_two, "fc", ["fc", 1]])
def test_it_is_the_network_that_is_made_with_this_output(output: Any):
    if output == "fc":
        with pytest.raises(Trouble, match="the network has 3 outputs"):
            network("dog").with_output(output)
        return
    net, alone = network("dog"), network(output)
    _ = net.target_index, net.concept_names, net.encode(pictures())
    other = net.with_output(output)
    assert (other.target_name, other.output_names) == (alone.target_name, alone.output_names)
    assert (other.digest(), other.variant) == (alone.digest(), alone.variant)
    found, expected = (
        each.perform(each.encode(pictures()), lambda performance: filter_jacobian(performance))
        for each in (other, alone)
    )
    assert torch.equal(found[0].score, expected[0].score)
    assert torch.equal(found[0].concepts, expected[0].concepts)
    assert torch.equal(found[1], expected[1])
    assert other.model is net.model
    assert (net.target_name, net.target_index) == ("dog", 1)


def test_concepts_leave_the_new_target_out():
    net = network("dog", kind=Outputs())
    assert net.concept_names == ("cat", "cow")
    assert net.with_output("cow").concept_names == ("cat", "dog")
    with pytest.raises(Trouble, match="no output 'rat'"):
        net.with_output("rat")


def test_no_trial_is_made_twice(tests: list[str]):
    net = network("dog")
    made = len(tests)
    others = [net.with_output(output) for output in ("cat", 2, [2, -1])]
    assert len(tests) == made
    for each in (net, *others):
        each.encode(pictures())
    assert len(tests) == made + 1  # of the first real images
    function = net.with_output(sum_of_two)
    assert len(tests) == made + 2
    function.with_output(sum_of_two)
    assert len(tests) == made + 2
    function.encode(pictures())
    assert len(tests) == made + 3
    net.with_output(["fc", 0])  # another module ends the network
    assert len(tests) == made + 4


def test_outputs_that_the_layer_does_not_separate_are_refused_though_their_difference_is_not():
    """What goes past the layer into two outputs is not in their difference."""
    net = network(lambda logits: logits[:, 0], past=1.0)
    assert net.with_output(lambda logits: logits[:, 0] * 2).target_name == "output"
    with pytest.raises(Trouble, match="body does not separate the network"):
        net.with_output("dog")
    with pytest.raises(Trouble, match="body does not separate the network"):
        network("cat", past=1.0)
