"""What the prior changes: ``python -m benchmarks.paper RUN...``, finished runs without and with it, of the same seeds.

The entropy of contributions, the relative deviation and, where filters stand for parts, the error of the parts of
Table 3, each with the 95 % interval of a paired bootstrap over test images and seeds.
"""

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor
from tqdm import tqdm

from semexplain.judgement.resampling import Estimate, Resampling
from semexplain.metrics.contribution_entropy import contribution_entropy
from semexplain.metrics.part_error import TABLE_3, scaled_effects
from semexplain.runs.run import Run
from semexplain.system.trouble import Trouble, told


class Numbers(NamedTuple):
    """Of the test images, a row for each seed ``(S, N)``; of parts also a last axis ``(S, N, P)``, or none."""

    score: Tensor
    label: Tensor
    entropy: Tensor
    deviation: Tensor
    part_error: Tensor | None


def main() -> int:
    """Print the table; 0 if all is well."""
    parser = argparse.ArgumentParser(prog="benchmarks.paper", description=__doc__)
    parser.add_argument("runs", type=Path, nargs="+", help="folders of finished runs")
    with told():
        print("\n".join(report(parser.parse_args().runs)))
    return 0


def report(folders: Sequence[Path]) -> list[str]:
    """Lines of a table: each number without and with the prior, and the difference.

    Raises:
        Trouble: If the runs are not of two β, or not of the same seeds.
    """
    runs = sorted(map(Run, folders), key=lambda run: (float(run.written.beta), int(run.written.seed)))
    betas = sorted({float(run.written.beta) for run in runs})
    sides = [[run for run in runs if float(run.written.beta) == beta] for beta in betas]
    seeds = [[int(run.written.seed) for run in side] for side in sides]
    if len(betas) != 2 or seeds[0] != seeds[1] or len(set(seeds[0])) < len(seeds[0]):
        raise Trouble(f"Expected runs of two β and the same seeds once each, got β of {betas} with seeds {seeds}.")
    effects = part_effects(runs[0])
    without, with_prior = (numbers(side, effects) for side in sides)
    resampling = Resampling(without.score.shape[1], len(seeds[0]))
    lines = [f"| | β = {betas[0]:g} | β = {betas[1]:g} | difference |", "|---|---|---|---|"]
    for name, statistic in STATISTICS.items():
        if name == "part error" and effects is None:
            continue
        pair = [statistic(side) for side in (without, with_prior)]
        cells = [resampling.of(one) for one in (*pair, difference(*pair))]
        lines.append("| " + " | ".join([name, *map(written, cells)]) + " |")
    return lines


def numbers(runs: Sequence[Run], effects: Tensor | None) -> Numbers:
    """Of runs that differ in the seed."""
    explanations = [run.explanation for run in runs]
    score = torch.stack([e.score.double() for e in explanations])
    label = torch.stack([torch.zeros(len(e), dtype=torch.bool) if e.label is None else e.label for e in explanations])
    error = None
    if effects is not None:
        true, usable = scaled_effects(score[0], effects)
        label = label & usable
        parts = runs[0].parts
        assert parts is not None
        given = torch.stack([parts.contributions(e.contributions.double()) for e in explanations])
        columns = [at for at, name in enumerate(parts.names) if name in TABLE_3 and bool(effects[:, at].any())]
        error = (given - true)[..., columns].abs()
    return Numbers(
        score,
        label,
        torch.stack([contribution_entropy(e.contributions.double()) for e in explanations]).nan_to_num(0),
        torch.stack([e.residual.double().abs() for e in explanations]),
        error,
    )


def entropy(side: Numbers) -> Callable[[Tensor], Tensor]:
    """Mean over the images."""
    return lambda weights: weights @ side.entropy.T


def deviation(side: Numbers) -> Callable[[Tensor], Tensor]:
    """Mean distance to the score, over the range of all scores."""
    span = side.score.amax(1) - side.score.amin(1)
    return lambda weights: weights @ side.deviation.T / span


def part_error(side: Numbers) -> Callable[[Tensor], Tensor]:
    """Mean over the parts of Table 3, of images of the target, as a share of their mean score."""
    assert side.part_error is not None
    wrong, score = side.part_error.mean(2) * side.label, side.score * side.label
    return lambda weights: (weights @ wrong.T) / (weights @ score.T)


STATISTICS = {"entropy": entropy, "relative deviation": deviation, "part error": part_error}


def difference(first: Callable[[Tensor], Tensor], second: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    """Second minus first, of the same images and seeds."""
    return lambda weights: second(weights) - first(weights)


def written(estimate: Estimate) -> str:
    """Four digits: part errors are small."""
    return f"{estimate.value:.4f} [{estimate.low:.4f}, {estimate.high:.4f}]"


@torch.no_grad()
def part_effects(run: Run) -> Tensor | None:
    """How much the score of each test image drops without each part ``(N, P)``; none where filters have no names.

    A part that is removed takes its share of each filter with it.
    """
    parts = run.parts
    if parts is None:
        return None
    performer, data = run.performer, run.data
    n = len(performer.concept_names)
    shares = parts.contributions(torch.eye(n))  # (n, P)
    states = torch.cat([torch.ones(1, n), 1 - shares.T])  # the whole image, and without each part
    rows = []
    data.setup("test")
    for batch in tqdm(data.ordered("test"), desc="removing parts", unit="batch", leave=False):
        game = performer.game(performer.encode(batch["image"]), range(n))
        whole, *without = game(states[:, None].expand(-1, len(batch["image"]), -1)).double()
        rows.append(whole[:, None] - torch.stack(without, 1))
    effects = torch.cat(rows)
    order = {name: row for row, name in enumerate(data.splits["test"].ids)}
    return effects[[order[name] for name in run.explanation.ids]] * shares.any(0)


if __name__ == "__main__":
    with told():
        raise SystemExit(main())
