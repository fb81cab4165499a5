"""Tests of semexplain.concepts.selection."""

import pytest

from semexplain.concepts.selection import all_concepts, named_concepts, random_concepts

NAMES = [f"concept {i}" for i in range(39)]


def test_all_concepts_are_all() -> None:
    assert all_concepts(NAMES) == list(range(39))


@pytest.mark.parametrize("seed", [0, 1, 2**32 - 1])
def test_random_concepts_grow_one_at_a_time(seed: int) -> None:
    previous: set[int] = set()
    for count in range(1, 40):
        chosen = random_concepts(NAMES, count=count, seed=seed)
        assert chosen == sorted(chosen)
        assert len(chosen) == len(set(chosen)) == count
        assert previous < set(chosen)
        previous = set(chosen)


def test_all_random_concepts_are_all_concepts() -> None:
    assert random_concepts(NAMES, count=39, seed=5) == all_concepts(NAMES)


def test_random_concepts_depend_on_the_seed_only() -> None:
    assert random_concepts(NAMES, count=5, seed=3) == random_concepts(list(reversed(NAMES)), count=5, seed=3)
    assert random_concepts(NAMES, count=5, seed=3) != random_concepts(NAMES, count=5, seed=4)


def test_random_concepts_never_change() -> None:
    """A different generator would silently change them."""
    assert random_concepts(NAMES, count=5) == [4, 28, 29, 33, 34]


@pytest.mark.parametrize("count", [0, -1, 40, 99])
def test_random_concepts_refuse_a_count_that_the_performer_does_not_have(count: int) -> None:
    message = f"`count` must be between 1 and the 39 concepts of this performer, got {count}\\."
    with pytest.raises(ValueError, match=message):
        random_concepts(NAMES, count=count)


def test_random_concepts_refuse_a_negative_seed() -> None:
    with pytest.raises(ValueError, match="`seed` must be between 0 and"):
        random_concepts(NAMES, count=1, seed=-1)


def test_named_concepts_are_found_in_any_order() -> None:
    names = ["Bald", "Eyeglasses", "Smiling"]
    assert named_concepts(names, include=["Smiling", "Bald"]) == [0, 2]
    assert named_concepts(names, include=names) == all_concepts(names)


def test_an_unknown_name_is_met_with_the_nearest_ones() -> None:
    with pytest.raises(ValueError, match=r"among the 2 concepts.*got 'smilling' \(did you mean Smiling\?\); 'xyz'\."):
        named_concepts(["Bald", "Smiling"], include=["smilling", "xyz"])


def test_named_concepts_refuse_repetitions_nothing_and_a_string() -> None:
    with pytest.raises(ValueError, match="each concept once, got 'Bald' more than once"):
        named_concepts(["Bald", "Smiling"], include=["Bald", "Smiling", "Bald"])
    with pytest.raises(ValueError, match="at least one concept, got an empty list"):
        named_concepts(["Bald"], include=[])
    with pytest.raises(TypeError, match=r"must be a list of concept names, got the string 'Bald'. Write \[Bald\]"):
        named_concepts(["Bald"], include="Bald")  # type: ignore[arg-type]
