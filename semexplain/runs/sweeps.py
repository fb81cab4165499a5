"""Sweeps: every job is a run of its own, found again when the sweep is started again, and told of at the end."""

import contextlib
import hashlib
import json
import logging
import os
import shlex
import signal
import subprocess
import sys
from codecs import getincrementaldecoder
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from threading import Thread
from typing import IO, Any, cast

from hydra.core.utils import JobReturn, JobStatus
from hydra.experimental.callback import Callback
from omegaconf import DictConfig, OmegaConf, read_write
from omegaconf.errors import OmegaConfBaseException
from pytorch_lightning.plugins.environments import TorchElasticEnvironment

from semexplain.runs import records
from semexplain.runs.comparison import concept_choice, finished_runs, listing, target_words
from semexplain.runs.folder import CONFIG, METRICS, VALIDATION, differences, settled
from semexplain.runs.foreign import read_config, require_no_links_out
from semexplain.system.config import ConfigError, suggest
from semexplain.system.devices import free_gpus
from semexplain.system.files import TIME, remove_leftovers, write_json
from semexplain.system.once import held
from semexplain.system.processes import without_launcher
from semexplain.system.reading import read_json
from semexplain.system.trouble import REFUSED, Trouble, told
from semexplain.system.words import override

log = logging.getLogger(__name__)
RECORDS = ".jobs"
PERFORMER_NUMBERS = ("val/loss", "val/accuracy")
LAST_LINES = 8
PATIENCE = 60.0  # seconds that a job has to end when it is told to
NOT_OF_THE_RESULT = ("resume", "trust", "paths", "objective")  # where files lie does not decide what is in them,
NOT_OF_THE_DATA = ("index", "cache", "cache_gb", "num_workers")  # nor what is kept of them, or who reads them


class JobError(RuntimeError):
    """A job of a sweep failed; the message ends with the last lines that it wrote."""


def job_options(config: DictConfig) -> dict[str, Any]:
    """All that decides a job's result: its resolved options, with absolute paths and without where it writes."""
    options = cast(dict[str, Any], OmegaConf.to_container(settled(config)))
    for key in NOT_OF_THE_RESULT:
        options.pop(key, None)
    for key in NOT_OF_THE_DATA:
        (options.get("data") or {}).pop(key, None)
    return options


def job_name(config: DictConfig) -> str:
    """Folder of a job within its sweep: what tells jobs apart at a glance, and a digest of all options.

    The same options have the same name however they were given, and other options another one.

    Args:
        config: The job's configuration, whether it can be run or not.
    """
    try:
        options = job_options(config)
        digest = _digest(options)
        network = config.performer.get("architecture")
        concepts = concept_choice(config.concepts)
        words = [target_words(config.performer.target), network, concepts if concepts != "all" else None]
        words += [f"beta{config.beta:g}", f"seed{config.seed}"]
    except (OmegaConfBaseException, AttributeError, TypeError, ValueError):  # the job itself will say what is wrong
        return f"refused_{_digest(OmegaConf.to_container(config))}"
    return "_".join([*(str(word).replace(" ", "") for word in words if word is not None), digest])


def _name_of_job(*, _root_: DictConfig) -> str:
    return job_name(cast(DictConfig, OmegaConf.masked_copy(_root_, [str(key) for key in _root_ if key != "hydra"])))


OmegaConf.register_new_resolver("job_name", _name_of_job, replace=True)


def run_job(hydra: Any, config: DictConfig, script: Path) -> float | None:
    """Run one job of a sweep as a single run of its own, in a fresh process, unless that has been done.

    Several trainings in one process share what libraries keep globally (process groups, loggers, seeds), and a
    launcher would start its other processes with the whole sweep's command line.

    A job that has finished in its folder is not run again, one that was interrupted is resumed there.

    Args:
        hydra: Hydra's settings of the job.
        config: The job's options.
        script: ``train.py``.

    Returns:
        In a search the job's ``objective``.

    Raises:
        JobError: If the job failed.
        ConfigError: If the job's folder holds another run, or it did not measure the objective.
    """
    folder = Path(hydra.runtime.output_dir).absolute()
    require_no_links_out(folder)
    with held(folder / "job.lock", f"Another sweep is running the job in {folder}; waiting for it."):
        begun = (folder / CONFIG).exists()
        if begun:
            _require_same_options(folder, config)
        if begun and (folder / METRICS).exists():
            log.info("Finished before: %s", folder)
        else:
            _start(hydra, config, script, [override("resume", folder)] if begun else hydra.overrides.task)
    return validation_number(folder, config.objective) if is_search(hydra) else None


def is_search(hydra: Any) -> bool:
    """Whether a sweep chooses its jobs by what others reached, as any engine does but Hydra's own grid."""
    return hydra.runtime.choices.get("hydra/sweeper", "basic") != "basic"


def require_validation_number(config: DictConfig) -> None:
    """Refuse an objective by which a search would not choose on the validation split.

    Raises:
        ConfigError: If it is no number ``val/...``, or none of those that the training of a performer measures.
    """
    performer = config.task == "performer"
    fits = config.objective in PERFORMER_NUMBERS if performer else config.objective.startswith("val/")
    if not fits:
        example = PERFORMER_NUMBERS[0] if performer else "val/relative_deviation"
        raise ConfigError(
            "objective: a search chooses by a number of the validation split, lest it tune on the test split: for "
            f"example `objective={example}`, got {config.objective!r}."
        )


def validation_number(folder: Path, name: str) -> float:
    """A number that a finished run's best epoch reached on the validation split.

    Args:
        folder: Of the run.
        name: Of the number, ``val/...``.

    Raises:
        ConfigError: If the run has no such number.
    """
    numbers = records.numbers(folder / VALIDATION) if (folder / VALIDATION).exists() else {}
    value = numbers.get(name)
    if value is None:
        hint = f"It has: {', '.join(numbers)}." if numbers else f"It has no {VALIDATION}."
        raise ConfigError(f"objective: {folder} has no number {name!r}{suggest(name, numbers)}. {hint}")
    return value


class SweepSummary(Callback):
    """Let a sweep go on after a failed job, and report all jobs at its end.

    Every job leaves a record in the sweep's folder, ``.jobs/<start of the sweep>/<number>.json``, on whatever machine
    it ran; the process that started the sweep reads them.
    """

    def __init__(self) -> None:
        self.records: Path | None = None

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Choose where the jobs leave their records; launchers take this object along to where they run.

        Raises:
            SystemExit: With status 2 under torchrun, whose every process would start the whole sweep, and for a search
                that would not choose on the validation split.
        """
        with told():  # Hydra would make a warning of what is raised here
            if TorchElasticEnvironment.detect():
                raise ConfigError("A sweep starts the processes of its jobs itself: start it without torchrun.")
            if is_search(config.hydra):
                require_validation_number(config)
        folder = Path(config.hydra.sweep.dir).absolute()
        remove_leftovers(folder / RECORDS)
        self.records = folder / RECORDS / f"{datetime.now():{TIME}}"
        if config.hydra.runtime.choices.get("sweep") is None:  # no preset: one folder, also if experiments are swept
            with read_write(config.hydra.overrides):
                config.hydra.overrides.hydra.append(override("hydra.sweep.dir", folder))

    def on_job_end(self, config: DictConfig, job_return: JobReturn, **kwargs: Any) -> None:
        """Note how a job ended. A failure is taken from Hydra, which would leave out jobs and ``on_multirun_end``."""
        if self.records is None:
            return
        error = None
        if job_return.status is JobStatus.FAILED:
            failure = job_return._return_value
            error = str(failure) if isinstance(failure, JobError | Trouble) else repr(failure)
            job_return.return_value, job_return.status = None, JobStatus.COMPLETED
        hydra = config.hydra
        outcome = {"folder": hydra.runtime.output_dir, "options": list(hydra.overrides.task), "error": error}
        write_json(self.records / f"{hydra.job.num}.json", outcome)

    def on_multirun_end(self, config: DictConfig, **kwargs: Any) -> None:
        """Print the comparison of the finished jobs; if some failed, list them and exit with status 1."""
        assert self.records is not None
        with told():
            self._report(self.records)

    def _report(self, folder: Path) -> None:
        paths = sorted(folder.glob("[0-9]*.json"), key=lambda path: int(path.stem))
        jobs = {int(path.stem): read_json(path) for path in paths}
        failed = {number: job for number, job in jobs.items() if job["error"] is not None}
        finished, reasons = finished_runs(Path(job["folder"]) for number, job in jobs.items() if number not in failed)
        print(f"\n{listing(finished)}\n" if finished else "")
        print(f"{len(jobs) - len(failed)} of {len(jobs)} jobs finished. Sweep folder: {folder.parents[1]}")
        print("".join(f"left out: {reason}\n" for reason in reasons), end="", file=sys.stderr)
        if failed:
            raise SystemExit(failures(failed, folder.parents[1]))
        if reasons:
            raise SystemExit(REFUSED)


def failures(failed: Mapping[int, Mapping[str, Any]], folder: Path) -> str:
    """What to tell of jobs that failed, by number: options, folder, and the last lines that each wrote.

    Example:
        >>> job = {"folder": "a/3", "options": ["beta=-1", "seed=0"], "error": "beta: expected ..."}
        >>> print(failures({3: job}, Path("a")))
        <BLANKLINE>
        1 job failed. To run what is not finished: the same command; unless it has a `sweep=`, with hydra.sweep.dir=a
        <BLANKLINE>
        job 3: beta=-1 seed=0
          folder: a/3
          beta: expected ...
    """
    count = "1 job" if len(failed) == 1 else f"{len(failed)} jobs"
    lines = [f"\n{count} failed. {_again(folder)}"]
    for number, job in failed.items():
        lines += [f"\njob {number}: {' '.join(job['options'])}", f"  folder: {job['folder']}"]
        lines += [f"  {line}" for line in job["error"].splitlines()]
    return "\n".join(lines)


def _again(folder: Path) -> str:
    """How a sweep goes on, by its folder."""
    word = shlex.quote(override("hydra.sweep.dir", folder))
    return f"To run what is not finished: the same command; unless it has a `sweep=`, with {word}"


def _group(sweep: Path, multirun: Path) -> str:
    """What the jobs of a sweep have in common in Weights & Biases: the sweep's folder among all sweeps."""
    return str(sweep.relative_to(multirun)) if sweep.is_relative_to(multirun) else sweep.name


def _digest(options: Any) -> str:
    return hashlib.sha256(json.dumps(_canonical(options), sort_keys=True).encode()).hexdigest()[:8]


def _canonical(node: Any) -> Any:
    """The same for equal numbers, however they were written."""
    if isinstance(node, Mapping):
        return {str(key): _canonical(value) for key, value in node.items()}
    if isinstance(node, list):
        return [_canonical(value) for value in node]
    return int(node) if isinstance(node, float) and node.is_integer() else node


def _require_same_options(folder: Path, config: DictConfig) -> None:
    before, now = job_options(read_config(folder / CONFIG)), job_options(config)
    lines = differences(before, now)
    if lines:
        raise ConfigError(
            f"hydra.sweep.subdir: {folder} holds a run with other options. Leave the name to the sweep, or use another "
            "folder:\n  " + "\n  ".join(lines)
        )


def _start(hydra: Any, config: DictConfig, script: Path, words: Sequence[str]) -> None:
    """Run a job's process with these options in its folder, on a GPU of its own."""
    folder = Path(hydra.runtime.output_dir).absolute()
    command = [sys.executable, str(script), *words, override("hydra.run.dir", folder), "hydra.mode=RUN"]
    with free_gpus() as gpus:
        group = {"WANDB_RUN_GROUP": _group(folder.parent, Path(config.paths.multirun).absolute())}
        environment = {**group, **without_launcher(os.environ), **gpus}
        status, last = _run(command, hydra.runtime.cwd, environment, folder)
    if status != 0 or not (folder / METRICS).exists():
        end = f"Killed by signal {-status}." if status < 0 else f"Exit status {status}."
        raise JobError("\n".join([*last, end]))


def _run(command: list[str], cwd: str, environment: Mapping[str, str], folder: Path) -> tuple[int, list[str]]:
    """Run a command and pass on what it says; returns its status and the last lines of its errors."""
    last: deque[str] = deque(maxlen=LAST_LINES)
    job = subprocess.Popen(command, cwd=cwd, env=environment, stderr=subprocess.PIPE)
    with _stopped_together(job, folder):
        reader = Thread(target=_pass_on, args=(cast(IO[bytes], job.stderr), last), daemon=True)
        reader.start()
        status = job.wait()
        reader.join(timeout=5)  # a process that the job left behind may keep the pipe open
    return status, list(last)


def _pass_on(stream: IO[bytes], last: deque[str]) -> None:
    decode = getincrementaldecoder("utf-8")(errors="replace").decode  # a character may come in two pieces
    line = ""
    with stream:
        while chunk := os.read(stream.fileno(), 65536):
            text = decode(chunk)
            sys.stderr.write(text)
            sys.stderr.flush()
            *lines, line = (line + text).split("\n")
            last.extend(filter(None, map(_readable, lines)))
    last.extend(filter(None, [_readable(line)]))


def _readable(line: str) -> str:
    """A line as it stands on the screen in the end: a progress bar writes over itself."""
    return line.rstrip().split("\r")[-1].rstrip()


@contextlib.contextmanager
def _stopped_together(job: subprocess.Popen[bytes], folder: Path) -> Iterator[None]:
    """End a job with the sweep that started it, and the sweep with its job."""

    def stop(*_: object) -> None:
        raise KeyboardInterrupt(f"The sweep was stopped. {_again(folder.parent)}")

    before = {number: signal.signal(number, stop) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    except BaseException:
        job.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            job.wait(timeout=PATIENCE)
        job.kill()
        raise
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
