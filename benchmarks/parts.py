"""Whose parts are the true ones? ``python -m benchmarks.parts [--out FOLDER]``; what was measured before is kept.

Drawn dogs, performers of several seeds and widths. Filters are named by erasing, by peaks, and by the drawn truth,
which draws every naming image again without each part. The contributions of parts are compared with exact Shapley
values of six parts, found by drawing test images in all their states.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from benchmarks.apart import run_apart
from benchmarks.head_to_head.measure import ROOT, evaluated
from benchmarks.head_to_head.truth import Truth, known_truth
from semexplain.concepts.erasing import filled, region_of, soft_assignment
from semexplain.concepts.parts import Parts
from semexplain.data.synthetic_animals import SyntheticAnimalsDataModule
from semexplain.explanation import Explanation
from semexplain.metrics.ranks import rank_correlation
from semexplain.performers.base import Performer
from semexplain.runs.build import build
from semexplain.runs.explainer import composed
from semexplain.runs.folder import METRICS
from semexplain.runs.naming import PartNaming
from semexplain.runs.run import Run
from semexplain.system.files import whole_file, write_text
from semexplain.system.quiet import hush
from semexplain.system.trouble import told
from train import train

WORLD = ("experiment=known_animals", "method=semexplain")
SIX = ("eye", "mouth_and_nose", "ear", "torso", "leg", "tail")
OURS, GRADIENT = "semexplain", "gradient × activation"
NAMINGS = ("erased", "peak", "drawn truth")
CONSTANT = "the mean truth, no image"
TEST_MASKS = "with masks of the test images"
ACROSS = "correlation across images after taking away each part's mean"
DRAWS = 2000


class Setting(NamedTuple):
    """A performer: seed of its training and width. Settings of the naming were chosen on seed 0, which is not here."""

    seed: int
    width: int


PERFORMERS = (Setting(11, 12), Setting(12, 8), Setting(13, 8), Setting(14, 8), Setting(15, 12))


def main() -> int:
    """Measure every performer, as many at a time as there are cores, then write the results; 0 if all is well."""
    parser = argparse.ArgumentParser(prog="benchmarks.parts", description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("outputs/parts"), help="keeps what was measured")
    parser.add_argument("--results", type=Path, default=ROOT / "benchmarks/results")
    parser.add_argument("--images", type=int, default=60, help="test images that are drawn again")
    parser.add_argument("--performer", type=int, help="measure this one only, in this process")
    parser.add_argument("options", nargs="*", help="of every run, for example data.num_workers=0")
    given = parser.parse_args()
    if given.performer is not None:
        measure(PERFORMERS[given.performer], given.images, given.options, given.out)
        return 0
    count = len(PERFORMERS)
    words = {f"performer {i + 1} of {count}": [*sys.argv[1:], "--performer", str(i)] for i in range(count)}
    failed = run_apart("benchmarks.parts", words)
    files = [path for setting in PERFORMERS if (path := record_of(setting, given.out)).exists()]
    if not failed:
        report([load(path) for path in files], given.results)
    return failed


# -- one performer -----------------------------------------------------------------------------------------------------

Table = dict[str, np.ndarray]  # of one performer: by row, what each part of each image gets ``(N, 6)``


def record_of(setting: Setting, folder: Path) -> Path:
    """Where what was measured of a performer is kept."""
    return folder / f"seed{setting.seed}-width{setting.width}" / "contributions.npz"


def load(path: Path) -> Table:
    """What was measured of a performer."""
    with np.load(path) as content:
        return dict(content)


def measure(setting: Setting, images: int, options: Sequence[str], folder: Path) -> None:
    """Contributions of all parts by every method and naming, beside the truth; a record that exists is kept."""
    path = record_of(setting, folder)
    if path.exists():
        return
    hush()
    run = path.parent / "run"
    words = [*WORLD, f"performer_training.seed={setting.seed}", f"performer.width={setting.width}", "logger=[csv]"]
    config = composed("train", [*words, *options])
    if not (run / METRICS).exists():
        train(config, run)
    _, gradient = evaluated(run, path.parent / "gradient", ["rival=gradient_times_activation"])
    explained = {OURS: Explanation.load(run / "explanations.parquet"), GRADIENT: gradient}
    config = Run(run).config
    config.logger = {}
    data, module, _ = build(config, path.parent / "scratch", named=run / "parts.yaml", trains=False)
    assert isinstance(data, SyntheticAnimalsDataModule)
    data.setup("test")
    performer, cache = module.performer.freeze(), Path(config.paths.cache)
    truth = known_truth(performer, data, SIX, cache=cache, images=images)
    erased = module.teacher.parts
    assert erased is not None
    peak = PartNaming("peak")(performer, data, torch.device("cpu"), cache)
    namings = dict(zip(NAMINGS, (erased, peak, drawn_names(performer, data, erased)), strict=True))
    table = compared(explained, namings, truth) | with_masks(performer, data, explained, truth)
    with whole_file(path) as partial, partial.open("wb") as file:
        np.savez(file, **table)


def compared(explained: dict[str, Explanation], namings: dict[str, Parts], truth: Truth) -> Table:
    """The truth, and what each method gives the six parts by each naming."""
    table = {"truth": truth.values.numpy(), "removal": truth.aligned(truth.ids, SIX, removal=True).numpy()}
    for method, explanation in explained.items():
        rows = [explanation.ids.index(name) for name in truth.ids]
        for naming, parts in namings.items():
            given = parts.contributions(explanation.contributions[rows].double())
            table[f"{method}, {naming}"] = given[:, [parts.names.index(part) for part in SIX]].numpy()
    return table


@torch.no_grad()
def drawn_names(performer: Performer, data: SyntheticAnimalsDataModule, like: Parts) -> Parts:
    """Names from what a filter loses where a naming image is drawn again without a part, mean over the images."""
    scenes = {data.splits["train"].ids[scene.position]: scene for scene in data.scenes("train")}
    scenes = {name: scenes[name] for name in data.naming.ids if name in scenes}
    count = len(data.parts)
    states = np.vstack([np.ones((1, count), bool), ~np.eye(count, dtype=bool)])
    effects = torch.zeros(len(like.assignment), count, dtype=torch.float64)
    for scene in scenes.values():
        pictures = torch.stack([scene.draw(state) for state in states])
        whole, without = performer.head(performer.feature(performer.encode(pictures)))[1].double().split([1, count])
        effects += (whole - without).T / len(scenes)
    assignment, matrix = soft_assignment(effects.numpy())
    return like._replace(assignment=tuple(assignment), scores=effects.numpy(), matrix=matrix, manual=())


def with_masks(
    performer: Performer, data: SyntheticAnimalsDataModule, explained: dict[str, Explanation], truth: Truth
) -> Table:
    r"""What could be said with masks of the test images themselves, which no frozen name needs.

    :math:`\sum_i \alpha_i(I) [y_i(I) - y_i(I \text{ without } p)]`; the gradient times what filling the part changes in
    the map, cell by cell; and the drop of the score itself.
    """
    split, names = data.splits["test"], [data.parts.index(part) for part in SIX]
    table: dict[str, list[Tensor]] = {}
    for name in truth.ids:
        index = split.ids.index(name)
        image, part_map = split.read(index, data.image_size), data.part_map(split, index)
        present = [column for column, part in enumerate(names) if (part_map == part).any()]
        with torch.no_grad():
            regions = [region_of(part_map, names[column]) for column in present]
            pictures = torch.cat([image[None], filled(image, regions).flatten(0, 1)])
            x = performer.feature(performer.encode(pictures))
            score, y = performer.head(x)
        leaf = x[:1].clone().requires_grad_()
        slope = torch.autograd.grad(performer.head(leaf)[0].sum(), leaf)[0]
        weights = {method: one.weights[one.ids.index(name)] for method, one in explained.items()}
        rows = {f"{method}, α Δy": ((y[:1] - y[1:]) * weight).sum(1) for method, weight in weights.items()}
        rows["gradient × change of the map"] = ((x[:1] - x[1:]) * slope).flatten(1).sum(1)
        rows["drop of the score"] = score[:1] - score[1:]
        for row, values in rows.items():
            parts = torch.zeros(len(SIX), dtype=torch.float64)
            parts[present] = values.double().unflatten(0, (len(present), 2)).mean(1)
            table.setdefault(f"{row}, {TEST_MASKS}", []).append(parts)
    return {row: torch.stack(values).numpy() for row, values in table.items()}


# -- all performers ----------------------------------------------------------------------------------------------------


class Sample(NamedTuple):
    """A number, and its bootstrap."""

    value: float
    draws: np.ndarray

    def __sub__(self, other: "Sample") -> "Sample":  # type: ignore[override]
        return Sample(self.value - other.value, self.draws - other.draws)

    @property
    def interval(self) -> tuple[float, float]:
        """Of 95 %."""
        low, high = np.quantile(self.draws, (0.025, 0.975))
        return float(low), float(high)

    def __str__(self) -> str:
        low, high = self.interval
        return f"{self.value:.3f} [{low:.3f}, {high:.3f}]"


def samples(tables: Sequence[Table]) -> dict[str, tuple[Sample, Sample]]:
    """Rank correlation and correlation across images of every row, mean over the performers.

    All rows are drawn alike, so that their differences are paired: images, the same for all performers, and performers.
    """
    chance = np.random.default_rng(0)
    count = len(tables[0]["truth"])
    times = np.vstack([np.ones((1, count)), chance.multinomial(count, np.full(count, 1 / count), DRAWS)])
    of = len(tables)
    share = np.vstack([np.full((1, of), 1 / of), chance.multinomial(of, np.full(of, 1 / of), DRAWS) / of])
    rows: dict[str, tuple[Sample, Sample]] = {}
    for row in [*tables[0], CONSTANT]:
        pairs = [(of_row(table, row), table["truth"]) for table in tables]
        numbers = (ranks_of(pairs, times), np.stack([across(given, truth, times) for given, truth in pairs], 1))
        ranks, correlations = (Sample(float(each[0]), each[1:]) for each in ((share * one).sum(1) for one in numbers))
        rows[row] = ranks, correlations
    return rows


def of_row(table: Table, row: str) -> np.ndarray:
    """What a row gives each part of each image ``(N, 6)``."""
    return np.broadcast_to(table["truth"].mean(0), table["truth"].shape) if row == CONSTANT else table[row]


def ranks_of(pairs: Sequence[tuple[np.ndarray, np.ndarray]], times: np.ndarray) -> np.ndarray:
    """Mean rank correlation of each draw and performer; an image whose parts all get the same has 0."""
    columns = []
    for given, truth in pairs:
        ranks = rank_correlation(torch.from_numpy(given.copy()), torch.from_numpy(truth.copy())).numpy()
        columns.append(times @ np.nan_to_num(ranks) / times.sum(1))
    return np.stack(columns, 1)


def across(given: np.ndarray, truth: np.ndarray, times: np.ndarray) -> np.ndarray:
    """Correlation over the images of each draw, mean over the parts; 0 for a part that gets the same everywhere."""
    weight = times / times.sum(1, keepdims=True)
    one, other = (values - values.mean(0) for values in (given, truth))
    means = weight @ one, weight @ other
    product = weight @ (one * other) - means[0] * means[1]
    spreads = [(weight @ values**2 - mean**2).clip(0) for values, mean in zip((one, other), means, strict=True)]
    constant = np.ptp(given, axis=0) == 0
    scale = np.sqrt(spreads[0] * spreads[1])
    correlation = np.divide(product, scale, out=np.zeros_like(product), where=(scale > 0) & ~constant)
    return correlation[:, np.ptp(truth, axis=0) > 0].mean(1)


def report(tables: Sequence[Table], folder: Path) -> None:
    """``parts.json``, a list of goals, and ``parts.md``, a table."""
    rows = samples(tables)
    goals = []
    for at, (name, target) in enumerate((("rank correlation with exact Shapley values", 0.7), (ACROSS, 0.4))):
        best = max((OURS, GRADIENT), key=lambda method, at=at: rows[f"{method}, erased"][at].value)
        found = rows[f"{best}, erased"][at]
        goals.append(
            {
                "goal": f"{name}, all six parts, named by erasing ({best})",
                "value": round(found.value, 4),
                "target": target,
                "met": found.value >= target,
                "interval": [round(edge, 4) for edge in found.interval],
                "performers": len(tables),
            }
        )
    write_text(folder / "parts.json", json.dumps(goals, indent=1) + "\n")
    write_text(folder / "parts.md", written(tables, rows))
    print((folder / "parts.md").read_text(encoding="utf-8"))


def written(tables: Sequence[Table], rows: dict[str, tuple[Sample, Sample]]) -> str:
    """The table: every row, and what it has beyond others."""
    count, images = len(tables), len(tables[0]["truth"])
    lines = [f"| {count} performers, {images} images | rank correlation | across images |", "|---|---|---|"]
    lines += [f"| {row} | {ranks} | {across} |" for row, (ranks, across) in rows.items() if row != "truth"]
    lines += ["", "| difference | rank correlation | across images |", "|---|---|---|"]
    for method in (OURS, GRADIENT):
        erased = f"{method}, erased"
        for other in (f"{method}, peak", f"{method}, drawn truth", CONSTANT):
            ranks, across = (one - two for one, two in zip(rows[erased], rows[other], strict=True))
            lines.append(f"| {erased} − {other} | {ranks} | {across} |")
    parts = [f"{row} {np.round(np.mean([by_part(table, row) for table in tables], 0), 2)}" for row in rows]
    return (
        "\n".join(
            [*lines, "", f"Across images, part by part ({', '.join(SIX)}):", "", *(f"* {line}" for line in parts)]
        )
        + "\n"
    )


def by_part(table: Table, row: str) -> np.ndarray:
    """Correlation across images of each part ``(6,)``."""
    once = np.ones((1, len(table["truth"])))
    given = of_row(table, row)
    return np.array([across(given[:, [at]], table["truth"][:, [at]], once)[0] for at in range(len(SIX))])


if __name__ == "__main__":
    with told():
        sys.exit(main())
