"""The processes that compute one run: which is the first, who started them, and how a process starts on its own."""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from pytorch_lightning.plugins.environments import SLURMEnvironment, TorchElasticEnvironment
from pytorch_lightning.utilities import rank_zero_only
from torch import Tensor

# What torchrun, srun and Lightning tell the processes they start. One that inherits it from a sweep, or from a training
# before it, believes to be one of several. Without SLURM_NTASKS Lightning starts the processes of a node itself.
LAUNCHER_VARIABLES = (
    "RANK",
    "LOCAL_RANK",
    "GROUP_RANK",
    "NODE_RANK",
    "WORLD_SIZE",
    "LOCAL_WORLD_SIZE",
    "MASTER_ADDR",
    "MASTER_PORT",
    "TORCHELASTIC_RUN_ID",
    "SLURM_NTASKS",
    "SLURM_PROCID",
    "PL_GLOBAL_SEED",
)


def is_first() -> bool:
    """Whether this is the process that writes files and speaks to the user; true in a run of one process."""
    return getattr(rank_zero_only, "rank", 0) == 0


def started_together() -> int:
    """How many processes of this run torchrun or srun has started; 1 if it is left to Lightning.

    Example:
        >>> started_together()
        1
    """
    for environment in (TorchElasticEnvironment, SLURMEnvironment):
        if environment.detect():
            return environment().world_size()
    return 1


def without_launcher(environment: Mapping[str, str]) -> dict[str, str]:
    """Environment variables for a process that is not one of several.

    Example:
        >>> without_launcher({"HOME": "/root", "LOCAL_RANK": "1", "WORLD_SIZE": "2"})
        {'HOME': '/root'}
    """
    return {key: value for key, value in environment.items() if key not in LAUNCHER_VARIABLES}


@contextmanager
def on_its_own() -> Iterator[None]:
    """Let this process train something by itself, although it was started as one of several."""
    hidden = {key: os.environ.pop(key) for key in LAUNCHER_VARIABLES if key in os.environ}
    try:
        yield
    finally:
        for key in LAUNCHER_VARIABLES:
            os.environ.pop(key, None)
        os.environ.update(hidden)


def process() -> tuple[int, int]:
    """Rank of this process and number of processes, ``(0, 1)`` outside a distributed run.

    Example:
        >>> process()
        (0, 1)
    """
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        return torch.distributed.get_rank(), torch.distributed.get_world_size()
    return 0, 1


def of_all_processes(rows: Tensor) -> Tensor:
    """The rows ``(N, ...)`` of every process, one after the other; their numbers may differ.

    In a distributed run all processes must call this together.

    Example:
        >>> of_all_processes(torch.tensor([1.0, 2.0]))
        tensor([1., 2.])
    """
    _, processes = process()
    if processes == 1:
        return rows
    parts: list[Any] = [None] * processes
    torch.distributed.all_gather_object(parts, rows.cpu())
    return torch.cat(parts).to(rows.device)
