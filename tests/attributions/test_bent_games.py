"""Where the score is no linear function, each rival is checked against its definition, restated image by image."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from semexplain.attributions import masked_network
from semexplain.attributions import question as questions
from semexplain.attributions.base import made_efficient
from semexplain.attributions.feature_ablation import FeatureAblation
from semexplain.attributions.gradient_times_activation import GradientTimesActivation
from semexplain.attributions.integrated_gradients import IntegratedGradients
from semexplain.attributions.kernel_shap import KernelShap, coalitions
from semexplain.attributions.lime import Lime
from semexplain.attributions.masked_network import MaskedNetwork
from semexplain.attributions.question import Question
from semexplain.attributions.random import RandomContributions
from semexplain.attributions.zennit_relevance import ZennitRelevance
from semexplain.performers.base import Performer
from tests.attributions.toys import Filters, Outputs, ask, exact_shapley, maps, train

PERFORMERS = pytest.mark.parametrize("performer", [Filters(), Outputs(linear=False)], ids=["filters", "outputs"])


def test_a_filter_is_ablated_by_setting_its_map_to_0():
    performer = Filters(5)
    x = maps(performer)
    found = FeatureAblation().contributions(ask(performer, x, columns=[4, 0, 2]))
    for image in range(6):
        for place, filter_number in enumerate([4, 0, 2]):
            without = x[[image]].clone()
            without[0, filter_number] = 0
            drop = performer.head(x[[image]])[0] - performer.head(without)[0]
            assert found[image, place].item() == pytest.approx(drop.item(), abs=1e-5)


def gradient_times_x(question: Question) -> Tensor:
    """By the formula: the gradient of the score at x, times x, summed over each map."""
    x = question.feature.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(question.network.head(x)[0].sum(), x)
    return (gradient * x.detach()).sum((2, 3))[:, question.columns]


@pytest.mark.parametrize("columns", [None, [3, 1]])
def test_gradient_times_activation_of_filters_is_the_gradient_times_x_summed_over_the_map(columns: list[int] | None):
    performer = Filters()
    question = ask(performer, maps(performer), columns)
    given = GradientTimesActivation().contributions(question)
    torch.testing.assert_close(given, gradient_times_x(question))
    for image in range(6):
        alone = ask(performer, maps(performer)[[image]], columns)
        torch.testing.assert_close(GradientTimesActivation().contributions(alone)[0], given[image])
    assert not given.requires_grad


def test_gradient_times_activation_adds_up_to_the_score_of_a_head_without_biases():
    performer = Filters(bias=False)
    question = ask(performer, maps(performer))
    score = question.performance.score
    torch.testing.assert_close(GradientTimesActivation().contributions(question).sum(1), score)
    squashed = replace(question, make_game=lambda: lambda present: question.game(10 * present).sigmoid())
    other = GradientTimesActivation().contributions(squashed).sum(1)
    assert (other - (10 * score).sigmoid()).abs().max() > 0.1  # a sigmoid on the score breaks Euler's identity


@PERFORMERS
def test_integrated_gradients_are_the_mean_slope_on_the_way(performer: Performer):
    """Against the mean of 2000 midpoints, each slope a difference of scores."""
    question = ask(performer, maps(performer, 2))
    found = IntegratedGradients(steps=64).contributions(question)
    step, expected = 1e-2, torch.zeros(2, 4)
    middles = (torch.arange(2000)[:, None, None] + 0.5).expand(-1, 2, 4) / 2000
    for i in range(4):
        nudge = step * torch.eye(4)[i] / 2
        expected[:, i] = ((question.scores(middles + nudge) - question.scores(middles - nudge)) / step).mean(0)
    torch.testing.assert_close(found, expected, rtol=0.01, atol=0.01)


@PERFORMERS
def test_efficient_rivals_add_up(performer: Performer):
    question = ask(performer, maps(performer))
    everything, nothing = (question.game(torch.full((6, 4), value)) for value in (1.0, 0.0))
    masked = MaskedNetwork(epochs=1, training_images=8)
    masked.fit([ask(performer, maps(performer, 8))])
    for rival, tolerance in [
        (IntegratedGradients(steps=64), 0.03),  # the slope of a ReLU jumps
        (KernelShap(), 1e-4),
        (KernelShap(n_samples=6), 1e-4),
        (masked, 1e-4),
        (RandomContributions(), 1e-4),
    ]:
        found = rival.contributions(question).sum(1)
        torch.testing.assert_close(found, everything - nothing, rtol=tolerance, atol=tolerance)


@PERFORMERS
def test_kernel_shap_over_all_sets_is_the_shapley_value(performer: Performer):
    question = ask(performer, maps(performer, 3))
    torch.testing.assert_close(KernelShap().contributions(question), exact_shapley(question), rtol=1e-3, atol=1e-4)


def test_kernel_shap_of_drawn_sets_comes_near():
    """Of 90 draws of 60 sets the worst was 0.14 of the values' norm away, of 80 draws of 40 sets 0.25."""
    performer = Filters(6)
    question = ask(performer, maps(performer, 3))
    exact, found = KernelShap(62).contributions(question), KernelShap(61).contributions(question)
    assert not torch.equal(exact, found)
    assert (found - exact).norm() < 0.2 * exact.norm()
    many = KernelShap(n_samples=40)
    assert len(coalitions(6, 40, 0)[0]) == 40
    assert (many.contributions(question) - exact).norm() < 0.3 * exact.norm()


def test_sets_are_drawn_with_the_shapley_kernel():
    """The size of a set of n has the probability 1 / (s (n - s)), up to a constant; all sets of a size are alike."""
    sets, weights = coalitions(5, 20_000, seed=0)
    assert len(sets) == 30  # all there are: 2^5 - 2
    by_size = torch.tensor([weights[sets.sum(1) == size].sum() for size in range(1, 5)])
    expected = torch.tensor([1 / 4, 1 / 6, 1 / 6, 1 / 4])
    torch.testing.assert_close(by_size, expected / expected.sum())
    sets, weights = coalitions(20, 20_000, seed=0)
    assert weights.unique().numel() == 1
    sizes = torch.bincount(sets.sum(1).long(), minlength=21)[1:20] / 20_000
    expected = torch.tensor([1 / (s * (20 - s)) for s in range(1, 20)])
    torch.testing.assert_close(sizes, expected / expected.sum(), rtol=0, atol=0.01)
    torch.testing.assert_close(sets.mean(0), torch.full((20,), 0.5), rtol=0, atol=1e-6)  # each with its complement


@pytest.mark.parametrize("n", [1, 2])
def test_few_concepts(n: int):
    performer = Filters(n)
    question = ask(performer, maps(performer))
    torch.testing.assert_close(KernelShap().contributions(question), exact_shapley(question), rtol=1e-4, atol=1e-5)
    masked = MaskedNetwork(epochs=1)
    masked.fit(train(performer))
    torch.testing.assert_close(masked.contributions(question).sum(1), question.worth)


@PERFORMERS
def test_a_masked_network_minimises_what_shapley_values_are_the_minimum_of(
    performer: Performer, monkeypatch: pytest.MonkeyPatch
):
    """Over all sets, as often as the kernel draws them, one Newton step of its loss leads there from anywhere."""
    question, rival = ask(performer, maps(performer)), MaskedNetwork(masks=22)
    sets, weights = coalitions(4, 14, seed=0)
    half = sets.sum(1) + sets[:, 0] < 3  # of a set and its complement one
    often = torch.where(sets[half].sum(1) == 2, 1, 2)  # in units of 1 / 22
    torch.testing.assert_close(often / 22, weights[half])
    every = sets[half].repeat_interleave(often, 0)
    monkeypatch.setattr(masked_network, "drawn", lambda n, count, _: every.repeat_interleave(count // 11, 0))
    table = torch.randn(6, 4, generator=torch.Generator().manual_seed(0)).requires_grad_()
    rival.network, rival.scale = lambda _: table, torch.tensor(2.0)

    def slope() -> torch.Tensor:
        (gradient,) = torch.autograd.grad(rival._loss(question, torch.Generator()), table, create_graph=True)
        return gradient.flatten()

    gradient = slope()
    hessian = torch.stack([torch.autograd.grad(one, table, retain_graph=True)[0].flatten() for one in gradient])
    step = torch.linalg.pinv(hessian.double(), rtol=1e-5) @ gradient.detach().double()  # an image's mean is free
    exact = exact_shapley(question)
    assert (rival.contributions(question) - exact).norm() > 0.1 * exact.norm()
    with torch.no_grad():
        table -= step.view_as(table).float()
    torch.testing.assert_close(rival.contributions(question).detach(), exact, rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(slope(), torch.zeros(24), rtol=0, atol=1e-5)


@PERFORMERS
def test_a_masked_network_is_frozen_when_it_is_trained(performer: Performer):
    rival = MaskedNetwork(epochs=1)
    rival.fit(train(performer))
    assert not any(parameter.requires_grad for parameter in rival.network.parameters())


@PERFORMERS
def test_lime_is_a_weighted_ridge_regression(performer: Performer):
    """Fitted by least squares on rows that the weights and the ridge are written into, one image at a time."""
    question, rival = ask(performer, maps(performer, 2)), Lime(n_samples=60, kernel_width=0.5, ridge=0.7)
    sets = rival.sets(4).double()
    assert sets[0].tolist() == [1, 1, 1, 1]
    found = rival.contributions(question)
    for image in range(2):
        rows, wanted = [], []
        for chosen in sets:
            cosine = chosen.sum() / (chosen.norm() * 2) if chosen.any() else torch.tensor(0.0)
            root = torch.exp(-((1 - cosine) ** 2) / 0.5**2 / 2).sqrt()
            score = question.game(chosen.float().expand(2, 4))[image]
            rows.append(root * torch.cat([chosen, torch.ones(1)]))
            wanted.append(root * score.double())
        rows += list(0.7**0.5 * torch.eye(5)[:4])  # the intercept is not shrunk
        wanted += [torch.tensor(0.0)] * 4
        solved = torch.linalg.lstsq(torch.stack(rows).double(), torch.stack(wanted).double()[:, None]).solution[:4, 0]
        torch.testing.assert_close(found[image], solved.float(), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("bias", [True, False])
def test_relevance_is_gradient_times_activation_where_there_are_no_convolutions(bias: bool):
    pytest.importorskip("zennit")
    performer = Filters(bias=bias)
    question = ask(performer, maps(performer), columns=[2, 0])
    found = ZennitRelevance().contributions(question)
    torch.testing.assert_close(found, GradientTimesActivation().contributions(question), rtol=1e-3, atol=1e-4)


def test_relevance_by_the_epsilon_rule():
    """Layer by layer, with a bias that keeps its share."""
    pytest.importorskip("zennit")
    performer = Filters()
    x = maps(performer)
    found = ZennitRelevance(epsilon=0.1).contributions(ask(performer, x))

    def down(relevance: list[float], layer: nn.Linear, given: list[float]) -> list[float]:
        lower = [0.0] * len(given)
        for k, (row, bias) in enumerate(zip(layer.weight.tolist(), layer.bias.tolist(), strict=True)):
            z = sum(a * w for a, w in zip(given, row, strict=True)) + bias
            z += 0.1 if z >= 0 else -0.1
            for j, (a, w) in enumerate(zip(given, row, strict=True)):
                lower[j] += a * w / z * relevance[k]
        return lower

    for image in range(6):
        given = x[image].flatten()
        hidden = performer.first(given).relu()
        relevance = down(performer.second(hidden).tolist(), performer.second, hidden.tolist())
        lowest = torch.tensor(down(relevance, performer.first, given.tolist())).view(4, -1).sum(1)
        torch.testing.assert_close(found[image], lowest, rtol=1e-3, atol=1e-4)


@PERFORMERS
@pytest.mark.parametrize("rival", [GradientTimesActivation(), IntegratedGradients(), FeatureAblation(), KernelShap()])
def test_memory_changes_nothing(performer: Performer, rival: KernelShap, monkeypatch: pytest.MonkeyPatch):
    found = rival.contributions(ask(performer, maps(performer)))
    monkeypatch.setattr(questions, "CHUNK", 1)
    torch.testing.assert_close(rival.contributions(ask(performer, maps(performer))), found)


def test_a_concept_that_is_not_there_gets_nothing():
    performer = Filters(linear=True)
    x = maps(performer)
    x[:, 1] = 0
    question = ask(performer, x)
    found = made_efficient(torch.ones(6, 4), question)
    assert (found[:, 1] == 0).all()
    for image in range(6):
        missing = question.worth[image] - 3
        assert found[image, 0].item() == pytest.approx(1 + missing.item() / 3, abs=1e-4)
    x[:] = 0
    assert not made_efficient(torch.ones(6, 4), ask(performer, x)).any()
