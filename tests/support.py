"""What tests of whole runs share: composed configurations and the smallest complete run."""

from pathlib import Path

from hydra import compose, initialize_config_dir
from omegaconf import DictConfig

ROOT = Path(__file__).parents[1]
FACES = {"train": 70, "valid": 19, "test": 23, "draw_size": 32}


def configured(*overrides: str, name: str = "train") -> DictConfig:
    """The configuration that the command line would compose."""
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        return compose(name, overrides=list(overrides))


def smoke(faces: Path, folder: Path, *overrides: str) -> list[str]:
    """Overrides of the smallest complete run, all of it under a folder of its own."""
    return [
        "experiment=celeba_attractive",
        "scale=smoke",
        f"data.root={faces}",
        f"paths.performers={folder / 'performers'}",
        f"paths.cache={folder / 'cache'}",
        f"paths.outputs={folder / 'outputs'}",
        f"paths.multirun={folder / 'multirun'}",
        *overrides,
    ]
