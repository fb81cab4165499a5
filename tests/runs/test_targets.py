"""Several outputs of one network: what they share is computed once, and each is explained as if it were alone."""

import logging
import re
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from support import configured
from torch import Tensor

import semexplain as sx
from semexplain.__main__ import main
from semexplain.data.pictures import PicturesDataModule
from semexplain.runs.cache import CHECKED
from semexplain.runs.own_yaml import own_yaml
from semexplain.runs.run import Run
from semexplain.system.config import ConfigError
from semexplain.system.trouble import Trouble
from semexplain.system.words import override
from semexplain.training.distillation import Distillation
from tests.runs.test_explainer import SHORT, network
from tests.runs.test_own_yaml import MINE, folder, written
from train import train

TARGETS = ["dog", 0, [2, -1]]
NAMES = ["dog", "cat", "cow - dog"]
FOLDERS = ["dog", "cat", "cow_-_dog"]
FAST = (*SHORT, "callbacks=[prior_weight,best_checkpoint,last_checkpoint,write_explanations]")  # draws no figures
own = folder  # a fixture


@pytest.fixture(scope="module")
def images() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (80, 40, 36, 3), dtype=np.uint8)


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many images each pass through the layers below has had, but for blank ones."""
    numbers: list[int] = []
    encode = sx.Network.encode

    def counted(performer: sx.Network, image: Tensor) -> Tensor:
        if not bool((image == image[..., :1, :1]).all()):
            numbers.append(len(image))
        return encode(performer, image)

    monkeypatch.setattr(sx.Network, "encode", counted)
    return numbers


def explainer(place: Path, *words: str, **options: object) -> sx.Explainer:
    return sx.Explainer(network(**options), options=[*FAST, f"paths.cache={place / 'cache'}", *words])


@pytest.fixture(scope="module")
def fitted(images: np.ndarray, tmp_path_factory: pytest.TempPathFactory) -> tuple[sx.Explainers, Path]:
    place = tmp_path_factory.mktemp("targets")
    return explainer(place).fit(images, targets=TARGETS, out=place / "runs"), place


def same(one: sx.Explanation, other: sx.Explanation) -> bool:
    fields = ("score", "prediction", "weights", "contributions")
    return all(torch.equal(getattr(one, name), getattr(other, name)) for name in fields)


def test_each_is_explained_as_if_it_were_alone(fitted: tuple[sx.Explainers, Path], images: np.ndarray, tmp_path: Path):
    """Against a network, a fit and a cache for each."""
    explainers, place = fitted
    assert list(explainers) == NAMES
    assert sorted(path.name for path in (place / "runs").iterdir()) == sorted(FOLDERS)
    told = explainers.explain(images[:5])
    for target, name, folder_name in zip(TARGETS, NAMES, FOLDERS, strict=True):
        alone = explainer(tmp_path / folder_name, output=target).fit(images, out=tmp_path / folder_name / "run")
        assert same(alone.run.explanation, Run(place / "runs" / folder_name).explanation)
        assert same(alone.explain(images[:5]), told[name])
        assert same(alone.explain(images[:5]), explainers[name].explain(images[:5]))
        assert str(alone.verdict) == str(explainers.verdicts[name])
        assert alone.run.metrics == explainers[name].run.metrics
        assert alone.run.written.performer == explainers[name].run.written.performer


def test_the_network_runs_once_on_each_image_for_all(images: np.ndarray, tmp_path: Path, seen: list[int]):
    explainers = explainer(tmp_path).fit(images, targets=TARGETS, out=tmp_path / "runs")
    later = len(TARGETS) - 1  # runs, each of which compares a few images with what is kept
    assert sum(seen) == len(images) + later * CHECKED
    seen.clear()
    explainers.explain(images[:7])
    assert seen == [7]


@pytest.mark.parametrize("concepts", [None, sx.Outputs()])
def test_feature_maps_are_on_the_disk_once(images: np.ndarray, tmp_path: Path, concepts, seen: list[int]):
    """Outputs that explain one another are kept once as well."""
    words = [*FAST, f"paths.cache={tmp_path / 'cache'}"]
    sx.Explainer(network(), concepts, options=words).fit(images, targets=["dog", "cat", "cow"], out=tmp_path / "runs")
    rows = {store: sum(len(np.load(path)["keys"]) for path in store.glob("*-record.npz")) for store in stores(tmp_path)}
    assert set(rows.values()) == {len(images)}
    kinds = sorted(store.name.split("-")[0] for store in rows)
    assert kinds == ["hidden", "maps", *["scores"] * (3 if concepts is None else 1)]
    kept = {path: path.stat().st_mtime_ns for store in rows for path in store.glob("*.npy")}
    seen.clear()
    sx.Explainer(network(output=[0, -2]), concepts, options=words).fit(images, out=tmp_path / "run")
    assert kept == {path: path.stat().st_mtime_ns for path in kept}
    assert len(stores(tmp_path)) == len(rows) + 1  # its scores
    assert sum(seen) == len(images) + CHECKED


def stores(place: Path) -> list[Path]:
    return [path for path in (place / "cache").iterdir() if path.is_dir()]


def test_an_explainer_keeps_to_its_own_scores_when_the_data_serve_another(images: np.ndarray, tmp_path: Path):
    data = PicturesDataModule(images=images, image_size=[3, 32, 32], num_workers=0)
    data.setup()
    first = explainer(tmp_path).fit(data, out=tmp_path / "one")
    explainer(tmp_path, output="cat").fit(data, out=tmp_path / "two")
    assert data.arrays("test") == {}
    assert str(first.verdict) == str(explainer(tmp_path).fit(images, out=tmp_path / "three").verdict)


def test_each_is_saved_and_loaded(fitted: tuple[sx.Explainers, Path], images: np.ndarray, tmp_path: Path):
    explainers, _ = fitted
    place = explainers.save(tmp_path / "animals")
    for target, name, folder_name in zip(TARGETS, NAMES, FOLDERS, strict=True):
        again = sx.load(place / folder_name, network=network(output=target))
        assert again.target == name
        assert same(again.explain(images[:3]), explainers[name].explain(images[:3]))
    with pytest.raises(Trouble, match="belongs to another explanation"):
        sx.load(place / "cat", network=network(output="cow"))
    with pytest.raises(ConfigError, match="is there already"):
        explainers.save(tmp_path / "animals")


@pytest.mark.parametrize(
    ("targets", "concepts", "message"),
    [
        ([], None, r"targets: expected a list of outputs, .* got \[\]"),
        ("dog", None, r"targets: expected a list of outputs, .* got 'dog'"),
        (["dog", "rat"], None, r"targets: 'rat': there is no output 'rat' \(did you mean 'cat'\?\)"),
        (["dog", 3], None, "targets: 3: there is no output 3: expected 0 to 2"),
        (["dog", [1, 1]], None, r"targets: \[1, 1\]: expected a difference"),
        (["dog", "cat", 1], None, "targets: 'dog' is there twice"),
        (["dog", "cat"], sx.Outputs(["cat"]), "targets: 'cat': names: 'cat' is the output that is explained"),
    ],
)
def test_targets_that_cannot_be_are_refused_before_any_work(
    targets: object, concepts, message: str, images: np.ndarray, tmp_path: Path, seen: list[int]
):
    whole = sx.Explainer(network(), concepts, options=[*FAST, f"paths.cache={tmp_path / 'cache'}"])
    with pytest.raises(ConfigError, match=message):
        whole.fit(images, targets=targets, out=tmp_path / "runs")
    assert not seen
    assert not list(tmp_path.iterdir())


def test_what_was_interrupted_goes_on_and_what_is_finished_stays(
    fitted: tuple[sx.Explainers, Path],
    images: np.ndarray,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    seen: list[int],
):
    step = Distillation.training_step

    def interrupted(module: Distillation, *given: object) -> Tensor:
        if module.performer.target_name == "cat":
            raise KeyboardInterrupt
        return step(module, *given)

    with monkeypatch.context() as patch:
        patch.setattr(Distillation, "training_step", interrupted)
        with pytest.raises((KeyboardInterrupt, SystemExit)):
            explainer(tmp_path).fit(images, targets=TARGETS, out=tmp_path / "runs")
    assert sorted(path.parent.name for path in tmp_path.glob("runs/*/metrics.json")) == ["dog"]
    done = {path: path.stat().st_mtime_ns for path in (tmp_path / "runs/dog").rglob("*") if path.is_file()}
    seen.clear()
    with caplog.at_level(logging.INFO):
        again = explainer(tmp_path).fit(images, targets=TARGETS, out=tmp_path / "runs")
    assert sum(seen) == 2 * CHECKED  # all is in the cache, also of the target that was not begun
    assert done == {path: path.stat().st_mtime_ns for path in done}
    said = [message.partition(": ")[::2] for message in caplog.messages if message.startswith("Target ")]
    assert [start for start, _ in said] == [f"Target {at} of 3, {name}" for at, name in enumerate(NAMES, 1)]
    assert [end.startswith("finished already") for _, end in said] == [True, False, False]
    for name, expected in fitted[0].items():
        assert same(again[name].run.explanation, expected.run.explanation)
    with pytest.raises(
        ConfigError,
        match=r"out: .*dog was started with other options\. Give the same options, or name a new folder:\n  beta",
    ):
        explainer(tmp_path, "beta=0.5").fit(images, targets=TARGETS, out=tmp_path / "runs")
    with pytest.raises(ConfigError, match="is of other images"):
        explainer(tmp_path).fit(images[:70], targets=TARGETS, out=tmp_path / "runs")
    other = network()
    with torch.no_grad():
        other.model[6].weight[0] += 1
    with pytest.raises(ConfigError, match="explains a network with other weights"):
        sx.Explainer(other, options=[*FAST, f"paths.cache={tmp_path / 'cache'}"]).fit(
            images, targets=TARGETS, out=tmp_path / "runs"
        )
    (tmp_path / "full/cat").mkdir(parents=True)
    (tmp_path / "full/cat/letter.txt").touch()
    with pytest.raises(ConfigError, match="cat is not empty, and no run"):
        explainer(tmp_path).fit(images, targets=["dog", "cat"], out=tmp_path / "full")
    assert not (tmp_path / "full/dog").exists()


def test_several_processes_are_refused(images: np.ndarray, tmp_path: Path):
    with pytest.raises(ConfigError, match="targets: several are fitted by one process, the trainer has 2"):
        explainer(tmp_path, "trainer=ddp_cpu").fit(images, targets=TARGETS, out=tmp_path / "runs")
    assert not list(tmp_path.rglob("config.yaml"))


# -- from a yaml -----------------------------------------------------------------------------------------------------


def written_for(own: Path, targets: object, **changes: object) -> Path:
    alike = {key: value for key, value in MINE["network"].items() if key != "output"}
    return written(own, **({"network": alike, "targets": targets} | changes))


def test_a_yaml_fits_all_its_targets_in_one_process(
    own: Path, tmp_path: Path, seen: list[int], capsys: pytest.CaptureFixture, caplog: pytest.LogCaptureFixture
):
    """Against train.py on one target, with a cache of its own."""
    file, out = written_for(own, ["dog", ["big cow", "-cat"]]), tmp_path / "animals"
    command = ["fit", str(file), FAST[-1], f"out={out}", f"paths.cache={tmp_path / 'cache'}"]
    with caplog.at_level(logging.INFO):
        assert main(command) == 0
    assert sum(seen) == 60 + CHECKED
    said = capsys.readouterr().out
    assert f"semexplain verdict {out}/dog\nsemexplain verdict {out}/big_cow_-_cat\nsemexplain report {out}\n" in said
    assert any(message.startswith("Target 2 of 2, big cow - cat: in ") for message in caplog.messages)
    seen.clear()
    assert main(command) == 0
    assert not seen
    words = [word for word in own_yaml(file).words() if not word.startswith("network.output=")]
    for target, name in (("dog", "dog"), (["big cow", "-cat"], "big_cow_-_cat")):
        fast = [FAST[-1], f"paths.cache={tmp_path / 'other'}", override("network.output", target)]
        train(configured(*words, *fast), tmp_path / name)
        one, other = Run(tmp_path / name), Run(out / name)
        assert same(one.explanation, other.explanation)
        assert one.recorded == other.recorded
        assert one.written.data == other.written.data
        assert one.written.performer == other.written.performer
        assert other.module.performer.target_name == other.target


@pytest.mark.parametrize(
    ("targets", "words", "message"),
    [
        ([], [], "mine.yaml: targets: expected one or several outputs, such as"),
        ("dog", [], "mine.yaml: targets: expected a valid list"),
        (["dog", "rat"], [], "targets: 'rat': there is no output 'rat'"),
        (["dog", 1], [], "targets: 'dog' is there twice"),
        (["dog"], ["-m"], "-m: .*mine.yaml has `targets`"),
        (["dog"], ["resume=x"], "resume: .*mine.yaml has `targets`; to go on with them, give the same `out` again"),
        (["dog"], ["network.output=cat"], "network.output=cat: .*mine.yaml has `targets`"),
        (["dog", "cat"], ["trainer.max_epoch=3"], "max_epoch"),
    ],
)
def test_a_yaml_with_targets_that_cannot_be(
    targets: object, words: list[str], message: str, own: Path, tmp_path: Path, capsys: pytest.CaptureFixture, seen
):
    assert main(["fit", str(written_for(own, targets)), f"out={tmp_path / 'runs'}", *words]) == 2
    error = capsys.readouterr().err
    assert re.search(message, error), error
    assert not (tmp_path / "runs").exists()
    assert not seen


def test_output_and_targets_are_one_too_many(own: Path):
    with pytest.raises(ConfigError, match=r"network\.output: leave it out, `targets` say what is explained"):
        own_yaml(written_for(own, ["dog"], network=MINE["network"]))
    assert yaml.safe_load((own / "mine.yaml").read_text())["targets"] == ["dog"]


def test_check_tries_each_target(own: Path, capsys: pytest.CaptureFixture):
    assert main(["check", str(written_for(own, ["dog", "cat"]))]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line for line in lines if line in ("dog:", "cat:")] == ["dog:", "cat:"]
