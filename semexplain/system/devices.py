"""Where to compute: what a choice means on this machine; and one GPU for each of the jobs that run at the same time."""

import logging
import os
import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import gettempdir
from typing import Any, Literal, cast

import torch
from filelock import FileLock, Timeout
from pytorch_lightning import Trainer
from pytorch_lightning.strategies import StrategyRegistry
from pytorch_lightning.utilities.exceptions import MisconfigurationException

from semexplain.system.config import ConfigError, suggest
from semexplain.system.once import Wait
from semexplain.system.processes import started_together

log = logging.getLogger(__name__)
VARIABLE = "SEMEXPLAIN_GPUS"


@contextmanager
def free_gpus() -> Iterator[dict[str, str]]:
    """Environment variables for a job: ``CUDA_VISIBLE_DEVICES`` with GPUs that no other job holds.

    ``SEMEXPLAIN_GPUS`` lists what there is, a word for each job that may run at the same time: ``0 1 2 3`` gives each
    of four jobs a GPU, ``0,1 2,3`` each of two jobs two, ``0 0`` lets two jobs share one. A job that finds all words
    taken, by whatever sweep of this user on this machine, waits. Without the variable nothing is changed: one job at a
    time needs no choice, and a cluster's scheduler makes its own.

    Raises:
        ConfigError: If a word is no list of GPUs.
        Trouble: If none is free for as long as ``SEMEXPLAIN_PATIENCE_S`` says.
    """
    words = os.environ.get(VARIABLE, "").split()
    if not words:
        yield {}
        return
    if wrong := [word for word in words if not re.fullmatch(r"(\d+|(GPU|MIG)-[\w-]+)(,(\d+|(GPU|MIG)-[\w-]+))*", word)]:
        raise ConfigError(
            f"{VARIABLE}: expected a word for each job that may run at the same time, of numbers of GPUs as in "
            f"`0 1` or `0,1 2,3`, got {wrong[0]!r}."
        )
    absent = [n for word in words for n in word.split(",") if n.isdecimal() and int(n) >= torch.cuda.device_count()]
    if absent and torch.cuda.is_available() and "CUDA_VISIBLE_DEVICES" not in os.environ:
        raise ConfigError(
            f"{VARIABLE}: there is no GPU {absent[0]}, torch sees {torch.cuda.device_count()}, counted from 0."
        )
    folder = Path(gettempdir()) / f"semexplain-gpus-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    locks = [FileLock(folder / f"{words[:place].count(word)}-{word}.lock") for place, word in enumerate(words)]
    wait = None
    while (place := _first_free(locks)) is None:
        wait = wait or Wait("Waiting for a GPU that no other job holds.", f"other jobs hold {' '.join(words)}")
        wait.goes_on()
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


def accelerator(choice: str, option: str = "trainer.accelerator") -> Literal["cpu", "cuda"]:
    """The accelerator that a choice means on this machine; ``auto`` is the GPU if there is one.

    Args:
        choice: ``auto``, ``cpu``, ``gpu`` or ``cuda``.
        option: Its name in messages.

    Raises:
        ConfigError: If it is another one, or not on this machine.

    Example:
        >>> accelerator("cpu")
        'cpu'
    """
    return cast(Literal["cpu", "cuda"], device(choice, option, numbered=False).type)


def device(choice: str, option: str = "device", *, numbered: bool = True) -> torch.device:
    """The device that a choice means on this machine; ``auto`` is the first GPU if there is one.

    Args:
        choice: ``auto``, ``cpu``, ``cuda``, or ``cuda:1`` for the second GPU; ``gpu`` is another word for ``cuda``.
        option: Its name in messages.
        numbered: Whether a certain GPU may be asked for.

    Raises:
        ConfigError: If it is another one, or not on this machine.

    Example:
        >>> device("cpu")
        device(type='cpu')
    """
    word, colon, number = str(choice).replace("gpu", "cuda").partition(":")
    if word == "mps":
        raise ConfigError(f"{option}: Apple's GPU (mps) has no float64, which the metrics need: use {option}=cpu.")
    if word not in ("auto", "cpu", "cuda") or (colon and not (numbered and word == "cuda" and number.isdecimal())):
        words = "auto, cpu, cuda or cuda:<number>" if numbered else "auto, cpu or gpu"
        raise ConfigError(f"{option}: expected {words}, got {choice!r}.")
    there = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if word == "cuda" and not there:
        raise ConfigError(f"{option}: {choice}, but there is no GPU here (torch sees none): use {option}=cpu.")
    if colon and int(number) >= there:
        raise ConfigError(f"{option}: {choice}, but torch sees {there} GPU{'s' * (there > 1)} here, counted from 0.")
    if word == "auto":  # never Apple's
        word = "cuda" if there else "cpu"
    return torch.device(f"{word}:{int(number)}" if colon else word)


def require_devices(trainer: Mapping[str, Any]) -> None:
    """Refuse a trainer's accelerator, devices or strategy that this machine does not have, before anything is done.

    Args:
        trainer: Lightning's options: ``accelerator``, ``devices``, ``strategy``, ...

    Raises:
        ConfigError: Naming the option.
    """
    kind = accelerator(trainer.get("accelerator", "auto"))
    if problem := _problem_of_devices(trainer.get("devices", "auto"), kind):
        raise ConfigError(f"trainer.devices: {problem}")
    strategy, names = trainer.get("strategy", "auto"), ("auto", *StrategyRegistry.available_strategies())
    if strategy not in names:
        raise ConfigError(f"trainer.strategy: expected auto or ddp, got {strategy!r}{suggest(strategy, names)}.")
    if started_together() == 1:
        options = {key: trainer[key] for key in ("devices", "strategy", "num_nodes") if key in trainer}
        if refusal := refusal_of_lightning(accelerator=kind, **options):
            raise ConfigError(f"trainer.strategy: {strategy!r} is not possible here: {refusal}")


def refusal_of_lightning(**options: Any) -> str | None:
    """Why Lightning cannot make a trainer of these options, in one line; None if it can."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # they come again when the trainer is made to be used
            Trainer(**options, logger=False, enable_checkpointing=False)
    except (ValueError, TypeError, ImportError, RuntimeError, MisconfigurationException) as error:
        return " ".join(str(error).split())
    return None


def _problem_of_devices(devices: Any, kind: str) -> str | None:
    """What is wrong with a number of processes or GPUs, or with a list of GPUs; None if nothing is."""
    words = devices.split(",") if isinstance(devices, str) else devices if isinstance(devices, Sequence) else [devices]
    numbers = [int(word) for word in words if re.fullmatch(r"\s*-?\d+\s*", str(word))]
    several = isinstance(devices, Sequence) and (not isinstance(devices, str) or "," in devices)
    if devices == "auto":
        return None
    if kind == "cpu":
        if several or len(numbers) != 1 or numbers[0] < 1:
            return f"on the CPU it is a number of processes, at least 1, got {devices!r}."
        return None
    there = torch.cuda.device_count()
    if not numbers or len(numbers) != len(words):
        return f"expected a number of GPUs, -1 for all, or their numbers such as '0,1', got {devices!r}."
    absent = [n for n in numbers if not 0 <= n < there] if several else [n for n in numbers if not 0 < abs(n) <= there]
    if absent or len(set(numbers)) < len(numbers) or (not several and numbers[0] < -1):
        return f"{devices!r}, but torch sees {there} GPU{'s' * (there > 1)} here" + (
            ", counted from 0." if several else "."
        )
    return None
