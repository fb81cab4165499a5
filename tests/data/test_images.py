"""Decoding, flipping, precomputed arrays, and what the data module promises."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from semexplain.data.arrays import ArrayDataset
from semexplain.data.celeba import CelebADataModule
from semexplain.data.framing import read_image
from semexplain.data.images import SPLITS, ImageDataset, Split, mirrored
from semexplain.data.loading import EpochSampler, ResumableLoader, UnpaddedSampler
from semexplain.data.module import ImageDataModule

SIZES = {"train": 13, "val": 5, "test": 4}


class Stripes(ImageDataModule):
    """Small PNGs; attribute k of image i is bit k of i."""

    names = ("one", "two", "four")

    def __init__(self, folder: Path, **options: int | bool) -> None:
        super().__init__(**{"batch_size": 4, "image_size": 8, "num_workers": 0, **options})
        self.folder = folder
        self.times_read = 0

    def read(self) -> dict[str, Split]:
        self.times_read += 1
        return {name: self.part(name) for name in SPLITS}

    def part(self, name: str) -> Split:
        ids = tuple(f"{name}{i}.png" for i in range(SIZES[name]))
        labels = np.arange(len(ids))[:, None] >> np.arange(3) & 1
        return Split(ids, tuple(self.folder / image for image in ids), labels == 1)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    random = np.random.default_rng(0)
    for name, size in SIZES.items():
        for i in range(size):
            Image.fromarray(random.integers(0, 256, (10, 8, 3), dtype=np.uint8)).save(tmp_path / f"{name}{i}.png")
    return tmp_path


def stripes(folder: Path, **options: int | bool) -> Stripes:
    module = Stripes(folder, **options)
    module.setup()
    return module


def seen(loader: ResumableLoader) -> dict[str, torch.Tensor]:
    batches = list(loader)
    return {key: torch.cat([batch[key] for batch in batches]) for key in batches[0]}


def test_images_are_resized_bilinearly_without_keeping_the_aspect_ratio(folder: Path) -> None:
    found = read_image(folder / "train0.png", 8)
    expected = np.asarray(Image.open(folder / "train0.png").resize((8, 8), Image.Resampling.BILINEAR))
    assert found.dtype == torch.uint8
    assert found.is_contiguous()
    for channel in range(3):
        assert found[channel].tolist() == expected[:, :, channel].tolist()


def test_an_image_of_the_right_size_is_untouched(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "image.png")
    np.testing.assert_array_equal(read_image(tmp_path / "image.png", 8).permute(1, 2, 0).numpy(), pixels)


@pytest.mark.parametrize("mode", ["L", "RGBA", "P", "CMYK"])
def test_every_colour_mode_becomes_rgb(tmp_path: Path, mode: str) -> None:
    path = tmp_path / f"image.{'jpg' if mode == 'CMYK' else 'png'}"
    Image.new("RGB", (8, 8), (255, 255, 255)).convert(mode).save(path)
    assert read_image(path, 8).float().mean() > 250


@pytest.mark.parametrize("num_workers", [0, 1])
@pytest.mark.parametrize("damage", ["truncated", "not an image", "empty"])
def test_a_damaged_file_is_named_with_the_remedy(tmp_path: Path, damage: str, num_workers: int) -> None:
    path = tmp_path / "000007.jpg"
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    Image.fromarray(noise).save(path)
    data = {"truncated": path.read_bytes()[:-900], "not an image": b"<html>quota exceeded</html>", "empty": b""}
    path.write_bytes(data[damage])
    dataset = ImageDataset(Split(("000007.jpg",), (path,), np.ones((1, 2), dtype=bool)), 8)
    with pytest.raises(
        ValueError,
        match=r"(?s)complete image in .*000007\.jpg.* Delete the file .*or leave the image out of the data set's list",
    ):
        list(ResumableLoader(dataset, UnpaddedSampler(1), 1, num_workers=num_workers))


def test_a_file_that_has_gone_is_missing_not_damaged(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"gone\.jpg"):
        read_image(tmp_path / "gone.jpg", 8)


def flips(folder: Path, num_workers: int, seed: int = 0) -> list[dict[int, bool]]:
    """For two epochs of one loader, whether each image was mirrored."""
    module = stripes(folder, flip=True, num_workers=num_workers, seed=seed)
    plain = seen(stripes(folder).ordered("train"))["image"]
    loader = module.train_dataloader()
    found: list[dict[int, bool]] = [{}, {}]
    for epoch in (0, 1):
        loader.batch_sampler.sampler.set_epoch(epoch)
        for batch in loader:
            for image, index in zip(batch["image"], batch["index"].tolist(), strict=True):
                mirrored = torch.from_numpy(plain[index].numpy()[:, :, ::-1].copy())
                assert torch.equal(image, plain[index]) != torch.equal(image, mirrored)
                found[epoch][index] = torch.equal(image, mirrored)
    return found


def test_flips_depend_on_seed_epoch_and_index_alone(folder: Path) -> None:
    first, later = flips(folder, num_workers=0)
    torch.rand(3)
    assert flips(folder, num_workers=2) == [first, later]  # the same workers serve both epochs
    other, _ = flips(folder, num_workers=0, seed=1)
    for compared in (later, other):  # the incomplete last batch differs too, so compare what both have seen
        assert any(first[index] != compared[index] for index in first.keys() & compared.keys())


def test_half_of_the_images_are_flipped() -> None:
    coins = [mirrored(0, epoch, index) for epoch in range(100) for index in range(13)]
    assert np.mean(coins) == pytest.approx(0.5, abs=5 * 0.5 / np.sqrt(len(coins)))


def test_batches_hold_image_label_and_index(folder: Path) -> None:
    module = stripes(folder)
    batch = next(iter(module.train_dataloader()))
    assert {key: (value.dtype, tuple(value.shape)) for key, value in batch.items()} == {
        "image": (torch.uint8, (4, 3, 8, 8)),
        "label": (torch.bool, (4, 3)),
        "index": (torch.int64, (4,)),
        "object_id": (torch.int64, (4,)),
    }
    for image, label, index in zip(batch["image"], batch["label"], batch["index"].tolist(), strict=True):
        assert torch.equal(image, read_image(folder / f"train{index}.png", 8))
        assert label.tolist() == [bool(index & 1), bool(index & 2), bool(index & 4)]


@pytest.mark.parametrize("num_workers", [0, 2])
def test_evaluation_sees_every_image_once_and_in_order(folder: Path, num_workers: int) -> None:
    module = stripes(folder, num_workers=num_workers)
    fitted, tested = module.test_dataloader()
    for loader, name in [(module.val_dataloader(), "val"), (fitted, "train"), (tested, "test")]:
        assert seen(loader)["index"].tolist() == list(range(SIZES[name]))


def test_training_is_shuffled_anew_every_epoch_and_drops_the_rest(folder: Path) -> None:
    loader = stripes(folder).train_dataloader()
    orders = []
    for epoch in range(3):
        loader.batch_sampler.sampler.set_epoch(epoch)
        orders.append(tuple(seen(loader)["index"].tolist()))
    assert [len(set(order)) for order in orders] == [12, 12, 12]
    assert len(set(orders)) == 3
    assert isinstance(loader.batch_sampler.sampler, EpochSampler)


def test_flipping_the_training_images_leaves_evaluation_alone(folder: Path) -> None:
    plain, flipping = stripes(folder), stripes(folder, flip=True)
    for one, other in zip(plain.test_dataloader(), flipping.test_dataloader(), strict=True):
        assert torch.equal(seen(one)["image"], seen(other)["image"])


def test_setup_reads_once(folder: Path) -> None:
    module = stripes(folder)
    module.setup("fit")
    module.setup("test")
    assert module.times_read == 1


def test_a_limit_keeps_the_first_images_of_each_split(folder: Path) -> None:
    whole, limited = stripes(folder), stripes(folder, limit=5)
    assert [len(limited.splits[name].ids) for name in SPLITS] == [5, 5, 4]
    for name in SPLITS:
        found, expected = seen(limited.ordered(name)), seen(whole.ordered(name))
        for key in ("image", "label", "index"):
            assert torch.equal(found[key], expected[key][:5])
    assert limited.fingerprint() != whole.fingerprint()


def test_data_before_setup_and_unknown_splits_are_errors(folder: Path) -> None:
    with pytest.raises(RuntimeError, match=r"call `setup\(\)` first"):
        Stripes(folder).train_dataloader()
    with pytest.raises(ValueError, match="one of train, val, test, got 'valid'"):
        stripes(folder).ordered("valid")


@pytest.mark.parametrize(
    ("part", "message"),
    [
        (Split((), (), np.ones((0, 3), dtype=bool)), "split 'val' has no images"),
        (Split(("a",), (), np.ones((1, 3), dtype=bool)), "has 1 ids but 0 files"),
        (Split(("a",), (Path("a"),), np.ones((1, 2), dtype=bool)), r"shape \(1, 3\), got bool of shape \(1, 2\)"),
        (Split(("a",), (Path("a"),), np.ones((1, 3), dtype=np.int8)), r"must be bool .* got int8"),
    ],
)
def test_a_split_that_does_not_fit_is_refused(
    folder: Path, monkeypatch: pytest.MonkeyPatch, part: Split, message: str
) -> None:
    module = Stripes(folder)
    good = module.read()
    monkeypatch.setattr(module, "read", lambda: {**good, "val": part})
    with pytest.raises(ValueError, match=message):
        module.setup()


def test_a_missing_split_is_refused(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module = Stripes(folder)
    monkeypatch.setattr(module, "read", lambda: {"train": module.part("train")})
    with pytest.raises(ValueError, match="must return the splits train, val, test, got train"):
        module.setup()


def test_the_fingerprint_follows_the_data_and_not_their_place(
    folder: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    fingerprint = stripes(folder).fingerprint()
    assert fingerprint == stripes(folder, batch_size=2, num_workers=2, seed=9, flip=True).fingerprint()

    copy = tmp_path_factory.mktemp("elsewhere") / "copy"
    shutil.copytree(folder, copy, copy_function=shutil.copyfile)  # without the times of modification
    assert stripes(copy).fingerprint() == fingerprint

    others = [stripes(folder, image_size=9).fingerprint()]
    with (copy / "test3.png").open("ab") as file:
        file.write(b"0")
    others.append(stripes(copy).fingerprint())
    relabelled = stripes(folder)
    relabelled.splits["val"].labels[2, 1] ^= True
    others.append(relabelled.fingerprint())
    with monkeypatch.context() as patch:
        patch.setattr(Stripes, "names", ("one", "two", "three"))
        others.append(stripes(folder).fingerprint())
    with monkeypatch.context() as patch:
        patch.setitem(SIZES, "train", 12)
        others.append(stripes(folder).fingerprint())
    assert len({fingerprint, *others}) == 6


def memory_mapped(path: Path, array: np.ndarray) -> np.ndarray:
    np.save(path, array)
    return np.load(path, mmap_mode="r")


def test_arrays_are_returned_in_the_order_asked_for(tmp_path: Path) -> None:
    feature = np.random.default_rng(0).normal(size=(20, 2, 3)).astype(np.float32)
    arrays = {
        "mapped": memory_mapped(tmp_path / "feature.npy", feature),
        "tensor": torch.from_numpy(feature).half(),
    }
    labels = np.arange(40).reshape(20, 2) % 3 == 0
    dataset = ArrayDataset(arrays, labels)
    asked = [17, 3, 11, 3, 0]
    batch = dataset.__getitems__(asked)
    for row, index in enumerate(asked):
        np.testing.assert_array_equal(batch["mapped"][row].numpy(), feature[index])
        np.testing.assert_array_equal(batch["tensor"][row].numpy(), feature[index].astype(np.float16))
        assert batch["label"][row].tolist() == labels[index].tolist()
    assert batch["index"].tolist() == asked
    assert {key: value.shape for key, value in dataset[3].items()} == {
        "mapped": (2, 3), "tensor": (2, 3), "label": (2,), "index": (), "object_id": (),
    }  # fmt: skip


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"score": np.zeros(3)}, "'score' must have a row for each of the 4 images, has 3"),
        ({"label": np.zeros(4)}, "name 'label' is taken"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(arrays: dict[str, np.ndarray], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ArrayDataset(arrays, np.zeros((4, 2), dtype=bool))


def test_attached_arrays_take_the_place_of_images(folder: Path) -> None:
    module = stripes(folder, num_workers=2)
    module.attach({name: {"feature_map": np.arange(size, dtype=np.float32)} for name, size in SIZES.items()})
    module.attach({name: {"score": -np.arange(size, dtype=np.float32)} for name, size in SIZES.items()})
    images = stripes(folder)
    for loader, original in [
        (module.train_dataloader(), images.train_dataloader()),
        (module.val_dataloader(), images.val_dataloader()),
        *zip(module.test_dataloader(), images.test_dataloader(), strict=True),
    ]:
        assert loader.num_workers == 0
        found, expected = seen(loader), seen(original)
        assert found.keys() == {"feature_map", "score", "label", "index", "object_id"}
        assert torch.equal(found["index"], expected["index"])
        assert torch.equal(found["label"], expected["label"])
        assert torch.equal(found["feature_map"], expected["index"].float())
        assert torch.equal(found["score"], -expected["index"].float())


def test_arrays_resume_within_an_epoch(folder: Path) -> None:
    def loader() -> ResumableLoader:
        module = stripes(folder)
        module.attach({"train": {"score": np.arange(13.0)}})
        return module.train_dataloader()

    whole = [batch["score"].tolist() for batch in loader()]
    begun = loader()
    next(iter(begun))
    resumed = loader()
    resumed.load_state_dict(begun.state_dict())
    assert [batch["score"].tolist() for batch in resumed] == whole[1:]


def test_arrays_of_unknown_splits_or_beside_flips_are_refused(folder: Path) -> None:
    with pytest.raises(ValueError, match="splits train, val, test, got valid"):
        stripes(folder).attach({"valid": {}})
    with pytest.raises(ValueError, match="a second one of the mirrored images: score_mirrored is missing"):
        stripes(folder, flip=True).attach({"train": {"score": np.zeros(13)}})


def test_arrays_of_both_views_are_flipped_as_the_images_would_be(folder: Path) -> None:
    """Two batches, one of pixels and one of stored pixels of both views, show the same view of every image."""
    images, arrays = stripes(folder, flip=True), stripes(folder, flip=True)
    straight = torch.stack([sample["image"] for sample in images.dataset("train")])
    arrays.attach({"train": {"pixels": straight.numpy(), "pixels_mirrored": straight.flip(3).numpy()}})
    loaders = images.train_dataloader(), arrays.train_dataloader()
    views = set()
    for epoch in range(3):
        for loader in loaders:
            loader.batch_sampler.sampler.set_epoch(epoch)
        for one, two in zip(*loaders, strict=True):
            assert torch.equal(one["index"], two["index"])
            assert torch.equal(one["image"], two["pixels"])
            views |= {bool((a == straight[i]).all()) for a, i in zip(one["image"], one["index"], strict=True)}
    assert views == {True, False}
    assert torch.equal(next(iter(arrays.ordered("train")))["pixels"], straight[:4])


class Views(Stripes):
    """The same files, cut out, some mirrored, some several times."""

    def part(self, name: str) -> Split:
        plain = super().part(name)
        size = len(plain.ids)
        return plain._replace(
            boxes=np.array([(1, 2, 7, 9), (-3, 0, 5, 99)] * size)[:size],
            mirrored=np.arange(size) % 3 == 1,
            repeats=np.arange(size) % 4,
            groups=np.arange(size) // 2,
        )


def test_a_view_is_a_part_of_a_file_perhaps_mirrored(folder: Path) -> None:
    module = Views(folder)
    module.setup()
    for index, name in enumerate(module.splits["train"].ids):
        pixels = np.asarray(Image.open(folder / name))
        part = pixels[2:9, 1:7] if index % 2 == 0 else pixels[:10, :5]  # the second box is clipped to the image
        expected = np.asarray(Image.fromarray(part).resize((8, 8), Image.Resampling.BILINEAR))
        expected = expected[:, ::-1] if index % 3 == 1 else expected
        found = module.dataset("train")[index]
        assert np.array_equal(found["image"].permute(1, 2, 0).numpy(), expected)
        assert found["object_id"] == index // 2


@pytest.mark.parametrize("arrays", [False, True])
def test_an_image_counts_as_often_as_it_is_repeated(folder: Path, arrays: bool) -> None:
    module = Views(folder)
    module.setup()
    if arrays:
        module.attach({name: {"row": np.arange(size)} for name, size in SIZES.items()})
    passed = sorted(index for index in range(SIZES["train"]) for _ in range(index % 4))
    assert seen(module.ordered("train"))["index"].tolist() == passed
    shuffled = seen(module.train_dataloader())["index"].tolist()
    assert len(shuffled) == len(passed) // 4 * 4  # the last batch is left out
    assert shuffled != sorted(shuffled)
    assert all(shuffled.count(index) <= index % 4 for index in range(SIZES["train"]))
    if arrays:
        assert torch.equal(seen(module.ordered("val"))["row"], seen(module.ordered("val"))["index"])


def test_boxes_mirrors_and_repeats_are_part_of_the_fingerprint(folder: Path) -> None:
    class Changed(Views):
        field, value = "", np.zeros(0)

        def part(self, name: str) -> Split:
            split = super().part(name)
            return split._replace(**{self.field: self.value[: len(split.ids)]}) if self.field else split

    def fingerprint(field: str = "", value: np.ndarray = np.zeros(0)) -> str:  # noqa: B008
        module = Changed(folder)
        module.field, module.value = field, value
        module.setup()
        return module.fingerprint()

    changes = {
        "boxes": np.ones((13, 4), dtype=int),
        "mirrored": np.zeros(13, dtype=bool),
        "repeats": np.ones(13, dtype=int),
    }
    assert len({fingerprint(), *(fingerprint(*change) for change in changes.items())}) == 4


def test_a_limit_keeps_the_first_of_everything(folder: Path) -> None:
    module = Views(folder, limit=3)
    module.setup()
    assert all(len(field) == 3 for field in module.splits["train"] if field is not None)


def test_some_images_are_spread_evenly_over_the_test_split(faces: Path):
    datamodule = CelebADataModule(root=str(faces), image_size=32, batch_size=4, num_workers=0)
    datamodule.setup()
    datamodule.test_images = 12
    train, test = datamodule.test_dataloader()
    assert torch.cat([batch["index"] for batch in test]).tolist() == list(range(0, 23, 2))
    assert len(torch.cat([batch["index"] for batch in train])) == 70
    few = torch.cat([batch["index"] for batch in datamodule.ordered("train", images=4)]).tolist()
    assert few == [0, 23, 46, 69]
    fingerprint = datamodule.fingerprint()
    datamodule.test_images = None
    assert len(torch.cat([batch["index"] for batch in datamodule.test_dataloader()[1]])) == 23
    assert datamodule.fingerprint() == fingerprint
