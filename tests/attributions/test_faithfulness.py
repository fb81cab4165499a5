"""Scores with concepts taken away, one image, one state and one concept at a time."""

import pytest
import torch
from torch import Tensor

from semexplain.attributions import faithfulness
from semexplain.attributions.faithfulness import concept_curves, end_scores, noisy_maps, random_subsets, subset_effects
from semexplain.concepts.base import Game

N = 7


def game_about(values: Tensor) -> Game:
    """Concepts that act together: the score is a product and a sum; some images have a lower score with all."""

    def score(present: Tensor) -> Tensor:
        kept = present * values
        return kept.sum(-1) + kept[..., 0] * kept[..., 1] + kept.square().sum(-1).sin()

    return score


@pytest.fixture
def values() -> Tensor:
    return torch.randn(9, N, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


@pytest.fixture
def contributions() -> Tensor:
    return torch.randn(9, N, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def score_of(values: Tensor, image: int, present: set[int]) -> float:
    state = torch.tensor([float(concept in present) for concept in range(N)], dtype=values.dtype)
    return game_about(values[image])(state).item()


@pytest.mark.parametrize("steps", [1, 3, N, 20])
def test_curves_take_concepts_away_and_put_them_back_in_order(
    values: Tensor, contributions: Tensor, steps: int
) -> None:
    deletion, insertion = concept_curves(game_about(values), contributions, steps)
    assert deletion.shape == insertion.shape == (9, min(steps, N) + 1)
    lowered = 0
    for image in range(9):
        everything = set(range(N))
        change = score_of(values, image, everything) - score_of(values, image, set())
        lowered += change < 0
        order = sorted(everything, key=lambda concept: contributions[image, concept].item(), reverse=change > 0)
        groups = {1: [0, 7], 3: [0, 3, 5, 7]}.get(steps, range(N + 1))  # how many are gone after each step
        for step, gone in enumerate(groups):
            first = set(order[:gone])
            assert deletion[image, step].item() == pytest.approx(score_of(values, image, everything - first))
            assert insertion[image, step].item() == pytest.approx(score_of(values, image, first))
    assert 0 < lowered < 9


def test_more_concepts_than_steps_go_in_groups_of_nearly_one_size() -> None:
    contributions = torch.rand(2, 47, generator=torch.Generator().manual_seed(0))
    deletion, _ = concept_curves(lambda present: present.sum(-1), contributions)
    assert deletion.shape == (2, 21)
    assert set((deletion[:, :-1] - deletion[:, 1:]).flatten().tolist()) == {2.0, 3.0}


def test_the_exact_order_beats_a_random_and_the_opposite_one(values: Tensor) -> None:
    """For a linear score."""
    weights = torch.randn(N, generator=torch.Generator().manual_seed(3), dtype=torch.float64)

    def game(present: Tensor) -> Tensor:
        return (present * values) @ weights

    sign = game(torch.ones(9, N, dtype=torch.float64)).sign()
    areas = [
        (sign * concept_curves(game, scale * values * weights)[0][:, 1:-1].mean(1)).mean().item()
        for scale in (1, 0, -1)
    ]
    assert areas == sorted(areas)
    assert areas[0] < areas[1] < areas[2]


def test_a_diverged_explanation_has_no_curve(values: Tensor, contributions: Tensor) -> None:
    contributions[2, 3] = torch.nan
    for curve in concept_curves(game_about(values), contributions):
        assert curve[2].isnan().all()
        assert curve[[0, 1, 3]].isfinite().all()


def test_subsets_are_summed_and_taken_away(values: Tensor, contributions: Tensor) -> None:
    given, drops = subset_effects(game_about(values), contributions, count=11)
    subsets = [set(row.nonzero()[:, 0].tolist()) for row in random_subsets(N, 11)]
    for image in range(9):
        for column, subset in enumerate(subsets):
            left = set(range(N)) - subset
            drop = score_of(values, image, set(range(N))) - score_of(values, image, left)
            assert drops[image, column].item() == pytest.approx(drop)
            expected = sum(contributions[image, concept].item() for concept in subset)
            assert given[image, column].item() == pytest.approx(expected)


@pytest.mark.parametrize(("n", "size"), [(1, 1), (2, 1), (3, 1), (8, 2), (39, 10), (512, 128)])
def test_subsets_are_a_quarter_of_the_concepts_and_always_the_same(n: int, size: int) -> None:
    subsets = random_subsets(n)
    assert subsets.shape == (32, n)
    assert (subsets.sum(1) == size).all()
    torch.manual_seed(5)
    assert torch.equal(subsets, random_subsets(n))


def test_every_concept_is_as_likely_in_a_subset() -> None:
    share = random_subsets(12, 4000).double().mean(0)
    torch.testing.assert_close(share, torch.full_like(share, 3 / 12), rtol=0, atol=0.03)


def test_ends_are_all_and_none(values: Tensor, contributions: Tensor) -> None:
    with_all, with_none = end_scores(game_about(values), contributions)
    assert with_all.tolist() == pytest.approx([score_of(values, image, set(range(N))) for image in range(9)])
    assert with_none.tolist() == pytest.approx([score_of(values, image, set()) for image in range(9)])


def test_few_images_at_once_give_the_same_and_need_no_graph(
    values: Tensor, contributions: Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[int] = []

    def game(present: Tensor) -> Tensor:
        seen.append(present.shape[0] * present.shape[1])
        return game_about(values.requires_grad_())(present)

    expected = [*concept_curves(game, contributions), *subset_effects(game, contributions)]
    assert max(seen) > 20
    seen.clear()
    monkeypatch.setattr(faithfulness, "IMAGES_AT_ONCE", 20)
    found = [*concept_curves(game, contributions), *subset_effects(game, contributions)]
    assert max(seen) == 18
    assert not any(value.requires_grad for value in found)
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other)


def test_batches_make_no_difference(values: Tensor, contributions: Tensor) -> None:
    whole = [*concept_curves(game_about(values), contributions), *subset_effects(game_about(values), contributions)]
    for rows in (slice(0, 2), slice(2, 9)):
        game = game_about(values[rows])
        part = [*concept_curves(game, contributions[rows]), *subset_effects(game, contributions[rows])]
        for one, other in zip(part, whole, strict=True):
            torch.testing.assert_close(one, other[rows])


def test_noise_has_the_size_that_was_asked_for_and_is_always_the_same() -> None:
    maps = (
        torch.randn(3, 16, 8, 8, generator=torch.Generator().manual_seed(0))
        * torch.tensor([1.0, 5.0, 0.0])[:, None, None, None]
    )
    noise = noisy_maps(maps, count=4, size=0.05) - maps
    for k in range(4):
        for image, deviation in enumerate((1.0, 5.0, 0.0)):
            assert noise[k, image].std().item() == pytest.approx(0.05 * deviation, rel=0.1)
    assert not torch.allclose(noise[0], noise[1])
    torch.testing.assert_close(noisy_maps(maps[1:2], count=4, size=0.05) - maps[1:2], noise[:, 1:2])


def test_what_cannot_be_is_refused() -> None:
    with pytest.raises(ValueError, match="`steps` must be at least 1, got 0"):
        concept_curves(lambda present: present.sum(-1), torch.zeros(1, 2), steps=0)
    with pytest.raises(ValueError, match="`count` must be at least 2, got 1: one subset has nothing"):
        random_subsets(3, 1)
