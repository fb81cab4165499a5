"""Tests of semexplain.performers.filter_loss against loops over images, filters and cells in float64."""

import math
from fractions import Fraction

import pytest
import torch
from torch import Tensor

from semexplain.performers.filter_loss import filter_loss, filter_masks, sharpness_target


def maps(B: int, n: int, m: int, seed: int = 0) -> Tensor:
    """Activations after a ReLU, about half of them 0, of very different sizes per filter."""
    generator = torch.Generator().manual_seed(seed)
    scale = torch.logspace(-1, 1.5, n, dtype=torch.float64)[:, None, None]
    return (torch.randn(B, n, m, m, generator=generator, dtype=torch.float64) * scale).relu()


def centre_of(cells: list[list[float]]) -> tuple[int, int]:
    """Weighted mean of 1-based rows and columns, rounded half up, in exact arithmetic."""
    rows = columns = mass = Fraction(0)
    for h, row in enumerate(cells, start=1):
        for w, value in enumerate(row, start=1):
            rows, columns, mass = rows + h * Fraction(value), columns + w * Fraction(value), mass + Fraction(value)
    return tuple(max(math.floor(mean / mass + Fraction(1, 2)), 1) for mean in (rows, columns))


def gradients_by_loops(x: Tensor, mask: Tensor, positive: list[bool], epoch: int) -> Tensor:
    """The authors' backward pass, cell by cell."""
    B, n, m, _ = x.shape
    a = 0.5
    gradient = torch.zeros_like(x)
    for d in range(n):
        inside = [sum((x[b, d] * mask[b, d]).flatten().tolist()) / m**2 for b in range(B)]
        others = [sum((x[b, d] * mask[B - 1 - b, n - 1 - d]).flatten().tolist()) / m**2 for b in range(B)]
        outside = [-sum(x[b, d].flatten().tolist()) / m**2 for b in range(B)]
        for kind, own, other in ((True, inside, others), (False, outside, outside)):
            chosen = [b for b in range(B) if positive[b] is kind]
            log_z = a * math.log(sum(math.exp(value / a) for value in other) / B)
            strength = {b: math.exp(own[b] / a) * (own[b] - log_z + a) for b in chosen}
            mean = sum(strength.values()) / max(len(chosen), 1)
            for b in chosen:
                s = strength[b] / mean * 0.1 / epoch
                for h in range(m):
                    for w in range(m):
                        gradient[b, d, h, w] += 1e-5 * s * (-mask[b, d, h, w] if kind else 1)
    return gradient


@pytest.mark.parametrize("epoch", [1, 3])
@pytest.mark.parametrize("positive", [[True, False, True, False, False], [True] * 5, [False] * 5])
def test_the_gradient_is_the_authors_backward_pass(positive: list[bool], epoch: int):
    x = maps(5, 6, 4).requires_grad_()
    mask = filter_masks(x, torch.linspace(1.5, 3, 6))
    filter_loss(x, mask, torch.tensor(positive), epoch).backward()
    expected = gradients_by_loops(x.detach(), mask, positive, epoch)
    assert expected.abs().max() > 1e-7
    torch.testing.assert_close(x.grad, expected, rtol=1e-9, atol=1e-18)


def test_the_loss_falls_as_one_over_the_epoch():
    x, positive = maps(4, 3, 4), torch.tensor([True, False, True, False])
    mask = filter_masks(x, torch.full((3,), 2.0))
    first, tenth = (filter_loss(x, mask, positive, epoch) for epoch in (1, 10))
    torch.testing.assert_close(first, 10 * tenth)
    assert first != 0
    with pytest.raises(ValueError, match="counted from 1, got 0"):
        filter_loss(x, mask, positive, 0)


@pytest.mark.parametrize("kind", [True, False])
def test_images_of_one_kind_only_do_not_make_it_undefined(kind: bool):
    """The absent kind adds nothing, and sharpness without images of the target stays."""
    x, positive = maps(3, 4, 5).requires_grad_(), torch.full((3,), kind)
    sharpness = torch.full((4,), 2.0)
    mask = filter_masks(x, sharpness)
    filter_loss(x, mask, positive, 1).backward()
    assert torch.isfinite(x.grad).all()
    target = sharpness_target(sharpness, x, mask, positive)
    assert torch.isfinite(target).all()
    assert bool((target != 2).any()) is kind


@pytest.mark.parametrize("size", [0.0, 1e4])
def test_silent_and_huge_activations_stay_finite(size: float):
    """exp(mean / 0.5) of 1e4 overflows; of nothing, the strengths are equal."""
    x = (maps(4, 3, 4).sign() * size).float().requires_grad_()
    sharpness = torch.full((3,), 2.0)
    positive = torch.tensor([True, True, False, False])
    mask = filter_masks(x, sharpness, torch.randn(4, 3, 4, 4))
    filter_loss(x, mask, positive, 1).backward()
    assert torch.isfinite(x.grad).all()
    assert torch.isfinite(sharpness_target(sharpness, x, mask, positive)).all()


def test_half_precision_is_computed_in_full():
    x, positive = maps(4, 3, 4).half(), torch.tensor([True, True, False, False])
    mask = filter_masks(x, torch.full((3,), 2.0).half())
    assert mask.dtype == torch.float32
    expected = filter_loss(x.double(), mask.double(), positive, 1)
    torch.testing.assert_close(filter_loss(x, mask, positive, 1).double(), expected, rtol=1e-5, atol=0)


def test_template_of_thirteen_cells():
    """Sharpness 2 falls by a third per cell."""
    x = torch.zeros(1, 1, 13, 13)
    x[0, 0, 2, 4] = 1
    mask = filter_masks(x, torch.tensor([2.0]))[0, 0]
    torch.testing.assert_close(mask[2, 4:], torch.tensor([max(1 - d / 3, -1) for d in range(9)]))
    assert mask[2:9, 4].tolist() == pytest.approx([1, 2 / 3, 1 / 3, 0, -1 / 3, -2 / 3, -1], abs=1e-6)
    assert mask[4, 5].item() == pytest.approx(0, abs=1e-6)  # two down and one right: three cells
    assert (mask.min().item(), mask.max().item()) == (-1, 1)


@pytest.mark.parametrize("m", [1, 2, 5])
def test_masks_are_centred_on_the_weighted_mean(m: int):
    x = maps(4, 3, m) + 1e-3
    sharpness = torch.tensor([0.5, 2.0, 3.0], dtype=torch.float64)
    mask = filter_masks(x, sharpness)
    positions = torch.linspace(-1, 1, m, dtype=torch.float64).tolist() if m > 1 else [0.0]
    for b in range(4):
        for d in range(3):
            row, column = centre_of(x[b, d].tolist())
            for h in range(m):
                for w in range(m):
                    distance = abs(positions[h] - positions[row - 1]) + abs(positions[w] - positions[column - 1])
                    assert mask[b, d, h, w].item() == pytest.approx(max(1 - sharpness[d].item() * distance, -1))


def test_a_centre_between_two_cells_is_the_latter():
    """Halves away from zero: torch.round would make cell 2 of 2.5."""
    x = torch.zeros(1, 1, 4, 4)
    x[0, 0, 0, 1] = x[0, 0, 0, 2] = 3.0
    assert filter_masks(x, torch.tensor([2.0]))[0, 0, 0].argmax() == 2


def test_a_map_without_activation_is_centred_on_its_largest_value_or_the_first_cell():
    before = torch.full((1, 1, 3, 3), -2.0)
    before[0, 0, 1, 2] = -1.0
    at_peak = filter_masks(before.relu(), torch.tensor([2.0]), before)[0, 0]
    assert at_peak.argmax() == 5
    assert filter_masks(before.relu(), torch.tensor([2.0]))[0, 0].argmax() == 0


def test_no_gradient_passes_through_masks():
    x, sharpness = maps(2, 3, 4).requires_grad_(), torch.full((3,), 2.0, requires_grad=True)
    assert not filter_masks(x, sharpness, x).requires_grad


def test_masking_before_the_relu_equals_masking_after_it():
    """A raw mask would turn negative times negative into an activation."""
    z = torch.randn(3, 4, 6, 6, generator=torch.Generator().manual_seed(0))
    mask = filter_masks(z.relu(), torch.full((4,), 2.0), z)
    after = (z.relu() * mask).clamp_min(0)
    torch.testing.assert_close((z * mask.clamp_min(0)).relu(), after)
    assert ((z * mask).relu() - after).max() > 0.5


def test_sharpness_is_drawn_to_the_spread_of_the_activation():
    x, positive = maps(6, 5, 6, seed=3), [True, False, True, True, False, True]
    x[:, 4] = 0
    x[:, 3] = 0
    x[:, 3, 2, 2] = 1  # no spread: as sharp as can be
    sharpness = torch.linspace(1.7, 2.5, 5, dtype=torch.float64)
    mask = filter_masks(x, sharpness, x)
    target = sharpness_target(sharpness, x, mask, torch.tensor(positive))
    expected = []
    for d in range(5):
        weighted = weights = 0.0
        for b in [b for b in range(6) if positive[b] and x[b, d].sum() > 0]:
            row, column = centre_of(x[b, d].tolist())
            cells = [(h, w, x[b, d, h, w].item()) for h in range(6) for w in range(6)]
            variance = sum(v * ((h + 1 - row) ** 2 + (w + 1 - column) ** 2) for h, w, v in cells)
            spread = math.sqrt(variance / sum(v for *_, v in cells))
            weight = sum(v * mask[b, d, h, w].item() for h, w, v in cells) / 36
            weighted, weights = weighted + weight * spread, weights + weight
        beta = sharpness[d].item()
        spread = weighted / weights if weights else None
        expected.append(beta if spread is None else 3.0 if spread == 0 else min(max(3 / spread, 1.5), 3))
    assert expected[3:] == [3.0, 2.5]  # no spread, and silent
    assert target.tolist() == pytest.approx(expected)
