"""Areas of curves that can be drawn by hand."""

import numpy as np
import pytest
import torch

from semexplain.metrics.concept_curves import ConceptCurves


def areas(deletion: list[list[float]], insertion: list[list[float]]) -> tuple[float, float]:
    metric = ConceptCurves()
    metric.update(torch.tensor(deletion), torch.tensor(insertion))
    result = metric.compute()
    return result["deletion_area"].item(), result["insertion_area"].item()


def test_straight_lines_have_half_the_area() -> None:
    assert areas([[10.0, 8.0, 6.0, 4.0]], [[4.0, 6.0, 8.0, 10.0]]) == pytest.approx((0.5, 0.5))


def test_one_concept_that_does_everything_goes_first_and_comes_first() -> None:
    """Of four concepts; only the first step counts, by half."""
    assert areas([[3.0, 1.0, 1.0, 1.0, 1.0]], [[1.0, 3.0, 3.0, 3.0, 3.0]]) == pytest.approx((0.125, 0.875))


def test_an_image_whose_concepts_lower_its_score_counts_as_its_mirror_image() -> None:
    up = [[4.0, 1.0, 0.0]], [[0.0, 3.0, 4.0]]
    down = [[-3.0, 0.0, 1.0]], [[1.0, -2.0, -3.0]]
    assert areas(*up) == areas(*down) == (0.375, 0.625)
    assert areas([up[0][0], down[0][0]], [up[1][0], down[1][0]]) == pytest.approx((0.375, 0.625))


def test_scale_and_offset_of_the_scores_do_not_matter() -> None:
    curves = torch.randn(2, 9, 6, generator=torch.Generator().manual_seed(0))
    curves[1, :, 0], curves[1, :, -1] = curves[0, :, -1], curves[0, :, 0]
    moved = -7 * curves + 3
    assert areas(*curves.tolist()) == pytest.approx(areas(*moved.tolist()), rel=1e-5)


def test_images_weigh_by_what_their_concepts_do() -> None:
    """The mean of the images' own areas, written out with NumPy."""
    random = np.random.default_rng(0)
    deletion, insertion = random.normal(size=(2, 20, 4))
    insertion[:, 0], insertion[:, -1] = deletion[:, -1], deletion[:, 0]
    found = areas(deletion.tolist(), insertion.tolist())
    none, change = deletion[:, -1], deletion[:, 0] - deletion[:, -1]
    for area, curves in zip(found, (deletion, insertion), strict=True):
        own = np.trapezoid((curves - none[:, None]) / change[:, None], dx=1 / 3, axis=1)
        assert area == pytest.approx(np.average(own, weights=np.abs(change)), rel=1e-5)


def test_a_diverged_explainer_shows() -> None:
    assert np.isnan(areas([[torch.nan, 1.0], [1.0, 0.0]], [[torch.nan, 1.0], [0.0, 1.0]])).all()
