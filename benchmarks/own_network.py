"""From anyone's network and images to a page with a verdict, beside one plain forward pass of the network over them.

``python -m benchmarks.own_network --photos FOLDER``; ``--profile`` shows where the time goes, and writes no results.
"""

import argparse
import csv
import json
import os
import pstats
import resource
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from PIL import Image

from semexplain.data.framing import read_image
from semexplain.performers.named_network import NamedNetwork
from semexplain.runs.own_yaml import own_yaml
from semexplain.system.config import plain
from semexplain.system.files import write_text
from semexplain.system.trouble import Trouble, told

ROOT = Path(__file__).parents[1]
MINUTES, RATIO, BEFORE = 10.0, 1.5, 60.0  # all may take RATIO x the forward pass and BEFORE seconds
BATCH = 32
SIDE = 256  # of a drawn picture
COMMANDS = ("fit", "verdict", "report")
PROFILED = "from benchmarks.profiled import main; main()"
PARTS = {  # what is timed under a profiler, by where its function is
    "modules imported": ("importlib._bootstrap>", "_find_and_load"),
    "network built and tried": ("performers/network.py", "__init__"),
    "what the network says of all images": ("system/row_store.py", "fill_together"),
    "training and validation": ("trainer/trainer.py", "fit"),
    "test": ("trainer/trainer.py", "test"),
    "verdict: concepts taken away": ("judgement/moved.py", "moved"),
    "verdict: statements": ("judgement/verdict.py", "judged"),
    "pictures of a page": ("runs/trained.py", "pictured"),
    "figures of a page": ("report/run.py", "_pictures"),
}


class Spent(NamedTuple):
    """Seconds on the wall and of all processors."""

    wall: float
    processor: float


def main() -> int:
    """Measure, print, and write the results; 0 if the goals are met."""
    parser = argparse.ArgumentParser(prog="benchmarks.own_network", description=__doc__)
    parser.add_argument("--photos", type=Path, help="folder of images; some are drawn by default")
    parser.add_argument("--images", type=int, default=500)
    parser.add_argument("--model", default="torchvision:resnet50")
    parser.add_argument("--layer", default="layer4")
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--profile", action="store_true", help="only show where the time goes, by a profiler")
    parser.add_argument("--results", type=Path, default=ROOT / "benchmarks/results/own_network.json")
    parser.add_argument("option", nargs="*", help="of train.py, such as trainer.max_epochs=2")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    os.environ["OMP_NUM_THREADS"] = str(given.threads)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        files = drawn(folder / "drawn", given.images) if given.photos is None else photos(given.photos, given.images)
        file = written(folder, files, given)
        if given.profile:
            print("\n".join(profiled(file, folder)))
            return 0
        before = forward(file, files)
        spent = {verb: timed(command) for verb, command in commands(file, folder).items()}
        after = forward(file, files)
        if not (folder / "run/report.html").exists():
            raise RuntimeError("There is no page.")
    plain_pass = Spent(*(sum(pair) / 2 for pair in zip(before, after, strict=True)))
    found = figures(plain_pass, spent, given.threads)
    for one in found:
        print(f"{one['goal']:55s} {one['value']:8.4g}  {'' if one['target'] is None else one['met']}")
    write_text(given.results, json.dumps(found, indent=1) + "\n")
    return 0 if all(one["met"] for one in found) else 1


def photos(folder: Path, count: int) -> list[Path]:
    """So many images of a folder, spread evenly over their names."""
    found = sorted(path for path in folder.rglob("*") if path.suffix.lower() in (".jpg", ".jpeg", ".png"))
    if len(found) < count:
        raise Trouble(f"There are {len(found)} images in {folder}, asked for are {count}.")
    return [found[at] for at in np.linspace(0, len(found) - 1, count).astype(int)]


def drawn(folder: Path, count: int) -> list[Path]:
    """So many pictures of coarse and fine noise."""
    folder.mkdir()
    random, files = np.random.default_rng(0), []
    for number in range(count):
        coarse, fine = (random.integers(0, 256, (side, side, 3), dtype=np.uint8) for side in (4, SIDE))
        picture = Image.blend(Image.fromarray(coarse).resize((SIDE, SIDE)), Image.fromarray(fine), 0.2)
        files.append(folder / f"{number:05d}.jpg")
        picture.save(files[-1])
    return files


def written(folder: Path, files: Sequence[Path], given: argparse.Namespace) -> Path:
    """A table of the images and the yaml, as a user writes them."""
    with (folder / "images.csv").open("w", newline="") as table:
        csv.writer(table).writerows([["image"], *([str(path.absolute())] for path in files)])
    network = {"model": given.model, "layer": given.layer, "output": 1, "transform": {"size": given.size}}
    options = [f"paths.cache={folder / 'cache'}", *given.option]
    words = {"network": network, "images": "images.csv", "out": "run", "options": options}
    file = folder / "mine.yaml"
    file.write_text(json.dumps(words), encoding="utf-8")  # which is yaml
    return file


def forward(file: Path, files: Sequence[Path]) -> Spent:
    """One pass of the network as it is, over images that are decoded and prepared already."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # weights are random on purpose
        node: Mapping[str, Any] = plain(json.loads(file.read_text()))["network"]
        net = NamedNetwork(**{"target" if key == "output" else key: value for key, value in node.items()})
    images = torch.stack([read_image(path, net.framing) for path in files]).split(BATCH)
    with torch.inference_mode():
        net.model(net.pixels(images[0]))
        prepared = [net.pixels(some) for some in images]
        start = time.perf_counter(), time.process_time()
        for some in prepared:
            net.model(some)
    return Spent(time.perf_counter() - start[0], time.process_time() - start[1])


def commands(file: Path, folder: Path) -> dict[str, list[str]]:
    """What a user types."""
    run = str(folder / "run")
    words = {"fit": ["fit", str(file)], "verdict": ["verdict", run], "report": ["report", run]}
    return {verb: ["-m", "semexplain", *words[verb]] for verb in COMMANDS}


def timed(command: Sequence[str]) -> Spent:
    """What a command takes, with all processes that it starts."""

    def processors() -> float:
        usage = resource.getrusage(resource.RUSAGE_CHILDREN)
        return usage.ru_utime + usage.ru_stime

    start = time.perf_counter(), processors()
    subprocess.run([sys.executable, *command], check=True, cwd=ROOT)
    return Spent(time.perf_counter() - start[0], processors() - start[1])


def figures(forward: Spent, spent: Mapping[str, Spent], threads: int) -> list[dict[str, Any]]:
    """The goals, and what they are made of, which has no target.

    Example:
        >>> found = figures(Spent(100, 200), {"fit": Spent(180, 400), "verdict": Spent(15, 20)}, 2)
        >>> [(one["goal"], one["value"], one["met"]) for one in found][:2]
        [('minutes, all commands', 3.25, True), ('(seconds - 60) / forward pass', 1.35, True)]
    """
    wall = sum(one.wall for one in spent.values())
    processor = sum(one.processor for one in spent.values())
    goals: list[tuple[str, float, float | None]] = [
        ("minutes, all commands", wall / 60, MINUTES),
        (f"(seconds - {BEFORE:g}) / forward pass", (wall - BEFORE) / forward.wall, RATIO),
        (
            f"the same in processor seconds, {BEFORE:g} of each core",
            (processor - BEFORE * threads) / forward.processor,
            None,
        ),
    ]
    for name, one in {"forward pass": forward, **spent}.items():
        goals += [(f"{name}, seconds", one.wall, None), (f"{name}, processor seconds", one.processor, None)]
    return [
        {"goal": name, "value": round(value, 4), "target": target, "met": target is None or value <= target}
        for name, value, target in goals
    ]


def profiled(file: Path, folder: Path) -> list[str]:
    """Processor seconds of every part of the commands, but for those of processes that read images, as a table."""
    run = str(folder / "run")
    scripts: dict[str, list[str]] = {
        "fit": [str(ROOT / "train.py"), *own_yaml(file).words(), f"hydra.run.dir={run}"],
        "verdict": [str(ROOT / "evaluate.py"), f"run={run}"],
        "report": ["-m", "semexplain", "report", run],
    }
    lines = []
    for verb, words in scripts.items():
        kept = folder / f"{verb}.prof"
        subprocess.run([sys.executable, "-c", PROFILED, kept, *words], check=True, cwd=ROOT)
        stats: Any = pstats.Stats(str(kept))
        lines.append(f"{verb:8} {'all':40} {stats.total_tt:8.2f}")
        for name, (place, function) in PARTS.items():
            found = [numbers[3] for at, numbers in stats.stats.items() if at[0].endswith(place) and at[2] == function]
            lines += [f"{verb:8} {name:40} {sum(found):8.2f}"] if found else []
    return lines


if __name__ == "__main__":
    with told():
        sys.exit(main())
