"""Scores of a classifier that is too sure of itself come to mean what they say, and keep their order."""

import math

import pytest
import torch

from semexplain.training.calibration import platt_scaling, rescale


def loss(logits: list[float], labels: list[bool], scale: float, offset: float, weights: tuple[float, float]) -> float:
    """Platt's objective, image by image."""
    positive = sum(labels)
    high, low = (positive + 1) / (positive + 2), 1 / (len(labels) - positive + 2)
    total = 0.0
    for logit, label in zip(logits, labels, strict=True):
        probability = 1 / (1 + math.exp(-(scale * logit + offset)))
        target = high if label else low
        total -= weights[int(label)] * (target * math.log(probability) + (1 - target) * math.log(1 - probability))
    return total


@pytest.mark.parametrize("weights", [(1.0, 1.0), (0.6, 3.0)])
def test_no_other_scale_or_offset_is_better(weights: tuple[float, float]):
    generator = torch.Generator().manual_seed(0)
    label = torch.rand(60, 2, generator=generator) < torch.tensor([0.2, 0.7])
    logits = torch.randn(60, 2, generator=generator) * 20 + 30 * label + torch.tensor([5.0, -100.0])
    scale, offset = platt_scaling(logits, label, torch.tensor(weights)[:, None].expand(2, 2))
    for k in range(2):
        column, truth = logits[:, k].tolist(), label[:, k].tolist()
        best = loss(column, truth, float(scale[k]), float(offset[k]), weights)
        for a, b in ((1.003, 1), (0.997, 1), (1, 1.003), (1, 0.997)):
            assert loss(column, truth, float(scale[k]) * a, float(offset[k]) * b, weights) > best


def test_what_was_distorted_comes_back():
    generator = torch.Generator().manual_seed(1)
    true = torch.randn(200_000, 1, generator=generator)
    label = torch.rand(200_000, 1, generator=generator) < true.sigmoid()
    scale, offset = platt_scaling(3 * true + 2, label)
    assert scale.item() == pytest.approx(1 / 3, rel=0.02)
    assert offset.item() == pytest.approx(-2 / 3, abs=0.02)


def test_balanced_weights_put_the_threshold_between_the_kinds_however_many_there_are():
    generator = torch.Generator().manual_seed(2)
    label = torch.arange(100_000)[:, None] % 20 == 0
    logits = torch.randn(100_000, 1, generator=generator) + torch.where(label, 1.0, -1.0) + 7
    share = label.double().mean(0)
    scale, offset = platt_scaling(logits, label, torch.stack([0.5 / (1 - share), 0.5 / share]))
    assert -offset.item() / scale.item() == pytest.approx(7, abs=0.03)


@pytest.mark.parametrize("label", [[True, True, True, True], [True, True, False, False]])
def test_an_output_that_is_no_better_than_chance_is_left_alone(label: list[bool]):
    scale, offset = platt_scaling(torch.tensor([[0.0], [1.0], [2.0], [3.0]]), torch.tensor(label)[:, None])
    assert (scale.item(), offset.item()) == (1, 0)


def test_rescaling_a_layer_rescales_its_outputs():
    layer, given = torch.nn.Linear(4, 3), torch.randn(5, 4)
    scale, offset = torch.tensor([2.0, 0.5, 1.0]), torch.tensor([0.0, -3.0, 1.0])
    expected = [[scale[k] * layer(x)[k] + offset[k] for k in range(3)] for x in given]
    rescale(layer, scale.double(), offset.double())
    torch.testing.assert_close(layer(given), torch.tensor([[value.item() for value in row] for row in expected]))
