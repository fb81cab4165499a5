"""Tests of the agreement between weights and prior: every mean as a loop over images."""

import math

import pytest
import torch

from semexplain.concepts.losses import degenerate
from semexplain.metrics.prior_agreement import PriorAgreement
from tests.metrics.streams import dataset


def entropy(values: list[float]) -> float | None:
    total = sum(abs(value) for value in values)
    return -sum(abs(value) / total * math.log(abs(value) / total) for value in values if value) if total else None


def mean(values: list[float | None]) -> float:
    present = [value for value in values if value is not None]
    return sum(present) / len(present)


def test_all_means_equal_their_loops() -> None:
    data = dataset()
    data["weights"][5, 2:] *= 1e-6
    collected: dict[str, list[float | None]] = {}
    for alpha, y, w in zip(*(data[name].double().tolist() for name in ("weights", "concepts", "prior")), strict=True):
        norm, prior_norm = math.hypot(*alpha), math.hypot(*w)
        inner = sum(a * b for a, b in zip(alpha, w, strict=True))
        size = sum(abs(a) for a in alpha) / len(alpha)
        for name, value in {
            "prior_cosine": inner / norm / prior_norm if prior_norm else None,
            "prior_entropy": entropy(w),
            "prior_contribution_entropy": entropy([a * b for a, b in zip(w, y, strict=True)]),
            "concept_entropy": entropy(y),
            "prior_degenerate_fraction": float(prior_norm == 0),
            "weights_norm": norm,
            "dead_fraction": sum(abs(a) < 1e-4 * size for a in alpha) / len(alpha),
        }.items():
            collected.setdefault(name, []).append(value)
    metric = PriorAgreement()
    metric.update(weights=data["weights"], concepts=data["concepts"], prior=data["prior"])
    result = {name: value.item() for name, value in metric.compute().items()}
    assert result == pytest.approx({name: mean(values) for name, values in collected.items()}, rel=1e-10)
    assert result["prior_degenerate_fraction"] == pytest.approx(1 / 103)
    assert result["dead_fraction"] == pytest.approx(4 / (6 * 103))


def test_the_cosine_is_what_the_l2_prior_loss_lowers() -> None:
    weights = torch.randn(8, 4, generator=torch.Generator().manual_seed(0))
    for factor, expected in ((3.0, 1.0), (-0.1, -1.0)):
        metric = PriorAgreement()
        metric.update(weights=weights, concepts=weights, prior=factor * weights)
        assert metric.compute()["prior_cosine"].item() == pytest.approx(expected)


def test_images_without_prior_are_those_that_the_loss_leaves_out() -> None:
    prior = torch.tensor([[0.0, 0.0], [3e-13, 4e-13], [3e-12, 4e-12], [1.0, -1.0]])
    metric = PriorAgreement()
    metric.update(weights=torch.ones(4, 2), concepts=torch.ones(4, 2), prior=prior)
    assert metric.compute()["prior_degenerate_fraction"] == degenerate(prior, order=2).double().mean() == 0.5


def test_weights_that_are_all_zero_are_dead_and_point_nowhere() -> None:
    metric = PriorAgreement()
    metric.update(weights=torch.zeros(1, 3), concepts=torch.ones(1, 3), prior=torch.ones(1, 3))
    result = metric.compute()
    assert (result["dead_fraction"], result["prior_cosine"], result["weights_norm"]) == (1, 0, 0)
