"""A ResNet-18 with fewer channels."""

import pytest
import torch

from semexplain.explainers.narrow_resnet import NarrowResNetExplainer
from semexplain.explainers.resnet import ResNetExplainer


@pytest.mark.parametrize("side", [1, 3, 5, 6])
def test_with_all_channels_it_is_a_resnet_18(side: int):
    """The same layers in the same order, so that the weights of one fit the other."""
    narrow = NarrowResNetExplainer(map_shape=(8, side, side), n_concepts=3, width=64).eval()
    whole = ResNetExplainer(map_shape=(8, side, side), n_concepts=3, depth=18).eval()
    state = dict(zip(narrow.state_dict(), whole.state_dict().values(), strict=True))
    narrow.load_state_dict(state)
    x = torch.randn(2, 8, side, side)
    torch.testing.assert_close(narrow(x), whole(x))


def test_a_quarter_of_the_channels_is_a_sixteenth_of_the_parameters():
    sizes = [
        sum(p.numel() for p in NarrowResNetExplainer(map_shape=(64, 6, 6), n_concepts=64, width=w).parameters())
        for w in (16, 64)
    ]
    assert 14 < sizes[1] / sizes[0] < 16
