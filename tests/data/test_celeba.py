"""The reader of CelebA's text files, and each way in which they can be wrong."""

import logging
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from semexplain.data.attributes import ATTRIBUTES
from semexplain.data.celeba import CelebADataModule, read_attributes, read_partition

# the first 9,000 images of CelebA with a partition file of their own, if you have them
SUBSET = Path(os.environ.get("SEMEXPLAIN_CELEBA_SUBSET", Path(__file__).parents[2] / "data" / "celeba_subset"))
IDS = [f"{number:06d}.jpg" for number in range(1, 13)]
PARTS = [0] * 8 + [1] * 2 + [2] * 2
LABELS = np.random.default_rng(0).random((12, 40)) < 0.5


def attribute_text(names: tuple[str, ...] = ATTRIBUTES, labels: np.ndarray = LABELS) -> str:
    rows = [f"{image} " + " ".join(" 1" if value else "-1" for value in row) for image, row in zip(IDS, labels)]  # noqa: B905
    return "\n".join([str(len(rows)), " ".join(names) + " ", *rows]) + "\n"


def attribute_table(absent: str = "-1") -> str:
    rows = [",".join([image, *("1" if value else absent for value in row)]) for image, row in zip(IDS, LABELS)]  # noqa: B905
    return "\n".join([",".join(["image_id", *ATTRIBUTES]), *rows]) + "\n"


PARTITION_TEXT = "".join(f"{image} {part}\n" for image, part in zip(IDS, PARTS, strict=True))
PARTITION_TABLE = "image_id,partition\n" + PARTITION_TEXT.replace(" ", ",")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Twelve small faces in the original layout."""
    images = tmp_path / "celeba" / "img_align_celeba"
    images.mkdir(parents=True)
    for shade, image in enumerate(IDS):
        Image.new("RGB", (9, 11), (20 * shade, 100, 100)).save(images / image)
    (images.parent / "list_attr_celeba.txt").write_text(attribute_text())
    (images.parent / "list_eval_partition.txt").write_text(PARTITION_TEXT)
    return images.parent


def celeba(root: Path, **options: str | int) -> CelebADataModule:
    module = CelebADataModule(root=str(root), **{"image_size": 8, "batch_size": 4, "num_workers": 0, **options})
    module.setup()
    return module


def test_splits_follow_the_partition_file(root: Path) -> None:
    module = celeba(root)
    for part, name in enumerate(("train", "val", "test")):
        rows = [row for row in range(12) if PARTS[row] == part]
        ids, paths, labels = module.splits[name][:3]
        assert list(ids) == [IDS[row] for row in rows]
        assert list(paths) == [root / "img_align_celeba" / IDS[row] for row in rows]
        assert labels.dtype == np.bool_
        for label, row in zip(labels, rows, strict=True):
            assert label.tolist() == LABELS[row].tolist()
    assert module.names == ATTRIBUTES


def test_batches_pair_each_image_with_its_labels(root: Path) -> None:
    (batch,) = celeba(root).val_dataloader()
    for image, label, row in zip(batch["image"], batch["label"], (8, 9), strict=True):
        assert image[0].float().mean() == pytest.approx(20 * row, abs=4)
        assert label.tolist() == LABELS[row].tolist()


@pytest.mark.parametrize("absent", ["-1", "0"])
def test_tables_say_the_same_as_the_original_text(root: Path, absent: str) -> None:
    expected = celeba(root).fingerprint()
    (root / "list_attr_celeba.txt").unlink()
    (root / "list_eval_partition.txt").unlink()
    (root / "list_attr_celeba.csv").write_text(attribute_table(absent))
    (root / "list_eval_partition.csv").write_text(PARTITION_TABLE)
    (root / "img_align_celeba").rename(root / "inner")
    (root / "img_align_celeba").mkdir()
    (root / "inner").rename(root / "img_align_celeba" / "img_align_celeba")  # the .csv distribution nests the folder
    assert celeba(root).fingerprint() == expected


def test_byte_order_marks_blank_lines_and_windows_line_ends_do_no_harm(root: Path) -> None:
    expected = celeba(root).fingerprint()
    for path in root.glob("*.txt"):
        path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes().replace(b"\n", b"\r\n") + b"\r\n\r\n")
    assert celeba(root).fingerprint() == expected


def test_columns_are_put_in_the_canonical_order(root: Path) -> None:
    order = np.random.default_rng(1).permutation(40)
    path = root / "list_attr_celeba.txt"
    path.write_text(attribute_text(tuple(ATTRIBUTES[column] for column in order), LABELS[:, order]))
    np.testing.assert_array_equal(read_attributes(path)[1], LABELS)


def test_any_other_table_of_attributes_is_read_in_its_own_order(root: Path) -> None:
    names = ("round", "Young", "red")
    (root / ATTR).write_text(attribute_text(names, LABELS[:, :3]))
    module = celeba(root)
    assert module.names == names
    for part, split in enumerate(module.splits.values()):
        rows = [row for row in range(12) if PARTS[row] == part]
        assert split.labels.tolist() == [LABELS[row, :3].tolist() for row in rows]
    images, labels, found = read_attributes(root / ATTR)
    assert (images, labels.tolist(), found) == (IDS, LABELS[:, :3].tolist(), names)


def test_order_of_rows_in_the_attribute_file_does_not_matter(root: Path) -> None:
    expected = celeba(root).fingerprint()
    path = root / "list_attr_celeba.txt"
    count, names, *rows = path.read_text().splitlines()
    path.write_text("\n".join([count, names, *reversed(rows)]))
    assert celeba(root).fingerprint() == expected


def test_any_part_of_the_images_will_do(root: Path, caplog: pytest.LogCaptureFixture) -> None:
    (root / "some.txt").write_text(f"{IDS[11]} 0\n{IDS[2]} 1\n{IDS[5]} 2\n")
    with caplog.at_level(logging.INFO):
        module = celeba(root, partition="some.txt")
    assert [split.ids for split in module.splits.values()] == [(IDS[11],), (IDS[2],), (IDS[5],)]
    assert module.splits["train"].labels[0].tolist() == LABELS[11].tolist()
    assert "9 images of" in caplog.text


def remove(name: str) -> Callable[[Path], None]:
    return lambda root: (root / name).rename(root / "elsewhere")


def write(name: str, text: str) -> Callable[[Path], None]:
    def change(root: Path) -> None:
        (root / name).write_text(text)

    return change


def replace(name: str, old: str, new: str) -> Callable[[Path], None]:
    def change(root: Path) -> None:
        text = (root / name).read_text()
        assert old in text
        (root / name).write_text(text.replace(old, new, 1))

    return change


def remove_images(root: Path) -> None:
    for image in IDS[3:10]:
        (root / "img_align_celeba" / image).unlink()


ATTR, PART = "list_attr_celeba.txt", "list_eval_partition.txt"
ROW = attribute_text().splitlines()[4]  # line 5


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (remove("img_align_celeba"), r"aligned images in .*img_align_celeba\. .*data=synthetic_faces"),
        (remove(ATTR), r"file .*list_attr_celeba\.txt or list_attr_celeba\.csv\. .*data=synthetic_faces"),
        (remove(PART), r"file .*list_eval_partition\.txt or list_eval_partition\.csv\. .*mmlab"),
        (remove_images, r"7 of the 12 images .* are not in .*000004.jpg, .*000008.jpg, \.\.\.\. .*`data\.partition`"),
    ],
)
def test_missing_files_are_named_with_where_to_get_them(
    root: Path, change: Callable[[Path], None], message: str
) -> None:
    change(root)
    with pytest.raises(FileNotFoundError, match=message):
        celeba(root)


def test_a_missing_root_is_named_with_where_to_get_it(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"nowhere \(`data\.root`\).*mmlab.*data=synthetic_faces"):
        celeba(tmp_path / "nowhere")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (write(ATTR, ""), r"list_attr_celeba\.txt is empty\. .*mmlab"),
        (write(PART, ""), r"list_eval_partition\.txt is empty\. .*mmlab"),
        (write(PART, "\n\n"), r"list_eval_partition\.txt lists no images"),
        (write(ATTR, "0\n" + " ".join(ATTRIBUTES)), r"list_attr_celeba\.txt lists no images"),
        (write(ATTR, "<!DOCTYPE html>\n"), "line 1: expected the number of images, got '<!DOCTYPE html>'"),
        (replace(ATTR, "12\n", "202599\n"), "announces 202599 images in its first line but lists 12"),
        (replace(ATTR, "Young", "Male"), "at least two attributes, each once; repeated: Male"),
        (replace(ATTR, " Young", ""), "line 3: expected an image and 39 values, got 40 values"),
        (replace(ATTR, " ".join(ATTRIBUTES), "Young"), "at least two attributes, each once; got Young"),
        (replace(ATTR, ROW, ROW.rsplit(maxsplit=1)[0]), "line 5: expected an image and 40 values, got 39 values"),
        (replace(ATTR, ROW, ROW + " 1"), "line 5: expected an image and 40 values, got 41 values"),
        (replace(ATTR, ROW, ROW[:-2] + " 2"), r"line 5: attributes must be -1 or 1, got 2\."),
        (replace(ATTR, ROW, ROW[:-2] + " 0"), r"line 5: attributes must be -1 or 1, got 0\."),
        (replace(ATTR, "000004.jpg", "000002.jpg"), "lists 1 images more than once: 000002.jpg"),
        (replace(PART, "000004.jpg", "000002.jpg"), "partition.*lists 1 images more than once: 000002.jpg"),
        (replace(PART, "000004.jpg 0", "000004.jpg 3"), r"line 4: the part must be 0 .* or 2 \(test\), got '3'"),
        (replace(PART, "000004.jpg 0", "000004.jpg"), "line 4: expected an image and its part, got 1 fields"),
        (replace(PART, "000004.jpg", "x.jpg"), r"lists 1 images without a row in .*attr_celeba\.txt: x\.jpg\."),
        (
            write(PART, PARTITION_TEXT.replace(" 1", " 0").replace(" 2", " 0")),
            r"split 'val' is empty: no image has the value 1 in .*list_eval_partition\.txt.*`data\.partition`",
        ),
    ],
)
def test_text_files_that_are_not_as_expected_say_what_was(
    root: Path, change: Callable[[Path], None], message: str
) -> None:
    change(root)
    with pytest.raises(ValueError, match=message):
        celeba(root)


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (attribute_table().replace("image_id", "name", 1), "line 1: expected a header .*`image_id`, got 'name,5_o"),
        (attribute_table().replace(",1\n", ",2\n", 1), r"must be -1 or 1 \(or 0 or 1\), got 2"),
        (attribute_table("0").replace(",0,", ",-1,", 1), "uses both -1 and 0"),
        (attribute_table().splitlines()[0], "lists no images"),
        ("", "is empty"),
    ],
)
def test_tables_that_are_not_as_expected_say_what_was(tmp_path: Path, table: str, message: str) -> None:
    path = tmp_path / "list_attr_celeba.csv"
    path.write_text(table)
    with pytest.raises(ValueError, match=message):
        read_attributes(path)


def test_a_partition_table_needs_its_header(tmp_path: Path) -> None:
    path = tmp_path / "list_eval_partition.csv"
    path.write_text(PARTITION_TABLE.split("\n", 1)[1])
    with pytest.raises(ValueError, match=r"line 1: expected a header .*`image_id`, got '000001\.jpg,0'"):
        read_partition(path)


@pytest.mark.skipif(not SUBSET.is_dir(), reason=f"the real images are not at {SUBSET}")
def test_real_faces_have_the_published_rates() -> None:
    module = celeba(SUBSET, partition="list_eval_partition.local.txt", image_size=96)
    assert [len(split.ids) for split in module.splits.values()] == [7200, 900, 900]
    rates = np.concatenate([split.labels for split in module.splits.values()]).mean(axis=0)
    assert rates[ATTRIBUTES.index("Attractive")] == pytest.approx(0.512, abs=0.005)
    assert rates[ATTRIBUTES.index("Male")] == pytest.approx(0.422, abs=0.005)
    batch = next(iter(module.train_dataloader()))
    assert batch["image"].shape == (4, 3, 96, 96)
    with pytest.raises(ValueError, match=r"split 'val' is empty.*`data\.partition`"):
        celeba(SUBSET)
