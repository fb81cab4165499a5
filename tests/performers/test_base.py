"""A performer that says the least it can: a kind, names, shapes, and three functions."""

from functools import partial

import pytest
import torch
from torch import Tensor, nn

from semexplain.concepts.base import ConceptKind
from semexplain.concepts.filters import Filters
from semexplain.concepts.geometry import MapGeometry
from semexplain.concepts.outputs import Outputs
from semexplain.concepts.selection import all_concepts
from semexplain.explainers.linear import LinearExplainer
from semexplain.performers.base import Performer, state_digest
from semexplain.training.controls import Redrawn
from semexplain.training.distillation import Distillation

IMAGE, MAP = (3, 24, 40), (4, 3, 5)


class Least(Performer):
    """Images and maps are no squares."""

    output_names, target_name = ("a", "b", "c"), "b"
    image_shape, map_shape = IMAGE, MAP

    def __init__(self, kind: ConceptKind) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.kind = kind
        self.stem = nn.Sequential(nn.Conv2d(3, 4, 8, stride=8), nn.ReLU())
        self.top = nn.Sequential(nn.Flatten(), nn.Linear(60, 3))

    def encode(self, image: Tensor) -> Tensor:
        return self.stem(image.float() / 255)

    def feature(self, feature_map: Tensor) -> Tensor:
        return feature_map

    def outputs(self, feature: Tensor) -> Tensor:
        return self.top(feature)


def images(count: int = 5) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.randint(0, 256, (count, *IMAGE), dtype=torch.uint8, generator=generator)


@pytest.fixture(params=[Filters(), Outputs()], ids=["filters", "outputs"])
def least(request: pytest.FixtureRequest) -> Performer:
    return Least(request.param).freeze()


def test_the_layers_of_the_feature_map_are_those_that_an_empty_image_runs_through(least: Performer):
    assert set(least.encode_modules()) == {least.stem, *least.stem}
    digest = state_digest(*least.encode_modules())
    nn.init.zeros_(least.top[1].weight)
    assert state_digest(*least.encode_modules()) == digest
    nn.init.zeros_(least.stem[0].bias)
    assert state_digest(*least.encode_modules()) != digest
    assert not any(module._forward_hooks for module in least.modules())


def test_a_redrawn_head_is_above_them(least: Performer):
    drawn = Redrawn().performer(least)
    assert drawn.stem[0].weight is least.stem[0].weight
    assert not torch.equal(drawn.top[1].weight, least.top[1].weight)


def test_cells_are_spread_evenly_over_the_image(least: Performer):
    """Cell k looks at the pixels from 8 k to 8 k + 7, in both directions."""
    assert least.geometry == MapGeometry.even(IMAGE[1:], MAP[1:])
    for row in range(MAP[1]):
        for column in range(MAP[2]):
            window = least.geometry.window(row, column, IMAGE[1:])
            assert window == (8 * column, 8 * row, 8 * column + 8, 8 * row + 8)


def test_the_last_hidden_layer_is_the_feature_itself(least: Performer):
    feature_map = least.encode(images())
    assert torch.equal(least.hidden(least.feature(feature_map)), feature_map.flatten(1))
    assert (least.hidden_size, least.feature_shape) == (60, MAP)


def test_its_variants_tell_its_class_and_what_is_explained(least: Performer):
    assert least.encode_variant == least.head_variant == "Least"
    other = Least(least.kind)
    other.target_name = "c"
    assert other.variant != least.variant
    assert Least(Filters()).variant != Least(Outputs()).variant


@pytest.mark.parametrize("reads", ["feature_map", "hidden"])
def test_it_is_explained_with_a_start_and_pictures(least: Performer, reads: str):
    module = Distillation(
        least,
        LinearExplainer,
        all_concepts,
        partial(torch.optim.SGD, lr=0.1),
        partial(torch.optim.lr_scheduler.ConstantLR, factor=1.0),
        {},
        start="kind",
        reads=reads,
    ).eval()
    explanation = module(images())
    performance = least(images())
    torch.testing.assert_close(explanation.score, performance.score)
    torch.testing.assert_close(explanation.values, performance.concepts)
    assert explanation.weights.shape == (5, 4 if isinstance(least.kind, Filters) else 2)
    shown = module.explain_maps(least.encode(images()), images())
    torch.testing.assert_close(shown.weights, explanation.weights.detach())
    assert shown.image.shape == (5, *IMAGE)
    assert shown.heat.shape == (5, *IMAGE[1:])
