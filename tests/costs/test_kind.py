"""A new kind of concept costs one file and one yaml; then everything works with it."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from omegaconf import OmegaConf
from safetensors.torch import save_file

from evaluate import evaluate
from semexplain.explanation import Explanation
from train import train

ANIMALS = {"train": 40, "valid": 20, "negatives_count": 30, "draw_size": 128}
pytestmark = [
    pytest.mark.filterwarnings("ignore:The performer's convolutions start from random weights"),
    pytest.mark.filterwarnings(r"ignore:All \d+ scores of the performer lie between 0 and 1"),
]


@pytest.fixture(scope="module")
def dictionary(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five atoms on 32 channels."""
    path = tmp_path_factory.mktemp("dictionary") / "dictionary.safetensors"
    save_file({"dictionary": torch.rand(5, 32, generator=torch.Generator().manual_seed(0))}, path)
    return path


def overrides(dictionary: Path, folder: Path, *more: str) -> list[str]:
    return [
        "experiment=pascal_part_dog",
        "performer=interpretable_alexnet",
        "scale=smoke",
        "case=atoms",
        f"performer.kind.file={dictionary}",
        "explainer.output=identity",
        "data=synthetic_animals",
        f"data.root={folder / 'animals'}",
        *(f"data.{key}={value}" for key, value in ANIMALS.items()),
        f"paths.performers={folder / 'performers'}",
        f"paths.cache={folder / 'cache'}",
        "trainer.max_epochs=1",
        "performer_training.max_epochs=1",
        *more,
    ]


def test_a_kind_is_one_short_file_and_one_yaml():
    from tests.costs.conftest import OUTSIDE

    assert len((OUTSIDE / "atoms.py").read_text().splitlines()) <= 80
    assert [path.name for path in (OUTSIDE / "conf").rglob("*atoms*")] == ["atoms.yaml"]


def test_an_atom_is_taken_away_where_it_is(dictionary: Path):
    """X is rebuilt cell by cell from the shares that are left."""
    from atoms import Atoms

    kind = Atoms(str(dictionary))
    x = torch.randn(2, 32, 3, 4, generator=torch.Generator().manual_seed(1))

    class Sums:
        feature_shape = (32, 3, 4)

        def head(self, feature: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            return feature.square().sum((1, 2, 3)), kind.strengths(self, feature, feature)

    present = torch.tensor([[1.0, 0.0, 1.0], [0.0, 0.0, 0.5]])
    scores = kind.game(Sums(), x, [0, 2, 4], None)(present[None])
    atoms = kind.dictionary
    for image in range(2):
        total = 0.0
        for row in range(3):
            for column in range(4):
                cell = x[image, :, row, column]
                shares = (cell @ torch.linalg.pinv(atoms)).clamp_min(0)
                for gone, atom in zip(1 - present[image], (0, 2, 4), strict=True):
                    cell = cell - gone * shares[atom] * atoms[atom]
                total += float(cell.square().sum())
        assert float(scores[0, image]) == pytest.approx(total, rel=1e-4)


@pytest.mark.parametrize("method", [[], ["method=semexplain"]], ids=["paper", "semexplain"])
def test_atoms_are_trained_evaluated_reported_and_explained(
    method: list[str], dictionary: Path, tmp_path: Path, configured: Callable
):
    from semexplain.__main__ import main

    run = tmp_path / "run"
    metrics = train(configured(*overrides(dictionary, tmp_path, *method)), run)
    table = Explanation.load(run / "explanations.parquet")
    assert table.concepts == tuple(f"atom_{i:02d}" for i in range(5))
    torch.testing.assert_close(table.part_contributions.sum(1), table.contributions.sum(1), rtol=1e-4, atol=1e-4)
    assert metrics["test/part_error_images"] + metrics["test/part_error_skipped"] > 0

    config = OmegaConf.load(Path(__file__).parents[2] / "conf/evaluate.yaml")
    base = {"run": str(run), "controls": [], "images": 8, "verdict": None, "metrics": {}}
    empty = {key: config[key] for key in ("data", "performer", "trainer", "parts")}
    rival = {"_target_": "semexplain.attributions.integrated_gradients.IntegratedGradients", "steps": 4}
    measured = evaluate(OmegaConf.create({**empty, **base, "rival": rival}), tmp_path / "rival")
    assert measured["test/relative_deviation"] >= 0
    judged = evaluate(OmegaConf.create({**empty, **base, "images": None, "controls": ["constant"]}), tmp_path / "again")
    assert "test/control/constant/relative_deviation" in judged
    assert {name: judged[name] for name in metrics} == pytest.approx(metrics, rel=0, abs=0, nan_ok=True)

    assert main(["report", str(run)]) == 0
    assert "atom" in (run / "report.html").read_text()
    photos = tmp_path / "animals/JPEGImages"
    assert main(["explain", f"run={run}", f"images={photos}", f"out={tmp_path / 'mine'}"]) == 0
    assert Explanation.load(tmp_path / "mine/explanations.parquet").concepts == table.concepts
    written = json.loads((run / "metrics.json").read_text())  # where nothing was counted, null
    assert {name: float("nan") if value is None else value for name, value in written.items()} == pytest.approx(
        metrics, rel=0, abs=0, nan_ok=True
    )


def test_a_dictionary_that_does_not_fit_is_refused_before_the_work(tmp_path: Path, configured: Callable):
    from semexplain.runs.options import check
    from semexplain.system.config import ConfigError

    path = tmp_path / "other.safetensors"
    save_file({"dictionary": torch.rand(5, 7)}, path)
    with pytest.raises(ConfigError, match=r"performer: Atoms of 7 channels do not fit maps \(32, 5, 5\)"):
        check(configured(*overrides(path, tmp_path)))
