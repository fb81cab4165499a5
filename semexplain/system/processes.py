"""The processes that compute one run: which is the first, who started them, and how a process starts on its own."""

import logging
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import timedelta
from typing import Any

import torch
from pytorch_lightning.plugins.environments import SLURMEnvironment, TorchElasticEnvironment
from pytorch_lightning.utilities import rank_zero_only
from torch import Tensor

from semexplain.system.trouble import Trouble

log = logging.getLogger(__name__)
PATIENCE = "SEMEXPLAIN_PATIENCE_S"
HALF_AN_HOUR_S, LONGEST_S = 1800.0, 1e9  # the longest that a process group takes is for ever
LOST = ("Connection closed by peer", "Connection reset by peer", "Timed out", "timed out")  # as gloo tells it

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
    "JSM_NAMESPACE_RANK",
    "PL_GLOBAL_SEED",
)
# Each launcher sets all of its own: torchrun, srun, Lightning for the processes that it starts, and LSF.
COMPLETE = (
    {"TORCHELASTIC_RUN_ID", "RANK", "LOCAL_RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"},
    {"SLURM_NTASKS", "SLURM_PROCID", "SLURM_LOCALID", "SLURM_NODEID"},
    {"LOCAL_RANK", "NODE_RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"},
    {"JSM_NAMESPACE_RANK", "JSM_NAMESPACE_LOCAL_RANK", "JSM_NAMESPACE_SIZE", "LSB_JOBID", "LSB_DJOB_RANKFILE"},
)
HARMLESS = {"MASTER_ADDR", "MASTER_PORT", "PL_GLOBAL_SEED"}  # they make nobody believe to be one of several


def forget_stray_launcher() -> None:
    """Let a process be alone if no launcher has started it, whatever single variables of one it has inherited.

    With ``RANK=1 WORLD_SIZE=2`` from somewhere it would wait for another process, or take itself for the second one,
    which writes no files. Commands call this first; what is removed is told in a line.
    """
    stray = [key for key in LAUNCHER_VARIABLES if key in os.environ and key not in HARMLESS]
    if not stray or any(names <= os.environ.keys() for names in COMPLETE):
        return
    told = " ".join(f"{key}={os.environ.pop(key)}" for key in stray)
    rank_zero_only.rank = 0  # type: ignore[attr-defined]
    log.warning("No launcher has started this process: %s is ignored. It computes alone.", told)


def patience(usual: float) -> float:
    """Seconds after which a wait for another process is given up: those of ``SEMEXPLAIN_PATIENCE_S``, or the usual.

    Raises:
        Trouble: If that is not a number of seconds.

    Example:
        >>> patience(60)
        60.0
    """
    text = os.environ.get(PATIENCE, "") or str(usual)
    with suppress(ValueError):
        if float(text) > 0:
            return float(text)
    raise Trouble(f"The environment variable {PATIENCE} is to be a number of seconds above 0, got {text!r}.")


def group_patience() -> timedelta:
    """How long the processes of a run wait for one another: half an hour, or ``SEMEXPLAIN_PATIENCE_S`` seconds.

    They are started together and compute the same, so this is less than others wait for what one of them makes.

    Raises:
        Trouble: If that is not a number of seconds.

    Example:
        >>> str(group_patience())
        '0:30:00'
    """
    return timedelta(seconds=min(patience(HALF_AN_HOUR_S), LONGEST_S))


@contextmanager
def together(processes: int) -> Iterator[None]:
    """Say what a process of several waited for in vain.

    Raises:
        Trouble: If another one did not come, or has ended.
    """
    try:
        yield
    except RuntimeError as error:
        lost = isinstance(error, torch.distributed.DistError) or any(text in str(error) for text in LOST)
        if processes == 1 or not lost:
            raise
        raise Trouble(
            f"This run is one of {processes} processes, and another one did not come, ended or did not answer for "
            f"{group_patience().total_seconds():g} s ({PATIENCE}). Look at what it says, and start all "
            "of them together; if this process should be alone, unset what launchers set: "
            f"{', '.join(key for key in LAUNCHER_VARIABLES if key in os.environ) or 'trainer.devices'}."
        ) from error


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
