"""The console script: ``semexplain <verb>``."""

import argparse
import logging
import subprocess
import sys
from datetime import datetime
from pathlib import Path
from typing import cast, get_args

from semexplain.report.comparison import comparison_report
from semexplain.report.filters import report_filters
from semexplain.report.own_images import explain_files
from semexplain.report.run import MOST, REPORT, run_report
from semexplain.report.tables.write import SEEDS, write_tables
from semexplain.runs.comparison import finished_runs, listing, unfinished_runs
from semexplain.runs.folder import EXPLANATIONS
from semexplain.runs.foreign import within
from semexplain.runs.run import Run
from semexplain.runs.trained import Precision
from semexplain.system.config import ConfigError
from semexplain.system.processes import forget_stray_launcher
from semexplain.system.quiet import hush
from semexplain.system.trouble import BUG, told

MOVABLE = ("data.root", "performer.checkpoint", "trainer.accelerator")  # what may have moved since a run
EXPLAIN = ("run", "images", "out", "batch_size", "most", "device", "precision", "trust")
TRUST = "take folders that were made on another machine for your own (docs/decisions/trusted-targets.md)"
TRAIN = Path(__file__).parents[1] / "train.py"


def main(arguments: list[str] | None = None) -> int:
    """Run a verb.

    Args:
        arguments: Words after ``semexplain``; those of the command line by default.

    Returns:
        The exit status.
    """
    forget_stray_launcher()
    parser = argparse.ArgumentParser(prog="semexplain", description="How much did each concept contribute to a score?")
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="verb")
    demo = verbs.add_parser("demo", help="train and explain a performer on drawn faces, with and without the prior")
    demo.add_argument("override", nargs="*", help="configuration overrides, for example trainer.max_epochs=3")
    compare = verbs.add_parser("compare", help="print finished runs side by side")
    compare.add_argument("folder", nargs="+", type=Path, help="run folders, or folders that contain them")
    parts = verbs.add_parser("parts", help="draw the filters that a run explains by, to name them by hand")
    parts.add_argument("run", type=Path, help="folder of a run with named filters")
    parts.add_argument("override", nargs="*", help="where things are now: data.root=..., performer.checkpoint=...")
    parts.add_argument("--out", type=Path, help="where to write; <run>/filters by default")
    parts.add_argument("--trust", action="store_true", help=TRUST)
    explain = verbs.add_parser("explain", help="explain your own images with a trained explainer: a table and a page")
    explain.add_argument("option", nargs="+", help="run=<folder> images=<file, folder or 'pattern'> out=<folder> ...")
    report = verbs.add_parser("report", help="write report.html for every finished run, and one that compares them")
    report.add_argument("folder", nargs="+", type=Path, help="run folders, or folders that contain them")
    report.add_argument("--most", type=int, default=MOST, help="images in a page")
    report.add_argument("--data-root", help="where the data are now, if they have moved")
    report.add_argument("--trust", action="store_true", help=TRUST)
    tables = verbs.add_parser("tables", help="the paper's tables from finished runs, its printed numbers beside ours")
    tables.add_argument("folder", nargs="+", type=Path, help="run folders, or folders that contain them")
    tables.add_argument("--out", type=Path, help="where to write; <first folder>/tables by default")
    tables.add_argument("--seeds", type=int, default=SEEDS, help="seeds that each cell should have")
    tables.add_argument("--all", action="store_true", help="list also the missing runs of tables that have none yet")
    args = parser.parse_args(arguments)
    hush()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    try:
        with told():
            return _run(args)
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else BUG


def _run(args: argparse.Namespace) -> int:
    match args.verb:
        case "demo":
            return run_demo(args.override)
        case "parts":
            return run_parts(args.run, args.out, args.override, trust=args.trust)
        case "explain":
            return run_explain(args.option)
        case "report":
            changes = {} if args.data_root is None else {"data.root": args.data_root}
            return run_report_of(args.folder, args.most, changes, trust=args.trust)
        case "tables":
            return run_tables(args.folder, args.out or within(args.folder[0], "tables"), args.seeds, args.all)
        case _:
            return run_compare(args.folder)


def run_demo(overrides: list[str]) -> int:
    """Experiment 2 on drawn faces, baseline and with the prior, with the table of both and their pages."""
    if not TRAIN.exists():
        raise ConfigError(f"The demo needs the repository (there is no {TRAIN}): clone it and run `make demo` there.")
    sweep = Path("multirun/demo") / datetime.now().strftime("%Y-%m-%d_%H-%M-%S-%f")
    command = [
        sys.executable,
        str(TRAIN),
        "-m",
        "experiment=demo",
        "beta=0,0.2",
        f"hydra.sweep.dir={sweep}",
        *overrides,
    ]
    status = subprocess.run(command, check=False).returncode
    return status or run_report_of([sweep], MOST, {})


def run_parts(path: Path, out: Path | None, overrides: list[str], *, trust: bool = False) -> int:
    """Draw the filters of a run and print how well they stand for parts."""
    run = Run(path, dict(_movable(override) for override in overrides), trust=trust)
    folder = out or run.place("filters")
    result = report_filters(run, folder)
    print("\n".join(f"{name:22} {value:.4g}" for name, value in result.items()))
    names = folder / "parts.yaml"
    print(f"edit {names} and give it back: python evaluate.py run={path} parts.file={names}")
    return 0


def _movable(override: str) -> tuple[str, str]:
    key, _, value = override.partition("=")
    if key not in MOVABLE or not value:
        raise ConfigError(f"{override}: expected one of {', '.join(f'{name}=...' for name in MOVABLE)}.")
    return key, value


def run_explain(options: list[str]) -> int:
    """Explain images, and print where the table and the page are."""
    values = dict(option.partition("=")[::2] for option in options)
    unknown = sorted(set(values) - {*EXPLAIN, *MOVABLE})
    if unknown or not values.get("run") or not values.get("images"):
        wrong = f"{', '.join(unknown)}: unknown. " if unknown else ""
        raise ConfigError(
            f"{wrong}Expected `semexplain explain run=<folder> images=<file, folder or 'pattern'>`, and if wanted "
            "out=<folder>, batch_size=32, most=200, device=cpu, precision=bfloat16, performer.checkpoint=<file>, "
            "trust=true (a folder that was made on another machine is as your own)."
        )
    if values.get("trust", "false") not in ("true", "false"):
        raise ConfigError(f"trust: expected true or false, got {values['trust']!r}.")
    overrides = {name: values[name] for name in MOVABLE if name in values}
    run = Run(values["run"], overrides, trust=values.get("trust") == "true")
    folder = Path(values.get("out") or run.place("images") / datetime.now().strftime("%Y-%m-%d_%H-%M-%S-%f"))
    numbers = {name: _whole(name, values[name]) for name in ("batch_size", "most") if name in values}
    precision = values.get("precision", "float32")
    if precision not in get_args(Precision):
        raise ConfigError(f"precision: expected one of {', '.join(get_args(Precision))}, got {precision!r}.")
    page = explain_files(
        run,
        values["images"],
        folder,
        device=values.get("device", "auto"),
        precision=cast(Precision, precision),
        **numbers,
    )
    print(f"table: {page.parent / EXPLANATIONS}\npage: {page}")
    return 0


def _whole(name: str, text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise ConfigError(f"{name}: expected a whole number above 0, got {text!r}.")
    return int(text)


def run_tables(folders: list[Path], out: Path, seeds: int, everything: bool) -> int:
    """Write the paper's tables of the finished runs in some folders, and print them."""
    if seeds < 1:
        raise ConfigError(f"--seeds: expected a whole number above 0, got {seeds}.")
    runs = _finished(folders)
    try:
        text, files = write_tables(runs, out, seeds=seeds, everything=everything)
    except ValueError as error:
        raise ConfigError(str(error)) from error
    print(text)
    print("\n".join(f"file: {file}" for file in files))
    return 0


def run_report_of(folders: list[Path], most: int, overrides: dict[str, str], *, trust: bool = False) -> int:
    """Write the page of every finished run in some folders, and of several runs one more that compares them."""
    runs = [Run(run.path, trust=trust) for run in _finished(folders)]
    for run in runs:
        print(f"page: {run_report(Run(run.path, overrides, trust=trust), most=most)}")  # whose networks are not kept
    if len(runs) > 1:
        print(f"page that compares them: {comparison_report(runs, folders[0] / REPORT)}")
    return 0


def _finished(folders: list[Path]) -> list[Run]:
    absent = [str(folder) for folder in folders if not folder.is_dir()]
    if absent:
        raise ConfigError(f"There is no folder {', '.join(absent)}.")
    runs = finished_runs(folders)
    if not runs:
        raise ConfigError("There are no finished explainer runs here: no folder holds config.yaml and metrics.json.")
    return runs


def run_compare(folders: list[Path]) -> int:
    """Print the comparison of all finished runs in some folders."""
    print(f"\n{listing(_finished(folders))}")
    for run in unfinished_runs(folders):
        print(f"not finished: {run} (python train.py resume={run})")
    return 0


if __name__ == "__main__":
    sys.exit(main())
