"""The console script: ``semexplain <verb>``."""

import argparse
import logging
import subprocess
import sys
from datetime import datetime
from pathlib import Path

from semexplain.comparison import LEGEND, comparison, finished_runs, unfinished_runs
from semexplain.config import ConfigError
from semexplain.filter_report import report_filters
from semexplain.notices import hush

MOVABLE = ("data.root", "performer.checkpoint", "trainer.accelerator")  # what may have moved since a run
TRAIN = Path(__file__).parents[1] / "train.py"


def main(arguments: list[str] | None = None) -> int:
    """Run a verb.

    Args:
        arguments: Words after ``semexplain``; those of the command line by default.

    Returns:
        The exit status.
    """
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
    given = parser.parse_args(arguments)
    if given.verb == "demo":
        return run_demo(given.override)
    if given.verb == "parts":
        return run_parts(given.run, given.out or given.run / "filters", given.override)
    return run_compare(given.folder)


def run_demo(overrides: list[str]) -> int:
    """Experiment 2 on drawn faces, baseline and with the prior, then the table of both."""
    if not TRAIN.exists():
        print(
            f"The demo needs the repository (there is no {TRAIN}): clone it and run `make demo` there.", file=sys.stderr
        )
        return 1
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
    return status or run_compare([sweep])


def run_parts(run: Path, folder: Path, overrides: list[str]) -> int:
    """Draw the filters of a run and print how well they stand for parts."""
    hush()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    try:
        result = report_filters(run, folder, dict(_moved(override) for override in overrides))
    except ConfigError as error:
        print(error, file=sys.stderr)
        return 1
    print("\n".join(f"{name:22} {value:.4g}" for name, value in result.items()))
    names = folder / "parts.yaml"
    print(f"edit {names} and give it back: python evaluate.py run={run} parts.file={names}")
    return 0


def _moved(override: str) -> tuple[str, str]:
    key, _, value = override.partition("=")
    if key not in MOVABLE or not value:
        raise ConfigError(f"{override}: expected one of {', '.join(f'{name}=...' for name in MOVABLE)}.")
    return key, value


def run_compare(folders: list[Path]) -> int:
    """Print the comparison of all finished runs in some folders."""
    absent = [str(folder) for folder in folders if not folder.is_dir()]
    if absent:
        print(f"There is no folder {', '.join(absent)}.", file=sys.stderr)
        return 1
    runs = finished_runs(folders)
    try:
        print(f"\n{comparison(runs)}\n\n{LEGEND}\n")
    except ValueError as error:
        print(error, file=sys.stderr)
        return 1
    print("\n".join(f"run folder {number}: {run}" for number, run in enumerate(runs, start=1)))
    for run in unfinished_runs(folders):
        print(f"not finished: {run} (python train.py resume={run})")
    return 0


if __name__ == "__main__":
    sys.exit(main())
