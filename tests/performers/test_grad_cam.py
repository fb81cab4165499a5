"""Grad-CAM against gradients taken by nudging, one cell at a time."""

import pytest
import torch
from torch import Tensor, nn

from semexplain.explanation import Performance
from semexplain.performers.grad_cam import grad_cam


def head() -> nn.Module:
    torch.manual_seed(4)
    return nn.Sequential(nn.ReLU(), nn.Conv2d(4, 3, 2), nn.ReLU(), nn.Flatten(), nn.Linear(3 * 9, 1)).double()


def perform(x: Tensor, layers: nn.Module) -> Performance:
    x = x.clone().requires_grad_()
    return Performance(layers(x).squeeze(1), x.sum((2, 3)), x, x)


def test_heat_is_the_sum_of_maps_weighted_by_their_mean_slope():
    layers, x, step = head(), torch.randn(2, 4, 4, 4, dtype=torch.float64), 1e-6
    heat = grad_cam(perform(x, layers))
    assert heat.shape == (2, 4, 4)
    assert not heat.requires_grad
    for image in range(2):
        expected = torch.zeros(4, 4, dtype=torch.float64)
        for i in range(4):
            slopes = []
            for row in range(4):
                for column in range(4):
                    nudge = torch.zeros_like(x)
                    nudge[image, i, row, column] = step
                    slopes.append((layers(x + nudge) - layers(x - nudge))[image].item() / (2 * step))
            for row in range(4):
                for column in range(4):
                    expected[row, column] += sum(slopes) / 16 * max(0.0, x[image, i, row, column].item())
        torch.testing.assert_close(heat[image], expected.clamp_min(0), atol=1e-8, rtol=0)
    assert (heat == 0).any()
    assert (heat > 0).any()


def test_an_image_alone_and_in_a_batch_agree():
    layers, x = head(), torch.randn(3, 4, 4, 4, dtype=torch.float64)
    torch.testing.assert_close(grad_cam(perform(x, layers))[1:2], grad_cam(perform(x[1:2], layers)))


def test_a_vector_has_no_place_in_the_image():
    x = torch.ones(2, 3, requires_grad=True)
    with pytest.raises(ValueError, match=r"feature maps \(B, n, H, W\).*\(2, 3\)"):
        grad_cam(Performance(x.sum(1), x, x, x))


def test_a_score_without_a_graph_says_so():
    x = torch.ones(2, 3, 4, 4, requires_grad=True)
    with pytest.raises(ValueError, match="`score` does not depend on `feature`"):
        grad_cam(Performance(torch.zeros(2), x.sum((2, 3)), x, x))
