"""Tests of semexplain.concepts.losses: the formulas written slowly, in float64 or with exact numbers."""

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional

from semexplain.concepts.losses import degenerate, distillation, prior_cross_entropy, prior_l2

Loss = Callable[[Tensor, Tensor, Tensor], Tensor]


def cross_entropy(raw: Tensor, prior: Tensor) -> Tensor:
    return prior_cross_entropy(raw, weights=functional.softplus(raw), prior=prior)


def l2(weights: Tensor, prior: Tensor) -> Tensor:
    return prior_l2(weights, weights=weights, prior=prior)


def randn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_distillation_is_the_mean_squared_error() -> None:
    prediction, score = randn(6), randn(6, seed=1)
    expected = sum((float(score[i]) - float(prediction[i])) ** 2 for i in range(6)) / 6
    assert distillation(prediction, score).item() == pytest.approx(expected)


def test_distillation_refuses_to_broadcast() -> None:
    with pytest.raises(ValueError, match=r"same shape \(B,\), got \(6,\) and \(6, 1\)"):
        distillation(randn(6), randn(6, 1))


def test_cross_entropy_equals_the_formula_in_float64() -> None:
    raw, prior = randn(5, 7) * 10, (randn(5, 7, seed=1) + 1).clamp(min=0)
    alpha, w = np.log1p(np.exp(raw.double().numpy())), prior.double().numpy()
    expected = 0.0
    for image in range(5):
        p, q = alpha[image] / alpha[image].sum(), w[image] / w[image].sum()
        expected -= sum(q[i] * math.log(p[i]) for i in range(7)) / 5
    assert cross_entropy(raw, prior).item() == pytest.approx(expected, rel=1e-5)


def test_cross_entropy_is_least_where_the_shares_are_those_of_the_prior() -> None:
    """The other direction would end at (1, 0, 0, 0)."""
    q, raw = torch.tensor([[0.5, 0.3, 0.2, 0.0]]), torch.zeros(1, 4, requires_grad=True)
    optimizer = torch.optim.Adam([raw], lr=0.1)
    for _ in range(600):
        optimizer.zero_grad()
        loss = cross_entropy(raw, q)
        loss.backward()
        optimizer.step()
    shares = functional.softplus(raw.detach())
    torch.testing.assert_close(shares / shares.sum(), q, rtol=0, atol=2e-3)
    assert loss.item() == pytest.approx(1.0297, abs=2e-3)


def test_cross_entropy_at_the_prior_is_its_entropy() -> None:
    raw = randn(3, 6)
    weights = functional.softplus(raw)
    expected = torch.distributions.Categorical(probs=weights).entropy().mean()
    torch.testing.assert_close(prior_cross_entropy(raw, weights, prior=weights * 5), expected)


def test_cross_entropy_still_moves_a_dead_concept() -> None:
    raw = torch.tensor([[-120.0, 1.0, 2.0]], requires_grad=True)
    loss = cross_entropy(raw, torch.tensor([[0.2, 0.3, 0.5]]))
    loss.backward()
    assert loss.item() == pytest.approx(24.776, abs=1e-3)
    assert raw.grad is not None
    assert raw.grad[0, 0].item() == pytest.approx(-0.2, abs=1e-6)


@pytest.mark.parametrize("u", [-105.0, -100.0, -15.0001, -14.9999, 0.0, 30.0, 200.0])
def test_cross_entropy_and_its_gradient_are_exact_everywhere(u: float) -> None:
    raw, q = torch.tensor([[u, 0.5]], requires_grad=True), torch.tensor([[0.4, 0.6]])
    cross_entropy(raw, q).backward()
    exact = torch.tensor([[u, 0.5]], dtype=torch.float64, requires_grad=True)
    alpha = exact.exp().log1p()
    if u > 100:
        alpha = functional.softplus(exact)
    expected = -(q.double() * (alpha / alpha.sum()).log()).sum()
    expected.backward()
    torch.testing.assert_close(cross_entropy(raw, q).double(), expected, rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(raw.grad.double(), exact.grad, rtol=1e-5, atol=1e-6)


def test_l2_equals_the_formula_and_twice_one_minus_the_cosine() -> None:
    weights, prior = randn(5, 7).double(), randn(5, 7, seed=1).double()
    expected = 0.0
    for alpha, w in zip(weights.numpy(), prior.numpy(), strict=True):
        expected += ((alpha / np.sqrt((alpha**2).sum()) - w / np.sqrt((w**2).sum())) ** 2).sum() / 5
    assert l2(weights, prior).item() == pytest.approx(expected, rel=1e-12)
    cosine = functional.cosine_similarity(weights, prior).mean()
    torch.testing.assert_close(l2(weights, prior), 2 - 2 * cosine)


def test_l2_of_zero_weights_has_a_bounded_gradient() -> None:
    weights = torch.zeros(1, 3, requires_grad=True)
    loss = l2(weights, torch.tensor([[1.0, 2.0, -2.0]]))
    loss.backward()
    assert loss.item() == pytest.approx(2.0)
    assert weights.grad is not None
    assert weights.grad.norm().item() == pytest.approx(2e6, rel=1e-5)


@pytest.mark.parametrize("loss", [cross_entropy, l2])
def test_the_gradients_are_right(loss: Callable[[Tensor, Tensor], Tensor]) -> None:
    raw, prior = randn(3, 4).double().requires_grad_(), randn(3, 4, seed=1).double().abs()
    assert torch.autograd.gradcheck(lambda raw: loss(raw, prior), raw)


@pytest.mark.parametrize("loss", [cross_entropy, l2])
def test_an_image_without_prior_counts_and_contributes_nothing(loss: Callable[[Tensor, Tensor], Tensor]) -> None:
    raw, prior = randn(4, 3).requires_grad_(), randn(4, 3, seed=1).abs()
    prior[1] = 0
    total = loss(raw, prior)
    total.backward()
    others = sum(loss(raw[[image]], prior[[image]]) for image in (0, 2, 3))
    torch.testing.assert_close(total, others / 4)
    assert raw.grad is not None
    assert (raw.grad[1] == 0).all()
    assert degenerate(prior, order=1).tolist() == degenerate(prior, order=2).tolist() == [False, True, False, False]


@pytest.mark.parametrize("loss", [cross_entropy, l2])
def test_a_batch_without_any_prior_costs_nothing(loss: Callable[[Tensor, Tensor], Tensor]) -> None:
    raw = randn(4, 3).requires_grad_()
    value = loss(raw, torch.zeros(4, 3))
    value.backward()
    assert value == 0
    assert raw.grad is not None
    assert (raw.grad == 0).all()


@pytest.mark.parametrize("loss", [cross_entropy, l2])
def test_each_image_is_normalised_by_itself(loss: Callable[[Tensor, Tensor], Tensor]) -> None:
    raw, prior = randn(2, 3), randn(2, 3, seed=1).abs()
    row = torch.tensor([[7.0], [1.0]])
    torch.testing.assert_close(loss(raw, prior * row), loss(raw, prior))
    if loss is l2:
        torch.testing.assert_close(loss(raw * row, prior), loss(raw, prior))
    else:
        scaled = (functional.softplus(raw) * row).expm1().log()  # the raw output of seven times the weight
        torch.testing.assert_close(loss(scaled, prior), loss(raw, prior))


def test_only_a_common_scale_of_the_concepts_leaves_the_prior_loss() -> None:
    weights, prior = randn(2, 3), randn(2, 3, seed=1)
    torch.testing.assert_close(l2(weights / 3, prior), l2(weights, prior))
    one = torch.tensor([1 / 3, 1.0, 1.0])
    assert (l2(weights * one, prior) - l2(weights, prior)).abs() > 0.01


@pytest.mark.parametrize("loss", [prior_cross_entropy, prior_l2])
def test_no_gradient_reaches_the_prior(loss: Loss) -> None:
    raw, prior = randn(2, 3).requires_grad_(), randn(2, 3, seed=1).abs().requires_grad_()
    loss(raw, functional.softplus(raw), prior).backward()
    assert prior.grad is None


@pytest.mark.parametrize("loss", [prior_cross_entropy, prior_l2])
def test_half_precision_inputs_are_compared_in_float32(loss: Loss) -> None:
    """512 weights of 300 sum to infinity in float16."""
    raw = torch.full((1, 512), 300.0, dtype=torch.float16)
    prior = torch.full((1, 512), 300.0, dtype=torch.float16)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        value = loss(raw, raw, prior)
    expected = math.log(512) if loss is prior_cross_entropy else 0.0
    assert value.dtype == torch.float32
    assert value.item() == pytest.approx(expected, abs=1e-5)


def test_cross_entropy_refuses_signed_priors_and_signed_explainers() -> None:
    raw, prior = randn(2, 3), torch.tensor([[1.0, 2.0, -0.5], [1.0, 1.0, 1.0]])
    with pytest.raises(ValueError, match=r"got `prior` with a least value of -0\.5.*use `prior_l2`"):
        cross_entropy(raw, prior)
    with pytest.raises(ValueError, match="got `weights` with a least value of"):
        prior_cross_entropy(raw, weights=-prior.abs(), prior=prior.abs())
