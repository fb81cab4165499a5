"""From a network to a page with a verdict, beside a forward pass: a small network, a few images."""

import ast
import importlib
import json
import sys
from pathlib import Path

import pytest
import pytorch_lightning
from PIL import Image

from benchmarks import own_network
from benchmarks.own_network import Spent, drawn, figures, photos
from semexplain.system.trouble import Trouble


def test_goals_are_seconds_beyond_a_minute_over_a_forward_pass():
    spent = {"fit": Spent(100, 150), "verdict": Spent(40, 60), "report": Spent(20, 30)}
    found = {one["goal"]: one for one in figures(Spent(50, 90), spent, 2)}
    assert found["minutes, all commands"]["value"] == round(160 / 60, 4)
    assert found["(seconds - 60) / forward pass"]["value"] == 2
    assert not found["(seconds - 60) / forward pass"]["met"]
    assert found["the same in processor seconds, 60 of each core"]["value"] == round((240 - 120) / 90, 4)
    assert found["verdict, processor seconds"] == {
        "goal": "verdict, processor seconds",
        "value": 60,
        "target": None,
        "met": True,
    }


def test_images_are_spread_over_a_folder_and_enough_of_them(tmp_path: Path):
    files = drawn(tmp_path / "pictures", 9)
    assert photos(tmp_path, 3) == [files[0], files[4], files[8]]
    with Image.open(files[0]) as picture:
        assert picture.size == (256, 256)
    with pytest.raises(Trouble, match="There are 9 images in .*, asked for are 10"):
        photos(tmp_path, 10)


@pytest.mark.parametrize(("place", "function"), own_network.PARTS.values())
def test_what_is_timed_is_a_function_that_exists(place: str, function: str):
    if place == "importlib._bootstrap>":  # which is in no file
        assert hasattr(importlib._bootstrap, function)
        return
    roots = [own_network.ROOT / "semexplain", Path(pytorch_lightning.__file__).parent]
    files = [file for root in roots for file in root.rglob("*.py") if str(file).endswith(place)]
    nodes = [node for file in files for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))]
    assert function in [node.name for node in nodes if isinstance(node, ast.FunctionDef)]


@pytest.mark.slow
def test_the_whole_path_of_a_small_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    results = tmp_path / "results.json"
    words = ["--images=40", "--model=torchvision:squeezenet1_1", "--layer=features", "--size=64", "--threads=1"]
    monkeypatch.setattr(sys, "argv", ["own_network", *words, f"--results={results}", "trainer.max_epochs=1"])
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    own_network.main()
    found = {one["goal"]: one["value"] for one in json.loads(results.read_text())}
    assert 0 < found["forward pass, seconds"] < found["fit, seconds"] < found["minutes, all commands"] * 60
