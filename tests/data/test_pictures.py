"""Anyone's pictures: folders, class folders, tables, memory, Hugging Face data sets; with labels or without."""

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from torchvision.datasets import ImageFolder

from semexplain.data.framing import read_image
from semexplain.data.images import SPLITS
from semexplain.data.pictures import PicturesDataModule
from semexplain.runs.cache import view_keys
from semexplain.system.image_files import ImageError
from semexplain.system.trouble import Trouble

CHANCE = np.random.default_rng(0)


def draw(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(CHANCE.integers(0, 256, (9, 11, 3), dtype=np.uint8)).save(path)


def pictures(root: Path | None = None, **options: Any) -> PicturesDataModule:
    place = None if root is None else str(root)
    module = PicturesDataModule(place, **{"image_size": 8, "batch_size": 4, "num_workers": 0, **options})
    module.setup()
    return module


def by_id(module: PicturesDataModule) -> dict[str, tuple[str, ...]]:
    """Split and labels of every image."""
    return {
        name: (split, *(word for word, has in zip(module.names, row, strict=True) if has))
        for split, part in module.splits.items()
        for name, row in zip(part.ids, part.labels, strict=True)
    }


def test_a_folder_needs_no_labels(tmp_path: Path):
    for number in range(40):
        draw(tmp_path / f"a/{number}.png" if number % 2 else tmp_path / f"{number}.PNG")
    (tmp_path / "notes.txt").write_text("no image")
    (tmp_path / "._1.png").write_bytes(b"no image either")
    module = pictures(tmp_path)
    assert module.names == ()
    assert len(by_id(module)) == 40
    batch = next(iter(module.train_dataloader()))
    assert batch["label"].shape == (4, 0)
    assert batch["image"].shape == (4, 3, 8, 8)
    split = module.splits["val"]
    assert torch.equal(split.read(0, module.framing), read_image(tmp_path / split.ids[0], 8))
    assert len(module.fingerprint()) == 64


def test_a_limit_leaves_images_of_all_classes(tmp_path: Path):
    for number in range(120):
        draw(tmp_path / f"{'ab'[number >= 60]}/{number:03d}.png")
    whole, few = pictures(tmp_path), pictures(tmp_path, limit=12)
    for name in SPLITS:
        one, all_of_them = few.splits[name], whole.splits[name]
        assert len(one.ids) == min(12, len(all_of_them.ids))
        assert set(one.ids) <= set(all_of_them.ids)
        assert list(one.ids) == sorted(one.ids)
        assert 0 < one.labels[:, 0].sum() < len(one.ids)
    assert pictures(tmp_path, limit=12).splits["train"].ids == few.splits["train"].ids


def test_class_folders_are_those_of_torchvision(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    for number in range(60):
        draw(tmp_path / f"{('10', '2', '1')[number % 3]}/{number}.jpg")
    module, theirs = pictures(tmp_path), ImageFolder(str(tmp_path))
    assert list(module.names) == theirs.classes == ["1", "10", "2"]
    expected = {Path(path).relative_to(tmp_path).as_posix(): theirs.classes[at] for path, at in theirs.samples}
    assert {name: words[1:] for name, words in by_id(module).items()} == {n: (word,) for n, word in expected.items()}
    assert "in the order of text, '1', '10', '2'" in caplog.text


def test_folders_named_after_splits_are_splits(tmp_path: Path):
    for split in ("train", "valid", "test"):
        for number in range(6):
            draw(tmp_path / f"{split}/{'cat' if number % 2 else 'dog'}/{number}.png")
    module = pictures(tmp_path)
    assert module.names == ("cat", "dog")
    assert [len(module.splits[name].ids) for name in SPLITS] == [6, 6, 6]
    assert by_id(module)["valid/cat/1.png"] == ("val", "cat")
    # without one of them, it is drawn from the training images
    apart = pictures(train=str(tmp_path / "train"), test=str(tmp_path / "test"), shares=[0.5, 0.5, 0])
    assert len(apart.splits["test"].ids) == 6
    assert len(apart.splits["train"].ids) + len(apart.splits["val"].ids) == 6


def test_a_draw_depends_on_the_name_alone(tmp_path: Path):
    for number in range(200):
        draw(tmp_path / f"{number}.png")
    before = by_id(pictures(tmp_path))
    share = np.mean([words[0] == "train" for words in before.values()])
    assert 0.6 < share < 0.8
    for number in range(200, 230):
        draw(tmp_path / f"{number}.png")
    after = by_id(pictures(tmp_path))
    assert before.items() <= after.items()
    assert by_id(pictures(tmp_path, split_seed=1)) != after
    for path in tmp_path.iterdir():
        draw(path)  # other content under the same name
    assert by_id(pictures(tmp_path)) == after


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_a_table_lists_images_splits_classes_and_labels(tmp_path: Path, kind: str, caplog: pytest.LogCaptureFixture):
    rows = [
        {
            "image": f"photos/{number}.png",
            "split": SPLITS[number % 3],
            "label": "dog" if number % 2 else "cat",
            "old": number % 5 == 0,
            "sign": 1 if number % 4 else -1,
            "weight": 3.5 * number,
        }
        for number in range(12)
    ]
    for row in rows:
        draw(tmp_path / row["image"])
    table = pd.DataFrame(rows)
    table.to_csv(tmp_path / "list.csv", index=False) if kind == "csv" else table.to_parquet(tmp_path / "list.parquet")
    with caplog.at_level(logging.INFO):
        module = pictures(tmp_path / f"list.{kind}")
    assert module.names == ("cat", "dog", "old", "sign")
    assert "columns that are not 0 and 1 are left out: weight" in caplog.text
    for row in rows:
        words = [row["label"], *(["old"] if row["old"] else []), *(["sign"] if row["sign"] == 1 else [])]
        assert by_id(module)[row["image"]] == (row["split"], *words)


def test_pictures_in_memory_are_those_in_files(tmp_path: Path):
    array = CHANCE.integers(0, 256, (40, 9, 11, 3), dtype=np.uint8)
    for number, image in enumerate(array):
        Image.fromarray(image).save(tmp_path / f"{number}.png")
    tensor, photos = torch.from_numpy(array).permute(0, 3, 1, 2), [Image.fromarray(image) for image in array]
    files = [tmp_path / f"{number}.png" for number in range(40)]
    modules = [pictures(images=images) for images in (array, tensor, photos, list(array))]
    for module in modules:
        for split in module.splits.values():
            for at, name in enumerate(split.ids):
                assert torch.equal(split.read(at, module.framing), read_image(tmp_path / f"{name}.png", 8))
        assert by_id(module) == by_id(modules[0])
        keys = list(view_keys(module, [("train", 0, False), ("train", 1, False), ("train", 1, True)], tmp_path / "i"))
        assert len(set(keys)) == 3
    listed = pictures(images=files)
    assert sum(len(split.ids) for split in listed.splits.values()) == 40
    assert listed.splits["train"].pictures is None


def test_the_fingerprint_covers_what_is_in_memory():
    array = CHANCE.integers(0, 256, (40, 9, 11, 3), dtype=np.uint8)
    other = array.copy()
    other[17, 3, 4, 1] ^= 1
    prints = [pictures(images=images).fingerprint() for images in (array, array.copy(), other)]
    assert prints[0] == prints[1] != prints[2]
    assert pictures(images=array, framing={"shorter": 9}).fingerprint() != prints[0]
    photos, turned = ([Image.fromarray(image) for image in array] for _ in range(2))
    turned[3].getexif()[0x0112] = 6
    assert pictures(images=photos).fingerprint() != pictures(images=turned).fingerprint()


def test_labels_in_memory(tmp_path: Path):
    array = CHANCE.integers(0, 256, (60, 8, 8), dtype=np.uint8)
    options: dict[str, Any] = {"images": array, "image_size": [1, 8, 8]}
    numbers = np.arange(60) % 3
    named = pictures(labels=[("cat", "dog", "cow")[number] for number in numbers], **options)
    numbered = pictures(labels=numbers, label_names=["cat", "dog", "cow"], **options)
    table = pictures(labels=np.eye(3)[numbers] > 0, label_names=["cat", "dog", "cow"], **options)
    assert (named.names, numbered.names, table.names) == (("cat", "cow", "dog"), *(("cat", "dog", "cow"),) * 2)
    assert by_id(named) == by_id(numbered) == by_id(table)
    halves = pictures(
        train=array[:40], test=array[40:], labels={"train": numbers[:40], "test": numbers[40:]},
        label_names=["cat", "dog", "cow"], image_size=[1, 8, 8],
    )  # fmt: skip
    assert halves.splits["test"].labels.argmax(1).tolist() == numbers[40:].tolist()


def test_sixteen_bits_and_many_channels_in_memory():
    array = CHANCE.integers(0, 4096, (40, 8, 8, 5), dtype=np.uint16)
    module = pictures(images=array, image_size=[5, 8, 8], framing={"dtype": "uint16", "top": 4095})
    batch = next(iter(module.val_dataloader()))
    assert batch["image"].dtype == torch.uint16
    first = int(module.splits["val"].ids[0])
    assert torch.equal(batch["image"][0], torch.from_numpy(array[first]).permute(2, 0, 1))


def test_data_sets_of_hugging_face(tmp_path: Path):
    datasets = pytest.importorskip("datasets")
    for number in range(40):
        draw(tmp_path / f"{number}.png")
    kinds = datasets.Features(
        {"photo": datasets.Image(), "kind": datasets.ClassLabel(names=["dog", "cat"]), "old": datasets.Value("bool")}
    )
    columns = {
        "photo": [str(tmp_path / f"{number}.png") for number in range(40)],
        "kind": [number % 2 for number in range(40)],
        "old": [number % 3 == 0 for number in range(40)],
    }
    dataset = datasets.Dataset.from_dict(columns, features=kinds)
    module = pictures(images=dataset)
    assert module.names == ("dog", "cat", "old")
    for split in module.splits.values():
        for at, name in enumerate(split.ids):
            assert torch.equal(split.read(at, 8), read_image(tmp_path / f"{name}.png", 8))
            assert split.labels[at].tolist() == [int(name) % 2 == 0, int(name) % 2 == 1, int(name) % 3 == 0]
    assert module.fingerprint() == pictures(images=dataset).fingerprint()
    both = pictures(images=datasets.DatasetDict(train=dataset, validation=dataset.select(range(5))), shares=[8, 1, 1])
    assert len(both.splits["val"].ids) == 5
    with pytest.raises(Trouble, match="no column of images; it has kind"):
        pictures(images=dataset.remove_columns("photo"))


# -- what cannot be ------------------------------------------------------------------------------------------------


def listed(folder: Path, text: str) -> Path:
    for number in range(3):
        draw(folder / f"{number}.png")
    (folder / "list.csv").write_text(text)
    return folder / "list.csv"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("image\n0.png\n7.png\n", r"1 of the 2 images in .*list.csv are not there: .*7.png. Copy them"),
        ("file\n0.png\n", r"no column 'image' of images; it has file. Name it by `data.image_column`"),
        ("image\n", "lists no images"),
        ("image\n0.png\n0.png\n", "lists 1 images more than once: 0.png"),
        ("image,split\n0.png,train\n1.png,tset\n", "'split' must say train, val or test, got 'tset'"),
        ("image,split\n0.png,val\n1.png,test\n", "images to val and test, but none to train on"),
        ("image,split\n0.png,train\n1.png,val\n", "The split 'test' is empty: none of 1 images fell into it"),
        ("image,label\n0.png,dog\n1.png,\n", "'label' has no class in row 2"),
        ("image,old\n0.png,1\n1.png,\n", "'old' has no value for 1.png"),
        ("", r"list.csv cannot be read as a table"),
    ],
)
def test_tables_that_cannot_be(tmp_path: Path, text: str, message: str):
    with pytest.raises((Trouble, FileNotFoundError), match=message) as refusal:
        pictures(listed(tmp_path, text))
    assert len(str(refusal.value).splitlines()) <= 2


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"images": np.zeros((0, 8, 8, 3), np.uint8)}, "There are no images: expected an array or a list"),
        ({"images": np.zeros((8, 8), np.uint8)}, r"Expected an array of images \(N, H, W, C\)"),
        ({"images": []}, "There are no images"),
        ({"images": ["gone.png"]}, "1 of the 1 images in the list are not there: gone.png"),
        ({"images": [np.zeros((8, 8, 3), np.uint8)] * 2, "labels": ["a"]}, "Expected labels of 2 images, got 1"),
        ({"images": np.zeros((2, 8, 8, 3), np.uint8), "labels": [0, 1]}, r"names=\[...\]"),
        (
            {"images": np.zeros((2, 8, 8, 3), np.uint8), "labels": [0, 2], "label_names": ["a", "b"]},
            "class numbers below 2",
        ),
        ({"root": "x", "images": []}, "Expected one source of images"),
        ({}, "Expected one source of images"),
        ({"root": "x", "shares": [1, 1]}, "shares: expected those of train, val and test"),
        ({"root": "nowhere"}, "Expected a folder of images, or a table of them, at .*nowhere"),
    ],
)
def test_sources_that_cannot_be(options: dict[str, Any], message: str):
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        PicturesDataModule(**{"image_size": 8, **options}).setup()


def test_folders_that_cannot_be(tmp_path: Path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(Trouble, match="There are no images in .*empty: expected files such as"):
        pictures(tmp_path / "empty")
    (tmp_path / "notes.txt").write_text("")
    with pytest.raises(Trouble, match=r"notes.txt is no folder of images and no table \(.csv or .parquet\)"):
        pictures(tmp_path / "notes.txt")
    for split, name in (("train", "cat/0"), ("train", "dog/1"), ("val", "2"), ("test", "cat/3")):
        draw(tmp_path / f"photos/{split}/{name}.png")
    with pytest.raises(Trouble, match="The images of split 'val' have no classes, those of others have"):
        pictures(
            train=str(tmp_path / "photos/train"), val=str(tmp_path / "photos/val"), test=str(tmp_path / "photos/test")
        )
    draw(tmp_path / "photos/val/dog/2.png")
    (tmp_path / "photos/val/2.png").unlink()
    module = pictures(tmp_path / "photos")
    assert by_id(module) == {
        "train/cat/0.png": ("train", "cat"), "train/dog/1.png": ("train", "dog"), "val/dog/2.png": ("val", "dog"),
        "test/cat/3.png": ("test", "cat"),
    }  # fmt: skip
    (tmp_path / "photos/val/dog/2.png").write_bytes(b"no image")
    with pytest.raises(ImageError, match=r"complete image in .*2.png, .* or leave the image out"):
        module.splits["val"].read(0, 8)
    wrong = pictures(images=np.zeros((40, 8, 8, 3)))
    with pytest.raises(ImageError, match=r"The image '\d+': Expected images as uint8 RGB 0..255, got float64"):
        wrong.splits["val"].read(0, wrong.framing)


def test_columns_of_numbers_go_with_the_pixels(tmp_path: Path):
    for number in range(12):
        draw(tmp_path / f"{number}.png")
    table = pd.DataFrame({"image": [f"{number}.png" for number in range(12)], "age": range(30, 42), "old": [0, 1] * 6})
    table["split"] = [SPLITS[number % 3] for number in range(12)]
    table.to_csv(tmp_path / "list.csv", index=False)
    options = {"image_size": [4, 8, 8], "numbers": ["age"]}
    module = pictures(tmp_path / "list.csv", **options)
    assert module.names == ("old",)
    split = module.splits["val"]
    for at, name in enumerate(split.ids):
        image = split.read(at, module.framing)
        assert torch.equal(image[:3], read_image(tmp_path / name, 8))
        assert image[3].unique().tolist() == [30 + int(name.removesuffix(".png"))]
    before = module.fingerprint()
    table["age"] += 1
    table.to_csv(tmp_path / "list.csv", index=False)
    assert pictures(tmp_path / "list.csv", **options).fingerprint() != before
    with pytest.raises(Trouble, match="has no column 'agge' .did you mean 'age'"):
        pictures(tmp_path / "list.csv", image_size=[4, 8, 8], numbers=["agge"])
    with pytest.raises(Trouble, match="numbers: only a table of images"):
        pictures(tmp_path, **options)
    table["age"] = table["age"].astype(str).where(table["age"] != 35, "")
    table.to_csv(tmp_path / "list.csv", index=False)
    with pytest.raises(Trouble, match="the column 'age' has no number for 4.png"):
        pictures(tmp_path / "list.csv", **options)
