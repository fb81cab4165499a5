"""The explainer's shapes, its outputs, and where it starts."""

import math

import pytest
import torch
from torch import nn

from semexplain.explainers.resnet import ResNetExplainer


@pytest.mark.parametrize(("side", "remaining"), [(14, 1), (13, 1), (17, 2), (7, 1), (6, 1), (4, 1), (2, 1), (1, 1)])
def test_the_last_convolution_covers_what_remains(side: int, remaining: int):
    explainer = ResNetExplainer(map_shape=(4, side, side), n_concepts=3, depth=18).eval()
    stages = explainer.body(torch.zeros(2, 4, side, side))
    assert stages.shape[2:] == (remaining, remaining)
    assert explainer.head.kernel_size == (remaining, remaining)
    assert explainer(torch.zeros(2, 4, side, side)).shape == (2, 3)


@pytest.mark.parametrize(("n", "head"), [(39, 79_911), (512, 1_049_088)])
def test_parameter_counts_of_the_papers_explainer(n: int, head: int):
    with torch.device("meta"):
        explainer = ResNetExplainer(map_shape=(512, 14, 14), n_concepts=n)
    count = lambda module: sum(p.numel() for p in module.parameters())  # noqa: E731
    assert count(explainer.head) == head
    assert count(explainer.body[0]) == 1_605_632
    assert count(explainer.body) / 1e6 == pytest.approx(59.74, abs=0.01)


def test_nothing_is_pooled():
    explainer = ResNetExplainer(map_shape=(4, 4, 4), n_concepts=3, depth=18)
    assert not any("Pool" in type(module).__name__ for module in explainer.modules())


def test_softplus_weights_are_log_one_plus_exp():
    explainer = ResNetExplainer(map_shape=(4, 2, 2), n_concepts=3, depth=18, output="softplus")
    raw = torch.tensor([[-3.0, 0.0, 2.0]])
    expected = [math.log(1 + math.exp(u)) for u in (-3.0, 0.0, 2.0)]
    torch.testing.assert_close(explainer.weights(raw), torch.tensor([expected]))


@pytest.mark.parametrize(("output", "weights"), [("identity", [-2.0, 0.0, 3.0]), ("softplus", [0.1, 1.0, 30.0])])
def test_every_image_starts_at_the_given_weights(output: str, weights: list[float]):
    explainer = ResNetExplainer(map_shape=(4, 4, 4), n_concepts=3, depth=18, output=output).eval()
    explainer.start_at(torch.tensor(weights), torch.tensor(0.5))
    started = explainer.weights(explainer(torch.randn(5, 4, 4, 4)))
    torch.testing.assert_close(started, torch.tensor([weights] * 5))
    assert explainer.bias.item() == 0.5


def test_the_body_still_learns_from_such_a_start():
    """A zero kernel blocks the body's gradient only until its own first step."""
    torch.manual_seed(0)
    explainer = ResNetExplainer(map_shape=(4, 4, 4), n_concepts=3, depth=18)
    explainer.start_at(torch.ones(3), torch.tensor(0.0))
    before = explainer.body[0].weight.detach().clone()
    optimizer = torch.optim.Adam(explainer.parameters(), lr=1e-3)
    for _ in range(2):
        optimizer.zero_grad()
        (explainer(torch.randn(4, 4, 4, 4)) - torch.randn(4, 3)).square().mean().backward()
        optimizer.step()
    assert not torch.equal(explainer.body[0].weight, before)


def test_a_softplus_cannot_start_at_signed_weights():
    explainer = ResNetExplainer(map_shape=(4, 4, 4), n_concepts=3, depth=18, output="softplus")
    with pytest.raises(ValueError, match="weights that are not positive, the least is -2. Start without: `start=none`"):
        explainer.start_at(torch.tensor([1.0, -2.0, 3.0]), torch.tensor(0.0))


def test_a_batch_of_one_needs_evaluation_mode():
    explainer = ResNetExplainer(map_shape=(4, 4, 4), n_concepts=3, depth=18)
    with pytest.raises(ValueError, match="more than 1 value per channel"):
        explainer(torch.randn(1, 4, 4, 4))
    assert isinstance(explainer.eval()(torch.randn(1, 4, 4, 4)), torch.Tensor)
    assert isinstance(explainer.head, nn.Conv2d)
