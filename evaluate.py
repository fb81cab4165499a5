"""Measure a run again, from its folder alone: ``python evaluate.py run=outputs/celeba_attractive/...``."""

import sys
from pathlib import Path

import hydra
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from semexplain import runs
from semexplain.comparison import COLUMNS
from semexplain.config import ConfigError
from semexplain.data.images import ImageError
from semexplain.files import read_json
from semexplain.notices import hush
from semexplain.processes import is_first


def evaluate(config: DictConfig, folder: Path) -> dict[str, float]:
    """Measure ``config.run`` on its test split again, and print what comes out."""
    hush()
    if config.run is None:
        raise ConfigError("run: name the folder of the run to measure, `python evaluate.py run=outputs/...`.")
    run = Path(config.run)
    moved = {
        f"{group}.{key}": config[group][key]
        for group in ("data", "performer", "trainer", "parts")
        for key in config[group]
    }
    overrides = {key: value for key, value in moved.items() if value is not None}
    metrics = runs.evaluate_run(run, folder, overrides, rival=config.get("rival"), images=config.images)
    if is_first():
        report(run, folder, metrics, config)
    return metrics


def report(run: Path, folder: Path, metrics: dict[str, float], config: DictConfig) -> None:
    """Print the metrics, and whether they are the run's own."""
    if "rival" in config:
        name = config.rival._target_.split(".")[-2]
        seconds, milliseconds = (metrics[f"test/rival_{key}"] for key in ("fit_seconds", "milliseconds_per_image"))
        print(f"rival: {name}, fitted in {seconds:.1f} s, {milliseconds:.3g} ms an image")
    print("\n".join(f"{name:20} {metrics[key]:.4f}" for name, key in COLUMNS.items() if key in metrics))
    if "rival" in config or config.images is not None:
        print(f"measured on {config.images or 'all'} test images; the run's own numbers: {run / runs.METRICS}")
    elif (run / runs.METRICS).exists():
        own, again = read_json(run / runs.METRICS), read_json(folder / runs.METRICS)
        differing = [name for name in own if own[name] != again.get(name)]
        print(
            f"{len(own) - len(differing)} of {len(own)} numbers equal the run's own; different: {differing or 'none'}"
        )
    else:
        print(f"The run is not finished (python train.py resume={run}); measured at its best epoch so far.")
    print(f"evaluation: {folder}")


@hydra.main(version_base="1.3", config_path="conf", config_name="evaluate")
def main(config: DictConfig) -> None:
    """The command."""
    job = HydraConfig.get()
    folder = Path(job.runtime.output_dir)
    try:
        runs.require_one_folder(config, job.overrides.hydra)
        evaluate(config, folder)
    except ConfigError as error:
        runs.discard(folder)
        sys.exit(f"{error}")
    except ImageError as error:
        sys.exit(error.text())


if __name__ == "__main__":
    main()
