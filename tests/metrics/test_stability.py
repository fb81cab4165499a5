"""Relative change, image by image and noise by noise."""

import math

import pytest
import torch

from semexplain.metrics.stability import Stability


def measured(own: torch.Tensor, noisy: torch.Tensor) -> dict[str, float]:
    metric = Stability()
    metric.update(own, noisy)
    return {name: value.item() for name, value in metric.compute().items()}


def test_it_is_the_definition_written_as_loops() -> None:
    generator = torch.Generator().manual_seed(0)
    own, noisy = torch.randn(7, 3, generator=generator), torch.randn(7, 4, 3, generator=generator)
    means, largest = [], []
    for image in range(7):
        size = math.dist(own[image].tolist(), [0.0] * 3)
        changes = [math.dist(noisy[image, k].tolist(), own[image].tolist()) / size for k in range(4)]
        means.append(sum(changes) / 4)
        largest.append(max(changes))
    assert measured(own, noisy) == pytest.approx(
        {"average_sensitivity": sum(means) / 7, "max_sensitivity": sum(largest) / 7}, rel=1e-6
    )


def test_the_scale_of_the_contributions_does_not_matter() -> None:
    own = torch.randn(7, 3, generator=torch.Generator().manual_seed(0))
    assert measured(own, 1.25 * own[:, None]) == pytest.approx({"average_sensitivity": 0.25, "max_sensitivity": 0.25})


def test_an_image_without_contributions_is_left_out_and_a_diverged_one_shows() -> None:
    own, noisy = torch.tensor([[0.0, 0.0], [0.0, 2.0]]), torch.tensor([[[1.0, 0.0]], [[0.0, 3.0]]])
    assert measured(own, noisy) == {"average_sensitivity": 0.5, "max_sensitivity": 0.5}
    own[0, 0] = torch.nan
    assert all(math.isnan(value) for value in measured(own, noisy).values())


def test_rows_in_another_order_are_refused() -> None:
    with pytest.raises(ValueError, match=r"must be \(B, K, n\) .* got \(2, 4, 3\) and \(4, 3\)"):
        Stability().update(torch.zeros(4, 3), torch.zeros(2, 4, 3))
