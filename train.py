"""Train an explainer, and first the performer it explains if nobody has: ``python train.py experiment=...``."""

import os
import signal
import sys
from pathlib import Path

if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl+C while modules are imported needs no stack

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig

from semexplain.runs import sweeps
from semexplain.runs.comparison import comparison
from semexplain.runs.folder import CONFIG, FolderInUseError, alone_in, discard, open_run, require_one_folder
from semexplain.runs.options import check, renamed
from semexplain.runs.run import Run
from semexplain.runs.tasks import train_explainer, train_performer
from semexplain.system.devices import require_devices
from semexplain.system.places import require_folder
from semexplain.system.processes import forget_stray_launcher, is_first
from semexplain.system.quiet import hush
from semexplain.system.trouble import REFUSED, Trouble, told
from semexplain.system.words import shown


def train(config: DictConfig, folder: Path) -> dict[str, float]:
    """Check the configuration, run it in ``folder``, and return the metrics of the test split."""
    hush()
    check(config)
    resumed = config.resume is not None
    config = open_run(config, folder)
    if resumed:
        check(config)  # what the folder says
    require_devices(config.trainer)
    for name, place in config.paths.items():
        require_folder(f"paths.{name}", Path(place))
    task = {"explainer": train_explainer, "performer": train_performer}[config.task]
    try:
        metrics = task(config, folder)
    except (SystemExit, KeyboardInterrupt) as interruption:  # Lightning turns both signals into an exit
        again = shown("train.py", {"resume": folder})
        raise KeyboardInterrupt(f"Interrupted. To go on: {again}") from interruption
    if is_first():
        print(f"\n{comparison([Run(folder)])}\n" if config.task == "explainer" else "")
        if config.task == "explainer":
            print(f"whether these explanations are faithful: {shown('evaluate.py', {'run': folder})}\n")
        print(f"run folder: {folder}")
    return metrics


@hydra.main(version_base="1.3", config_path="conf", config_name="train")
def main(config: DictConfig) -> float | None:
    """The command; returns ``objective`` to a search."""
    job = HydraConfig.get()
    folder = Path(job.runtime.output_dir)
    if job.mode == RunMode.MULTIRUN:
        return sweeps.run_job(job, config, Path(__file__).absolute())
    with told():
        try:
            require_one_folder(config, job.overrides.hydra)
            with alone_in(folder):
                train(config, folder)
        except FolderInUseError:
            raise
        except Trouble:
            if config.resume is None or not (folder / CONFIG).exists():
                discard(folder)
            raise
    return None


if __name__ == "__main__":
    forget_stray_launcher()
    if message := renamed(sys.argv[1:]):
        print(message, file=sys.stderr)
        sys.exit(REFUSED)
    os.environ["HYDRA_FULL_ERROR"] = "1"  # what Hydra refuses is told like all other trouble
    with told():
        main()
