"""The same game asked by captum and shap, whose methods these rivals are."""

import numpy as np
import pytest
import torch
from torch import Tensor

from semexplain.attributions.elastic_net import ElasticNet
from semexplain.attributions.feature_ablation import FeatureAblation
from semexplain.attributions.gradient_times_activation import GradientTimesActivation
from semexplain.attributions.integrated_gradients import IntegratedGradients
from semexplain.attributions.kernel_shap import KernelShap
from semexplain.attributions.lime import Lime
from semexplain.attributions.question import Question
from semexplain.attributions.shapley_sampling import ShapleySampling
from semexplain.performers.base import Performer
from tests.attributions.toys import Filters, Outputs, ask, exact_shapley, maps

PERFORMERS = pytest.mark.parametrize("performer", [Filters(), Outputs(linear=False)], ids=["filters", "outputs"])


def one_image(question: Question, image: int, states: Tensor) -> Tensor:
    """Scores ``(k,)`` of one image."""
    return question.game(states[:, None].expand(-1, len(question.performance.score), -1))[:, image]


@PERFORMERS
def test_captum_agrees_on_gradients_and_ablation(performer: Performer):
    captum = pytest.importorskip("captum.attr")
    question = ask(performer, maps(performer))
    present = torch.ones(6, 4)

    def score(states: Tensor) -> Tensor:
        return question.game(states.view(-1, 6, 4)).flatten()

    own = IntegratedGradients(steps=20).contributions(question)
    torch.testing.assert_close(own, captum.IntegratedGradients(score).attribute(present, n_steps=20).float())
    own = FeatureAblation().contributions(question)
    torch.testing.assert_close(own, captum.FeatureAblation(score).attribute(present), rtol=1e-4, atol=1e-5)
    own = GradientTimesActivation().contributions(question)
    torch.testing.assert_close(own, captum.InputXGradient(score).attribute(present.requires_grad_()).detach())


@PERFORMERS
def test_shapley_sampling_finds_shapley_values(performer: Performer):
    pytest.importorskip("captum")
    question = ask(performer, maps(performer, 3))
    exact = exact_shapley(question)
    found = ShapleySampling(n_samples=1000).contributions(question)
    assert (found - exact).norm() < 0.05 * exact.norm()
    few = ShapleySampling(n_samples=1).contributions(question)
    torch.testing.assert_close(few.sum(1), question.worth, rtol=1e-4, atol=1e-4)
    assert torch.equal(few, ShapleySampling(n_samples=1).contributions(question))
    state = torch.random.get_rng_state()
    ShapleySampling(n_samples=1).contributions(question)
    assert torch.equal(torch.random.get_rng_state(), state)


@PERFORMERS
@pytest.mark.filterwarnings("ignore")  # of shap's own making
def test_shap_agrees_on_kernel_shap(performer: Performer):
    shap = pytest.importorskip("shap")
    question = ask(performer, maps(performer, 2))
    own = KernelShap().contributions(question)
    for image in range(2):

        def score(states: np.ndarray, image: int = image) -> np.ndarray:
            return one_image(question, image, torch.from_numpy(states).float()).double().numpy()

        other = shap.KernelExplainer(score, np.zeros((1, 4)), silent=True).shap_values(
            np.ones((1, 4)), nsamples=64, l1_reg=False, silent=True
        )
        np.testing.assert_allclose(own[image], other[0], rtol=1e-3, atol=1e-4)


@PERFORMERS
def test_captum_agrees_on_lime_and_kernel_shap(performer: Performer):
    """Both draw their sets from the same distribution, not the same sets: with many they agree."""
    captum = pytest.importorskip("captum.attr")
    linear = pytest.importorskip("captum._utils.models.linear_model")
    pytest.importorskip("sklearn")
    question, rival = ask(performer, maps(performer, 1)), Lime(n_samples=4000, kernel_width=0.5, ridge=1e-3)

    def nearness(_: Tensor, __: Tensor, chosen: Tensor, **kwargs: object) -> Tensor:
        return rival.nearness(chosen.float())

    def score(states: Tensor) -> Tensor:
        return one_image(question, 0, states)

    torch.manual_seed(0)
    other = captum.Lime(score, linear.SkLearnRidge(alpha=1e-3), similarity_func=nearness)
    found = other.attribute(torch.ones(1, 4), n_samples=4000, perturbations_per_eval=500)
    assert (rival.contributions(question) - found).norm() < 0.1 * found.norm()
    found = captum.KernelShap(score).attribute(torch.ones(1, 4), n_samples=4000, perturbations_per_eval=500)
    assert (KernelShap().contributions(question) - found).norm() < 0.1 * found.norm()


def test_the_elastic_net_has_its_optimum():
    """Nothing moves a coefficient: each is 0, or the pull of the data is that of the penalty."""
    pytest.importorskip("sklearn")
    performer = Outputs(linear=False)
    question = ask(performer, maps(performer, 200))
    rival = ElasticNet(strength=0.8, l1_ratio=0.7)
    rival.fit([question])
    y, score = question.performance.concepts.double(), question.performance.score.double()
    scale = y.std(0, correction=0)
    z, c = (y - y.mean(0)) / scale, rival.coefficients.double() * scale
    residual = score - score.mean() - z @ c
    assert rival.base_value.item() == pytest.approx((score - y @ (c / scale)).mean().item(), abs=1e-3)
    pulls = z.T @ residual / 200 - 0.8 * 0.3 * c
    assert 0 < (c == 0).sum() < 4
    for pull, coefficient in zip(pulls.tolist(), c.tolist(), strict=True):
        if coefficient == 0:
            assert abs(pull) <= 0.8 * 0.7 + 1e-4
        else:
            assert pull == pytest.approx(0.8 * 0.7 * (1 if coefficient > 0 else -1), abs=1e-3)
    by_validation = ElasticNet()
    by_validation.fit([question])
    assert by_validation.model.alpha_ < 0.8
