"""What the kind Outputs says of a network, one image, one concept and one state at a time."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from semexplain.concepts.answers import TargetAnswers
from semexplain.concepts.outputs import OutputAnswers, Outputs, concept_indices
from semexplain.concepts.priors import feature_ratio
from semexplain.performers.base import Performer

NAMES = ("a", "b", "c", "d")


class Head(Performer):
    """Four outputs that bend, of a feature that is a vector or a stack of maps."""

    output_names = NAMES
    image_shape, map_shape = (3, 8, 12), (2, 2, 3)

    def __init__(self, target: str = "c", *, maps: bool = False, scale: float = 1.0) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.kind, self.target_name, self.maps, self.scale = Outputs(), target, maps, scale
        self.inner, self.outer = nn.Linear(12, 9).double(), nn.Linear(9, 4).double()

    @property
    def head_variant(self) -> str:
        return str(self.scale)

    def encode(self, image: Tensor) -> Tensor:
        raise AssertionError("nobody asks for images here")

    def feature(self, feature_map: Tensor) -> Tensor:
        return feature_map.double() if self.maps else feature_map.double().flatten(1)

    def outputs(self, feature: Tensor) -> Tensor:
        return self.scale * self.outer(self.inner(feature.flatten(1)).tanh())


@pytest.fixture(params=[False, True], ids=["vector", "maps"])
def network(request: pytest.FixtureRequest) -> Performer:
    return Head(maps=request.param).freeze()


@pytest.fixture
def maps() -> Tensor:
    return torch.randn(3, 2, 2, 3, generator=torch.Generator().manual_seed(1))


def test_every_output_but_the_target_is_a_concept(network: Performer, maps: Tensor):
    assert network.concept_names == ("a", "b", "d")
    assert concept_indices(network) == [0, 1, 3]
    x = network.feature(maps)
    score, concepts = network.head(x)
    outputs = network.outputs(x)
    for image in range(3):
        assert score[image].item() == outputs[image, 2].item()
        assert concepts[image].tolist() == [outputs[image, i].item() for i in (0, 1, 3)]


def test_a_target_alone_is_explained_by_nothing(network: Performer):
    network.output_names = ("c",)
    with pytest.raises(ValueError, match="c is the only output: there is no other that could explain it"):
        network.kind.names(network)


def test_a_target_that_is_no_output_is_named(network: Performer):
    network.target_name = "cc"
    with pytest.raises(ValueError, match=r"one of the outputs a, b, c, d as the target, got 'cc' \(did you mean 'c'\?"):
        _ = network.target_index


@pytest.mark.parametrize("columns", [[0, 1, 2], [2, 0]])
def test_an_output_that_is_taken_away_is_moved_to_its_mean_by_the_least_change_of_x(
    network: Performer, maps: Tensor, columns: list[int]
):
    """To first order, with a ridge; the concepts that are not asked about go where they go."""
    x, n = network.feature(maps), len(columns)
    assert network.kind.needs_means
    reference = torch.linspace(-1, 1, n, dtype=torch.float64)
    states = torch.rand(4, 3, n, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    states[0], states[1] = 1, 0
    scores = network.kind.game(network, x, columns, reference)(states)
    assert scores.shape == (4, 3)
    for image in range(3):
        one = x[image].flatten()

        def concepts(flat: Tensor) -> Tensor:
            return network.head(flat.view(1, *x.shape[1:]))[1][0, columns]

        jacobian = torch.autograd.functional.jacobian(concepts, one)
        products = torch.tensor([[float(a @ b) for b in jacobian] for a in jacobian], dtype=torch.float64)
        ridge = 1e-3 * sum(products[i, i].item() for i in range(n)) / n
        inverse = torch.linalg.inv(products + ridge * torch.eye(n, dtype=torch.float64))
        for state in range(4):
            gone = (1 - states[state, image]) * (concepts(one) - reference)
            moved = one - jacobian.T @ inverse @ gone
            expected = network.head(moved.view(1, *x.shape[1:]))[0].item()
            assert scores[state, image].item() == pytest.approx(expected, rel=1e-9)
    torch.testing.assert_close(scores[0], network.head(x)[0])
    with pytest.raises(ValueError, match="setting them to a `reference`: give their means"):
        network.kind.game(network, x, columns, None)


def test_outputs_have_no_place(network: Performer, maps: Tensor):
    assert network.kind.maps(network.feature(maps)) is None


def test_the_prior_is_what_the_score_moves_when_x_is_nudged_towards_a_concept(network: Performer, maps: Tensor):
    _, prior = network.perform(maps, network.kind.prior)
    step = 1e-6
    for i, output in enumerate((0, 1, 3)):
        for image in range(3):
            x = network.feature(maps[[image]]).requires_grad_()
            outputs = network.outputs(x)
            (direction,) = torch.autograd.grad(outputs[0, output], x)
            change = (network.outputs(x + step * direction) - outputs)[0]
            assert prior[image, i].item() == pytest.approx((change[2] / change[output]).item(), rel=1e-4)


def test_weights_are_compared_with_it_as_directions(network: Performer):
    weights, prior = torch.tensor([[3.0, -4.0]]), torch.tensor([[-5.0, 12.0]])
    expected = (3 / 5 + 5 / 13) ** 2 + (-4 / 5 - 12 / 13) ** 2
    assert network.kind.prior_loss(weights, weights, prior).item() == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("prior", [Outputs().prior, feature_ratio], ids=["of the kind", "by name"])
def test_what_is_kept_serves_every_target(network: Performer, maps: Tensor, prior: Callable):
    """One pass; then each target's score, concepts and prior as it would compute them alone."""
    kept = network.kind.answers(network, prior)
    assert isinstance(kept, OutputAnswers)
    rows = {name: value.float().numpy() for name, value in kept.compute(maps).items()}
    for target in NAMES:
        other = Head(target, maps=network.maps).freeze()
        answers = other.kind.answers(other, prior)
        assert answers.variant == kept.variant
        recalled = answers.recall(rows)
        alone = TargetAnswers(other, prior).compute(maps)
        for name, value in alone.items():
            torch.testing.assert_close(torch.as_tensor(recalled[name][:]), value.float(), rtol=1e-4, atol=1e-6)
    assert Head(scale=2.0).kind.answers(Head(scale=2.0), prior).variant != kept.variant


def test_of_another_prior_what_one_target_needs_is_kept(network: Performer, maps: Tensor):
    def halves(performance: object) -> Tensor:
        return feature_ratio(performance) / 2  # type: ignore[arg-type]

    answers = network.kind.answers(network, halves)
    assert isinstance(answers, TargetAnswers)
    torch.testing.assert_close(answers.compute(maps)["prior"], network.perform(maps, feature_ratio)[1] / 2)


def test_chosen_outputs_are_columns_of_all(maps: Tensor):
    every, some = Head().freeze(), Head().freeze()
    some.kind = Outputs(["d", "a"])
    x = every.feature(maps)
    assert some.concept_names == ("d", "a")
    assert torch.equal(some.head(x)[1], every.head(x)[1][:, [2, 0]])
    assert some.variant != every.variant
    assert Outputs().variant == "Outputs"


def test_what_is_kept_serves_every_choice_of_outputs(network: Performer, maps: Tensor):
    some = Head(maps=network.maps).freeze()
    some.kind = Outputs(["d", "a"])
    kept, chosen = network.kind.answers(network, feature_ratio), some.kind.answers(some, some.kind.prior)
    assert kept.variant == chosen.variant
    recalled = chosen.recall({name: value.float().numpy() for name, value in kept.compute(maps).items()})
    for name, value in TargetAnswers(some, feature_ratio).compute(maps).items():
        torch.testing.assert_close(torch.as_tensor(recalled[name][:]), value.float(), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["dd"], r"names: expected some of the outputs a, b, d, got 'dd' \(did you mean 'd'\?\)"),
        (["c"], "names: 'c' is the output that is explained"),
        (["a", "a"], "names: 'a' is there twice"),
        ([], "names: expected some of the outputs a, b, d, got none"),
    ],
)
def test_outputs_that_cannot_be_chosen_are_named(names: list[str], message: str):
    with pytest.raises(ValueError, match=message):
        Outputs(names).names(Head())
