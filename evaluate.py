"""Measure a run again, from its folder alone: ``python evaluate.py run=outputs/celeba_attractive/...``."""

import sys
from pathlib import Path

import hydra
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from semexplain import runs
from semexplain.config import ConfigError
from semexplain.files import read_json
from semexplain.notices import hush


def evaluate(config: DictConfig, folder: Path) -> dict[str, float]:
    """Metrics of ``config.run`` on its test split; says whether they are the run's own."""
    hush()
    run = Path(config.run)
    moved = {
        f"{group}.{key}": config[group][key] for group in ("data", "performer", "trainer") for key in config[group]
    }
    overrides = {key: value for key, value in moved.items() if value is not None}
    metrics = runs.evaluate_run(run, folder, overrides)
    if (run / runs.METRICS).exists():
        own = read_json(run / runs.METRICS)
        again = read_json(folder / runs.METRICS)
        differing = [name for name in own if own[name] != again.get(name)]
        print(
            f"{len(own) - len(differing)} of {len(own)} numbers equal the run's own; different: {differing or 'none'}"
        )
    print(f"evaluation: {folder}")
    return metrics


@hydra.main(version_base="1.3", config_path="conf", config_name="evaluate")
def main(config: DictConfig) -> None:
    """The command."""
    try:
        evaluate(config, Path(HydraConfig.get().runtime.output_dir))
    except ConfigError as error:
        sys.exit(f"{error}")


if __name__ == "__main__":
    main()
