"""What the kind Filters says of a network, one image, one map and one state at a time."""

import pytest
import torch
from torch import Tensor, nn

from semexplain.concepts.answers import TargetAnswers
from semexplain.concepts.filters import Filters
from semexplain.concepts.priors import feature_ratio
from semexplain.performers.base import Performer


class Maps(Performer):
    """Four maps that are no square, and two outputs that bend."""

    output_names = ("first", "second")
    image_shape, map_shape = (3, 8, 12), (4, 2, 3)

    def __init__(self, target: str = "second", *, maps: bool = True) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.kind, self.target_name, self.maps = Filters(), target, maps
        self.inner, self.outer = nn.Linear(24, 6).double(), nn.Linear(6, 2).double()

    def encode(self, image: Tensor) -> Tensor:
        raise AssertionError("nobody asks for images here")

    def feature(self, feature_map: Tensor) -> Tensor:
        return feature_map.double() if self.maps else feature_map.double().flatten(1)

    def outputs(self, feature: Tensor) -> Tensor:
        return self.outer(self.inner(feature.flatten(1)).tanh())


@pytest.fixture
def network() -> Performer:
    return Maps().freeze()


@pytest.fixture
def x() -> Tensor:
    return torch.randn(3, 4, 2, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


def test_every_map_has_a_name_and_a_vector_has_none(network: Performer):
    assert network.concept_names == ("filter_000", "filter_001", "filter_002", "filter_003")
    vector = Maps(maps=False)
    with pytest.raises(ValueError, match=r"Filters are maps, but `x` of Maps has the shape \(24,\).*`case=outputs`"):
        _ = vector.concept_names


def test_a_strength_is_the_sum_of_the_map(network: Performer, x: Tensor):
    strengths = network.kind.strengths(network, x, network.outputs(x))
    for image in range(3):
        for i in range(4):
            total = sum(x[image, i, row, column].item() for row in range(2) for column in range(3))
            assert strengths[image, i].item() == pytest.approx(total)
    assert network.head(x)[0].tolist() == network.outputs(x)[:, 1].tolist()
    large = torch.full((1, 1, 4, 4), 6000.0, dtype=torch.float16)  # 96,000 is more than float16 can hold
    assert network.kind.strengths(network, large, large).item() == 96_000


@pytest.mark.parametrize("columns", [[0, 1, 2, 3], [3, 1]])
def test_a_map_that_is_taken_away_is_0_everywhere_and_the_others_stay(
    network: Performer, x: Tensor, columns: list[int]
):
    kind, n = network.kind, len(columns)
    assert not kind.needs_means
    states = torch.rand(5, 3, n, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    states[0], states[1] = 1, 0
    scores = kind.game(network, x, columns, None)(states)
    assert scores.shape == (5, 3)
    for state in range(5):
        for image in range(3):
            left = x[image].clone()
            for place, column in enumerate(columns):
                for row in range(2):
                    left[column, row] = states[state, image, place] * left[column, row]
            assert scores[state, image].item() == pytest.approx(network.outputs(left[None])[0, 1].item())
    torch.testing.assert_close(scores[0], network.head(x)[0])
    assert torch.equal(scores, kind.game(network, x, columns, torch.full((n,), 7.0))(states))  # means change nothing


def test_places_are_those_of_positive_cells(network: Performer, x: Tensor):
    assert network.kind.maps(x).tolist() == [
        [[[max(0.0, cell) for cell in row] for row in one] for one in image] for image in x.tolist()
    ]


def test_the_prior_is_the_slope_as_a_whole_map_is_raised(network: Performer, x: Tensor):
    _, prior = network.perform(x, network.kind.prior)
    step = 1e-6
    for image in range(3):
        for i in range(4):
            ends = []
            for sign in (-1, 1):
                moved = x.float().double()[[image]].clone()  # as the feature map is read
                moved[0, i] += sign * step
                ends.append(network.outputs(moved)[0, 1].item())
            assert prior[image, i].item() == pytest.approx(max(0.0, (ends[1] - ends[0]) / (2 * step)), abs=1e-6)
    assert (prior == 0).any()
    assert (prior > 0).any()


def test_weights_are_compared_with_it_as_shares(network: Performer):
    raw, prior = torch.tensor([[0.5, -1.0, 2.0]]), torch.tensor([[1.0, 0.0, 3.0]])
    weights = raw.exp().add(1).log()
    total = weights.sum().item()
    expected = -sum(q / 4 * torch.tensor(a / total).log().item() for q, a in zip((1, 0, 3), weights[0].tolist()))  # noqa: B905
    assert network.kind.prior_loss(raw, weights, prior).item() == pytest.approx(expected, rel=1e-5)


def test_answers_are_those_of_one_target_and_one_prior(network: Performer, x: Tensor):
    answers = network.kind.answers(network, network.kind.prior)
    assert isinstance(answers, TargetAnswers)
    rows = answers.compute(x)
    performance, prior = network.perform(x, network.kind.prior)
    assert torch.equal(rows["score"], performance.score)
    assert torch.equal(rows["concepts"], performance.concepts)
    assert torch.equal(rows["prior"], prior)
    recalled = answers.recall({name: value.numpy() for name, value in rows.items()})
    assert all((recalled[name] == rows[name].numpy()).all() for name in answers.names)
    others = {
        Maps("first").kind.answers(Maps("first"), network.kind.prior).variant,
        network.kind.answers(network, feature_ratio).variant,
        answers.variant,
    }
    assert len(others) == 3
