"""Ten lines of yaml: read, checked, and put into words that train.py takes."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from PIL import Image
from support import configured
from torch import Tensor

from evaluate import evaluate
from semexplain.__main__ import main
from semexplain.performers.named_network import NamedNetwork
from semexplain.report.own_images import explain_files
from semexplain.report.run import run_report
from semexplain.runs.cache import CHECKED
from semexplain.runs.folder import discard
from semexplain.runs.own_yaml import own_yaml
from semexplain.runs.run import Run
from semexplain.system.config import ConfigError
from semexplain.system.ownership import sign
from semexplain.system.words import override
from train import train

CODE = '''
import torch
from torch import nn


class Block(nn.Module):
    """A residual block that writes in place, as torchvision's does."""

    def __init__(self, channels, wider, stride):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(channels, wider, 3, stride, 1, bias=False), nn.BatchNorm2d(wider)
        self.conv2, self.bn2 = nn.Conv2d(wider, wider, 3, 1, 1, bias=False), nn.BatchNorm2d(wider)
        self.down = nn.Conv2d(channels, wider, 1, stride, bias=False)
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x):
        y = self.bn2(self.conv2(self.relu(self.bn1(self.conv1(x)))))
        y += self.down(x)
        return self.relu(y)


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem, self.layer1, self.layer2 = nn.Conv2d(3, 4, 3, 2, 1), Block(4, 4, 1), Block(4, 6, 2)
        self.fc = nn.Linear(6, 3)

    def forward(self, x):
        return self.fc(self.layer2(self.layer1(self.stem(x))).mean((2, 3)))


def build():
    torch.manual_seed(0)
    return Net()
'''
MINE = {
    "network": {
        "model": "my_nets.py:build",
        "output": "dog",
        "classes": "classes.txt",
        "transform": {"size": [32, 32]},
    },
    "images": "my photos",
    "options": ["trainer=cpu", "trainer.max_epochs=1", "data.num_workers=0", "data.batch_size=16"],
}


def test_nothing_is_left_of_a_run_that_could_not_start(tmp_path: Path):
    run = tmp_path / "runs/a"
    for name in (".hydra/config.yaml", ".hydra/overrides.yaml", "config.yaml", "performer.json"):
        (run / name).parent.mkdir(parents=True, exist_ok=True)
        (run / name).write_text("{}")
    sign(run / "config.yaml")
    discard(run)
    assert not run.parent.exists()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A user's folder: code, names of classes, drawn pictures in folders of classes."""
    place = tmp_path_factory.mktemp("own")
    (place / "my_nets.py").write_text(CODE)
    (place / "classes.txt").write_text("cat\ndog\nbig cow\n")
    generator = np.random.default_rng(0)
    for number, name in enumerate(("cat", "dog", "big cow")):
        (place / "my photos" / name).mkdir(parents=True)
        for at in range(20):
            pixels = generator.integers(0, 120, (36, 40, 3), dtype=np.uint8)
            pixels[at : at + 10, 5:20, number] += 130
            Image.fromarray(pixels).save(place / "my photos" / name / f"{at:02d}.png")
    return place


def written(folder: Path, **changes: object) -> Path:
    """The yaml with some of its keys changed."""
    file = folder / "mine.yaml"
    file.write_text(yaml.safe_dump(MINE | {"options": [*MINE["options"], f"paths.cache={folder / 'cache'}"]} | changes))
    return file


def test_words_mean_what_the_yaml_says_wherever_they_are_used(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)
    config = configured(*own_yaml(written(folder, concepts={"outputs": ["big cow"]}, method=None)).words())
    assert config.performer.model == f"{folder}/my_nets.py:build"
    assert (config.performer.target, config.performer.classes) == ("dog", str(folder / "classes.txt"))
    outputs = {"_target_": "semexplain.concepts.outputs.Outputs", "names": ["big cow"], "network": None}
    assert config.performer.kind == outputs
    assert config.data.root == str(folder / "my photos")
    assert (config.trainer.max_epochs, config.data._target_.rpartition(".")[2]) == (1, "PicturesDataModule")
    splits = configured(*own_yaml(written(folder, images={"train": "a", "test": "../b"}, parts="c.json")).words())
    assert (splits.data.parts, splits.parts.method) == (str(folder / "c.json"), "erased")
    assert (config.data.parts, config.get("parts")) == (None, None)
    assert (splits.data.train, splits.data.val) == (str(folder / "a"), None)
    assert splits.data.test == str(folder.parent / "b")
    assert splits.performer.kind == {"_target_": "semexplain.concepts.filters.Filters", "names": None}


@pytest.mark.parametrize(
    "value",
    ["a b", "3", "null", "it's {x: 1}", "${oc.env:HOME}", 3, -0.5, 1e-5, True, None, [3, "-5"], {"a": [1, "b,c"]}],
)
def test_any_plain_value_comes_through_a_word(value: object):
    assert configured("performer=network", override("network.output", value)).network.output == (
        "${oc.env:HOME}" if value == "${oc.env:HOME}" else value
    )


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"netwrok": {}}, r"mine.yaml: netwrok: unknown key \(did you mean 'network'\?\)"),
        ({"network": {"model": "a.py:b", "layr": "x"}}, r"mine.yaml: network.layr: unknown key \(did you mean 'layer'"),
        ({"network": {}}, "mine.yaml: network.model: say which"),
        ({"network": "a.py:b"}, "mine.yaml: network: expected a valid dictionary, got 'a.py:b'"),
        ({"network": {"model": "a.py"}}, "Say which function or class of it: `a.py:build`|Say which function"),
        ({"concepts": "filter"}, r"mine.yaml: concepts: expected filters, .*'filter' \(did you mean 'filters'\?\)"),
        ({"concepts": {"outputs": "cow"}}, r"mine.yaml: concepts.outputs: expected a list of names, such as \[cow\]"),
        ({"concepts": {"filters": {"network": {}}}}, r"concepts.filters: expected .names: .*, network: .* of outputs"),
        ({"concepts": {"outputs": {"network": {}}}}, "mine.yaml: concepts.outputs.network.model: say which"),
        (
            {"concepts": {"outputs": {"network": {"model": "a.py:b", "layr": "x"}}}},
            r"concepts.outputs.network.layr: unknown key \(did you mean 'layer'",
        ),
        ({"images": {"trian": "x"}}, r"mine.yaml: images.trian: unknown split \(did you mean 'train'\?\)"),
        ({"options": "beta=0"}, "mine.yaml: options: expected a valid list"),
    ],
)
def test_a_typo_is_told_in_a_line(changes: dict, message: str, folder: Path):
    with pytest.raises(ValueError, match=message):
        own_yaml(written(folder, **changes))


def test_reading_runs_no_code(tmp_path: Path):
    (tmp_path / "my_nets.py").write_text(f"import os; os.mkdir({str(tmp_path / 'canary')!r})")
    assert own_yaml(written(tmp_path)).words()
    assert not (tmp_path / "canary").exists()
    (tmp_path / "mine.yaml").write_text("network: !!python/object/apply:os.getcwd []")
    with pytest.raises(ValueError, match="is not YAML of plain values"):
        own_yaml(tmp_path / "mine.yaml")


def test_layers_are_listed_whatever_layer_the_yaml_says(folder: Path, capsys: pytest.CaptureFixture):
    file = written(folder, network=MINE["network"] | {"layer": "layer2.conv1"})
    assert main(["layers", str(file)]) == 0
    rows = {line[2:].split()[0]: line for line in capsys.readouterr().out.splitlines()}
    assert rows["layer2"].startswith("* ")
    assert " yes " in rows["layer1"]


def test_check_prints_a_table_or_ends_with_the_reason(folder: Path, capsys: pytest.CaptureFixture):
    assert main(["check", str(written(folder))]) == 0
    out = capsys.readouterr().out
    assert "swap test" in out
    assert "accuracy" in out  # the pictures have classes that are called as outputs are
    assert main(["check", str(written(folder, network=MINE["network"] | {"layer": "layer2.conv1"}))]) == 2
    assert "does not separate the network" in capsys.readouterr().err
    assert main(["check", str(written(folder, images=None))]) == 2
    assert "images: say where they are" in capsys.readouterr().err


def test_check_prepares_pictures_by_the_function_that_the_yaml_names(folder: Path, capsys: pytest.CaptureFixture):
    function = """

def face(picture):
    pixels = torch.tensor(list(picture.resize((32, 32)).tobytes())).view(32, 32, 3)
    return pixels.permute(2, 0, 1) / 255
"""
    (folder / "faces.py").write_text(CODE + function)
    network = {"model": "faces.py:build", "transform": "face", "output": ["dog", "-cat"]}
    assert main(["check", str(written(folder, network=MINE["network"] | network))]) == 0
    assert "swap test" in capsys.readouterr().out
    assert main(["check", str(written(folder, network=MINE["network"] | network | {"transform": "fase"}))]) == 2
    assert "faces.py has no 'fase' (did you mean 'face'?)" in capsys.readouterr().err


def test_fit_starts_train_and_says_what_is_next(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
):
    commands: list[list[str]] = []
    monkeypatch.setattr(
        "semexplain.__main__.run_script", lambda script, words: commands.append([script.name, *words]) or 0
    )
    file, out = written(folder, out="runs/dogs"), tmp_path / "a run"
    assert main(["fit", str(file), "beta=0", f"out={out}"]) == 0
    assert commands[-1] == ["train.py", *own_yaml(file).words(), "beta=0", override("hydra.run.dir", out)]
    said = capsys.readouterr().out
    assert f"semexplain verdict '{out}'" in said
    assert f"semexplain parts '{out}'" in said
    assert main(["fit", str(file), "resume=x"]) == 0
    assert not any(word.startswith("hydra.run.dir") for word in commands[-1])
    assert main(["fit", "-m", str(file), "beta=0,1"]) == 0
    assert (commands[-1][1], commands[-1][-1]) == ("-m", override("hydra.sweep.dir", folder / "runs/dogs"))
    assert main(["verdict", "r 1", "verdict.images=50"]) == 0
    assert commands[-1] == ["evaluate.py", "run='r 1'", "verdict.images=50"]
    out.mkdir()
    (out / "a").touch()
    assert main(["fit", str(file), f"out={out}"]) == 2
    assert "is not empty. Name a new folder, or go on with it by `resume=" in capsys.readouterr().err


def test_a_tiny_fit_and_a_second_one_from_the_cache(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Also with other concepts of the same kind: what the network said of an image is not asked again."""
    seen: list[int] = []
    encode = NamedNetwork.encode

    def counted(network: NamedNetwork, image: Tensor) -> Tensor:
        seen.append(0 if bool((image == image[..., :1, :1]).all()) else len(image))
        return encode(network, image)

    monkeypatch.setattr(NamedNetwork, "encode", counted)
    fast = ["callbacks=[prior_weight,best_checkpoint,last_checkpoint,write_explanations]"]
    words = own_yaml(written(folder, concepts="outputs")).words()
    train(configured(*words, *fast), tmp_path / "one")
    assert sum(seen) >= 60
    seen.clear()
    subset = own_yaml(written(folder, concepts={"outputs": ["big cow"]})).words()
    train(configured(*subset, *fast), tmp_path / "two")
    assert sum(seen) == CHECKED  # with which what is kept is compared
    one, two = (Run(tmp_path / name).explanation for name in ("one", "two"))
    assert (one.concepts, two.concepts) == (("cat", "big cow"), ("big cow",))
    assert torch.equal(one.uncentred[:, 1:], two.uncentred)
    assert torch.equal(one.score, two.score)


SECOND = """

def attributes():
    net = build()
    torch.manual_seed(1)
    net.fc = nn.Linear(6, 2)
    return net
"""


def test_outputs_of_a_second_network_that_shares_the_layer(folder: Path, tmp_path: Path):
    (folder / "heads.py").write_text(CODE + SECOND)
    layer = {"layer": "layer2", "transform": {"size": [32, 32]}}
    other = {"model": "heads.py:attributes", "classes": ["furry", "tall"], **layer}
    concepts = {"outputs": {"names": ["tall", "furry"], "network": other}}
    mine = written(folder, network=MINE["network"] | {"model": "heads.py:build", "layer": "layer2"}, concepts=concepts)
    fast = ["callbacks=[prior_weight,best_checkpoint,last_checkpoint,write_explanations]"]
    train(configured(*own_yaml(mine).words(), *fast), tmp_path / "run")
    assert Run(tmp_path / "run").explanation.concepts == ("tall", "furry")
    apart = other | {"layer": "layer1"}
    mine = written(folder, network=MINE["network"] | {"layer": "layer2"}, concepts={"outputs": {"network": apart}})
    with pytest.raises(ConfigError, match="Cut both at the same layer of a backbone"):
        train(configured(*own_yaml(mine).words(), *fast), tmp_path / "none")


@pytest.mark.slow
@pytest.mark.parametrize("method", ["semexplain", None])
@pytest.mark.parametrize("case", ["filters", "outputs"])
def test_from_pictures_to_verdict_report_and_own_images(case: str, method: str | None, folder: Path, tmp_path: Path):
    own = own_yaml(written(folder, concepts=case, method=method))
    narrow = [] if method else ["explainer=narrow_resnet18"]
    train(configured(*own.words(), *narrow), tmp_path / "run")
    settings = [f"run={tmp_path / 'run'}", f"paths.cache={folder / 'cache'}"]
    evaluate(configured(*settings, name="evaluate"), tmp_path / "verdict")
    assert (tmp_path / "verdict/verdict.json").exists()
    rival = configured(*settings, "rival=gradient_times_activation", name="evaluate")
    assert evaluate(rival, tmp_path / "rival")["test/rival_fit_seconds"] >= 0
    (moved := tmp_path / "moved.py").write_text(CODE)
    assert run_report(Run(tmp_path / "run", {"performer.model": f"{moved}:build"})).exists()
    page = explain_files(Run(tmp_path / "run"), str(folder / "my photos/dog"), tmp_path / "out", device="cpu")
    assert page.exists()


@pytest.mark.slow
def test_the_commands_as_they_are_typed(folder: Path, tmp_path: Path):
    def said(*words: str, script: str = "-m semexplain") -> str:
        command = [sys.executable, *script.split(), *words]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    file = str(written(folder, concepts={"filters": "units.csv"}, network=MINE["network"] | {"layer": "layer2"}))
    (folder / "units.csv").write_text("layer,unit,description,similarity\nlayer2,0,warm fur,0.5\nlayer2,3,sky,0.2\n")
    assert "semexplain report r1" in said("fit", file, "out=r1")
    (folder / "units.csv").unlink()  # the run has written down what they are called
    assert "NOT SHOWN" in said("verdict", "r1")
    assert "page: " in said("report", "r1")
    assert "warm fur" in (tmp_path / "r1/report.html").read_text()
    assert "named                  2" in said("parts", "r1", "filters=2")
    assert "layer2,0,warm fur,\n" in (tmp_path / "r1/filters/units.csv").read_text()
    assert "page: " in said("explain", "run=r1", f"images={folder / 'my photos/dog'}", "out=x")
    assert Run(tmp_path / "r1").explanation.concepts[:2] == ("warm fur", "filter_001")
