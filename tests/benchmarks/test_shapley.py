"""Exact Shapley values: the axioms, the definition by orders, and an independent library."""

from itertools import permutations, product

import pytest
import torch
from torch import Tensor

from benchmarks.head_to_head.shapley import coalitions, interventional, shapley_values


def table(k: int, images: int = 3, seed: int = 0) -> Tensor:
    return torch.randn(images, 2**k, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def number(members: set[int]) -> int:
    """Of a coalition, from its members."""
    return sum(2**i for i in members)


def by_orders(values: list[float], k: int) -> list[float]:
    """Let the concepts join in every order and note what each adds."""
    added = [0.0] * k
    orders = list(permutations(range(k)))
    for order in orders:
        members: set[int] = set()
        for concept in order:
            added[concept] += values[number(members | {concept})] - values[number(members)]
            members.add(concept)
    return [total / len(orders) for total in added]


def test_coalitions_are_numbered_by_their_bits():
    for s, members in enumerate(coalitions(4)):
        assert number(set(members.nonzero().flatten().tolist())) == s


@pytest.mark.parametrize("k", [1, 2, 3, 5])
def test_it_is_the_mean_over_all_orders(k: int):
    values = table(k)
    expected = torch.tensor([by_orders(row, k) for row in values.tolist()], dtype=torch.float64)
    torch.testing.assert_close(shapley_values(values), expected)


def test_without_concepts_there_are_no_values():
    assert shapley_values(torch.ones(2, 1)).shape == (2, 0)


def test_efficiency_at_the_largest_size():
    values = table(12, images=2)
    torch.testing.assert_close(shapley_values(values).sum(1), values[:, -1] - values[:, 0])


def test_a_dummy_gets_what_it_adds_and_others_do_not_notice_it():
    """Concept 1 of three always adds 0.25; without it the game is one of two concepts."""
    two, shift = table(2), 0.25
    three = torch.stack([two[:, a + 2 * c] + shift * b for c, b, a in product((0, 1), repeat=3)], dim=1)
    values = shapley_values(three)
    torch.testing.assert_close(values[:, 1], torch.full((3,), shift, dtype=torch.float64))
    torch.testing.assert_close(values[:, [0, 2]], shapley_values(two))


def test_symmetric_concepts_get_the_same():
    """The value depends on the number of members only, so that all of them are alike."""
    by_size = table(2)[:, :4]  # a value for 0, 1, 2, 3 members
    values = shapley_values(by_size[:, coalitions(3).sum(1)])
    torch.testing.assert_close(values, ((by_size[:, 3] - by_size[:, 0]) / 3)[:, None].expand(-1, 3))


def test_it_is_what_shapiq_computes():
    shapiq = pytest.importorskip("shapiq")
    values = table(6, images=4)
    for row, ours in zip(values.numpy(), shapley_values(values), strict=True):
        game = lambda sets, row=row: row[(sets * 2 ** torch.arange(6).numpy()).sum(1)]  # noqa: E731
        theirs = shapiq.ExactComputer(n_players=6, game=game)("SV", order=1)
        expected = torch.tensor([theirs[(i,)] for i in range(6)], dtype=torch.float64)
        torch.testing.assert_close(ours, expected)


def test_the_sum_over_float32_is_exact():
    """Two scores that differ in the last digit only: the values must be taken of the difference."""
    values = torch.tensor([[1000.0, 1000.0 + 2**-13]])
    assert shapley_values(values).item() == 2**-13


@pytest.mark.parametrize("shape", [(3, 6), (3, 0), (8,)])
def test_other_numbers_of_columns_are_refused(shape: tuple[int, ...]):
    with pytest.raises(ValueError, match=r"a row of 2\*\*k numbers for each image"):
        shapley_values(torch.zeros(shape))


# The interventional game


def test_interventional_is_the_weighted_sum_over_all_states():
    k, rates = 3, [0.1, 0.5, 0.8]
    scores, states = table(k, images=8), coalitions(k)
    expected = torch.zeros(8, 2**k, dtype=torch.float64)
    for image, own in enumerate(states.tolist()):
        for s, inside in enumerate(states.tolist()):
            for drawn in product((0, 1), repeat=k):
                chance = 1.0
                for rate, value in zip(rates, drawn, strict=True):
                    chance *= rate if value else 1 - rate
                seen = {i for i in range(k) if (own[i] if inside[i] else drawn[i])}
                expected[image, s] += chance * scores[image, number(seen)]
    torch.testing.assert_close(interventional(scores, states, torch.tensor(rates)), expected)


def test_the_full_coalition_is_the_image_and_the_empty_one_the_same_for_all():
    scores = table(3, images=1).expand(8, -1)
    values = interventional(scores, coalitions(3), torch.tensor([0.3, 0.6, 0.9]))
    torch.testing.assert_close(values[:, -1], scores[0])
    torch.testing.assert_close(values[:, 0], values[:1, 0].expand(8))


def test_at_rate_0_a_concept_outside_is_absent():
    scores = table(4)
    everything = torch.ones(3, 4, dtype=torch.bool)
    torch.testing.assert_close(interventional(scores, everything, torch.zeros(4)), scores)


def test_the_shapley_values_of_a_linear_score_are_weight_times_deviation_from_the_rate():
    weights, rates = torch.tensor([2.0, -1.0, 0.5]), torch.tensor([0.25, 0.5, 0.9])
    states = coalitions(3)
    scores = (states.float() @ weights).expand(8, -1)
    values = shapley_values(interventional(scores, states, rates))
    torch.testing.assert_close(values, weights * (states.float() - rates))


def test_shapes_and_rates_are_checked():
    scores, state, rates = torch.zeros(2, 4), torch.zeros(2, 2, dtype=torch.bool), torch.zeros(2)
    with pytest.raises(ValueError, match=r"`state` must be \(2, 2\) and `rates` \(2,\), got \(2, 3\) and \(2,\)"):
        interventional(scores, torch.zeros(2, 3), rates)
    with pytest.raises(ValueError, match=r"`rates` must lie between 0 and 1, got \[0.0, 1.5\]"):
        interventional(scores, state, torch.tensor([0.0, 1.5]))
