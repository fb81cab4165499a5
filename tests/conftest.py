"""Small real things to test with: drawn faces and a narrow VGG-16."""

import os
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from support import FACES, configured, smoke

from semexplain.data.synthetic_faces import SyntheticFacesDataModule
from semexplain.performers.vgg16_attributes import VGG16Attributes
from semexplain.system.quiet import WARNINGS
from train import train


def pytest_configure(config: pytest.Config) -> None:
    """Leave out the notices that the package leaves out; any other warning is an error."""
    for message in WARNINGS:
        config.addinivalue_line("filterwarnings", f"ignore:{message}")
    os.environ["XDG_CONFIG_HOME"] = tempfile.mkdtemp()  # a key of these tests alone makes their run folders their own


@pytest.fixture(autouse=True)
def _isolated() -> Iterator[None]:
    """Neither Hydra's global state nor a launcher's variables leak from one test into another."""
    before = dict(os.environ)
    yield
    GlobalHydra.instance().clear()
    HydraConfig.instance().cfg = None
    os.environ.clear()
    os.environ.update(before)


@pytest.fixture(scope="session")
def faces(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of drawn faces in CelebA's layout."""
    root = tmp_path_factory.mktemp("faces") / "celeba"
    SyntheticFacesDataModule(root=str(root), **FACES).prepare_data()
    return root


@pytest.fixture(scope="session")
def sweep(faces: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with two finished runs, ``0`` without and ``1`` with the prior, to be read only."""
    folder = tmp_path_factory.mktemp("trained")
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The performer's convolutions start from random weights")
        warnings.filterwarnings("ignore", r"All \d+ scores of the performer lie between 0 and 1")
        for number, beta in enumerate(("0", "0.2")):
            train(configured(*smoke(faces, folder, "trainer.max_epochs=1", f"beta={beta}")), folder / f"sweep/{number}")
    return folder / "sweep"


@pytest.fixture
def performer() -> VGG16Attributes:
    """A narrow face-attribute network with random weights."""
    torch.manual_seed(0)
    with pytest.warns(UserWarning, match="random weights"):
        return VGG16Attributes(weights=None, image_size=32, width=8, hidden=32)
