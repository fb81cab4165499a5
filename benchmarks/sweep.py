"""What a sweep of explainers on one cache costs, beyond the explainers themselves.

``python benchmarks/sweep.py [OVERRIDES]`` runs twelve jobs, four β by three concept counts, each a process of its own
as in a real sweep, and compares the processor time of each with that of the bare training loop of its explainer. The
performer is trained, and the cache filled, by a first job that does not count (with ``paths.performers=...`` and
``paths.cache=...`` those that are there are used). It takes longer than the others, so it is no part of ``make bench``;
by default on drawn faces, with the options of ``scale=laptop``.
"""

import itertools
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch
from measure import Curve, Goal, report, single_thread
from omegaconf import DictConfig
from setting import train_step

from semexplain.data.module import ready_data
from semexplain.runs.explainer import composed
from semexplain.system.config import instantiate
from semexplain.system.trouble import told
from semexplain.system.words import override

ROOT = Path(__file__).parents[1]
BETAS, COUNTS = (0, 0.02, 0.2, 2), (5, 20, 39)
STEPS = 30


def bare_seconds(config: DictConfig, count: int) -> float:
    """Processor seconds of all training steps of an explainer of ``count`` concepts on tensors held in memory."""
    datamodule = ready_data(config.data)
    performer = instantiate(config.performer, checkpoint=None).freeze()
    explainer = instantiate(config.explainer)(map_shape=performer.map_shape, n_concepts=count)
    optimizer = instantiate(config.optimizer)(explainer.parameters())
    batch = config.data.batch_size
    said = {
        "feature_map": torch.rand(batch, *performer.map_shape),
        "concepts": torch.randn(batch, count),
        "score": torch.randn(batch),
        "prior": torch.randn(batch, count),
    }

    def step() -> None:
        train_step(explainer, optimizer, said)

    step()
    start = time.process_time()
    for _ in range(STEPS):
        step()
    each = (time.process_time() - start) / STEPS
    return each * config.trainer.max_epochs * (len(datamodule.splits["train"].ids) // batch)


def job_seconds(overrides: list[str], folder: Path) -> float:
    """Processor seconds of a run in a process of its own, from start to end."""
    command = [sys.executable, ROOT / "train.py", *overrides, override("hydra.run.dir", folder)]
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, check=True, env={**os.environ, "OMP_NUM_THREADS": "1"}, stdout=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main() -> None:
    """Measure and report."""
    single_thread()
    overrides = sys.argv[1:] or ["experiment=celeba_attractive", "scale=laptop", "data=synthetic_faces"]
    sys.argv[1:] = []
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        if not any(override.startswith("paths.") for override in overrides):
            overrides += [f"paths.performers={folder / 'performers'}", f"paths.cache={folder / 'cache'}"]
        config = composed("train", overrides)
        print("a first job, which trains the performer and fills the cache …", flush=True)
        first = job_seconds(overrides, folder / "first")
        bare = {count: bare_seconds(config, count) for count in COUNTS}
        ratios, totals = [], {}
        for number, (beta, count) in enumerate(itertools.product(BETAS, COUNTS), start=1):
            own = [*overrides, f"beta={beta}", "concepts=random", f"concepts.count={count}", "seed=0"]
            ratios.append(job_seconds(own, folder / str(number)) / bare[count])
            totals[str(number)] = [sum(ratios) / number]
            print(f"job {number}: β = {beta}, {count} concepts: {ratios[-1]:.3f} of the bare loop", flush=True)
    report(
        [
            Curve("the first job, performer and cache included", "part", "bare loops", {"all": [first / bare[39]]}),
            Curve("a job on the cache, mean so far", "jobs", "bare loops", totals),
            Goal("–", "a job of a sweep on one cache, over the bare loop of its explainer", tuple(ratios), 1.5),
        ]
    )


if __name__ == "__main__":
    with told():
        main()
