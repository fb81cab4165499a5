"""Figures of the runs behind the tables: Fig. 8, and what the prior costs."""

from collections.abc import Sequence
from pathlib import Path

from matplotlib.figure import Figure

from semexplain.report.figures.capacity import capacity
from semexplain.report.figures.frontier import Point, frontier
from semexplain.report.figures.style import display_name
from semexplain.report.paper import ATTRIBUTES, NETWORKS
from semexplain.report.tables.counts import Series
from semexplain.report.tables.groups import Group, Setting
from semexplain.report.tables.layout import setting_names
from semexplain.system.files import whole_file

DPI = 200


def pictures(folder: Path, groups: Sequence[Group], lines: Sequence[Series]) -> list[Path]:
    """Draw what the runs have enough for.

    Args:
        folder: Where ``fig8.png`` is written, if there are runs with different numbers of concepts, and
            ``frontier_<network>_<target>.png`` where there are several β.
        groups: Runs, as :func:`semexplain.report.tables.groups.grouped` returns them.
        lines: Runs with different numbers of concepts.

    Returns:
        The files.
    """
    figures = {"fig8": _capacity(lines, setting_names(groups))} if lines else {}
    names = setting_names(groups)
    members: dict[tuple[str, str, Setting], list[Group]] = {}
    for group in groups:
        if group.concepts == "all":
            members.setdefault((group.network, group.target, group.setting), []).append(group)
    for (network, target, setting), some in members.items():
        points = [point for group in some for point in _points(group)]
        if len({point.beta for point in points}) > 1:
            kind = "faces" if network == ATTRIBUTES else network
            letter = names[network == ATTRIBUTES, setting].strip()
            name = "_".join(["frontier", kind, target, *([letter] if letter else [])])
            figures[name] = frontier(points)
            title = f"{NETWORKS[network]}, {display_name(target)}{f', setting {letter}' if letter else ''}"
            figures[name].suptitle(title, fontsize=9)
    for name, figure in figures.items():
        with whole_file(folder / f"{name}.png") as partial:
            figure.savefig(partial, format="png", dpi=DPI)
    return [folder / f"{name}.png" for name in figures]


def _points(group: Group) -> list[Point]:
    return [
        Point(group.beta, entropy, deviation, run.metrics.get("test/part_error_mean"))
        for run in group.runs
        if (entropy := run.metrics.get("test/contribution_entropy")) is not None
        and (deviation := run.metrics.get("test/relative_deviation")) is not None
    ]


def _capacity(lines: Sequence[Series], names: dict[tuple[bool, Setting], str]) -> Figure:
    """Both quantities of Fig. 8, a line for each target; what else lines differ in is in their names."""
    kinds = [(line.network, line.prior, line.setting) for line in lines]
    networks, priors, settings = ({kind[part] for kind in kinds} for part in range(3))
    panels: dict[str, dict[str, dict[int, tuple[float, ...]]]] = {
        "relative deviation": {},
        "accuracy drop (points)": {},
    }
    for line in lines:
        name = [display_name(line.target)]
        name += [NETWORKS[line.network]] if len(networks) > 1 or line.network != ATTRIBUTES else []
        name += [line.prior] if len(priors) > 1 else []
        name += [f"setting{names[line.network == ATTRIBUTES, line.setting]}"] if len(settings) > 1 else []
        panels["relative deviation"][", ".join(name)] = {k: runs.deviations for k, runs in line.counts.items()}
        panels["accuracy drop (points)"][", ".join(name)] = {k: runs.drops for k, runs in line.counts.items()}
    return capacity(panels)
