"""Tests of the prior of filters (Case 1): nudges of a whole map, a linear head."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from semexplain.concepts.losses import prior_cross_entropy
from semexplain.concepts.priors import filter_jacobian
from semexplain.explanation import Performance

Head = Callable[[Tensor], Tensor]


def perform(x: Tensor, head: Head) -> Performance:
    x = x.detach().clone().requires_grad_()
    return Performance(head(x), x.sum((2, 3)), x, x)


def relu_head(bias: bool) -> Head:
    """ReLU, max-pool, two layers: the shape of every interpretable CNN's head."""
    torch.manual_seed(2)
    first, second = nn.Linear(4 * 3 * 3, 20, bias=bias).double(), nn.Linear(20, 1, bias=bias).double()
    return lambda x: second(first(functional.max_pool2d(x.relu(), 2).flatten(1)).relu()).squeeze(1)


def maps(seed: int = 0) -> Tensor:
    return torch.randn(5, 4, 6, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def test_filter_jacobian_is_the_slope_of_the_score_when_a_whole_map_is_raised() -> None:
    head, x, step = relu_head(bias=True), maps(), 1e-7
    weights = filter_jacobian(perform(x, head), clamp=False)
    for image in range(5):
        for i in range(4):
            raised = x.clone()
            raised[image, i] += step
            slope = ((head(raised) - head(x))[image] / step).item()
            assert weights[image, i].item() == pytest.approx(slope, abs=1e-6)
    assert (weights < 0).any()
    torch.testing.assert_close(filter_jacobian(perform(x, head)), weights * (weights > 0))


def test_of_a_linear_performer_it_is_the_coefficients_times_the_size_of_the_map() -> None:
    """Right weights then cost nothing beyond the entropy of the prior."""
    coefficients = torch.tensor([0.5, 2.0, 0.0, 1.0], dtype=torch.float64)
    performance = perform(maps(), lambda x: x.sum((2, 3)) @ coefficients + 3)
    prior = filter_jacobian(performance)
    torch.testing.assert_close(prior, 36 * coefficients.expand(5, 4))
    share = coefficients / coefficients.sum()
    floor = -sum(q * q.log() for q in share if q > 0)  # the entropy of q: p = q
    alpha = coefficients.clamp_min(1e-9).expand(5, 4)
    raw = torch.log(torch.expm1(alpha))
    torch.testing.assert_close(prior_cross_entropy(raw, alpha, prior), floor, atol=1e-6, rtol=0)


def test_an_image_alone_and_in_a_batch_agree() -> None:
    head, x = relu_head(bias=True), maps()
    together = filter_jacobian(perform(x, head))
    for image in range(5):
        torch.testing.assert_close(filter_jacobian(perform(x[image : image + 1], head))[0], together[image])
    assert not together.requires_grad


def test_a_vector_is_no_stack_of_maps() -> None:
    x = torch.ones(2, 3, requires_grad=True)
    with pytest.raises(ValueError, match=r"feature maps \(B, n, H, W\).*\(2, 3\).*prior=feature_ratio"):
        filter_jacobian(Performance(x.sum(1), x, x, x))


def test_a_score_that_does_not_depend_on_the_maps_says_so() -> None:
    x = torch.ones(2, 3, 4, 4, requires_grad=True)
    with pytest.raises(ValueError, match="`score` does not depend on `feature`"):
        filter_jacobian(Performance(torch.zeros(2), x.sum((2, 3)), x, x))
