"""Networks that a run folder names: one's own are built, a stranger's run code only if trusted and unchanged."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml
from hostile import changed
from omegaconf import OmegaConf
from support import configured, smoke

from semexplain.performers.sources import source_digest
from semexplain.runs.folder import open_run
from semexplain.runs.origin import absolute_model
from semexplain.runs.run import Run
from semexplain.system.config import ConfigError
from semexplain.system.ownership import sign
from semexplain.system.trouble import Trouble

pytestmark = [
    pytest.mark.filterwarnings("ignore:The performer's convolutions start from random weights"),
    pytest.mark.filterwarnings(r"ignore:All \d+ scores of the performer lie between 0 and 1"),
]
TARGET = "semexplain.performers.named_network.NamedNetwork"
CODE = """
from torch import nn
CANARY

def build():
    return nn.Sequential(nn.Conv2d(3, 4, 3, stride=2), nn.ReLU(), nn.Flatten(), nn.Linear(196, 3))
"""


@pytest.fixture
def folder(sweep: Path, tmp_path: Path) -> Path:
    """A run's folder that names a network of code, which makes a canary when it is run."""
    run = tmp_path / "run"
    shutil.copytree(sweep / "1", run, ignore=shutil.ignore_patterns("checkpoints", "figures"))
    (run / "evil.py").write_text(CODE.replace("CANARY", f"import os; os.mkdir({str(tmp_path / 'canary')!r})"))
    node = {
        "_target_": TARGET,
        "model": f"{run / 'evil.py'}:build",
        "layer": "0",
        "transform": {"size": 16},
        "classes": ["a", "b", "c"],
        "target": "b",
    }
    config = yaml.safe_load((run / "config.yaml").read_text())
    (run / "config.yaml").write_text(yaml.safe_dump({**config, "performer": node}))
    facts = json.loads((run / "performer.json").read_text())
    source = {"name": node["model"], "sha256": source_digest(node["model"]), "versions": {}}
    (run / "performer.json").write_text(json.dumps({**facts, "path": None, "source": source}))
    return run


def built(folder: Path, tmp_path: Path, **options: Any) -> bool:
    """Whether opening the folder's network runs the code that it names."""
    shutil.rmtree(tmp_path / "canary", ignore_errors=True)
    try:
        assert Run(folder, **options).performer.target_name == "b"
    finally:
        made = (tmp_path / "canary").exists()
    return made


def test_a_strangers_code_is_not_run(folder: Path, tmp_path: Path):
    expected = (
        f"^run: {folder} was made on another machine or changed since: its network performer.model=.*evil.py:build is "
        "code that would be run. Name the network yourself: `performer.model=<file>.py:<function>`; or if you trust "
        "who made it: `trust=true`, for report and parts `--trust`."
    )
    with pytest.raises(ConfigError, match=expected):
        built(folder, tmp_path)
    assert not (tmp_path / "canary").exists()


def test_ones_own_is_built_and_a_trusted_one_too(folder: Path, tmp_path: Path):
    assert built(folder, tmp_path, trust=True)
    sign(folder / "config.yaml")
    assert built(folder, tmp_path)


def test_a_network_that_is_named_again_is_trusted(folder: Path, tmp_path: Path):
    (tmp_path / "mine.py").write_text(CODE.replace("CANARY", ""))
    assert not built(folder, tmp_path, overrides={"performer.model": f"{tmp_path / 'mine.py'}:build"})


def test_what_a_stranger_calls_a_transform_is_not_called_though_the_code_is_ones_own(folder: Path, tmp_path: Path):
    canary = f"\n\ndef face(picture):\n    import os; os.mkdir({str(tmp_path / 'canary')!r})\n"
    (tmp_path / "mine.py").write_text(CODE.replace("CANARY", "") + canary)
    config = yaml.safe_load((folder / "config.yaml").read_text())
    config["performer"]["transform"] = "face"
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    given = {"performer.model": f"{tmp_path / 'mine.py'}:build"}
    message = "it would have performer.transform=face called, which it chooses. If you trust who made it: `trust=true`"
    with pytest.raises(ConfigError, match=message):
        built(folder, tmp_path, overrides=given)
    assert not (tmp_path / "canary").exists()
    with pytest.raises(Trouble, match="transform: "):
        built(folder, tmp_path, overrides=given, trust=True)
    assert (tmp_path / "canary").exists()


def test_trusted_code_must_be_what_was_recorded(folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture):
    with (folder / "evil.py").open("a") as file:
        file.write("# changed\n")
    message = r"evil.py:build is not what the run was made with \(SHA-256 \w{12} then, \w{12} now\)"
    with pytest.raises(ConfigError, match=f"{message}. Restore it. Name the network yourself: `performer.model="):
        built(folder, tmp_path, trust=True)
    assert not (tmp_path / "canary").exists()
    sign(folder / "config.yaml")
    assert built(folder, tmp_path)  # one's own: it is told in a line
    assert "is not what the run was made with" in caplog.text
    (folder / "evil.py").unlink()
    with pytest.raises(
        ConfigError, match=r"run: model: there is no file .*evil.py. Say where it is: `performer.model="
    ):
        built(folder, tmp_path)


def test_trusted_code_that_nothing_was_recorded_of_is_refused(folder: Path, tmp_path: Path):
    facts = json.loads((folder / "performer.json").read_text())
    del facts["source"]
    (folder / "performer.json").write_text(json.dumps(facts))
    with pytest.raises(ConfigError, match=r"is not what the run was made with \(SHA-256 None then"):
        built(folder, tmp_path, trust=True)
    assert not (tmp_path / "canary").exists()


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("metrics.evil", {"_target_": TARGET, "model": "RUN/evil.py:build"}, "metrics.evil.model=.* is code"),
        ("module.explainer", [{"_target_": TARGET, "model": "RUN/evil.py:build"}], r"explainer\[0\].model=.* is code"),
        ("performer.model", "hf:a-stranger/net", "performer.model=hf:a-stranger/net would be downloaded"),
        ("performer.model", "evil:build", "performer.model=evil:build is code that would be run"),
        ("performer.model", {"_target_": "os.system"}, "model: expected"),
        ("performer.model", ["RUN/evil.py:build"], "model: expected|model: name the network"),
        ("performer.classes", "/etc/hostname", "is code|would have the file /etc/hostname read"),
    ],
)
def test_no_other_place_and_no_other_words_do_more(key: str, value, message: str, folder: Path, tmp_path: Path):
    text = json.dumps(value).replace("RUN", str(folder))
    changed(folder, key, json.loads(text))
    with pytest.raises(ValueError, match=message):
        built(folder, tmp_path)
    assert not (tmp_path / "canary").exists()


def test_a_file_of_names_is_not_read_for_a_stranger(folder: Path, tmp_path: Path):
    changed(folder, "performer.model", "torchvision:squeezenet1_1")
    changed(folder, "performer.classes", str(tmp_path / "secret.txt"))
    with pytest.raises(ConfigError, match="would have the file .*secret.txt read for names"):
        _ = Run(folder).config
    named = {"performer.model": "torchvision:squeezenet1_1"}
    with pytest.raises(ConfigError, match="read for names. Say its classes yourself: `performer.classes=...`"):
        _ = Run(folder, named).config
    assert Run(folder, {**named, "performer.classes": ["a", "b"]}).config.performer.classes == ["a", "b"]


def test_a_table_of_names_of_filters_is_not_read_for_a_stranger(folder: Path, tmp_path: Path):
    kind = {"_target_": "semexplain.concepts.filters.Filters", "names": str(tmp_path / "secret.csv")}
    changed(folder, "performer.kind", kind)
    for overrides in ({}, {"performer.model": "torchvision:squeezenet1_1"}):
        with pytest.raises(ConfigError, match="would have the file performer.kind.names=.*secret.csv read for names"):
            _ = Run(folder, overrides).config


@pytest.mark.parametrize("options", [{}, {"trust": True}])
def test_a_second_network_is_not_built_for_a_stranger(options: dict[str, Any], folder: Path, tmp_path: Path):
    """Its source is not recorded, so trust in the folder is not enough: naming it is."""
    second = {"_target_": TARGET, "model": f"{folder / 'evil.py'}:build"}
    changed(folder, "performer.kind", {"_target_": "semexplain.concepts.outputs.Outputs", "network": second})
    (tmp_path / "mine.py").write_text(CODE.replace("CANARY", ""))
    mine = {"performer.model": f"{tmp_path / 'mine.py'}:build"}
    with pytest.raises(
        ConfigError,
        match=r"its network performer.kind.network.model=.*:build is code .*`performer.kind.network.model=<file>.*`\.$",
    ):
        built(folder, tmp_path, overrides=mine, **options)
    assert not (tmp_path / "canary").exists()


def test_positional_arguments_name_no_network(folder: Path, tmp_path: Path):
    config = yaml.safe_load((folder / "config.yaml").read_text())
    model = config["performer"].pop("model")
    config["performer"]["_args_"] = [model]
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    with pytest.raises(ValueError, match="positional argument"):
        built(folder, tmp_path)
    assert not (tmp_path / "canary").exists()


@pytest.mark.filterwarnings("ignore:The network .* has random weights")
def test_a_librarys_network_needs_no_trust(folder: Path, caplog: pytest.LogCaptureFixture):
    changed(folder, "performer.model", "torchvision:squeezenet1_1")
    changed(folder, "performer.arguments", {"num_classes": 3})
    assert Run(folder).config.performer.model == "torchvision:squeezenet1_1"
    assert "is not what the run was made with" in caplog.text  # the recorded source is another


def test_a_strangers_run_is_not_resumed_with_its_code(folder: Path, faces: Path, tmp_path: Path, sweep: Path):
    (folder / "metrics.json").unlink()
    options = [f"data.root={faces}", "trainer.max_epochs=1", "beta=0.2", f"resume={folder}"]
    config = configured(*smoke(faces, sweep.parents[1], *options[1:]))
    with pytest.raises(ConfigError, match="evil.py:build is code that would be run"):
        open_run(config, folder)
    assert not (tmp_path / "canary").exists()
    config.trust = True
    with pytest.raises(ConfigError, match="was started with other options"):  # it is read, and compared
        open_run(config, folder)


def test_a_recorded_configuration_means_the_same_in_another_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "nets.py").write_text(CODE.replace("CANARY", ""))
    (tmp_path / "names.txt").write_text("a\nb\nc\n")
    words = ["performer=network", "network.model=nets.py:build", "network.transform={size: 16}", "network.layer='0'"]
    config = configured(
        *words, "network.classes=names.txt", "network.output=0", "case=filters", f"paths.data={tmp_path}"
    )
    recorded = open_run(config, tmp_path / "run")
    for node in (recorded.performer, recorded.network):
        assert (node.model, node.classes) == (f"{tmp_path}/nets.py:build", f"{tmp_path}/names.txt")
    assert recorded.performer.target == "a"  # whose name is written down
    assert recorded.data.image_size == [3, 16, 16]
    assert OmegaConf.load(tmp_path / "run/config.yaml").performer.target == "a"
    assert absolute_model("nets.py:build") == f"{tmp_path}/nets.py:build"
