"""The console script: ``semexplain <verb>``."""

import argparse
import atexit
import logging
import multiprocessing
import os
import runpy
import shlex
import sys
from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, NoReturn, cast

from semexplain.report.comparison import COMPARISON, comparison_report
from semexplain.report.filters import report_filters
from semexplain.report.own_filters import UNITS
from semexplain.report.own_images import explain_files
from semexplain.report.run import MOST, run_report
from semexplain.report.tables.groups import entry_of
from semexplain.report.tables.write import SEEDS, write_tables
from semexplain.runs.comparison import comparison, finished_runs, listing, spared, unfinished_runs
from semexplain.runs.folder import EXPLANATIONS, PARTS
from semexplain.runs.foreign import within
from semexplain.runs.own_yaml import OwnYaml, checks_of_yaml, layers_of_yaml, own_yaml, targets_of_yaml
from semexplain.runs.run import Run
from semexplain.runs.trained import Precision
from semexplain.system.config import ConfigError, suggest
from semexplain.system.files import TIME
from semexplain.system.places import expanded, require_writable
from semexplain.system.processes import forget_stray_launcher
from semexplain.system.quiet import hush
from semexplain.system.trouble import BUG, REFUSED, told
from semexplain.system.words import override, shown

MOVABLE = (
    "data.root",
    "data.parts",
    "performer.checkpoint",
    "performer.model",
    "trainer.accelerator",
)  # what may have moved since a run
MOVED = tuple(f"{name}=" for name in MOVABLE)
EXPLAIN = ("run", "images", "out", "batch_size", "most", "device", "precision", "trust", *MOVABLE)
TRUST = "take folders that were made on another machine for your own (docs/decisions/trusted-targets.md)"
TRAIN, EVALUATE = (Path(__file__).parents[1] / script for script in ("train.py", "evaluate.py"))


def main(arguments: list[str] | None = None) -> int:
    """Run a verb.

    Args:
        arguments: Words after ``semexplain``; those of the command line by default.

    Returns:
        The exit status: 0; 2 if something was refused or, of several runs, left out; 130 if it was interrupted; 1 for
        a bug.
    """
    forget_stray_launcher()
    try:
        with told():
            args = _parser().parse_args(arguments)
            hush()
            logging.basicConfig(level=logging.INFO, format="%(message)s")
            return _run(args)
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else BUG


class _Parser(argparse.ArgumentParser):
    """Refuses a wrong word in one line."""

    def error(self, message: str) -> NoReturn:
        raise ConfigError(f"{message}. `{self.prog} --help` says what there is.")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="semexplain", description="How much did each concept contribute to a score?")
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="verb")
    demo = verbs.add_parser("demo", help="train and explain a performer on drawn faces, with and without the prior")
    demo.add_argument("override", nargs="*", help="configuration overrides, for example trainer.max_epochs=3")
    layers = verbs.add_parser("layers", help="list the layers at which a network may be cut")
    check = verbs.add_parser("check", help="try whether a network can be explained rightly, on its images")
    fit = verbs.add_parser("fit", help="explain a network: train.py on the words of a yaml")
    for own in (layers, check, fit):
        own.add_argument("yaml", help="network, concepts and images, see README.md")
    for own in (check, fit):
        own.add_argument("override", nargs="*", help="configuration overrides, for example trainer.max_epochs=3")
    fit.add_argument("-m", "--multirun", action="store_true", help="a sweep: options may have several values")
    verdict = verbs.add_parser("verdict", help="whether the explanations of a run are faithful: evaluate.py")
    verdict.add_argument("run", help="folder of the run")
    verdict.add_argument("override", nargs="*", help="options of evaluate.py, for example verdict.images=500")
    compare = verbs.add_parser("compare", help="print finished runs side by side")
    parts = verbs.add_parser("parts", help="draw the filters that a run explains by, to name them by hand")
    parts.add_argument("run", type=Path, help="folder of a run that explains by filters")
    parts.add_argument(
        "override",
        nargs="*",
        help="filters=64 (those that contribute most) or filters=3,17; images=500 to look at; data.parts=<boxes or "
        "masks> to propose names from; where things are now: data.root=..., performer.model=..., ...",
    )
    parts.add_argument("--out", action=_Once, help="where to write; <run>/filters by default")
    parts.add_argument("--trust", action="store_true", help=TRUST)
    explain = verbs.add_parser("explain", help="explain your own images with a trained explainer: a table and a page")
    explain.add_argument("option", nargs="+", help="run=<folder> images=<file, folder or 'pattern'> out=<folder> ...")
    report = verbs.add_parser("report", help="write report.html for every finished run, and a page that compares them")
    report.add_argument("--most", type=_whole, default=MOST, action=_Once, help="images in a page")
    report.add_argument("--data-root", action=_Once, help="where the data are now, if they have moved")
    report.add_argument(
        "--out", action=_Once, help=f"folder of {COMPARISON}; by default the one that the given folders have in common"
    )
    report.add_argument("--trust", action="store_true", help=TRUST)
    tables = verbs.add_parser("tables", help="the paper's tables from finished runs, its printed numbers beside ours")
    tables.add_argument("--out", action=_Once, help="where to write; <first folder>/tables by default")
    tables.add_argument("--seeds", type=_whole, default=SEEDS, action=_Once, help="seeds that each cell should have")
    tables.add_argument("--all", action="store_true", help="list also the missing runs of tables that have none yet")
    for verb in (compare, report, tables):
        where = "; where things are now: performer.model=..., performer.checkpoint=..." if verb is report else ""
        verb.add_argument("folder", nargs="+", type=Path, help=f"run folders, or folders that contain them{where}")
    return parser


class _Once(argparse.Action):
    """An option with a value, which is not overwritten by a second one."""

    def __call__(self, parser: argparse.ArgumentParser, namespace: Any, values: Any, option: str | None = None) -> None:
        given = vars(namespace).setdefault("given", set())
        if self.dest in given:
            parser.error(f"argument {option}: given twice")
        given.add(self.dest)
        setattr(namespace, self.dest, values)


def _whole(text: str) -> int:
    if not (text.isascii() and text.isdecimal()) or int(text) < 1:
        raise argparse.ArgumentTypeError(f"expected a whole number above 0, got {text!r}")
    return int(text)


def _run(args: argparse.Namespace) -> int:
    match args.verb:
        case "demo":
            return run_demo(args.override)
        case "layers" | "check" | "fit":
            own = own_yaml(expanded("yaml", args.yaml))
            if args.verb == "fit":
                return run_fit(own, args.override, several=args.multirun)
            mark = f"* the last good one of its resolution: `layer: ...` below `network` of {own.file}"
            if args.verb == "layers":
                print(f"{layers_of_yaml(own)}\n{mark}")
                return 0
            for target, checks in checks_of_yaml(own, args.override).items():
                print(checks if own.targets is None else f"{target}:\n{checks}")
            return 0
        case "verdict":
            return run_script(EVALUATE, [override("run", expanded("run", args.run)), *args.override])
        case "parts":
            out = args.out and expanded("--out", args.out)
            return run_parts(expanded("run", args.run), out, args.override, trust=args.trust)
        case "explain":
            return run_explain(args.option)
    given = [str(folder) for folder in args.folder]
    words = [word for word in given if args.verb == "report" and word.startswith(MOVED)]
    folders = [expanded("folder", word) for word in given if word not in words]
    if not folders:
        raise ConfigError(f"Expected a run folder beside {' '.join(words)}.")
    match args.verb:
        case "report":
            changes = _options(words, MOVABLE)
            if args.data_root is not None:
                changes["data.root"] = str(expanded("--data-root", args.data_root))
            out = args.out and expanded("--out", args.out)
            return run_report_of(folders, args.most, changes, out, trust=args.trust)
        case "tables":
            out = expanded("--out", args.out) if args.out else within(folders[0], "tables")
            return run_tables(folders, out, args.seeds, args.all)
        case _:
            return run_compare(folders)


def run_demo(overrides: list[str]) -> int:
    """Experiment 2 on drawn faces, baseline and with the prior, with the table of both and their pages."""
    sweep = Path("multirun/demo") / datetime.now().strftime(TIME)
    words = ["-m", "experiment=demo", "beta=0,0.2", override("hydra.sweep.dir", sweep), *overrides]
    status = run_script(TRAIN, words)
    return status or run_report_of([sweep], MOST, {})


def run_script(script: Path, words: Sequence[str]) -> int:
    """Run ``train.py`` or ``evaluate.py`` as a user does, and return how it ended.

    It has a process of its own, which on Linux begins as a copy of this one: seconds of imports are not made twice.
    """
    if not script.exists():
        raise ConfigError(f"This needs the repository (there is no {script}): clone it, and install it from there.")
    context: Any = multiprocessing.get_context("fork" if sys.platform == "linux" else "spawn")
    process = context.Process(target=_be, args=(script, words))
    process.start()
    try:
        process.join()
    except KeyboardInterrupt:
        process.terminate()  # it ends its jobs, and says how they go on
        process.join()
        raise
    return process.exitcode or 0


def _be(script: Path, words: Sequence[str]) -> None:
    """Do in this process what a new interpreter would do with a script, to its end."""
    sys.argv, sys.path[0] = [str(script), *words], str(script.parent)
    try:
        runpy.run_path(str(script), run_name="__main__")
    finally:
        atexit._run_exitfuncs()  # which a copy leaves out, and a logger may rely on


def run_fit(own: OwnYaml, overrides: list[str], *, several: bool) -> int:
    """Fit an explainer of the network of a yaml, and print what to do next."""
    further = [word for word in overrides if not word.startswith("out=")]
    words = [*own.words(), *further]
    given = [word.removeprefix("out=") for word in overrides if word.startswith("out=")]
    out = expanded("out", given[-1]) if given else own.out
    if own.targets is not None:
        return run_fit_each(own, further, out, several=several)
    if several:
        place = out or Path("multirun", own.file.stem, datetime.now().strftime(TIME))
        return run_script(TRAIN, ["-m", *words, override("hydra.sweep.dir", place)])
    resumed = [word.removeprefix("resume=") for word in words if word.startswith("resume=")]
    if resumed:
        return run_script(TRAIN, words)
    folder = out or Path("outputs", own.file.stem, datetime.now().strftime(TIME))
    if folder.is_dir() and any(folder.iterdir()):
        raise ConfigError(f"out: {folder} is not empty. Name a new folder, or go on with it by `resume={folder}`.")
    status = run_script(TRAIN, [*words, override("hydra.run.dir", folder)])
    if status == 0:
        run = shlex.quote(str(folder))
        parts = f"\nsemexplain parts {run}" if own.case == "filters" else ""
        print(f"semexplain verdict {run}\nsemexplain report {run}{parts}\nsemexplain explain run={run} images=...")
    return status


def run_fit_each(own: OwnYaml, options: list[str], out: Path | None, *, several: bool) -> int:
    """Fit an explainer of each target of a yaml in this process, and print what to do next."""
    if several or any(word.startswith("resume=") for word in options):
        word = "-m" if several else "resume"
        raise ConfigError(f"{word}: {own.file} has `targets`; to go on with them, give the same `out` again.")
    folder = out or Path("outputs", own.file.stem, datetime.now().strftime(TIME))
    try:
        runs = targets_of_yaml(own, options, folder)
    except (SystemExit, KeyboardInterrupt) as interruption:  # Lightning turns both signals into an exit
        again = shlex.join(["semexplain", "fit", str(own.file), *options, f"out={folder}"])
        raise KeyboardInterrupt(f"Interrupted. To go on: {again}") from interruption
    print(f"\n{comparison([Run(run) for run in runs])}\n")
    print("\n".join(f"semexplain verdict {shlex.quote(str(run))}" for run in runs))
    print(f"semexplain report {shlex.quote(str(folder))}")
    return 0


def run_parts(path: Path, out: Path | None, overrides: list[str], *, trust: bool = False) -> int:
    """Draw the filters of a run and print how well they stand for parts."""
    if not path.is_dir() and "=" in str(path):
        raise ConfigError(f"run: there is no folder {path}; the folder comes first, without a name: `parts <folder>`.")
    values = _options(overrides, (*MOVABLE, "filters", "images"))
    filters = _filters(values.pop("filters")) if "filters" in values else None
    images = _whole_option("images", values.pop("images")) if "images" in values else None
    run = Run(path, values, trust=trust)
    folder = out or run.place("filters")
    result = report_filters(run, folder, filters=filters, images=images)
    print("\n".join(f"{name:22} {value:.4g}" for name, value in result.items()))
    names, units = folder / PARTS, folder / UNITS
    if run.config.get("parts") is None:
        print(
            f"fill in the column `description` of {units}, and explain again: `concepts: {{filters: {units}}}` in the "
            f"yaml, or train.py {override('performer.kind.names', units)}"
        )
    else:
        print(f"edit {names} and give it back: {shown('evaluate.py', {'run': path, 'parts.file': names})}")
    return 0


def _filters(text: str) -> int | list[int]:
    """How many filters, or which: numbers with commas."""
    words = text.removeprefix("[").removesuffix("]").split(",")
    if len(words) == 1 and words[0] == text:
        return _whole_option("filters", text)
    numbers = [word.strip() for word in words if word.strip()]
    if not numbers or not all(word.isascii() and word.isdecimal() for word in numbers):
        raise ConfigError(f"filters: expected how many, or which as filters=3,17; got {text!r}.")
    return [int(word) for word in numbers]


def _options(words: Sequence[str], names: Sequence[str]) -> dict[str, str]:
    """Values by the names of options, from words `name=value`."""
    values: dict[str, str] = {}
    for word in words:
        name, equals, value = word.partition("=")
        if not equals:
            raise ConfigError(f"{word}: expected `<option>=<value>`, of {', '.join(names)}.")
        if name not in names:
            raise ConfigError(f"{name}: unknown{suggest(name, names)}. There are: {', '.join(names)}.")
        if name in values:
            raise ConfigError(f"{name}: given twice, as {values[name]!r} and as {value!r}.")
        if not value:
            raise ConfigError(f"{name}: nothing is given for it; expected `{name}=<value>`, or leave it out.")
        values[name] = value
    places = ("data.root", "data.parts", "performer.checkpoint")
    return {name: str(expanded(name, value)) if name in places else value for name, value in values.items()}


def run_explain(options: list[str]) -> int:
    """Explain images, and print where the table and the page are."""
    values = _options(options, EXPLAIN)
    if not values.keys() >= {"run", "images"}:
        raise ConfigError(
            "Expected `semexplain explain run=<folder> images=<file, folder or 'pattern'>`, and if wanted "
            "out=<folder>, batch_size=32, most=200, device=cpu, precision=bfloat16, performer.checkpoint=<file>, "
            "trust=true (a folder that was made on another machine is as your own)."
        )
    if values.get("trust", "false") not in ("true", "false"):
        raise ConfigError(f"trust: expected true or false, got {values['trust']!r}.")
    numbers = {name: _whole_option(name, values[name]) for name in ("batch_size", "most") if name in values}
    overrides = {name: values[name] for name in MOVABLE if name in values}
    run = Run(expanded("run", values["run"]), overrides, trust=values.get("trust") == "true")
    now = datetime.now().strftime(TIME)
    page = explain_files(
        run,
        values["images"],
        expanded("out", values["out"]) if "out" in values else run.place("images") / now,
        device=values.get("device", "auto"),
        precision=cast(Precision, values.get("precision", "float32")),
        **numbers,
    )
    print(f"table: {page.parent / EXPLANATIONS}\npage: {page}")
    return 0


def _whole_option(name: str, text: str) -> int:
    try:
        return _whole(text)
    except argparse.ArgumentTypeError as error:
        raise ConfigError(f"{name}: {error}.") from error


def run_tables(folders: list[Path], out: Path, seeds: int, everything: bool) -> int:
    """Write the paper's tables of the finished runs in some folders, and print them."""
    runs, status = _finished(folders, entry_of)
    text, files = write_tables(runs, out, seeds=seeds, everything=everything)
    print(text)
    print("\n".join(f"file: {file}" for file in files))
    return status


def run_report_of(
    folders: list[Path], most: int, overrides: dict[str, str], out: Path | None = None, *, trust: bool = False
) -> int:
    """Write the page of every finished run in some folders, and of several runs one more that compares them."""
    page = (out or Path(os.path.commonpath([folder.absolute() for folder in folders]))) / COMPARISON

    def write(run: Run) -> None:
        print(f"page: {run_report(Run(run.path, overrides, trust=trust), most=most)}")  # whose networks are not kept

    require_writable("--out", page)
    runs, status = _finished(folders, write)
    if len(runs) > 1:
        print(f"page that compares them: {comparison_report(runs, page)}")
    return status


def run_compare(folders: list[Path]) -> int:
    """Print the comparison of all finished runs in some folders."""
    runs, status = _finished(folders)
    print(f"\n{listing(runs)}")
    for run in unfinished_runs(folders):
        print(f"not finished: {run} ({shown('train.py', {'resume': run})})")
    return status


def _finished(folders: list[Path], do: Callable[[Run], object] = lambda run: None) -> tuple[list[Run], int]:
    """Finished runs with each of which something was done, and the status: whether a run was left out."""
    absent = [str(folder) for folder in folders if not folder.is_dir()]
    if absent:
        raise ConfigError(f"There is no folder {', '.join(absent)}.")
    runs, reasons = finished_runs(folders)
    runs, more = spared(runs, do)
    for reason in (*reasons, *more):
        print(f"left out: {reason}", file=sys.stderr)
    if not runs and not (reasons or more):
        raise ConfigError("There are no finished explainer runs here: no folder holds config.yaml and metrics.json.")
    if not runs:
        raise ConfigError("No finished explainer run is left.")
    return runs, REFUSED if reasons or more else 0


if __name__ == "__main__":
    sys.exit(main())
