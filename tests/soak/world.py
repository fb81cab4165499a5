"""A small world in which commands are hurt: drawn faces, and for every command what has to be there before it."""

import contextlib
import hashlib
import os
import runpy
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from support import FACES, ROOT, configured, smoke

import train as script
from evaluate import evaluate
from semexplain.data.synthetic_faces import SyntheticFacesDataModule
from semexplain.report.run import REPORT, run_report
from semexplain.runs import sweeps
from semexplain.runs.evaluations import evaluation_in
from semexplain.runs.folder import CONFIG, EVALUATIONS, EXPLANATIONS, METRICS, alone_in
from semexplain.runs.performer_store import FILE
from semexplain.runs.run import Run
from semexplain.system.ownership import sign
from soak.victims import run

SWEPT = ("0", "0.2")
EPOCHS = "trainer.max_epochs=2"


class Job(NamedTuple):
    """A command that is hurt: what is there before it, what it does, and what must come out."""

    name: str
    needs: tuple[str, ...]
    """Folders of the world that it finds."""
    act: Callable[[Path], object]
    """Runs the command in a copy of the world, or goes on with it where it was stopped."""
    result: Callable[[Path], dict[str, str]]
    """Digests of what it made, by file."""
    hurt: str = ""
    """The folder in which changes count; all by default."""


def _options(work: Path, *more: str) -> list[str]:
    return smoke(work / "faces", work, "explainer=linear", EPOCHS, "data.num_workers=0", *more)


def _train(work: Path, *more: str) -> None:
    """``train.py``, or ``train.py resume=...`` where it was begun."""
    folder = work / "run"
    if (folder / METRICS).exists():
        return
    more = (*more, f"resume={folder}") if (folder / CONFIG).exists() else more
    with alone_in(folder):
        script.train(configured(*_options(work, *more)), folder)


def _evaluate(work: Path) -> None:
    folders = work / "run" / EVALUATIONS
    number = 1 + max((int(path.name) for path in folders.glob("[0-9]*")), default=0)
    config = configured(f"run={work / 'run'}", "controls=[constant]", name="evaluate")
    (folders / f"{number}").mkdir(parents=True)
    with evaluation_in(folders / f"{number}"):
        evaluate(config, folders / f"{number}")


def _sweep(work: Path) -> object:
    """``train.py -m``, whose jobs are processes as always, but born from this one: no time goes into imports."""
    sweeps._run = _job  # type: ignore[assignment]
    words = ["-m", f"beta={','.join(SWEPT)}", f"hydra.sweep.dir='{work / 'multirun'}'", *_options(work)]
    return _main(words)


def _job(command: list[str], cwd: str, environment: object, folder: Path) -> tuple[int, list[str]]:
    process = os.fork()
    if process == 0:
        status = 1
        try:
            GlobalHydra.instance().clear()
            HydraConfig.instance().cfg = None
            _main(command[2:])
            status = 0
        except SystemExit as end:
            status = end.code if isinstance(end.code, int) else 0 if end.code is None else 1
        finally:
            sys.stderr.flush()
            os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]), []


def _main(words: list[str]) -> object:
    sys.argv = [str(ROOT / "train.py"), *words]
    return runpy.run_path(sys.argv[0], run_name="__main__")


def _report(work: Path) -> None:
    run_report(Run(work / "run"))


def _files(*patterns: str) -> Callable[[Path], dict[str, str]]:
    def result(work: Path) -> dict[str, str]:
        found = sorted(path for pattern in patterns for path in work.glob(pattern))
        if len(found) < len(patterns):
            raise FileNotFoundError(f"expected {patterns}, found {[str(path) for path in found]}")
        return {str(path.relative_to(work)): hashlib.sha256(path.read_bytes()).hexdigest() for path in found}

    return result


def _of_sweep(work: Path) -> dict[str, str]:
    """By β: the name of a job also tells where its data lie."""
    found = {beta: _files(f"multirun/*beta{beta}_*/{METRICS}")(work) for beta in SWEPT}
    return {f"beta={beta}": digest for beta, digests in found.items() for digest in digests.values()}


def _newest_evaluation(work: Path) -> dict[str, str]:
    paths = sorted((work / "run" / EVALUATIONS).glob(f"*/{METRICS}"), key=lambda path: path.stat().st_mtime_ns)
    return {METRICS: hashlib.sha256(paths[-1].read_bytes()).hexdigest()}


def _whole_page(work: Path) -> dict[str, str]:
    text = (work / "run" / REPORT).read_text()
    return {REPORT: f"{text.rstrip().endswith('</html>')}"}


_NUMBERS = _files(f"run/{METRICS}", f"run/{EXPLANATIONS}")
RUN = Job("run", ("faces", "performers", "cache"), _train, _NUMBERS)
PERFORMER = Job(
    "performer",
    ("faces",),
    lambda work: _train(work, "task=performer"),
    _files(f"run/{METRICS}", f"performers/*/{FILE}"),
)
CACHE = Job("cache", ("faces", "performers"), _train, _NUMBERS, hurt="cache")
EVALUATION = Job("evaluation", ("faces", "performers", "cache", "run"), _evaluate, _newest_evaluation)
SWEEP = Job("sweep", ("faces", "performers", "cache"), _sweep, _of_sweep)
REPORT_JOB = Job("report", ("faces", "performers", "cache", "run"), _report, _whole_page)
JOBS = (RUN, PERFORMER, CACHE, EVALUATION, SWEEP, REPORT_JOB)


def make(world: Path) -> None:
    """Draw the faces, train the performer, fill the cache and finish a run, once."""
    if (world / "made").exists():
        return
    shutil.rmtree(world, ignore_errors=True)

    def begin() -> None:
        SyntheticFacesDataModule(root=str(world / "faces"), **FACES).prepare_data()
        _train(world)
        (world / "small").mkdir()  # a run of few bytes, of which there are many copies
        shutil.copytree(world / "faces", world / "small" / "faces")
        _train(world / "small", "trainer.max_epochs=1")

    outcome = run(begin, world.with_suffix(".log"))
    if outcome.status != 0:
        raise RuntimeError(outcome.text)
    (world / "made").touch()


@contextlib.contextmanager
def copy(world: Path, work: Path, needs: tuple[str, ...]) -> Iterator[Path]:
    """Some folders of the world in a place of their own, where a run of it finds what it was made with."""
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    for name in needs:
        shutil.copytree(world / name, work / name)
    for path in (work / "run").rglob("*") if "run" in needs else ():
        if path.suffix in (".yaml", ".json") and path.is_file():
            path.write_text(path.read_text().replace(str(world), str(work)))
    if "run" in needs:
        sign(work / "run" / CONFIG)
    try:
        yield work
    finally:
        shutil.rmtree(work, ignore_errors=True)
