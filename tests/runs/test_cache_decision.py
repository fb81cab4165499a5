"""Whether something is kept is decided once, of all that would be kept, and makes no difference to numbers."""

import json
import shutil
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf
from support import configured, smoke

from semexplain.explanation import Explanation
from semexplain.performers.base import Performer
from semexplain.performers.vgg16_attributes import VGG16Attributes
from semexplain.runs import cache as module
from semexplain.runs.cache import PerformanceCache, cache_for
from semexplain.runs.run import Run
from semexplain.runs.tasks import evaluate_run
from semexplain.system.trouble import Trouble
from semexplain.training.controls import Control, Redrawn
from semexplain.training.teacher import Teacher
from tests.runs.dots import Dots, dots, filters
from train import train

CPU = torch.device("cpu")
pytestmark = [
    pytest.mark.filterwarnings("ignore:The performer's convolutions start from random weights"),
    pytest.mark.filterwarnings(r"ignore:All \d+ scores of the performer lie between 0 and 1"),
]


def everything(names: object) -> list[int]:
    return list(range(len(names)))  # type: ignore[arg-type]


# -- it makes no difference ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("control", [None, Redrawn], ids=["truth", "another head"])
@pytest.mark.parametrize("kind", ["outputs", "filters"])
def test_a_teacher_says_the_same_with_and_without_a_cache(
    tmp_path: Path, performer: VGG16Attributes, kind: str, control: Callable[[], Control] | None
):
    network: Performer = performer.freeze() if kind == "outputs" else filters()
    size = network.image_shape[-1]
    images, cached = (dots(tmp_path / "dots", image_size=size) for _ in range(2))
    teacher = Teacher(network, everything, control=None if control is None else control())
    cache = PerformanceCache(tmp_path / "cache", cached, CPU)
    cache.attach_performances(network, teacher.prior)
    if control is not None:
        cache.attach_answers(teacher.performer, teacher.prior)
    cache.attach_hidden(teacher.performer)
    teacher.keeps("float16")
    for image, stored in zip(images.ordered("train"), cached.ordered("train"), strict=True):
        (computed, prior), (read, told) = (teacher.perform(batch, with_prior=True) for batch in (image, stored))
        for one, other in ((computed.score, read.score), (computed.concepts, read.concepts), (prior, told)):
            torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-5 * float(other.abs().max()))
        hidden = teacher.hidden(computed, image), teacher.hidden(read, stored)
        for one, other in ((computed.feature_map, read.feature_map), hidden):  # but for what lies between two halves
            assert (one == other).float().mean() > 0.98
            torch.testing.assert_close(one, other, rtol=2e-3, atol=1e-6)


def test_what_half_precision_cannot_hold_is_refused_without_a_cache_too(performer: VGG16Attributes):
    teacher = Teacher(performer.freeze(), everything)
    teacher.keeps("float16")
    performer.encode = lambda image: torch.full((len(image), *performer.map_shape), 7e4)  # type: ignore[method-assign]
    with pytest.raises(Trouble, match="infinite or not a number as float16. Use `data.cache_dtype=float32`"):
        teacher.perform({"image": torch.zeros(2, 3, 32, 32, dtype=torch.uint8)}, with_prior=False)


def test_without_rounding_there_are_all_digits(performer: VGG16Attributes):
    image = torch.randint(256, (2, 3, 32, 32), dtype=torch.uint8)
    teacher = Teacher(performer.freeze(), everything)
    for dtype in (None, "float32"):
        if dtype is not None:
            teacher.keeps(dtype)
        assert torch.equal(teacher.perform({"image": image}, with_prior=False)[0].feature_map, performer.encode(image))


# -- it is decided of all that would be kept -------------------------------------------------------------------------


def written(folder: Path) -> int:
    """Bytes of all rows below a folder."""
    return sum(np.load(path).nbytes for path in folder.rglob("*.npy"))


@pytest.mark.parametrize("flip", [False, True])
@pytest.mark.parametrize("reads", ["feature_map", "hidden"])
def test_all_arrays_of_all_views_are_counted(tmp_path: Path, performer: VGG16Attributes, flip: bool, reads: str):
    data = dots(tmp_path / "dots", flip=flip)
    teacher = Teacher(performer.freeze(), everything, control=Redrawn())
    explained = SimpleNamespace(teacher=teacher, performer=teacher.performer, reads=reads)
    cache = PerformanceCache(tmp_path / "cache", data, CPU)
    cache.attach_performances(performer, teacher.prior)
    cache.attach_answers(teacher.performer, teacher.prior)
    if reads == "hidden":
        cache.attach_hidden(teacher.performer)
    size = written(tmp_path / "cache") / 1e9
    assert cache.fits(performer, size * (1 + 1e-9), explained)  # type: ignore[arg-type]
    assert not cache.fits(performer, size * (1 - 1e-9), explained)  # type: ignore[arg-type]


def test_what_a_performer_is_trained_on_is_counted(tmp_path: Path, performer: VGG16Attributes):
    performer._frozen = False
    cache = PerformanceCache(tmp_path / "cache", dots(tmp_path / "dots"), CPU)
    cache.attach_trunk_maps(performer.train())
    size = written(tmp_path / "cache") / 1e9
    assert cache.fits(performer, size * (1 + 1e-9))
    assert not cache.fits(performer, size * (1 - 1e-9))
    assert all(layer.training for layer in performer.modules())


def test_half_of_the_free_disk_is_left_to_others(tmp_path: Path, performer: VGG16Attributes, monkeypatch):
    explained = SimpleNamespace(teacher=Teacher(performer.freeze(), everything), performer=performer, reads="x")
    cache = PerformanceCache(tmp_path / "deep/cache", dots(tmp_path / "dots"), CPU)
    empty = PerformanceCache(tmp_path / "deep/other", dots(tmp_path / "dots"), CPU)
    cache.attach_performances(performer, explained.teacher.prior)
    needed = written(cache.folder)

    def free(count: float) -> None:
        monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=count))

    free(2 * needed)
    assert empty.fits(performer, 50, explained)  # type: ignore[arg-type]
    free(2 * needed - 1)
    assert not empty.fits(performer, 50, explained)  # type: ignore[arg-type]
    assert not (tmp_path / "deep/other/trunk").exists()
    free(0)
    assert cache.fits(performer, 50, explained), "what is there takes no more room"  # type: ignore[arg-type]


# -- it is decided once ----------------------------------------------------------------------------------------------


def decision(data: Dots, performer: Performer, folder: Path) -> bool:
    config = OmegaConf.create({"paths": {"cache": str(folder / "cache")}})
    explained = SimpleNamespace(teacher=Teacher(performer.freeze(), everything), performer=performer, reads="x")
    return cache_for(config, data, CPU, performer, folder / "run/cache.json", explained) is not None  # type: ignore[arg-type]


@pytest.mark.parametrize("first", [True, False])
def test_a_run_keeps_to_its_decision(tmp_path: Path, performer: VGG16Attributes, monkeypatch, first: bool):
    data = dots(tmp_path / "dots")
    monkeypatch.setattr(PerformanceCache, "fits", lambda *_: first)
    assert decision(data, performer, tmp_path) is first
    monkeypatch.setattr(PerformanceCache, "fits", lambda *_: not first)
    assert decision(data, performer, tmp_path) is first
    assert json.loads((tmp_path / "run/cache.json").read_text()) == {"kept": first}


def test_an_order_is_no_decision(tmp_path: Path, performer: VGG16Attributes):
    assert not decision(dots(tmp_path / "dots", cache="off"), performer, tmp_path)
    assert decision(dots(tmp_path / "dots", cache=str(tmp_path / "kept")), performer, tmp_path)
    assert not (tmp_path / "run").exists()


def test_the_first_process_decides_for_all(tmp_path: Path, performer: VGG16Attributes, monkeypatch):
    monkeypatch.setattr("semexplain.system.once.SECONDS", 0.01)
    monkeypatch.setattr(module, "is_first", lambda: threading.current_thread() is threading.main_thread())
    monkeypatch.setattr(PerformanceCache, "fits", lambda *_: threading.current_thread() is threading.main_thread())
    data = dots(tmp_path / "dots")
    with ThreadPoolExecutor(1) as pool:
        second = pool.submit(decision, data, performer, tmp_path)
        assert decision(data, performer, tmp_path)
        assert second.result(10)


def test_a_run_and_its_evaluation_on_a_full_disk_and_on_an_empty_one(faces: Path, tmp_path: Path, monkeypatch):
    """The disk decides how fast they are, and not what comes out."""
    words = ["optimizer=sgd", "optimizer.lr=1e-3", "trainer.max_epochs=1"]
    train(configured(*smoke(faces, tmp_path, *words)), tmp_path / "kept")
    with monkeypatch.context() as patch:
        patch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=0))
        train(configured(*smoke(faces, tmp_path, *words, f"paths.cache={tmp_path / 'no'}")), tmp_path / "computed")
        assert evaluate_run(Run(tmp_path / "kept"), tmp_path / "kept/evaluations/1") == Run(tmp_path / "kept").metrics
    assert not (tmp_path / "no").exists() or not list((tmp_path / "no").glob("maps-*"))
    one, other = (Explanation.load(tmp_path / name / "explanations.parquet") for name in ("kept", "computed"))
    assert (one.prediction - other.prediction).norm() < 1e-6 * one.contributions.abs().sum(1).norm()
    again = evaluate_run(Run(tmp_path / "computed"), tmp_path / "computed/evaluations/1")
    assert again == Run(tmp_path / "computed").metrics
    for name, kept in (("kept", True), ("computed", False)):
        for path in (tmp_path / name).rglob("cache.json"):
            assert json.loads(path.read_text()) == {"kept": kept}
        assert len(list((tmp_path / name).rglob("cache.json"))) == 2
