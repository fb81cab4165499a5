"""Commands of the runs that a full set of tables still needs."""

import shlex
from collections.abc import Collection, Sequence
from itertools import product
from typing import Any, NamedTuple

from semexplain.report.paper import ATTRIBUTES, BETA, paper_targets
from semexplain.report.tables.groups import Group, Setting
from semexplain.report.tables.layout import ANIMALS, setting_names
from semexplain.system.reading import read_yaml

COUNTS = (5, 10, 15, 20, 25, 30, 35, 39)  # of Fig. 8, whose grid the paper does not give
# What the commands say themselves, and what another run must not repeat.
SAID = ("beta", "concepts", "experiment", "performer", "performer.target", "resume", "seed", "sweep", "task")


class Job(NamedTuple):
    """A run: network, target, number of concepts at random (none: all of them), β, seed."""

    network: str
    target: str
    concepts: int | None
    beta: float
    seed: int


def missing(groups: Sequence[Group], seeds: int, everything: bool) -> list[tuple[str, list[str]]]:
    """Commands that produce what is missing, one for as many runs as a sweep can have in one.

    They repeat the options on the command lines of the runs that are there, so that all belong together.

    Args:
        groups: Runs, as :func:`semexplain.report.tables.groups.grouped` returns them.
        seeds: How many seeds each cell should have, counted from 0.
        everything: Also those of tables of which no run is there.

    Returns:
        For each table and setting a heading and its commands; nothing for what is complete.
    """
    names = setting_names(groups)
    sections = []
    for title, jobs in _tables(seeds).items():
        faces = title != "Experiment 1"
        members = [g for g in groups if (g.network == ATTRIBUTES) == faces]
        begun = [g for g in members if g.concepts.startswith("random")] if title == "Figure 8" else members
        settings = list(dict.fromkeys(group.setting for group in begun))
        if not settings and everything:
            settings = list(dict.fromkeys(group.setting for group in members)) or [()]
        for setting in settings:
            present = {run for group in members if group.setting == setting for run in _runs_of(group)}
            absent = [run for run in jobs if run not in present]
            if absent:
                heading = f"{title}{names.get((faces, setting), '')}: {len(absent)} of {len(jobs)} runs are missing"
                peers = [group for group in members if group.setting == setting]
                sections.append((heading, _commands(absent, peers, setting)))
    return sections


def boxes(cells: Collection[tuple[Any, ...]]) -> list[tuple[tuple[Any, ...], ...]]:
    """Few products that together are the given cells, each of them once: values of every axis.

    Boxes that are the same but for one axis are joined, axis after axis from the last.

    Example:
        >>> boxes([("a", 0), ("a", 1), ("b", 0), ("b", 1), ("c", 1)])
        [(('a', 'b'), (0, 1)), (('c',), (1,))]
    """
    result = [tuple((value,) for value in cell) for cell in dict.fromkeys(cells)]
    for axis in reversed(range(len(result[0]) if result else 0)):
        union: dict[tuple[Any, ...], list[Any]] = {}
        for box in result:
            union.setdefault((box[:axis], box[axis + 1 :]), []).extend(box[axis])
        result = [(*before, tuple(values), *after) for (before, after), values in union.items()]
    return result


def _tables(seeds: int) -> dict[str, list[Job]]:
    faces = paper_targets(ATTRIBUTES)
    all_seeds = range(seeds)
    return {
        "Experiment 1": [
            Job(network, target, None, beta, seed)
            for network in ANIMALS
            for target, beta, seed in product(paper_targets(network), (0.0, BETA[0]), all_seeds)
        ],
        "Experiment 2": [Job(ATTRIBUTES, *cell) for cell in product(faces, (None,), (0.0, BETA[1]), all_seeds)],
        "Figure 8": [Job(ATTRIBUTES, *cell) for cell in product(faces, COUNTS, (BETA[1],), all_seeds)],
    }


def _runs_of(group: Group) -> list[Job]:
    """What a group has of what is wanted; all 39 concepts are also 39 at random."""
    kind, _, count = group.concepts.partition(" ")
    if kind not in ("all", "random") or (kind == "random" and not count.isdecimal()):
        return []
    counts = [int(count)] if count else [None, COUNTS[-1]] if group.network == ATTRIBUTES else [None]
    return [Job(group.network, group.target, c, group.beta, run.seed) for run in group.runs for c in counts]


def _commands(absent: Sequence[Job], groups: Sequence[Group], setting: Setting) -> list[str]:
    """Commands for runs; those of a network repeat its own options, such as where its weights are."""
    common = _options(groups, setting)
    defaults = [item for item in common if not item.lstrip("+~").startswith(("performer.", "performer_training"))]
    by_options: dict[tuple[str, ...], list[Job]] = {}
    for run in absent:
        members = [group for group in groups if group.network == run.network]
        by_options.setdefault(tuple(_options(members, setting) if members else defaults), []).append(run)
    return [_command(box, options) for options, runs in by_options.items() for box in boxes(runs)]


def _options(groups: Sequence[Group], setting: Setting) -> list[str]:
    """What all runs of a setting had on their command lines, but for what a command says itself.

    Of runs without a record of it (``.hydra/``) only the options in which settings differ are known.
    """
    common: list[str] | None = None
    for folder in [run.folder for group in groups for run in group.runs]:
        path = folder / ".hydra" / "overrides.yaml"
        if not path.exists():
            continue
        overrides = [str(item) for item in read_yaml(path)]
        items = [item for item in overrides if not _is_said(item.split("=")[0].lstrip("+~"))]
        common = items if common is None else [item for item in common if item in items]
    unsaid = ("–", "the run's")  # words of the tables, not values
    settings = [f"{key}={value}" for key, value in setting if not key.startswith("digest of ") and value not in unsaid]
    return settings if common is None else common


def _is_said(key: str) -> bool:
    return key in SAID or key.startswith(("hydra.", "concepts."))


def _command(box: tuple[tuple[Any, ...], ...], options: Sequence[str]) -> str:
    networks, targets, counts, betas, seeds = box
    faces = networks == (ATTRIBUTES,)
    experiments = [f"{'celeba' if faces else 'pascal_part'}_{target}" for target in targets]
    words = [f"experiment={','.join(experiments)}"]
    if not faces:
        words.append(f"performer={','.join(f'interpretable_{network}' for network in networks)}")
    if counts != (None,):
        words += ["concepts=random", f"concepts.count={','.join(map(str, counts))}"]
    words += [f"beta={','.join(f'{beta:g}' for beta in betas)}", f"seed={','.join(map(str, seeds))}"]
    single = all(len(values) == 1 for values in box)
    return shlex.join(["python", "train.py", *([] if single else ["-m"]), *words, *options])
