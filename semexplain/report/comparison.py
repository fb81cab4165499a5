"""A page that compares finished runs."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import cast

from semexplain.explanation import Explanation
from semexplain.report.figures.by_concept import PAIR_BY_CONCEPT, by_concept
from semexplain.report.figures.capacity import capacity
from semexplain.report.figures.described import description_of
from semexplain.report.figures.distribution import PAIR, distribution
from semexplain.report.figures.frontier import Point, frontier
from semexplain.report.figures.style import display_name
from semexplain.report.page import Picture, picture, render
from semexplain.report.run import REPORT
from semexplain.runs.comparison import columns, comparison_table
from semexplain.runs.run import Run
from semexplain.system.files import write_text

COMPARISON = "comparison.html"
DEVIATION, ENTROPY = "test/relative_deviation", "test/contribution_entropy"


def comparison_report(runs: Sequence[Run], path: Path) -> Path:
    """Write a page that compares finished runs: table, β frontier, capacity, and contributions on the same images.

    Args:
        runs: Finished runs.
        path: The page.

    Raises:
        ValueError: If there are none.
    """
    header, *rows = comparison_table(runs)
    pages = [run.path / REPORT for run in runs]
    links = [os.path.relpath(page, path.parent) if page.exists() else "" for page in pages]
    targets = sorted({display_name(run.target) for run in runs})
    page = render(
        "comparison.html.j2",
        title=f"{len(runs)} explainers compared",
        subtitle=", ".join(targets),
        header=header,
        rows=list(zip(rows, links, strict=True)),
        legend=[(measure.column, measure.sentence) for measure in columns(runs)],
        pictures=_figures(runs),
    )
    write_text(path, page)
    return path


def _figures(runs: Sequence[Run]) -> list[Picture]:
    pictures = []
    candidates = [run for run in runs if run.metrics[DEVIATION] is not None]
    points = [
        Point(
            float(run.written.beta),
            cast(float, run.metrics[ENTROPY]),
            cast(float, run.metrics[DEVIATION]),
            run.metrics.get("test/part_error_mean"),
        )
        for run in candidates
        if run.metrics.get(ENTROPY) is not None
    ]
    if len({point.beta for point in points}) > 1:
        pictures.append(picture(frontier(points), description_of(frontier)))
    counts: dict[int, list[float]] = {}
    for run in candidates:
        counts.setdefault(len(run.explanation.concepts), []).append(cast(float, run.metrics[DEVIATION]))
    if len(counts) > 1:
        pictures.append(picture(capacity({"relative deviation": {"": counts}}), description_of(capacity)))
    pair = _pair(runs)
    if pair is not None:
        pictures.append(picture(distribution(pair[1], pair[0]), PAIR))
        pictures.append(picture(by_concept(pair[1], pair[0]), PAIR_BY_CONCEPT))
    return pictures


def _pair(runs: Sequence[Run]) -> tuple[Explanation, Explanation] | None:
    """The first two explanations of the same images and concepts, without and with prior."""
    for one in runs:
        for other in runs:
            baseline, ours = one.explanation, other.explanation
            same = (baseline.concepts, baseline.ids, baseline.target) == (ours.concepts, ours.ids, ours.target)
            if one.written.beta == 0 < other.written.beta and same:
                return baseline, ours
    return None
