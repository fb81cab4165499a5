"""Tests of semexplain.concepts.priors against gradients taken one at a time, nudges, and closed forms."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from semexplain.concepts.priors import feature_ratio
from semexplain.explanation import Performance
from tests.concepts.three_layers import three_layer_feature_ratio

Head = Callable[[Tensor], tuple[Tensor, Tensor]]


def perform(x: Tensor, head: Head) -> Performance:
    x = x.detach().clone().requires_grad_()
    score, concepts = head(x)
    return Performance(score, concepts, x, x)


def looped(performance: Performance) -> Tensor:
    """One image, one concept, one backward pass at a time."""
    score, concepts, x, _ = performance
    weights = torch.zeros(concepts.shape, dtype=torch.float64)
    for image in range(concepts.shape[0]):
        (d_score,) = torch.autograd.grad(score[image], x, retain_graph=True)
        for i in range(concepts.shape[1]):
            (d_concept,) = torch.autograd.grad(concepts[image, i], x, retain_graph=True)
            raised = float((d_concept[image].double() ** 2).sum())
            if raised > 0:
                weights[image, i] = float((d_score[image].double() * d_concept[image].double()).sum()) / raised
    return weights


def dense_head(width: int = 8, n: int = 5) -> Head:
    torch.manual_seed(1)
    layers = nn.Sequential(nn.Linear(width, 16), nn.ReLU(), nn.Linear(16, n + 1)).double()
    return lambda x: (layers(x)[:, 0], layers(x)[:, 1:])


def conv_head(n: int = 5) -> Head:
    torch.manual_seed(2)
    layers = nn.Sequential(
        nn.ReLU(), nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(16, n + 1)
    ).double()
    return lambda x: (layers(x)[:, 0], layers(x)[:, 1:])


def features(*shape: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(3))


CASES = {"dense": (features(4, 8), dense_head()), "conv map": (features(4, 3, 4, 4), conv_head())}


@pytest.fixture(params=CASES)
def case(request: pytest.FixtureRequest) -> tuple[Tensor, Head]:
    return CASES[request.param]


def test_feature_ratio_equals_gradients_taken_one_at_a_time(case: tuple[Tensor, Head]) -> None:
    performance = perform(*case)
    torch.testing.assert_close(feature_ratio(performance), looped(performance))


def test_feature_ratio_is_the_slope_of_a_nudge(case: tuple[Tensor, Head]) -> None:
    """Nudge x along each concept's gradient; the score must move w_i times as far as the concept (Sec. 3.1)."""
    x, head = case
    performance, step = perform(x, head), 1e-7
    expected = torch.empty(4, 5, dtype=torch.float64)
    for i in range(5):
        (direction,) = torch.autograd.grad(performance.concepts[:, i].sum(), performance.feature, retain_graph=True)
        score, concepts = head(x + step * direction)
        expected[:, i] = (score - performance.score) / (concepts[:, i] - performance.concepts[:, i])
    torch.testing.assert_close(feature_ratio(performance), expected.detach(), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("chunk_bytes", [1, 4 * 8 * 8, 3 * 4 * 8 * 8, 2**40])
def test_feature_ratio_does_not_depend_on_the_chunks(chunk_bytes: int) -> None:
    performance = perform(*CASES["dense"])
    expected = feature_ratio(performance)
    torch.testing.assert_close(feature_ratio(performance, chunk_bytes=chunk_bytes), expected, rtol=0, atol=0)


def test_feature_ratio_of_an_image_does_not_depend_on_its_batch(case: tuple[Tensor, Head]) -> None:
    x, head = case
    together = feature_ratio(perform(x, head))
    alone = torch.cat([feature_ratio(perform(x[[image]], head)) for image in range(4)])
    torch.testing.assert_close(together, alone)


def test_feature_ratio_finds_the_coefficients_of_orthogonal_concepts() -> None:
    basis, _ = torch.linalg.qr(features(6, 6))
    directions, coefficients = basis[:4] * torch.tensor([[1.0], [2.0], [0.5], [3.0]]), features(4)

    def head(x: Tensor) -> tuple[Tensor, Tensor]:
        concepts = x @ directions.T
        return concepts @ coefficients, concepts

    performance = perform(features(3, 6), head)
    weights = feature_ratio(performance)
    torch.testing.assert_close(weights, coefficients.expand(3, 4))
    torch.testing.assert_close((weights * performance.concepts).sum(1), performance.score)


def test_stretching_a_concept_shrinks_its_weight() -> None:
    x, head = CASES["dense"]
    stretch = torch.tensor([1.0, 7.0, 0.1, -2.0, 1.0], dtype=torch.float64)
    stretched = perform(x, lambda x: (head(x)[0], head(x)[1] * stretch))
    torch.testing.assert_close(feature_ratio(stretched), feature_ratio(perform(x, head)) / stretch)


def test_a_concept_without_gradient_weighs_nothing() -> None:
    x, head = CASES["dense"]
    keep = torch.tensor([1.0, 0.0, 1.0, 1.0, 1.0], dtype=torch.float64)
    weights = feature_ratio(perform(x, lambda x: (head(x)[0], head(x)[1] * keep)))
    assert (weights[:, 1] == 0).all()
    assert (weights[:, [0, 2, 3, 4]] != 0).all()


def test_feature_ratio_is_detached_repeatable_and_draws_no_random_numbers() -> None:
    performance = perform(*CASES["dense"])
    state = torch.get_rng_state()
    first, second = feature_ratio(performance), feature_ratio(performance)
    assert not first.requires_grad
    assert performance.feature.grad is None
    torch.testing.assert_close(first, second, rtol=0, atol=0)
    assert torch.equal(torch.get_rng_state(), state)


def test_feature_ratio_is_computed_in_full_precision_under_autocast() -> None:
    x, head = features(4, 8).float(), dense_head()
    performance = perform(x, lambda x: tuple(output.float() for output in head(x.double())))
    expected = feature_ratio(performance)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        torch.testing.assert_close(feature_ratio(performance), expected, rtol=0, atol=0)
    assert expected.dtype == torch.float32


def test_feature_ratio_of_half_precision_gradients_is_float32() -> None:
    """Squared norm 4e6 overflows float16; the ratio is 1."""
    weights = feature_ratio(perform(torch.full((1, 4), 1.0, dtype=torch.float16), lambda x: (x.sum(1) * 1e3, x * 1e3)))
    torch.testing.assert_close(weights, torch.ones(1, 4), rtol=0, atol=0)


@pytest.mark.parametrize("context", [torch.no_grad, torch.inference_mode])
def test_feature_ratio_says_why_there_is_no_gradient(context: Callable[[], torch.no_grad]) -> None:
    x, head = CASES["dense"]
    with context():
        score, concepts = head(x)
        with pytest.raises(ValueError, match=r"`score` does not depend on `feature`.*inference_mode=False"):
            feature_ratio(Performance(score, concepts, x, x))


def test_feature_ratio_says_which_output_does_not_depend_on_the_feature() -> None:
    x, head = CASES["dense"]
    performance, other = perform(x, head), perform(x, head)
    with pytest.raises(ValueError, match="`concepts` does not depend on `feature`"):
        feature_ratio(performance._replace(concepts=other.concepts))
    with pytest.raises(ValueError, match="`score` does not depend on `feature`"):
        feature_ratio(performance._replace(score=other.score))
    with pytest.raises(ValueError, match="`concepts` does not depend on `feature`"):
        feature_ratio(performance._replace(concepts=performance.concepts.detach()))


def test_feature_ratio_refuses_an_empty_chunk() -> None:
    with pytest.raises(ValueError, match="`chunk_bytes` must be at least 1, got 0"):
        feature_ratio(perform(*CASES["dense"]), chunk_bytes=0)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("pre_relu", [True, False])
def test_closed_form_equals_gradients_taken_one_at_a_time(pre_relu: bool, bias: bool) -> None:
    torch.manual_seed(4)
    fc2, fc3 = nn.Linear(64, 64, bias=bias).double(), nn.Linear(64, 8, bias=bias).double()
    z1, target, concepts = features(5, 64), 2, [0, 1, 3, 7]

    def head(x: Tensor) -> tuple[Tensor, Tensor]:
        outputs = fc3(fc2(x.relu() if pre_relu else x).relu())
        return outputs[:, target], outputs[:, concepts]

    x = z1 if pre_relu else z1.relu()
    performance = perform(x, head)
    with torch.inference_mode():
        closed = three_layer_feature_ratio(x, fc2, fc3, target, concepts, pre_relu=pre_relu)
    torch.testing.assert_close(closed, looped(performance))
    torch.testing.assert_close(closed, feature_ratio(performance))


def test_before_and_after_the_relu_are_two_priors() -> None:
    torch.manual_seed(4)
    fc2, fc3, z1 = nn.Linear(64, 64), nn.Linear(64, 8), features(5, 64).float()
    before = three_layer_feature_ratio(z1, fc2, fc3, 0, [1, 2], pre_relu=True)
    after = three_layer_feature_ratio(z1.relu(), fc2, fc3, 0, [1, 2], pre_relu=False)
    assert (before - after).abs().max() > 0.01
