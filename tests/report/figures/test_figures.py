"""Tests of semexplain.report.figures: what is drawn are the numbers of the explanation."""

import itertools
import math

import numpy as np
import pytest
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle, Wedge
from omegaconf import OmegaConf
from support import ROOT

from semexplain.explanation import Explanation
from semexplain.report.figures.bars import bars
from semexplain.report.figures.capacity import capacity
from semexplain.report.figures.described import description_of
from semexplain.report.figures.distribution import distribution
from semexplain.report.figures.frontier import Point, frontier
from semexplain.report.figures.parts_pie import parts_pie
from semexplain.report.figures.summary import summary
from semexplain.report.figures.waterfall import waterfall
from semexplain.system.config import ConfigError, instantiate


def explanation(images: int = 5, n: int = 12, seed: int = 0, parts: bool = False) -> Explanation:
    generator = torch.Generator().manual_seed(seed)

    def randn(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator)

    return Explanation(
        randn(images),
        randn(images, n),
        randn(images, n),
        torch.tensor(0.7),
        tuple(f"Concept_{i}" for i in range(n)),
        "Male",
        parts=("eye", "mouth_and_nose", "other") if parts else (),
        part_contributions=randn(images, 3) if parts else None,
        image=torch.zeros(images, 3, 8, 8, dtype=torch.uint8),
        heat=torch.rand(images, 8, 8, generator=generator),
    )


def axes_of(figure: Figure, label: str) -> Axes:
    return next(axes for axes in figure.axes if axes.get_label() == label)


def widths(axes: Axes) -> dict[str, float]:
    """Length of each horizontal bar by its tick label."""
    labels = [tick.get_text() for tick in axes.get_yticklabels()]
    drawn = [patch for patch in axes.patches if isinstance(patch, Rectangle)]
    return {labels[round(bar.get_y() + bar.get_height() / 2)]: bar.get_width() for bar in drawn}


def test_bars_are_the_contributions_and_add_up_to_the_score() -> None:
    explained = explanation()
    figure = bars(explained, images=2, top=4)
    for row in range(2):
        drawn = widths(axes_of(figure, f"contributions {row}"))
        expected = {f"concept {i}": float(explained.weights[row, i] * explained.values[row, i]) for i in range(12)}
        for plain in sorted(expected, key=lambda name: -abs(expected[name]))[:4]:
            absent = float(explained.values[row, int(plain.split()[1])]) < 0
            assert drawn[f"no {plain}" if absent else plain] == pytest.approx(expected[plain])
        assert len(drawn) == 4 + 3
        assert sum(drawn.values()) == pytest.approx(float(explained.score[row]), abs=1e-5)


def test_the_waterfall_ends_at_the_score() -> None:
    explained = explanation()
    axes = axes_of(waterfall(explained, top=5), "waterfall 0")
    steps = [patch for patch in axes.patches if isinstance(patch, Rectangle)]
    assert steps[0].get_width() == pytest.approx(0.7)
    for before, step in itertools.pairwise(steps[:-1]):
        assert step.get_x() == pytest.approx(before.get_x() + before.get_width())
    assert steps[-1].get_width() == pytest.approx(float(explained.score[0]), abs=1e-5)
    assert len(steps) == 1 + 5 + 1 + 1 + 1  # b, five steps, the others, not explained, score


def test_slices_are_shares_of_the_parts() -> None:
    explained = explanation(parts=True)
    axes = axes_of(parts_pie(explained, images=2), "parts 1")
    slices = [patch for patch in axes.patches if isinstance(patch, Wedge)]
    values = explained.part_contributions[1].tolist()
    for wedge, value in zip(slices, values, strict=True):
        share = (wedge.theta2 - wedge.theta1) / 360
        assert share == pytest.approx(abs(value) / sum(map(abs, values)), abs=1e-5)
        assert (wedge.get_hatch() or "") == ("" if value >= 0 else "///")
    with pytest.raises(ValueError, match="needs filters that stand for parts"):
        parts_pie(explanation())


def test_the_summary_has_the_means_of_both_sides() -> None:
    explained = explanation(images=20)
    axes = axes_of(summary(explained, top=3), "summary")
    size = (explained.weights * explained.values).abs()
    order = size.mean(0).argsort(descending=True)[:3]
    drawn = [bar.get_width() for bar in axes.patches]
    above, below = explained.score > 0, explained.score <= 0
    assert drawn == pytest.approx([*size[above][:, order].mean(0).tolist(), *size[below][:, order].mean(0).tolist()])


def test_the_distribution_has_every_concepts_share_of_the_same_images() -> None:
    baseline, ours = explanation(seed=0), explanation(seed=1)
    figure = distribution(ours, baseline)
    for label, explained in (("baseline", baseline), ("ours", ours)):
        axes = axes_of(figure, label)
        shares = np.zeros(12)
        entropy = 0.0
        for image in range(5):
            size = [abs(float(explained.weights[image, i] * explained.values[image, i])) for i in range(12)]
            share = np.array(size) / sum(size)
            shares += share / 5
            entropy -= sum(p * math.log(p) for p in share) / 5
        assert [bar.get_height() for bar in axes.patches] == pytest.approx(shares.tolist(), abs=1e-5)
        assert f"{entropy:.3f} of at most {math.log(12):.3f}" in axes.get_title(loc="left")
    with pytest.raises(ValueError, match="same images"):
        distribution(ours, explanation(images=3))


def test_capacity_has_a_line_through_the_means_with_bars_of_a_standard_deviation() -> None:
    axes = axes_of(capacity({"relative deviation": {"": {20: [0.1, 0.3], 5: [0.4]}}}), "relative deviation")
    np.testing.assert_allclose(axes.lines[0].get_xydata(), [[5, 0.4], [20, 0.2]])
    single, pair = axes.collections[0].get_segments()
    np.testing.assert_allclose(single, [[5, 0.4], [5, 0.4]])
    np.testing.assert_allclose(pair, [[20, 0.2 - 0.02**0.5], [20, 0.2 + 0.02**0.5]])  # sqrt(2 · 0.1² / (2 - 1))
    assert axes.get_ylim()[1] > 0.4
    assert axes.get_legend() is None


def test_no_bar_of_capacity_leaves_its_axes_at_the_top() -> None:
    axes = capacity({"deviation": {"": {5: [0.1, 0.3], 39: [0.1]}}}).axes[0]
    assert axes.get_ylim()[1] > 0.2 + 0.02**0.5


def test_capacity_has_a_panel_for_each_quantity_and_a_line_for_each_target() -> None:
    lines = {"male": {5: [0.4], 39: [0.1]}, "young": {5: [0.3], 39: [-0.2]}}
    figure = capacity({"relative deviation": lines, "accuracy drop": lines})
    panels = [axes_of(figure, name) for name in ("relative deviation", "accuracy drop")]
    drawn = [[line for line in axes.lines if line.get_marker() in "osD^"] for axes in panels]
    styles = [[(line.get_color(), line.get_marker(), line.get_linestyle()) for line in lines] for lines in drawn]
    assert styles[0] == styles[1]
    assert [len(set(values)) for values in zip(*styles[0], strict=True)] == [2, 2, 2]  # told apart by each of three
    assert [text.get_text() for text in panels[1].get_legend().get_texts()] == ["male", "young"]
    assert panels[0].get_ylim()[0] < -0.2


def test_the_frontier_has_a_mark_for_each_beta_and_a_panel_for_part_errors() -> None:
    points = [Point(0, 3.0, 0.1, 0.2), Point(0, 3.1, 0.11, None), Point(10, 3.5, 0.2, 0.15)]
    figure = frontier(points)
    baseline, ours = axes_of(figure, "deviation").collections
    np.testing.assert_allclose(baseline.get_offsets(), [[3.0, 0.1], [3.1, 0.11]])
    np.testing.assert_allclose(ours.get_offsets(), [[3.5, 0.2]])
    np.testing.assert_allclose(axes_of(figure, "part error").collections[0].get_offsets(), [[3.0, 0.2]])
    assert len(frontier([Point(0, 1, 1)]).axes) == 1


def test_no_point_of_the_frontier_lies_outside() -> None:
    points = [Point(0, 3.0, 28.5, -13.0), Point(10, 3.0001, 28.51, -13.1)]  # nearly equal, and below 0
    for axes in frontier(points).axes:
        (left, right), (bottom, top) = axes.get_xlim(), axes.get_ylim()
        for x, y in np.concatenate([np.asarray(dots.get_offsets()) for dots in axes.collections]):
            assert left < x < right
            assert bottom < y < top


@pytest.mark.parametrize("name", sorted(path.stem for path in (ROOT / "conf/figures").glob("*.yaml")))
def test_every_figure_says_what_it_shows(name: str) -> None:
    description = description_of(instantiate(OmegaConf.load(ROOT / f"conf/figures/{name}.yaml"))[name])
    assert all((description.title, description.alt, description.caption))
    with pytest.raises(ConfigError, match="explanation says nothing for a page"):
        description_of(explanation)
