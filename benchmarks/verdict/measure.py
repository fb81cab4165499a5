"""Everything that is known of a performer, computed once and kept."""

import time
from pathlib import Path

from benchmarks.verdict.drawn import drawn_facts, scored
from benchmarks.verdict.facts import Facts, load_facts, save_facts
from benchmarks.verdict.moved import moved_facts
from benchmarks.verdict.performers import Known, trained
from benchmarks.verdict.pictures import pictures


def facts_path(known: Known, target: str, place: Path) -> Path:
    """Where the facts of a performer's score are kept."""
    return place / "facts" / f"{known.name}-{target}.pt"


def facts_of(known: Known, target: str, place: Path) -> dict[str, Facts]:
    """What is known of a performer's score, by regime: ``drawn``, ``moved`` and ``moved, linear head``."""
    return load_facts(facts_path(known, target, place))


def measure(known: Known, place: Path) -> None:
    """Train a performer, score the pictures of its world and write down what is true; what is there is kept."""
    missing = [target for target in known.targets if not facts_path(known, target, place).exists()]
    if not missing:
        return
    began = time.perf_counter()

    def told(words: str) -> None:
        print(f"{known.name}: {words} ({time.perf_counter() - began:.0f} s)", flush=True)

    performers, datamodule, accuracy = trained(known, place)
    told("balanced accuracy " + ", ".join(f"{target} {value:.3f}" for target, value in accuracy.items()))
    images = pictures(known.world, datamodule, "test", place)
    memory = pictures(known.world, datamodule, "train", place)
    scores = scored(performers, images, memory)
    told(f"scored {images.states[..., 0].numel() + memory.states[..., 0].numel()} pictures")
    for target in missing:
        moved, error = moved_facts(performers, target, scores, images.ids)
        drawn = drawn_facts(scores, target, known.world.concepts, images, memory)
        save_facts({"drawn": drawn, **moved}, facts_path(known, target, place))
        told(f"{target} is known; Shapley values at x to {error:.1%} of their spread")
