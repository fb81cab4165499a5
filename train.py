"""Train an explainer, and first the performer it explains if nobody has: ``python train.py experiment=...``."""

import sys
from pathlib import Path

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig

from semexplain import runs
from semexplain.comparison import comparison
from semexplain.config import ConfigError, check
from semexplain.notices import hush


def train(config: DictConfig, folder: Path) -> dict[str, float]:
    """Check the configuration, run it in ``folder``, and return the metrics of the test split."""
    hush()
    check(config)
    config = runs.open_run(config, folder)
    task = {"explainer": runs.train_explainer, "performer": runs.train_performer}[config.task]
    metrics = task(config, folder)
    if config.task == "explainer":
        print(f"\n{comparison([folder])}\n")
    print(f"run folder: {folder}")
    return metrics


@hydra.main(version_base="1.3", config_path="conf", config_name="train")
def main(config: DictConfig) -> float | None:
    """The command; returns ``objective`` to a sweeper."""
    job = HydraConfig.get()
    try:
        if job.mode == RunMode.MULTIRUN:
            metrics = runs.run_in_fresh_process(job, Path(__file__).absolute())
        else:
            metrics = train(config, Path(job.runtime.output_dir))
    except ConfigError as error:
        sys.exit(f"{error}")
    return metrics.get(config.objective)


if __name__ == "__main__":
    main()
