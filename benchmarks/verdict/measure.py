"""Everything that is known of a performer, computed once and kept."""

import hashlib
import io
import time
from contextlib import redirect_stdout
from pathlib import Path

import torch

import semexplain.concepts.filters
import semexplain.concepts.outputs
import semexplain.judgement.drawn
import semexplain.judgement.interventions
import semexplain.judgement.moved
import semexplain.performers.redrawn
from benchmarks.verdict import drawn, facts, moved
from benchmarks.verdict.drawn import Scores, drawn_facts, scored
from benchmarks.verdict.facts import Facts, load_facts, save_facts
from benchmarks.verdict.moved import moved_facts
from benchmarks.verdict.performers import Known, trained
from benchmarks.verdict.pictures import Pictures, pictures
from semexplain.performers.base import Performer
from semexplain.system.files import whole_file

# What decides the facts, beside performers and pictures: whoever changes these asks for new ones.
DECIDING = (
    *(drawn, moved, facts, semexplain.concepts.filters, semexplain.concepts.outputs),
    *(semexplain.judgement.drawn, semexplain.judgement.interventions, semexplain.judgement.moved),
    semexplain.performers.redrawn,
)


def facts_path(known: Known, target: str, place: Path) -> Path:
    """Where the facts of a performer's score are kept."""
    text = "".join(Path(str(module.__file__)).read_text(encoding="utf-8") for module in DECIDING)
    return place / f"facts-{hashlib.sha256(text.encode()).hexdigest()[:8]}" / f"{known.name}-{target}.pt"


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

    with redirect_stdout(io.StringIO()):  # bars of several processes
        performers, datamodule, accuracy = trained(known, place)
    told("balanced accuracy " + ", ".join(f"{target} {value:.3f}" for target, value in accuracy.items()))
    images = pictures(known.world, datamodule, "test", place)
    memory = pictures(known.world, datamodule, "train", place)
    scores = _scores(known, performers, images, memory, place)
    told(f"has scored {images.states[..., 0].numel() + memory.states[..., 0].numel()} pictures")
    for target in missing:
        found, error = moved_facts(performers, target, scores, images.ids)
        found["drawn"] = drawn_facts(performers[target], scores, images, memory)
        save_facts(found, facts_path(known, target, place))
        sure = (
            f"Shapley values at x to {error:.1%} of their spread" if "moved" in found else "nothing can be moved at x"
        )
        told(f"{target} is known; {sure}")


def _scores(known: Known, performers: dict[str, Performer], images: Pictures, memory: Pictures, place: Path) -> Scores:
    """Scores of all pictures, kept beside the weights that gave them."""
    digest = next(iter(performers.values())).digest()[:8]
    path = place / "scores" / f"{known.name}-{digest}.pt"
    if not path.exists():
        with whole_file(path) as partial:
            torch.save(scored(performers, images, memory)._asdict(), partial)
    return Scores(**torch.load(path, weights_only=True))
