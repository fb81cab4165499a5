"""A page that compares finished runs."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from semexplain.explanation import Explanation
from semexplain.report.figures.capacity import capacity
from semexplain.report.figures.distribution import distribution
from semexplain.report.figures.frontier import Point, frontier
from semexplain.report.figures.style import display_name
from semexplain.report.page import Picture, picture, render
from semexplain.report.run import REPORT
from semexplain.report.write_explanations import FILE as EXPLANATIONS
from semexplain.runs.comparison import columns, comparison_table
from semexplain.runs.folder import CONFIG, METRICS
from semexplain.system.files import read_json, write_text


def comparison_report(runs: Sequence[Path], path: Path) -> Path:
    """Write a page that compares finished runs: table, β frontier, capacity, and contributions on the same images.

    Args:
        runs: Their folders.
        path: The page.

    Raises:
        ValueError: If there are none.
    """
    header, *rows = comparison_table(runs)
    pages = [run / REPORT for run in runs]
    links = [os.path.relpath(page, path.parent) if page.exists() else "" for page in pages]
    targets = sorted({display_name(OmegaConf.load(run / CONFIG).performer.target) for run in runs})
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


def _figures(runs: Sequence[Path]) -> list[Picture]:
    configs = [OmegaConf.load(run / CONFIG) for run in runs]
    metrics = [read_json(run / METRICS) for run in runs]
    found = []
    points = [
        Point(
            float(config.beta),
            measured["test/contribution_entropy"],
            measured["test/relative_deviation"],
            measured.get("test/part_error_mean"),
        )
        for config, measured in zip(configs, metrics, strict=True)
        if None not in (measured.get("test/contribution_entropy"), measured["test/relative_deviation"])
    ]
    if len({point.beta for point in points}) > 1:
        found.append(
            picture(
                "What the prior costs and buys",
                frontier(points),
                "Points: relative deviation over entropy, one for each run; the table above has the numbers.",
                "Right: contributions spread over more concepts. Low: closer to the network's score.",
            )
        )
    counts: dict[int, list[float]] = {}
    explained = [Explanation.load(run / EXPLANATIONS) for run in runs]
    for explanation, measured in zip(explained, metrics, strict=True):
        if measured["test/relative_deviation"] is not None:
            counts.setdefault(len(explanation.concepts), []).append(measured["test/relative_deviation"])
    if len(counts) > 1:
        found.append(
            picture(
                "More concepts, more capacity",
                capacity({"relative deviation": {"": counts}}),
                "Line: relative deviation over the number of concepts; the table above has the numbers.",
                "Compare Fig. 8 of the paper.",
            )
        )
    pair = _pair(configs, explained)
    if pair is not None:
        found.append(
            picture(
                "Without and with the prior",
                distribution(pair[1], pair[0]),
                "Two rows of bars: mean share of every concept, without and with the prior, on the same images.",
                "The first runs with β = 0 and above, on the same images (compare Fig. 7 of the paper).",
            )
        )
    return found


def _pair(configs: Sequence[Any], explained: Sequence[Explanation]) -> tuple[Explanation, Explanation] | None:
    """The first two explanations of the same images and concepts, without and with prior."""
    both = list(zip(configs, explained, strict=True))
    for config, baseline in both:
        for other, ours in both:
            same = (baseline.concepts, baseline.ids, baseline.target) == (ours.concepts, ours.ids, ours.target)
            if config.beta == 0 < other.beta and same:
                return baseline, ours
    return None
