"""Where the score is a linear function of the concepts there is one right answer, and every rival must give it."""

from dataclasses import replace
from functools import partial

import pytest
import torch
from torch import nn

from semexplain.attributions.base import Attribution
from semexplain.attributions.concept_vectors import ConceptVectors
from semexplain.attributions.elastic_net import ElasticNet
from semexplain.attributions.feature_ablation import FeatureAblation
from semexplain.attributions.gradient_times_activation import GradientTimesActivation
from semexplain.attributions.integrated_gradients import IntegratedGradients
from semexplain.attributions.kernel_shap import KernelShap
from semexplain.attributions.lime import Lime
from semexplain.attributions.linear_map import LinearMap
from semexplain.attributions.masked_network import MaskedNetwork
from semexplain.attributions.prior import PriorOnly
from semexplain.attributions.question import Question
from semexplain.attributions.random import RandomContributions
from semexplain.attributions.shapley_sampling import ShapleySampling
from semexplain.attributions.zennit_relevance import ZennitRelevance
from semexplain.concepts.priors import feature_ratio, filter_jacobian
from tests.attributions.toys import SIDE, SLOPES, Filters, Outputs, ask, maps, train


def shapley_sampling() -> Attribution:
    pytest.importorskip("captum")
    return ShapleySampling(n_samples=2)


def zennit_relevance() -> Attribution:
    pytest.importorskip("zennit")
    return ZennitRelevance()


def elastic_net() -> Attribution:
    pytest.importorskip("sklearn")
    return ElasticNet(strength=1e-6)


GAMES = {
    "gradient_times_activation": GradientTimesActivation,
    "integrated_gradients": lambda: IntegratedGradients(steps=3),
    "feature_ablation": FeatureAblation,
    "shapley_sampling": shapley_sampling,
    "kernel_shap": KernelShap,
    "kernel_shap of drawn sets": lambda: KernelShap(n_samples=12),
    "lime": lambda: Lime(n_samples=200, ridge=1e-6),
}


@pytest.mark.parametrize("name", GAMES)
def test_of_filters_it_is_slope_times_strength(name: str):
    performer = Filters(linear=True)
    rival, question = GAMES[name](), ask(performer, maps(performer))
    rival.fit(train(performer))
    expected = SLOPES * question.performance.concepts
    torch.testing.assert_close(rival.contributions(question), expected, rtol=2e-3, atol=2e-3)
    assert rival.base_value.item() == pytest.approx(5, abs=0.01)


@pytest.mark.parametrize("name", GAMES)
def test_of_outputs_it_is_slope_times_distance_from_the_mean(name: str):
    """Up to the ridge that keeps a game of outputs bounded, a thousandth."""
    performer = Outputs()
    rival, question = GAMES[name](), ask(performer, maps(performer))
    rival.fit(train(performer))
    expected = SLOPES * (question.performance.concepts - question.reference)
    torch.testing.assert_close(rival.contributions(question), expected, rtol=2e-3, atol=2e-3)
    mean_score = 5 + (SLOPES * question.reference).sum().item()
    assert rival.base_value.item() == pytest.approx(mean_score, abs=0.01)


class LinearNetwork(MaskedNetwork):
    """With a linear map in the network's place, which holds the right answer of a linear game."""

    def _new_network(self, question: Question) -> nn.Module:
        super()._new_network(question)  # which finds the scale
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(self.seed)
            return nn.Sequential(nn.Flatten(), nn.Linear(question.performance.feature_map[0].numel(), len(SLOPES)))


@pytest.mark.parametrize("performer", [Filters(linear=True), Outputs()], ids=["filters", "outputs"])
def test_a_masked_network_that_can_hold_the_right_answer_learns_it(performer: Filters | Outputs):
    """What is minimised is convex: eight starts ended within 0.0013 of the minimum, 0.001 of it by the ridge."""
    rival, question = LinearNetwork(training_images=400, epochs=60, lr=1e-2), ask(performer, maps(performer))
    rival.fit(train(performer))
    origin = question.reference if isinstance(performer, Outputs) else 0
    expected = SLOPES * (question.performance.concepts - origin)
    assert (rival.contributions(question) - expected).norm() < 0.005 * expected.norm()
    assert rival.base_value.item() == pytest.approx(5 + (SLOPES * origin).sum().item(), abs=0.01)


@pytest.mark.parametrize("make", [LinearMap, elastic_net])
@pytest.mark.parametrize("performer", [Filters(linear=True), Outputs()], ids=["filters", "outputs"])
def test_global_maps_find_the_slopes(make: type[Attribution], performer: Filters | Outputs):
    rival, question = make(), ask(performer, maps(performer))
    rival.fit(train(performer))
    torch.testing.assert_close(
        rival.contributions(question), SLOPES * question.performance.concepts, rtol=1e-3, atol=1e-3
    )
    assert rival.base_value.item() == pytest.approx(5, abs=1e-3)


def test_relevance_of_a_linear_head_is_slope_times_strength():
    """Relevance goes down through layers, so the slopes have to be in one."""
    performer = Filters(bias=False)
    performer.second.weight.data.fill_(1)
    performer.first.weight.data = SLOPES.repeat_interleave(SIDE**2).expand(16, -1).contiguous().abs() / 16
    question = ask(performer, maps(performer).abs())
    expected = SLOPES.abs() * question.performance.concepts
    torch.testing.assert_close(zennit_relevance().contributions(question), expected, rtol=1e-4, atol=1e-4)


def test_concept_vectors_of_filters_are_centred():
    performer = Filters(linear=True)
    rival, question = ConceptVectors(), ask(performer, maps(performer))
    rival.fit(train(performer))
    expected = SLOPES * (question.performance.concepts - question.reference)
    torch.testing.assert_close(rival.contributions(question), expected, rtol=1e-4, atol=1e-4)


def test_concept_vectors_of_outputs_find_the_axes():
    """Probes of independent coordinates are these axes, up to what 400 images leave open."""
    performer = Outputs()
    rival, question = ConceptVectors(training_images=400), ask(performer, maps(performer))
    rival.fit(train(performer))
    axes = torch.eye(4, SIDE**2)
    assert ((rival.directions * axes).sum(1) > 0.97).all()
    # the slope and the projection along these very directions, one concept at a time
    for i, direction in enumerate(rival.directions):
        slope = (direction[:4] * SLOPES).sum()
        along = (question.feature - torch.cat([q.feature for q in train(performer)]).mean(0)) @ direction
        torch.testing.assert_close(rival.contributions(question)[:, i], slope * along, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("performer", [Filters(linear=True), Outputs()], ids=["filters", "outputs"])
def test_a_run_that_centres_its_concepts_is_asked_the_same(performer: Filters | Outputs):
    """A run may measure concepts from their means; the game and the probes are what they were."""

    def centred(question: Question) -> Question:
        concepts = question.performance.concepts - question.reference
        return replace(question, performance=question.performance._replace(concepts=concepts))

    question = ask(performer, maps(performer))
    for rival in (ConceptVectors(), GradientTimesActivation(), FeatureAblation(), KernelShap()):
        rival.fit(train(performer))
        expected, base_value = rival.contributions(question), rival.base_value
        rival.fit([centred(other) for other in train(performer)])
        torch.testing.assert_close(rival.contributions(centred(question)), expected)
        torch.testing.assert_close(rival.base_value, base_value)
    rival = LinearMap()
    rival.fit([centred(other) for other in train(performer)])
    expected = SLOPES * (question.performance.concepts - question.reference)
    torch.testing.assert_close(rival.contributions(centred(question)), expected, rtol=1e-3, atol=1e-3)


def test_the_prior_alone_is_the_slope_per_whole_map_times_strength():
    """The prior of filters raises all nine cells of a map at once: its weights are directions only."""
    filters, outputs = Filters(linear=True), Outputs()
    question = ask(filters, maps(filters), columns=[3, 1], prior=partial(filter_jacobian, clamp=False))
    expected = SIDE**2 * SLOPES[[3, 1]] * question.performance.concepts
    torch.testing.assert_close(PriorOnly().contributions(question), expected)
    question = ask(outputs, maps(outputs), columns=[0, 2], prior=feature_ratio)
    expected = SLOPES[[0, 2]] * question.performance.concepts
    torch.testing.assert_close(PriorOnly().contributions(question), expected)


def test_random_contributions_add_up_and_are_the_same_again():
    performer = Filters(linear=True)
    question = ask(performer, maps(performer))
    found = RandomContributions().contributions(question)
    torch.testing.assert_close(found.sum(1), question.performance.score - 5, rtol=1e-4, atol=1e-4)
    assert torch.equal(found, RandomContributions().contributions(ask(performer, maps(performer))))
    assert not torch.allclose(found, RandomContributions(seed=1).contributions(question))
    assert not torch.allclose(found, SLOPES * question.performance.concepts, atol=0.5)
