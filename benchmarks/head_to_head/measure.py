"""Measure one way of explaining in one world: train or fit it, evaluate it, compare it with the truth."""

import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from omegaconf import OmegaConf

from benchmarks.head_to_head.truth import Truth, agreement, known_truth
from semexplain.attributions.gradient_times_activation import GradientTimesActivation
from semexplain.attributions.prior import PriorAndMap
from semexplain.explanation import Explanation
from semexplain.metrics.randomisation_similarity import RandomisationSimilarity
from semexplain.metrics.truth_agreement import TruthAgreement
from semexplain.runs.build import build
from semexplain.runs.explainer import composed
from semexplain.runs.folder import METRICS
from semexplain.runs.run import Run
from semexplain.runs.tasks import evaluate_run
from semexplain.runs.trained import load
from semexplain.system.stopwatch import Stopwatch
from semexplain.training.distillation import Distillation
from train import train

from .by_image import by_image, shared_out
from .records import OURS, Record
from .worlds import Contestant, World

ROOT = Path(__file__).parents[2]
PAGE = 4096
TIMED = 64  # images of a batch that is timed, and how often
TIMES = 5


def trained_run(
    world: World, options: Sequence[str], seed: int, extra: Sequence[str], folder: Path
) -> dict[str, float]:
    """Train an explainer, if nobody has; how long it took and how much memory beyond what was in use."""
    spent = folder / "spent.yaml"
    if not spent.exists():
        config = composed("train", [*world.overrides, *options, f"seed={seed}", *extra, "logger=[csv]"])
        build(config.copy(), folder.parent / "scratch")  # performer and cache are there before the clock starts
        began = time.perf_counter()
        with peak_memory() as memory:
            if not (folder / METRICS).exists():
                train(config, folder)
        numbers = {"fit_seconds": time.perf_counter() - began, "memory_mb": memory[0]}
        spent.write_text(OmegaConf.to_yaml(numbers), encoding="utf-8")
    return {name: float(value) for name, value in OmegaConf.load(spent).items()}  # type: ignore[union-attr,misc]


def evaluated(
    run: Path, folder: Path, rival: Sequence[str] = (), images: int | None = None
) -> tuple[dict[str, float], Explanation]:
    """All metrics of a run, or of a rival in its explainer's place, and the explanations."""
    options = composed("evaluate", rival)
    with peak_memory() as memory:
        found = evaluate_run(
            Run(run), folder, rival=options.get("rival"), images=images, metrics=_plain(options.metrics)
        )
    numbers = {name.removeprefix("test/"): value for name, value in found.items()}
    if rival:
        numbers["fit_seconds"] = numbers.pop("rival_fit_seconds")
        numbers["milliseconds_per_image"] = numbers.pop("rival_milliseconds_per_image")
        numbers["memory_mb"] = memory[0]
    return numbers, Explanation.load(folder / "explanations.parquet")


def truth_of(world: World, run: Path, folder: Path) -> Truth | None:
    """What is known to be true of a world, drawn once and kept in its folder."""
    path = folder / "truth.parquet"
    if not world.shapley:
        return None
    if not path.exists():
        config = Run(run).config
        config.logger = {}
        datamodule, module, _ = build(config, folder / "scratch")
        datamodule.setup("test")
        cache = Path(config.paths.cache)
        known_truth(module.performer, datamodule, world.shapley, cache=cache, images=world.redrawn).save(path)
    return Truth.load(path)


def against(truth: Truth, explanation: Explanation, shared: bool) -> dict[str, float]:
    """How far contributions agree with the truth: of concepts measured from their means, or of parts as they are."""
    names, given = shared_out(explanation, shared)
    numbers: dict[str, float] = {}
    for prefix, removal in (("", False), ("removal_", True)):
        metric = TruthAgreement()
        metric.update(given, truth.aligned(explanation.ids, names, removal=removal))
        numbers |= {f"{prefix}{name}": float(value) for name, value in metric.compute().items()}
    return numbers | {"truth_ceiling": agreement(truth)}


@torch.no_grad()
def milliseconds(module: Distillation) -> float:
    """Time to explain an image whose feature map, score and concepts are known."""
    performer = module.performer
    maps = torch.rand(TIMED, *performer.map_shape)
    watch = Stopwatch()
    performance, _ = performer.perform(maps, None, module.teacher.columns)
    module.eval().explain(performance)
    for _ in range(TIMES):
        with watch:
            module.explain(performance)
    return 1000 * watch.seconds / TIMES / TIMED


def keep_trained(
    world: World, name: str, options: Sequence[str], seeds: int, extra: Sequence[str], folder: Path
) -> None:
    """Measure an explainer of this package with every seed; a record that exists is kept."""
    for seed in range(seeds):
        path = folder / "records" / f"{name.replace(' ', '_')}-{seed}" / "record.json"
        if not path.exists():
            trained_record(world, name, options, seed, extra, folder).save(path)


def trained_record(
    world: World, name: str, options: Sequence[str], seed: int, extra: Sequence[str], folder: Path
) -> Record:
    """An explainer of this package."""
    run = folder / f"{_slug(name)}-{seed}"
    spent = trained_run(world, options, seed, extra, run)
    numbers, explanation = evaluated(run, folder / f"{_slug(name)}-{seed}-evaluation", images=world.images)
    truth, module = truth_of(world, run, folder), load(run, device="cpu").module
    numbers |= spent | {"milliseconds_per_image": milliseconds(module)}
    numbers["passes"] = float(passes(module))
    if "control=redrawn" in options:
        numbers["randomisation_similarity"] = similarity(
            Explanation.load(folder / f"{OURS}-0-evaluation/explanations.parquet"), explanation
        )
    if truth is not None:
        numbers |= against(truth, explanation, world.shared)
    return Record(world.name, name, seed, numbers, by_image(explanation, truth, world.shared))


def passes(module: Distillation) -> int:
    """Through the head, for the weights of an image; a backward pass counts as two."""
    match module.start:
        case PriorAndMap():
            return 3 + 2 * len(module.teacher.columns)
        case GradientTimesActivation(steps=steps):
            return 1 + 2 * steps
        case _:
            return 1


def similarity(explanation: Explanation, redrawn: Explanation) -> float:
    """Of explanations of a network and of one whose head has been drawn anew (Adebayo 2018); it must be low."""
    metric = RandomisationSimilarity()
    metric.update(explanation.contributions, redrawn.contributions)
    return float(metric.compute())


def rival_record(world: World, contestant: Contestant, seed: int, run: Path, folder: Path) -> Record:
    """A rival on the performer, concepts and images of a trained run."""
    options = [f"rival={contestant.rival}", *contestant.options]
    options += [option.format(seed=seed) for option in contestant.seeds]
    place = folder / f"{contestant.rival}-{seed}"
    numbers, explanation = evaluated(run, place, options, world.images)
    truth = truth_of(world, run, folder)
    numbers["passes"] = contestant.cost(len(explanation.concepts), world.shared)
    if truth is not None:
        numbers |= against(truth, explanation, world.shared)
    images = by_image(explanation, truth, world.shared)
    return Record(world.name, contestant.rival.replace("_", " "), seed, numbers, images)


@contextmanager
def peak_memory() -> Iterator[list[float]]:
    """Most memory in use within, in MB beyond what was in use before; one number in the list that is yielded."""

    def resident() -> float:
        return int(Path("/proc/self/statm").read_text().split()[1]) * PAGE / 1e6

    result, done = [float("nan")], threading.Event()
    if not Path("/proc/self/statm").exists():
        yield result
        return
    before = most = resident()

    def watch() -> None:
        nonlocal most
        while not done.wait(0.02):
            most = max(most, resident())

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield result
    finally:
        done.set()
        watcher.join()
        result[0] = most - before


def _plain(config: Any) -> Mapping[str, Any]:
    plain = OmegaConf.to_container(config, resolve=True)
    assert isinstance(plain, dict)
    return {str(key): value for key, value in plain.items()}


def _slug(name: str) -> str:
    return name.replace(",", "").replace(" ", "_")
