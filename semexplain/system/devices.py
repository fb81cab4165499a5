"""One GPU for each of the jobs that run at the same time on a machine."""

import logging
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import gettempdir

import torch
from filelock import FileLock, Timeout

log = logging.getLogger(__name__)
VARIABLE = "SEMEXPLAIN_GPUS"
SECONDS = 1.0


@contextmanager
def free_gpus() -> Iterator[dict[str, str]]:
    """Environment variables for a job: ``CUDA_VISIBLE_DEVICES`` with GPUs that no other job holds.

    ``SEMEXPLAIN_GPUS`` lists what there is, a word for each job that may run at the same time: ``0 1 2 3`` gives each
    of four jobs a GPU, ``0,1 2,3`` each of two jobs two, ``0 0`` lets two jobs share one. A job that finds all words
    taken, by whatever sweep of this user on this machine, waits. Without the variable nothing is changed: one job at a
    time needs no choice, and a cluster's scheduler makes its own.
    """
    words = os.environ.get(VARIABLE, "").split()
    if not words:
        yield {}
        return
    folder = Path(gettempdir()) / f"semexplain-gpus-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    locks = [FileLock(folder / f"{words[:place].count(word)}-{word}.lock") for place, word in enumerate(words)]
    place = _first_free(locks)
    while place is None:
        time.sleep(SECONDS)
        place = _first_free(locks)
    try:
        log.info("This job computes on GPU %s.", words[place])
        yield {"CUDA_VISIBLE_DEVICES": words[place]}
    finally:
        locks[place].release()


def _first_free(locks: list[FileLock]) -> int | None:
    for place, lock in enumerate(locks):
        try:
            lock.acquire(timeout=0)
        except Timeout:
            continue
        return place
    return None


def accelerator(choice: str) -> str:
    """The accelerator to use for a choice: ``auto`` leaves out Apple's, which has no float64 for the metrics."""
    return ("cuda" if torch.cuda.is_available() else "cpu") if choice == "auto" else choice
