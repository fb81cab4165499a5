"""Components from a folder outside the package: one Python file and one yaml each."""

from collections.abc import Callable
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig
from support import ROOT

OUTSIDE = Path(__file__).parent / "outside"


@pytest.fixture(autouse=True)
def _importable(monkeypatch: pytest.MonkeyPatch) -> None:
    """The folder can be imported from, and its modules may be built."""
    monkeypatch.syspath_prepend(str(OUTSIDE))
    monkeypatch.setenv("SEMEXPLAIN_TRUSTED", ",".join(path.stem for path in OUTSIDE.glob("*.py")))


@pytest.fixture
def configured() -> Callable[..., DictConfig]:
    """The configuration that the command line would compose with ``hydra.searchpath=[file://<outside>/conf]``."""

    def composed(*overrides: str) -> DictConfig:
        with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
            return compose("train", overrides=[f"hydra.searchpath=[file://{OUTSIDE / 'conf'}]", *overrides])

    return composed
