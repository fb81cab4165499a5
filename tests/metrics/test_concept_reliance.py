"""Tests of semexplain.metrics.concept_reliance."""

import pytest
import torch
from torch import Tensor

from semexplain.explanation import Explanation
from semexplain.metrics import concept_reliance
from semexplain.metrics.concept_reliance import ConceptReliance, swapped_errors

N, CONCEPTS, BASE = 40, 5, 0.7


def measured(score: Tensor, weights: Tensor, concepts: Tensor, base: float = BASE) -> dict[str, float]:
    metric = ConceptReliance()
    prediction = (weights * concepts).sum(1) + base
    metric.update(score=score, prediction=prediction, weights=weights, concepts=concepts)
    return {name: value.item() for name, value in metric.compute().items()}


def sample() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    return tuple(torch.randn(N, CONCEPTS, generator=generator, dtype=torch.float64) for _ in range(2))  # type: ignore[return-value]


def test_every_image_is_explained_with_the_concepts_of_every_other() -> None:
    weights, concepts = sample()
    score = (weights * concepts).sum(1).tanh()
    own, swapped = 0.0, 0.0
    for image in range(N):
        for other in range(N):
            one = Explanation(
                score[[image]],
                concepts[[other]],
                weights[[image]],
                torch.tensor(BASE, dtype=torch.float64),
                tuple("abcde"),
            ).residual
            if other == image:
                own += abs(one.item())
            else:
                swapped += abs(one.item()) / (N - 1)
    found = measured(score, weights, concepts)
    assert found["concept_reliance"] == pytest.approx(1 - own / swapped, rel=1e-9)
    extent = (score.max() - score.min()).item()
    assert found["swapped_relative_deviation"] == pytest.approx(swapped / N / extent, rel=1e-9)


def test_the_chunks_make_no_difference(monkeypatch: pytest.MonkeyPatch) -> None:
    weights, concepts = sample()
    score, prediction = weights.sum(1), (weights * concepts).sum(1)
    whole = swapped_errors(score, prediction, weights, concepts)
    monkeypatch.setattr(concept_reliance, "PAIRS", 3 * N + 1)
    torch.testing.assert_close(swapped_errors(score, prediction, weights, concepts), whole)


def test_an_exact_explanation_by_its_concepts_relies_on_them_wholly() -> None:
    weights, concepts = sample()
    found = measured((weights * concepts).sum(1) + BASE, weights, concepts)
    assert found["concept_reliance"] == pytest.approx(1)
    assert found["swapped_relative_deviation"] > 0.1


def test_weights_that_have_learned_the_score_do_not_rely_on_concepts_that_say_nothing() -> None:
    """The same deviation twice: the concepts of the second are of no image in particular."""
    generator = torch.Generator().manual_seed(1)
    weights, concepts = sample()
    meaningless = torch.randn(N, CONCEPTS, generator=generator, dtype=torch.float64)
    error = 0.5 * torch.randn(N, generator=generator, dtype=torch.float64)
    score = (weights * concepts).sum(1) + error
    prediction_only = torch.cat([score[:, None] + error[:, None], weights[:, 1:]], 1)
    about = measured(score, weights, concepts, 0.0)["concept_reliance"]
    concepts_of_none = torch.cat([torch.ones(N, 1), torch.zeros(N, CONCEPTS - 1)], 1).double()
    assert about > 0.5
    assert measured(score, prediction_only, concepts_of_none, 0.0)["concept_reliance"] == pytest.approx(0, abs=1e-9)
    shuffled = measured(score, weights, meaningless, 0.0)["concept_reliance"]
    assert abs(shuffled) < 0.15 < about


def test_exact_whatever_the_concepts_is_no_reliance_and_one_image_cannot_be_judged() -> None:
    score, ones = torch.arange(4.0).double(), torch.ones(4, 1).double()
    assert measured(score, score[:, None], ones, 0.0) == {"concept_reliance": 0, "swapped_relative_deviation": 0}
    alone = measured(score[:1], ones[:1], ones[:1])
    assert all(value != value for value in alone.values())  # nan
