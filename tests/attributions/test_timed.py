"""A rival in a trainer's hands: inference mode, autocast, and what its clock counts."""

import sys
import time
from collections.abc import Iterator
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from semexplain.attributions.base import Attribution
from semexplain.attributions.concept_vectors import ConceptVectors
from semexplain.attributions.elastic_net import ElasticNet
from semexplain.attributions.integrated_gradients import IntegratedGradients
from semexplain.attributions.masked_network import MaskedNetwork
from semexplain.attributions.question import Question
from semexplain.attributions.shapley_sampling import ShapleySampling
from semexplain.attributions.timed import Questions, TimedAttribution
from semexplain.attributions.zennit_relevance import ZennitRelevance
from semexplain.explanation import Performance
from tests.attributions.toys import Filters, Outputs, ask, maps, train

CPU = torch.device("cpu")


@pytest.mark.parametrize("performer", [Filters(), Outputs(linear=False)], ids=["filters", "outputs"])
@pytest.mark.parametrize("make", [ConceptVectors, IntegratedGradients, lambda: MaskedNetwork(epochs=1)])
def test_inference_mode_and_autocast_change_nothing(performer: Filters | Outputs, make: type[Attribution]):
    plain, timed = make(), TimedAttribution(make(), CPU)
    plain.fit(train(performer))
    expected = plain.contributions(ask(performer, maps(performer)))
    with torch.inference_mode(), torch.autocast("cpu", dtype=torch.bfloat16):
        timed.fit(train(performer))
        question = ask(performer, maps(performer))
        inferred = Performance(*(part + 0 for part in question.performance))
        assert inferred.score.is_inference()
        found = timed.contributions(replace(question, performance=inferred))
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(timed.base_value, plain.base_value)


class Slow(Attribution):
    def __init__(self, clock: list[float]) -> None:
        self.clock = clock

    def contributions(self, question: Question) -> Tensor:
        self.clock[0] += 0.02
        return question.performance.concepts


def test_the_clock_counts_answers_and_not_the_wait_for_images(monkeypatch: pytest.MonkeyPatch):
    """By a clock that only answers and images move on."""
    performer, clock = Filters(), [0.0]
    question = ask(performer, maps(performer))
    monkeypatch.setattr(time, "perf_counter", lambda: clock[0])

    def slowly() -> Iterator[Question]:
        for _ in range(3):
            clock[0] += 0.2
            yield question

    rival = TimedAttribution(Slow(clock), CPU)
    rival.fit(Questions(slowly))
    assert rival.timings["fit_seconds"] == pytest.approx(3 * 0.02)
    for _ in range(2):
        rival.contributions(question)
    assert rival.timings["milliseconds_per_image"] == pytest.approx(20 / 6)


def test_questions_start_again():
    numbers = Questions(lambda: iter([1, 2, 3]))  # type: ignore[arg-type,list-item]
    assert list(numbers) == list(numbers) == [1, 2, 3]


@pytest.mark.parametrize(
    ("make", "module", "package"),
    [
        (ShapleySampling, "captum.attr", "captum"),
        (ZennitRelevance, "zennit.composites", "zennit"),
        (ElasticNet, "sklearn.linear_model", "scikit-learn"),
    ],
)
def test_a_package_that_is_not_there_is_named(
    make: type[Attribution], module: str, package: str, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ImportError, match=rf"needs the package {package}, .*: `pip install .\[rivals\]`"):
        make()


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("make", [ConceptVectors, IntegratedGradients, lambda: MaskedNetwork(epochs=1)])
def test_a_gpu_says_the_same(make: type[Attribution]):
    performer, there = Filters(), Filters().cuda()
    own, other = make(), TimedAttribution(make(), torch.device("cuda"))
    own.fit(train(performer))
    other.fit([ask(there, part.cuda()) for part in maps(there, 400, seed=9).split(64)])
    found = other.contributions(ask(there, maps(there).cuda()))
    torch.testing.assert_close(found.cpu(), own.contributions(ask(performer, maps(performer))), rtol=0.05, atol=0.01)
