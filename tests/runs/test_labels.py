"""Labels are found by name: whole runs on tables of other attributes than CelebA's, in any order."""

import json
from collections.abc import Sequence
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import torch
from support import configured, smoke

from semexplain.data.celeba import read_attributes, read_partition
from semexplain.runs.run import Run
from semexplain.runs.tasks import evaluate_run
from semexplain.runs.trained import load
from semexplain.system.config import ConfigError
from train import train

pytestmark = [
    pytest.mark.filterwarnings("ignore:The performer's convolutions start from random weights"),
    pytest.mark.filterwarnings(r"ignore:All \d+ scores of the performer lie between 0 and 1"),
]
DRAWN = {"grin": "Smiling", "glasses": "Eyeglasses", "hat": "Wearing_Hat", "lips": "Big_Lips"}
OUTPUTS = ("performer.target=grin", "performer.attributes=[glasses,grin,hat]")


def table(faces: Path, folder: Path, names: Sequence[str]) -> Path:
    """The drawn faces, with a table that gives some of their attributes other names."""
    images, labels, drawn = read_attributes(faces / "list_attr_celeba.txt")
    columns = [drawn.index(DRAWN[name]) for name in names]
    rows = [" ".join("1" if value else "-1" for value in row) for row in labels[:, columns].tolist()]
    folder.mkdir()
    (folder / "img_align_celeba").symlink_to(faces / "img_align_celeba")
    (folder / "list_eval_partition.txt").symlink_to(faces / "list_eval_partition.txt")
    lines = [str(len(rows)), " ".join(names), *(f"{image} {row}" for image, row in zip(images, rows, strict=True))]
    (folder / "list_attr_celeba.txt").write_text("\n".join(lines))
    return folder


@pytest.fixture(scope="module")
def others(faces: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The same labels in two orders, one of them with a column that the performer does not tell."""
    folder = tmp_path_factory.mktemp("others")
    orders = {"same": ("grin", "glasses", "hat"), "other": ("hat", "lips", "grin", "glasses")}
    return {name: table(faces, folder / name, order) for name, order in orders.items()}


@pytest.fixture(scope="module")
def run(others: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("labels")
    train(configured(*smoke(others["same"], folder, "trainer.max_epochs=1", *OUTPUTS)), folder / "run")
    return folder / "run"


def test_three_attributes_are_trained_and_one_is_explained_by_the_others(run: Path, others: dict[str, Path]):
    written = pq.read_table(run / "explanations.parquet").to_pydict()
    assert {name.removeprefix("y/") for name in written if name.startswith("y/")} == {"glasses", "hat"}
    images, labels, names = read_attributes(others["same"] / "list_attr_celeba.txt")
    parts = read_partition(others["same"] / "list_eval_partition.txt")
    assert written["id"] == [image for image in images if parts[image] == 2]
    grins = dict(zip(images, labels[:, names.index("grin")].tolist(), strict=True))
    assert written["label"] == [grins[image] for image in written["id"]]
    assert len(set(written["label"])) == 2
    measured = json.loads(
        (Path(json.loads((run / "performer.json").read_text())["path"]).parent / "metrics.json").read_text()
    )
    assert {key for key in measured if key.startswith("test/accuracy/")} == {f"test/accuracy/{name}" for name in names}


def test_it_explains_new_images_and_measures_the_same_again(run: Path, others: dict[str, Path], tmp_path: Path):
    written = pq.read_table(run / "explanations.parquet").to_pydict()
    paths = [others["same"] / "img_align_celeba" / image for image in written["id"][:4]]
    again = load(run).explain(paths, progress=False)
    assert (again.target, again.concepts) == ("grin", ("glasses", "hat"))
    torch.testing.assert_close(again.score, torch.tensor(written["score"][:4]), rtol=1e-2, atol=1e-3)
    evaluate_run(Run(run), tmp_path)
    assert json.loads((tmp_path / "metrics.json").read_text()) == json.loads((run / "metrics.json").read_text())


def test_columns_in_another_order_say_the_same(run: Path, others: dict[str, Path], tmp_path: Path):
    """Performer and explainer are trained anew, since the table is another one, and learn the same."""
    train(configured(*smoke(others["other"], tmp_path, "trainer.max_epochs=1", *OUTPUTS)), tmp_path / "run")
    one, two = (json.loads((folder / "metrics.json").read_text()) for folder in (run, tmp_path / "run"))
    assert one == two
    one, two = (pq.read_table(folder / "explanations.parquet").to_pydict() for folder in (run, tmp_path / "run"))
    assert one == two


@pytest.mark.parametrize(
    ("attributes", "message"),
    [
        ("[grin,glasses,hats]", r"has no labels of 'hats', which the performer tells \(did you mean 'hat'\?\): it has"),
        (
            "[glasses,Bald]",
            r"no labels of 'Bald', which the performer tells: it has those of hat, lips, grin, glasses\.",
        ),
    ],
)
def test_an_output_without_labels_is_named(others: dict[str, Path], tmp_path: Path, attributes: str, message: str):
    options = ("performer.target=glasses", f"performer.attributes={attributes}")
    with pytest.raises(ConfigError, match=message):
        train(configured(*smoke(others["other"], tmp_path, *options)), tmp_path / "run")
    assert not (tmp_path / "performers").exists()  # refused before anything was trained
