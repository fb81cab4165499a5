"""Filters of anyone's network: the ones that contribute most, where they are strongest, with a table to fill in."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from awkward import ClassToken
from PIL import Image
from support import configured
from torch import nn

import semexplain as sx
from semexplain.__main__ import main
from semexplain.concepts.filter_names import names_in
from semexplain.performers.base import Performer
from semexplain.report.filters import report_filters
from semexplain.report.own_filters import strongest
from semexplain.runs.naming import named_performer
from semexplain.runs.own_yaml import own_yaml
from semexplain.runs.run import Run
from semexplain.runs.verdicts import way_of
from semexplain.system.config import ConfigError
from train import train

CODE = '''
import torch
from torch import nn


def build():
    """Filters are red, green and blue, each twice; all of them count, red most."""
    colours = nn.Conv2d(3, 6, 4, 4, bias=False)
    model = nn.Sequential(colours, nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 2))
    with torch.no_grad():
        model[0].weight.zero_()
        for unit in range(6):
            model[0].weight[unit, unit % 3] = 1 / 16
        model[4].weight[:] = torch.tensor([3.0, 1.0, 0.5, 9.0, -2.0, 0.2])
    return model
'''
MINE = {
    "network": {"model": "my_nets.py:build", "output": 1, "transform": {"size": [32, 32]}},
    "images": "photos",
    "options": [
        "trainer=cpu",
        "trainer.max_epochs=1",
        "data.num_workers=0",
        "data.batch_size=8",
        "callbacks=[prior_weight,best_checkpoint,last_checkpoint,write_explanations]",
    ],
}
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A user's folder: code, pictures with a red and a green patch, and where these are in the training pictures."""
    place = tmp_path_factory.mktemp("own filters")
    (place / "my_nets.py").write_text(CODE)
    chance = np.random.default_rng(0)
    images, annotations = [], []
    for number in range(36):
        split = ("train", "train", "train", "train", "val", "test")[number % 6]
        pixels = chance.integers(0, 60, (40, 48, 3), dtype=np.uint8)
        for part in (0, 1):
            x, y = (int(chance.integers(0, 14)) + 24 * part, int(chance.integers(0, 30)))
            pixels[y : y + 9, x : x + 9, part] = chance.integers(150, 250)
            annotations.append({"image_id": number, "category_id": part, "bbox": [x, y, 9, 9]})
        name = f"{split}/{number:02d}.png"
        (place / "photos" / split).mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(place / "photos" / name)
        if split == "train":
            images.append({"id": number, "file_name": name})
    annotations = [one for one in annotations if one["image_id"] in {image["id"] for image in images}]
    categories = [{"id": 0, "name": "cherry"}, {"id": 1, "name": "leaf"}]
    (place / "boxes.json").write_text(
        json.dumps({"images": images, "annotations": annotations, "categories": categories})
    )
    return place


def fitted(folder: Path, name: str, **changes: object) -> Path:
    """A run of the yaml with some of its keys changed."""
    file = folder / f"{name}.yaml"
    options = [*MINE["options"], f"paths.cache={folder / 'cache'}"]
    file.write_text(yaml.safe_dump(MINE | {"options": options} | changes))
    train(configured(*own_yaml(file).words()), folder / name)
    return folder / name


@pytest.fixture(scope="module")
def run(folder: Path) -> Path:
    return fitted(folder, "plain")


def rows(file: Path) -> list[list[str]]:
    return [line.split(",") for line in file.read_text().splitlines()]


def test_the_filters_that_contribute_most_come_first(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    assert main(["parts", str(run), "filters=4", "images=10", "--out", str(tmp_path / "out")]) == 0
    printed = capsys.readouterr().out
    explanation = Run(run).explanation
    means = {
        name: contributions.abs().mean()
        for name, contributions in zip(explanation.concepts, explanation.contributions.T, strict=True)
    }
    units = sorted(range(6), key=lambda unit: -means[f"filter_{unit:03d}"])[:4]
    assert rows(tmp_path / "out/units.csv") == [
        ["layer", "unit", "description", "similarity"],
        *(["1", str(unit), "", ""] for unit in units),
    ]
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["page-001.png", "units.csv"]
    assert np.asarray(Image.open(tmp_path / "out/page-001.png")).std() > 10
    assert [line.split()[1] for line in printed.splitlines()[:4]] == ["6", "4", "10", "0"]
    assert f"concepts: {{filters: {tmp_path / 'out/units.csv'}}}" in printed
    assert main(["parts", str(run), "filters=5,0", "--out", str(tmp_path / "two")]) == 0
    assert [row[1] for row in rows(tmp_path / "two/units.csv")[1:]] == ["5", "0"]


def test_what_a_person_fills_in_goes_back_and_is_never_overwritten(folder: Path, run: Path, tmp_path: Path):
    out = tmp_path / "out"
    report_filters(Run(run), out)
    text = (out / "units.csv").read_text().replace("\n1,3,,\n", "\n1,3,red things,\n")
    (out / "units.csv").write_text(text)
    names = names_in(out / "units.csv", ["1"], 6)
    assert names == ("filter_000", "filter_001", "filter_002", "red things", "filter_004", "filter_005")
    own = own_yaml_of(folder, concepts={"filters": str(out / "units.csv")})
    assert sx.Filters(configured(*own).performer.kind.names).names(Run(run).performer) == names
    report_filters(Run(run), out)
    (kept,) = out.glob("units.until-*.csv")
    assert kept.read_text() == text


def own_yaml_of(folder: Path, **changes: object) -> list[str]:
    (folder / "again.yaml").write_text(yaml.safe_dump(MINE | changes))
    return own_yaml(folder / "again.yaml").words()


def test_the_strongest_images_are_those_of_all_maps(run: Path):
    performer: Performer = Run(run).performer
    images = torch.from_numpy(np.random.default_rng(1).integers(0, 256, (23, 3, 32, 32), dtype=np.uint8))
    found = strongest(performer, images.split(5), [4, 0], CPU, top=6)
    maps = torch.cat([performer.encode(some) for some in images.split(5)]).numpy()
    for filter_, peaks in zip([4, 0], found, strict=True):
        expected = sorted(range(23), key=lambda at: (-maps[at, filter_].max(), -maps[at, filter_].sum()))[:6]
        assert [at for at, _ in peaks] == expected
        for at, heat in peaks:
            np.testing.assert_array_equal(heat, maps[at, filter_])
    assert [len(peaks) for peaks in strongest(performer, images[:2].split(1), [1], CPU)] == [2]


def test_boxes_propose_names_for_a_run_that_knew_none(folder: Path, run: Path, tmp_path: Path):
    words = [f"data.parts={folder / 'boxes.json'}", "filters=2", "--out", str(tmp_path / "out")]
    assert main(["parts", str(run), *words]) == 0
    names = {int(unit): name for _, unit, name, _ in rows(tmp_path / "out/units.csv")[1:]}
    assert {unit: names[unit] for unit in (0, 1, 3, 4)} == {0: "cherry", 3: "cherry", 1: "leaf", 4: "leaf"}
    assert names_in(tmp_path / "out/units.csv", ["1"], 6)[:2] == ("cherry 0", "leaf 1")


def test_parts_explain_a_run_that_is_told_of_them(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    run = fitted(folder, "named", parts="boxes.json")
    (folder / "named/config.yaml").read_text().index(f"parts: {folder}/boxes.json")
    explanation = Run(run).explanation
    assert explanation.parts == ("cherry", "leaf", "background")
    assert explanation.concept_parts[:2] == ("cherry", "leaf")
    assert main(["parts", str(run), "filters=3", "--out", str(tmp_path / "out")]) == 0
    printed = capsys.readouterr().out
    assert "named/cherry" in printed
    assert "receptive_field" not in printed  # which the network does not say
    assert (tmp_path / "out/parts.yaml").read_text() == (run / "parts.yaml").read_text()
    assert yaml.safe_load((run / "parts.yaml").read_text())["performer"]["layer"] == "1"
    opened = Run(run)
    assert way_of(opened.module.teacher, opened.data, "auto") == "moved"  # no test picture has boxes
    with pytest.raises(
        ConfigError, match="cannot be erased away here, which needs named parts and their masks in test"
    ):
        way_of(opened.module.teacher, opened.data, "erased")
    moved = tmp_path / "boxes.json"
    moved.write_text((folder / "boxes.json").read_text())
    assert Run(run, {"data.parts": str(moved)}).data.fingerprint() == opened.data.fingerprint()


def test_two_layers_with_as_many_filters_have_names_of_their_own():
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(64, 2))
    lower, upper = (sx.Network(model, layer, output=0, transform={"size": 8}) for layer in ("1", "3"))
    assert named_performer(lower) != named_performer(upper)
    assert named_performer(lower) | {"layer": "3"} == named_performer(upper)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["filters=0"], "filters: expected a whole number above 0, got '0'."),
        (["filters=a,b"], "filters: expected how many, or which as filters=3,17; got 'a,b'."),
        (["filters=2,17"], "filters: there is no filter 17; the layer has 6, from 0 on."),
        (["images=x"], "images: expected a whole number above 0, got 'x'."),
        (["data.parts=nowhere.json"], "data: There is no file or folder "),
        (["data.prats=x"], "data.prats: unknown (did you mean 'data.parts'?)"),
    ],
)
def test_what_cannot_be_drawn_is_refused_before_anything_is_written(
    words: list[str], message: str, run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    assert main(["parts", str(run), *words, "--out", str(tmp_path / "out")]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_outputs_have_no_place_and_parts_need_boxes(folder: Path):
    images = np.random.default_rng(0).integers(0, 256, (40, 32, 32, 3), dtype=np.uint8)
    model = nn.Sequential(nn.Conv2d(3, 4, 3, 2), nn.ReLU(), nn.Flatten(), nn.Linear(900, 3))
    net = sx.Network(model, output=0, classes=["a", "b", "c"], transform={"size": 32})
    short = [*MINE["options"], f"paths.cache={folder / 'cache'}"]
    explainer = sx.Explainer(net, sx.Outputs(), options=short).fit(images, out=folder / "outputs")
    with pytest.raises(ConfigError, match="has no parts.yaml: its concepts are not filters"):
        report_filters(explainer.run, folder / "none")
    with pytest.raises(ConfigError, match="use data=pictures with `data.parts=<file or folder>`"):
        sx.Explainer(net, sx.Filters(), options=[*short, "parts=erased"])


def test_tokens_are_drawn_as_a_grid_from_python(folder: Path, tmp_path: Path):
    images = np.random.default_rng(0).integers(0, 256, (40, 16, 16, 3), dtype=np.uint8)
    torch.manual_seed(0)
    net = sx.Network(ClassToken(), "blocks.layers.1", output=0, transform={"size": 16})
    short = [*MINE["options"], f"paths.cache={folder / 'cache'}"]
    explainer = sx.Explainer(net, sx.Filters(), options=short).fit(images, out=folder / "tokens")
    numbers = report_filters(explainer.run, tmp_path / "out", filters=3)
    assert (numbers["drawn"], numbers["named"]) == (3, 0)
    assert (tmp_path / "out/page-001.png").exists()
