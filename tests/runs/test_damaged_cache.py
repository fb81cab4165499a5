"""Whatever happens to a cache, a training gets the numbers of an undamaged one, or is told why not."""

import copy
from pathlib import Path

import numpy as np
import pytest
import torch
from disks import full_at, read_only, tiny_disk

from semexplain.concepts.priors import feature_ratio
from semexplain.data.module import ImageDataModule
from semexplain.performers.vgg16_attributes import VGG16Attributes
from semexplain.runs.cache import PerformanceCache
from semexplain.system.once import ReadOnlyError
from semexplain.system.row_store import RowStore
from tests.runs.dots import attached, dots

CPU = torch.device("cpu")
pytestmark = pytest.mark.filterwarnings("ignore:The performer's convolutions start from random weights")


def batches(module: ImageDataModule) -> list[dict[str, torch.Tensor]]:
    """Two epochs and the other splits, as a training reads them."""
    read = []
    for epoch in range(2):
        loader = module.train_dataloader()
        loader.batch_sampler.sampler.set_epoch(epoch)
        read += list(loader)
    return read + list(module.val_dataloader()) + list(module.ordered("test"))


def equal(found: list[dict[str, torch.Tensor]], expected: list[dict[str, torch.Tensor]]) -> bool:
    with torch.autocast("cpu", enabled=False):
        return all(
            one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)
            for one, other in zip(found, expected, strict=True)
        )


def kept(folder: Path, name: str, performer: VGG16Attributes) -> ImageDataModule:
    """Data with all that is kept in a cache, also of another head and of the hidden layer."""
    module = dots(folder / "dots", flip=True)
    cache = attached(folder / name, module, performer, feature_ratio)
    torch.manual_seed(1)
    other = copy.deepcopy(performer)
    torch.nn.init.normal_(other.fc3.weight)
    cache.attach_answers(other, feature_ratio)
    cache.attach_hidden(performer)
    return module


def damage(path: Path, rng: np.random.Generator) -> None:
    """Change a byte in several rows of an array."""
    content = bytearray(path.read_bytes())
    for place in rng.integers(128, len(content), 6):
        content[place] ^= 1 << int(rng.integers(8))
    path.write_bytes(content)


@pytest.mark.parametrize("meanwhile", [False, True])
def test_a_training_on_a_damaged_cache_gets_the_numbers_of_a_sound_one(
    tmp_path: Path, performer: VGG16Attributes, meanwhile: bool, monkeypatch, caplog: pytest.LogCaptureFixture
):
    """Bytes of every array and record are changed, before it is opened or while it is in use."""
    monkeypatch.setattr(RowStore.__init__, "__defaults__", (1, None))  # a shard for every batch
    performer.freeze()
    expected = batches(kept(tmp_path, "sound", performer))
    module = kept(tmp_path, "cache", performer)
    assert equal(batches(module), expected)
    module = kept(tmp_path, "cache", performer)
    paths, rng = sorted((tmp_path / "cache").glob("*/*.np[yz]")), np.random.default_rng(0)
    assert {path.parent.name.split("-")[0] for path in paths} == {"maps", "scores", "answers", "hidden"}
    for path in paths:
        if path.suffix == ".npy" or path.name.startswith("00002-"):
            damage(path, rng)
    if not meanwhile:
        module = kept(tmp_path, "cache", performer)
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):  # as Lightning reads what is tested
        assert equal(batches(module), expected)
    words = {"Damaged:"} if meanwhile else {"Damaged:", "Not"}
    assert {message.split(" ")[0] for message in caplog.messages} == words
    assert equal(batches(kept(tmp_path, "cache", performer)), expected)


def test_what_a_performer_is_trained_on_is_mended_while_it_trains(tmp_path: Path, performer: VGG16Attributes):
    performer._frozen = False
    module = dots(tmp_path / "dots")
    PerformanceCache(tmp_path / "cache", module, CPU).attach_trunk_maps(performer.train())
    expected = batches(module)
    module = dots(tmp_path / "dots")
    PerformanceCache(tmp_path / "cache", module, CPU).attach_trunk_maps(performer)
    (path,) = (tmp_path / "cache").glob("trunk-*/*-trunk_map.npy")
    path.write_bytes(bytes(path.stat().st_size))
    assert equal(batches(module), expected)
    assert all(layer.training for layer in performer.modules())


def test_a_damaged_trunk_does_not_reach_the_explainer(tmp_path: Path, performer: VGG16Attributes):
    PerformanceCache(tmp_path / "cache", dots(tmp_path / "dots"), CPU).attach_trunk_maps(performer)
    expected, module = dots(tmp_path / "dots"), dots(tmp_path / "dots")
    attached(tmp_path / "sound", expected, performer.freeze(), feature_ratio)
    (path,) = (tmp_path / "cache").glob("trunk-*/*-trunk_map.npy")
    path.write_bytes(bytes(path.stat().st_size))
    attached(tmp_path / "cache", module, performer, feature_ratio)
    assert equal(batches(module), batches(expected))


def test_a_cache_may_be_deleted_any_time(tmp_path: Path, performer: VGG16Attributes):
    """Also while it is in use."""
    module = dots(tmp_path / "dots")
    attached(tmp_path / "cache", module, performer, feature_ratio)
    expected = batches(module)
    stores = [*(tmp_path / "cache").glob("maps-*"), *(tmp_path / "cache").glob("scores-*")]
    assert len(stores) == 2
    for path in (path for store in stores for path in store.iterdir()):
        path.unlink()
    again = dots(tmp_path / "dots")
    attached(tmp_path / "cache", again, performer, feature_ratio)
    assert equal(batches(module), expected)
    assert equal(batches(again), expected)


def test_a_complete_cache_may_lie_where_nothing_can_be_written(tmp_path: Path, performer: VGG16Attributes):
    module = dots(tmp_path / "dots")
    attached(tmp_path / "cache", module, performer, feature_ratio)
    expected = batches(module)
    for lock in (tmp_path / "cache").rglob("*lock"):
        lock.unlink()
    with read_only(tmp_path / "cache"):
        module = dots(tmp_path / "dots")
        attached(tmp_path / "cache", module, performer, feature_ratio)
        assert equal(batches(module), expected)
        with pytest.raises(ReadOnlyError) as caught:
            attached(tmp_path / "cache", dots(tmp_path / "dots", boxes=True), performer, feature_ratio)
    (store,) = (tmp_path / "cache").glob("maps-*")
    assert str(caught.value) == (
        f"{store} can only be read, and what is needed from there is not all there (Read-only file system: lock). "
        "Set `paths.cache` to a folder that can be written, or `data.cache=off` to keep nothing."
    )


def test_on_a_full_disk_the_shards_before_stay_and_nothing_else(
    tmp_path: Path, performer: VGG16Attributes, monkeypatch
):
    monkeypatch.setattr(RowStore.__init__, "__defaults__", (1, None))
    with tiny_disk(tmp_path / "disk") as disk:
        with pytest.raises(OSError, match="No space left on device: '.*-.*np"):
            attached(disk / "cache", dots(tmp_path / "dots"), performer, feature_ratio)
        (store,) = (disk / "cache").glob("maps-*")
        assert not list(store.glob(".*")), "partial files are left"
        assert 0 < len(list(store.glob("*-record.npz"))) < 5
    for event in range(1, 12):
        with monkeypatch.context() as patch:
            full_at(patch, event)
            with pytest.raises(OSError, match="No space left on device: '.*'"):
                attached(tmp_path / f"cache{event}", dots(tmp_path / "dots"), performer, feature_ratio)
        assert not list((tmp_path / f"cache{event}").rglob(".*"))
        module = dots(tmp_path / "dots")
        attached(tmp_path / f"cache{event}", module, performer, feature_ratio)
        assert len(batches(module)) == 7
