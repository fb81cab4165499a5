"""Fig. 7: the bars of single images are their contributions, and the strongest have names."""

import itertools
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.text import Text

from semexplain.explanation import Explanation
from semexplain.report.comparison import comparison_report
from semexplain.report.figures.by_concept import by_concept
from semexplain.runs.run import Run


def explanation(n: int = 40, seed: int = 0, named: bool = False) -> Explanation:
    generator = torch.Generator().manual_seed(seed)
    weights = torch.randn(3, n, generator=generator)
    values = torch.randn(3, n, generator=torch.Generator().manual_seed(9))
    names = tuple(f"filter_{i:03}" if named else f"Concept_{i}" for i in range(n))
    parts = tuple(("eye", "mouth_and_nose", "")[i % 3] for i in range(n)) if named else ()
    return Explanation(torch.ones(3), values, weights, torch.tensor(0.5), names, "Male", concept_parts=parts)


def panel(figure: Figure, label: str) -> Axes:
    return next(axes for axes in figure.axes if axes.get_label() == label)


def heights(axes: Axes) -> list[float]:
    bars = [bar.get_height() for bar in axes.patches if isinstance(bar, Rectangle)]
    lines = [line for kept in axes.collections if isinstance(kept, LineCollection) for line in kept.get_segments()]
    assert all(line[0, 0] == line[1, 0] == place and line[0, 1] == 0 for place, line in enumerate(lines))
    return bars + [line[1, 1] for line in lines]


@pytest.mark.parametrize("n", [39, 512, 2048])
def test_bars_are_the_contributions_in_the_networks_order(n: int) -> None:
    ours, baseline = explanation(n), explanation(n, seed=1)
    figure = by_concept(ours, baseline, images=2)
    for row in range(2):
        for side, one in (("baseline", baseline), ("ours", ours)):
            axes = panel(figure, f"{side} {row}")
            expected = [float(one.weights[row, i] * one.values[row, i]) for i in range(n)]
            np.testing.assert_allclose(heights(axes), expected, rtol=1e-6)
            assert axes.get_title(loc="left").startswith("Without prior" if side == "baseline" else "With prior")
            assert any(np.allclose(line.get_ydata(), 0) for line in axes.lines)  # where 0 is
        left, right = panel(figure, f"baseline {row}"), panel(figure, f"ours {row}")
        assert left.get_ylim() == right.get_ylim()
        low, high = left.get_ylim()
        assert low < min(heights(left) + heights(right))
        assert high > max(heights(left) + heights(right))
    alone = by_concept(ours, images=1)
    assert [axes.get_label() for axes in alone.axes] == ["ours 0"]


def test_the_strongest_have_names() -> None:
    explained = explanation()
    texts = panel(by_concept(explained, named=5), "ours 1").texts
    order = sorted(range(40), key=lambda i: -abs(float(explained.contributions[1, i])))[:5]
    words = {f"concept {i}" if explained.values[1, i] >= 0 else f"no concept {i}" for i in order}
    assert {text.get_text().replace("\n", " ") for text in texts} == words
    for text in texts:
        i = int(text.get_text().split()[-1])
        assert text.xy == (i, pytest.approx(float(explained.contributions[1, i])))
    named = explanation(named=True)
    texts = panel(by_concept(named, named=40), "ours 0").texts
    expected = {f"{('eye', 'mouth and nose', 'no part')[i % 3]}\nfilter {i:03}" for i in range(40)}
    assert {text.get_text() for text in texts} == expected


@pytest.mark.parametrize("pair", [False, True])
def test_names_do_not_cover_each_other(pair: bool) -> None:
    """The strongest are neighbours at either end, or all on one side."""
    explained = explanation(512, named=True)
    weights = torch.zeros(3, 512)
    weights[0, [0, 1, 2, 3]] = torch.tensor([5.0, -6.0, 7.0, 8.0])
    weights[1, [508, 509, 510, 511]] = torch.tensor([5.0, 6.0, 7.0, 8.0])
    explained = replace(explained, weights=weights, values=torch.ones(3, 512))
    figure = by_concept(explained, explained if pair else None)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    for axes in figure.axes:
        boxes = [Text.get_window_extent(text, canvas.get_renderer()) for text in axes.texts]  # without the leaders
        assert len(boxes) == 4
        assert not any(one.overlaps(other) for one, other in itertools.combinations(boxes, 2))
        assert all(figure.bbox.x0 <= box.x0 and box.x1 <= figure.bbox.x1 for box in boxes)


def test_only_the_same_images_and_concepts_are_compared() -> None:
    with pytest.raises(ValueError, match="same images and concepts"):
        by_concept(explanation(), explanation(39))
    with pytest.raises(ValueError, match="same images and concepts"):
        by_concept(explanation(), replace(explanation(), ids=("a", "b", "c")))


def test_a_comparison_shows_the_same_images_without_and_with_the_prior(sweep: Path, tmp_path: Path) -> None:
    runs = [Run(sweep / number) for number in "01"]
    page = comparison_report(runs, tmp_path / "comparison.html").read_text("utf-8")
    assert "<h2>Figures</h2>" in page
    assert "Single images without and with the prior" in page


def test_which_part_a_concept_stands_for_is_kept(tmp_path: Path) -> None:
    saved = explanation(named=True)
    saved.save(tmp_path / "explanations.parquet")
    assert Explanation.load(tmp_path / "explanations.parquet").concept_parts == saved.concept_parts
    assert Explanation.from_frame(saved.to_frame()).concept_parts == ()
    with pytest.raises(ValueError, match="a part for each of the 40 concepts"):
        replace(saved, concept_parts=("eye",))
