"""What a cache stores is what a training step computes, for as long as nothing that decides it has changed."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from semexplain.concepts.priors import feature_ratio, filter_jacobian, ratio_of_products
from semexplain.data.celeba import CelebADataModule
from semexplain.data.images import Split
from semexplain.explanation import Performance
from semexplain.performers.vgg16_attributes import VGG16Attributes
from semexplain.runs.cache import PerformanceCache, resident
from semexplain.system.row_store import RowStore, fill_together
from tests.runs.dots import Dots, attached, dots, filters

pytestmark = pytest.mark.filterwarnings("ignore:The performer's convolutions start from random weights")
SPLITS = ("train", "val", "test")


def same(computed: Performance, weights: torch.Tensor, stored: dict[str, torch.Tensor]) -> None:
    """Scores, concepts and priors equal but for the order of sums, feature maps to half precision."""
    for name, value in {"score": computed.score, "concepts": computed.concepts, "prior": weights}.items():
        torch.testing.assert_close(stored[name], value, rtol=1e-5, atol=1e-5 * float(value.abs().max()))
        assert stored[name].dtype == torch.float32
    assert stored["feature_map"].dtype == torch.float16
    torch.testing.assert_close(stored["feature_map"].float(), computed.feature_map, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("prior", [feature_ratio, partial(feature_ratio, chunk_bytes=1)])
def test_faces_cached_are_faces_computed(performer: VGG16Attributes, faces: Path, tmp_path: Path, prior: Callable):
    modules = [CelebADataModule(root=str(faces), image_size=32, batch_size=16, num_workers=0) for _ in range(2)]
    for module in modules:
        module.setup()
    attached(tmp_path, modules[1], performer, prior)
    for split in SPLITS:
        for image, stored in zip(modules[0].ordered(split), modules[1].ordered(split), strict=True):
            assert "image" not in stored
            assert torch.equal(image["label"], stored["label"])
            same(*performer.perform(performer.encode(image["image"]), prior), stored)


@pytest.mark.parametrize("clamp", [True, False])
def test_filters_cached_are_filters_computed(tmp_path: Path, clamp: bool):
    performer, prior = filters(), partial(filter_jacobian, clamp=clamp)
    images, cached = dots(tmp_path / "dots", image_size=64), dots(tmp_path / "dots", image_size=64)
    attached(tmp_path / "cache", cached, performer, prior)
    for split in SPLITS:
        for image, stored in zip(images.ordered(split), cached.ordered(split), strict=True):
            same(*performer.perform(performer.encode(image["image"]), prior), stored)


def test_one_pass_serves_every_target(performer: VGG16Attributes, tmp_path: Path):
    """The second target finds all that it needs in the first one's folder."""
    attached(tmp_path / "cache", dots(tmp_path / "dots"), performer, feature_ratio)
    other = VGG16Attributes(target="Male", image_size=32, weights=None, width=8, hidden=32).freeze()
    other.load_state_dict(performer.state_dict())
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "cache").rglob("*.npy")}
    images, cached = dots(tmp_path / "dots"), dots(tmp_path / "dots")
    attached(tmp_path / "cache", cached, other, feature_ratio)
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "cache").rglob("*.npy")} == before
    for image, stored in zip(images.ordered("val"), cached.ordered("val"), strict=True):
        same(*other.perform(other.encode(image["image"]), feature_ratio), stored)


def test_another_prior_is_kept_for_its_target_only(performer: VGG16Attributes, tmp_path: Path):
    def halves(performance: Performance) -> torch.Tensor:
        return feature_ratio(performance) / 2

    images, cached = dots(tmp_path / "dots"), dots(tmp_path / "dots")
    attached(tmp_path / "cache", cached, performer, halves)
    image, stored = next(iter(images.ordered("test"))), next(iter(cached.ordered("test")))
    same(*performer.perform(performer.encode(image["image"]), halves), stored)


def test_products_of_gradients_hold_the_priors_of_all_targets():
    """Against gradients taken one output at a time."""
    torch.manual_seed(0)
    jacobian = torch.randn(3, 5, 7, dtype=torch.float64)  # images, outputs, features
    products = torch.einsum("bkd,bld->bkl", jacobian, jacobian)
    for target, concepts in ((0, [1, 2, 3, 4]), (3, [4, 0])):
        found = ratio_of_products(products, target, concepts)
        for image in range(3):
            for place, i in enumerate(concepts):
                gradient = jacobian[image, i]
                expected = sum(a * b for a, b in zip(jacobian[image, target], gradient, strict=True))
                assert found[image, place] == pytest.approx(float(expected / sum(g**2 for g in gradient)), rel=1e-12)


def test_mirrored_training_images_are_kept_too(performer: VGG16Attributes, tmp_path: Path):
    images, cached = dots(tmp_path / "dots", flip=True), dots(tmp_path / "dots", flip=True)
    attached(tmp_path / "cache", cached, performer, feature_ratio)
    for epoch in range(2):
        for module in (images, cached):
            module.loader_of_epoch = module.train_dataloader()
            module.loader_of_epoch.batch_sampler.sampler.set_epoch(epoch)
        for image, stored in zip(images.loader_of_epoch, cached.loader_of_epoch, strict=True):
            assert torch.equal(image["index"], stored["index"])
            same(*performer.perform(performer.encode(image["image"]), feature_ratio), stored)


def test_splits_that_share_images_share_their_rows(tmp_path: Path, performer: VGG16Attributes):
    attached(tmp_path / "cache", dots(tmp_path / "dots"), performer, feature_ratio)
    before = sorted((tmp_path / "cache").rglob("*.npy"))
    images, cached = dots(tmp_path / "dots", rotate=7), dots(tmp_path / "dots", rotate=7)
    attached(tmp_path / "cache", cached, performer, feature_ratio)
    assert sorted((tmp_path / "cache").rglob("*.npy")) == before
    for image, stored in zip(images.ordered("train"), cached.ordered("train"), strict=True):
        same(*performer.perform(performer.encode(image["image"]), feature_ratio), stored)


def test_an_image_that_is_there_twice_is_kept_once(tmp_path: Path, performer: VGG16Attributes):
    """Also in a cache that holds other images already."""

    def doubled() -> Dots:
        module = dots(tmp_path / "dots")
        train, test = module.splits["train"], module.splits["test"]
        paths = train.paths[:4] + train.paths[:2]
        module.splits["train"] = Split(tuple("abcdef"), paths, train.labels[:6])
        module.splits["val"] = module.splits["test"] = test
        return module

    few = dots(tmp_path / "dots")
    few.splits.update(train=few.splits["test"], val=few.splits["test"])
    attached(tmp_path / "cache", few, performer, feature_ratio)
    images, cached = doubled(), doubled()
    attached(tmp_path / "cache", cached, performer, feature_ratio)
    assert sum(len(np.load(path)["keys"]) for path in (tmp_path / "cache").glob("maps-*/*-record.npz")) == 4 + 4
    for image, stored in zip(images.ordered("train"), cached.ordered("train"), strict=True):
        same(*performer.perform(performer.encode(image["image"]), feature_ratio), stored)


def changed(change: str, folder: Path, performer: VGG16Attributes) -> tuple[Dots, VGG16Attributes]:
    """The data and the performer after something has changed."""
    module = dots(folder / "dots", boxes=change == "crop")
    if change == "weight":
        with torch.no_grad():
            performer.fc3.weight[3, 5] += 1e-3
    elif change == "layer":
        performer.x_stage = "post_relu"
    elif change == "preprocessing":
        performer.preprocess.mean.add_(1e-3)
    elif change == "image":
        path = folder / "dots" / "03.png"
        pixels = np.asarray(Image.open(path)).copy()
        pixels[4, 5, 1] ^= 1
        Image.fromarray(pixels).save(path)
    elif change == "size":
        module = dots(folder / "dots", image_size=48)
        other = VGG16Attributes(target="Attractive", image_size=48, weights=None, width=4, hidden=32)
        return module, other.freeze()
    elif change == "dtype":
        module = dots(folder / "dots", cache_dtype="float32")
    return module, performer


@pytest.mark.parametrize("change", ["nothing", "weight", "layer", "preprocessing", "image", "crop", "size", "dtype"])
def test_what_changes_is_computed_again(tmp_path: Path, performer: VGG16Attributes, change: str, monkeypatch):
    attached(tmp_path / "cache", dots(tmp_path / "dots"), performer, feature_ratio)
    computed: list[int] = []
    monkeypatch.setattr("semexplain.runs.cache.fill_together", lambda *given: computed.append(fill_together(*given)))
    module, performer = changed(change, tmp_path, performer)
    images = dots(tmp_path / "dots", boxes=change == "crop", image_size=module.image_size)
    attached(tmp_path / "cache", module, performer, feature_ratio)
    assert sum(computed) == {"nothing": 0, "image": 1}.get(change, 20)
    for image, stored in zip(images.ordered("train"), module.ordered("train"), strict=True):
        if change == "dtype":
            assert stored["feature_map"].dtype == torch.float32
            stored["feature_map"] = stored["feature_map"].half()
        same(*performer.perform(performer.encode(image["image"]), feature_ratio), stored)


def test_a_cache_that_was_cut_off_is_finished_not_trusted(tmp_path: Path, performer: VGG16Attributes, monkeypatch):
    monkeypatch.setattr(RowStore.__init__, "__defaults__", (1, None))  # a shard for every batch
    encode, calls = performer.encode, []

    def interrupted(image: torch.Tensor) -> torch.Tensor:
        calls.append(len(image))
        if len(calls) == 3:
            raise KeyboardInterrupt
        return encode(image)

    monkeypatch.setattr(performer, "encode", interrupted)
    with pytest.raises(KeyboardInterrupt):
        attached(tmp_path / "cache", dots(tmp_path / "dots"), performer, feature_ratio)
    assert not list((tmp_path / "cache").rglob("0000[2-9]-*.npy"))
    monkeypatch.undo()
    computed: list[int] = []
    monkeypatch.setattr("semexplain.runs.cache.fill_together", lambda *given: computed.append(fill_together(*given)))
    images, cached = dots(tmp_path / "dots"), dots(tmp_path / "dots")
    attached(tmp_path / "cache", cached, performer, feature_ratio)
    assert computed == [20 - 8]
    for image, stored in zip(images.ordered("train"), cached.ordered("train"), strict=True):
        same(*performer.perform(performer.encode(image["image"]), feature_ratio), stored)


def test_what_is_kept_does_not_move_the_random_numbers_of_a_run(tmp_path: Path, performer: VGG16Attributes):
    before = torch.get_rng_state()
    for _ in ("filled", "compared"):
        attached(tmp_path / "cache", dots(tmp_path / "dots"), performer, feature_ratio)
        assert torch.equal(torch.get_rng_state(), before)


def test_scores_of_several_targets_come_from_one_pass(tmp_path: Path):
    """Where filters explain, each target has a store of its own."""
    one, prior = filters(), filter_jacobian
    others = [filters(target=name).freeze() for name in one.output_names if name != one.target_name][:2]
    for other in others:
        other.load_state_dict(one.state_dict())
    encoded, encode = [], one.encode
    one.encode = lambda image: encoded.append(len(image)) or encode(image)
    module = dots(tmp_path / "dots", image_size=64)
    cache = PerformanceCache(tmp_path / "cache", module, torch.device("cpu"))
    cache.attach_performances(one, prior, others)
    assert sum(encoded) == sum(len(split.ids) for split in module.splits.values())
    for other in (one, *others):
        alone, shared = dots(tmp_path / "dots", image_size=64), dots(tmp_path / "dots", image_size=64)
        attached(tmp_path / other.target_name, alone, other, prior)
        before = sorted((tmp_path / "cache").rglob("*.npy"))
        attached(tmp_path / "cache", shared, other, prior)
        assert sorted((tmp_path / "cache").rglob("*.npy")) == before
        for left, right in zip(alone.ordered("train"), shared.ordered("train"), strict=True):
            assert all(torch.equal(left[name], right[name]) for name in ("feature_map", "score", "concepts", "prior"))


@pytest.mark.parametrize("name", ["feature_map", "outputs", "products"])
def test_another_performers_word_is_noticed(tmp_path: Path, performer: VGG16Attributes, name: str, monkeypatch):
    """Rows that are what was written, of a network that has the same digest."""
    compute = performer.kind.answers(performer, feature_ratio).__class__.compute
    if name == "feature_map":
        encode = performer.encode
        monkeypatch.setattr(performer, "encode", lambda image: encode(image) * 1.01 + 0.01)
    else:
        altered = {"outputs": 1.0, "products": 1.0, name: 1.01}
        monkeypatch.setattr(
            "semexplain.concepts.outputs.OutputAnswers.compute",
            lambda answers, maps: {array: rows * altered[array] for array, rows in compute(answers, maps).items()},
        )
    attached(tmp_path / "cache", dots(tmp_path / "dots"), performer, feature_ratio)
    monkeypatch.undo()
    with pytest.raises(ValueError, match=f"stored {name} .* differ from what the performer says now. Delete that"):
        attached(tmp_path / "cache", dots(tmp_path / "dots"), performer, feature_ratio)


def test_a_performers_head_is_computed_from_the_kept_trunk(tmp_path: Path, performer: VGG16Attributes, monkeypatch):
    """After its training nobody needs the images of a performer again; nor does the answer lose precision."""
    module, images = dots(tmp_path / "dots"), dots(tmp_path / "dots")
    cache = PerformanceCache(tmp_path / "cache", module, torch.device("cpu"))
    cache.attach_trunk_maps(performer)
    assert next(iter(module.ordered("val")))["trunk_map"].dtype == torch.float32
    performer.freeze()
    expected = [performer.perform(performer.encode(b["image"]), feature_ratio) for b in images.ordered("train")]
    monkeypatch.setattr(Split, "read", lambda *_: pytest.fail("an image was read"))
    cached = dots(tmp_path / "dots")
    attached(tmp_path / "cache", cached, performer, feature_ratio)
    for (computed, weights), stored in zip(expected, cached.ordered("train"), strict=True):
        same(computed, weights, stored)


def test_caching_features_leaves_a_performer_in_its_mode(performer: VGG16Attributes, tmp_path: Path):
    """Lightning trains modules in the mode it finds them in: left in evaluation mode, dropout would be off."""
    performer._frozen = False
    PerformanceCache(tmp_path / "cache", dots(tmp_path / "dots"), torch.device("cpu")).attach_trunk_maps(
        performer.train()
    )
    assert all(module.training for module in performer.modules())
    attached(tmp_path / "cache", dots(tmp_path / "dots"), performer.freeze(), feature_ratio)
    assert not any(module.training for module in performer.modules())


def test_arrays_move_to_a_device_that_has_room_for_all(tmp_path: Path, performer: VGG16Attributes):
    module = dots(tmp_path / "dots", flip=True)
    attached(tmp_path / "cache", module, performer, feature_ratio)
    arrays, device = module._arrays, torch.device("cpu")
    total = sum(torch.as_tensor(array[np.arange(len(array))]).nbytes for s in SPLITS for array in arrays[s].values())
    assert not any(
        isinstance(array, torch.Tensor) for s in SPLITS for array in resident(arrays, device, total - 1)[s].values()
    )
    moved = dots(tmp_path / "dots", flip=True)
    moved.attach(resident(arrays, device, total))
    for split, loader in (("train", "train_dataloader"), ("val", "val_dataloader")):
        assert all(isinstance(array, torch.Tensor) for array in moved._arrays[split].values())
        for first, second in zip(getattr(module, loader)(), getattr(moved, loader)(), strict=True):
            assert first.keys() == second.keys()
            assert all(torch.equal(first[name], second[name]) for name in first)
