"""The reader of Pascal-Part: its splits as whole numbers, its masks pixel by pixel, and each way to be wrong."""

import itertools
import json
import logging
import os
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction
from math import floor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from scipy.io import savemat

from semexplain.data import pascal_objects, pascal_part
from semexplain.data.images import Split
from semexplain.data.pascal_annotations import CATEGORIES, PARTS, read_annotation
from semexplain.data.pascal_part import PascalPartDataModule
from semexplain.data.pascal_views import ICNN_OBJECTS, slot_repeats, training_positions

# photos of five animals with boxes of their parts, and four of the genuine annotations, if you have them
SUBSET = Path(os.environ.get("SEMEXPLAIN_PASCAL_SUBSET", Path(__file__).parents[2] / "data" / "pascal_part_subset"))
BOXES = "Annotations_Part_boxes"
needs_subset = pytest.mark.skipif(not SUBSET.is_dir(), reason=f"the real photos are not at {SUBSET}")

HEIGHT, WIDTH = 120, 160
Box = tuple[int, int, int, int]
Animal = tuple[str, Box, dict[str, Box]]


def mask_of(box: Box) -> np.ndarray:
    mask = np.zeros((HEIGHT, WIDTH), dtype=np.uint8)
    mask[box[1] : box[3], box[0] : box[2]] = 1
    return mask


def struct_array(rows: Sequence[Mapping[str, Any]]) -> np.ndarray:
    """A MATLAB struct array, or the empty matrix that stands for one without elements."""
    if not rows:
        return np.zeros((0, 0))
    array = np.empty((1, len(rows)), dtype=[(name, object) for name in rows[0]])
    for column, row in enumerate(rows):
        for name, value in row.items():
            array[0, column][name] = value
    return array


def write_annotation(path: Path, animals: Sequence[Animal], change: Callable[[dict], None] | None = None) -> None:
    objects = [
        {
            "class": name,
            "class_ind": 1,
            "mask": mask_of(box),
            "parts": struct_array([{"part_name": leaf, "mask": mask_of(part)} for leaf, part in parts.items()]),
        }
        for name, box, parts in animals
    ]
    for item in objects:
        if change is not None:
            change(item)
    savemat(path, {"anno": {"imname": path.stem, "objects": struct_array(objects)}}, do_compression=True)


def write_photo(root: Path, photo: str, animals: Sequence[Animal] | None = None) -> None:
    """A photo on which every part has a colour of its own, and its annotation unless that is None."""
    pixels = np.full((HEIGHT, WIDTH, 3), 90, dtype=np.uint8)
    for _, _, parts in animals or []:
        for number, box in enumerate(parts.values()):
            pixels[mask_of(box) > 0] = (250 - 40 * number, 40 * number, 10)
    Image.fromarray(pixels).save(root / "JPEGImages" / f"{photo}.jpg", quality=100, subsampling=0)
    if animals is not None:
        write_annotation(root / "Annotations_Part" / f"{photo}.mat", animals)


COW: Animal = (
    "cow",
    (10, 20, 90, 100),
    {"torso": (30, 40, 90, 80), "head": (10, 20, 40, 50), "leye": (15, 25, 25, 35)},
)
SMALL_COW: Animal = ("cow", (100, 10, 149, 61), {"torso": (100, 10, 149, 61)})  # 49 x 51 pixels are one too few
SECOND_COW: Animal = ("cow", (100, 10, 150, 60), {})
DOG: Animal = ("dog", (20, 10, 120, 110), {"torso": (20, 10, 120, 110)})
PERSON: Animal = ("person", (0, 0, 60, 120), {"hair": (0, 0, 9, 9)})
TRAIN = [f"2008_{number:06d}" for number in range(12)]
VAL = [f"2009_{number:06d}" for number in range(16)]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """28 photos: a cow on every second one, a dog on the others, more than that on a few."""
    folder = tmp_path / "voc"
    for name in ("JPEGImages", "Annotations_Part", "ImageSets/Main", "extra"):
        (folder / name).mkdir(parents=True)
    special = {"2009_000000": [COW, SMALL_COW, SECOND_COW], "2009_000002": [PERSON, COW], "2009_000001": [DOG, COW]}
    for number, photo in enumerate(TRAIN + VAL):
        write_photo(folder, photo, special.get(photo, [DOG if number % 2 else COW]))
    write_photo(folder, "2009_000015", [])
    (folder / "ImageSets/Main/train.txt").write_text("\n".join(TRAIN) + "\n")
    (folder / "ImageSets/Main/val.txt").write_text("".join(f"{photo} -1\n" for photo in VAL))
    return folder


def pascal(root: Path, **options: Any) -> PascalPartDataModule:
    settings = {"category": "cow", "image_size": 16, "batch_size": 4, "num_workers": 0, **options}
    module = PascalPartDataModule(root=str(root), **settings)
    module.setup()
    return module


def photos(split: Split) -> set[str]:
    return {path.stem for path in split.paths}


def add_negatives(root: Path, count: int) -> None:
    (root / "negatives").mkdir()
    for number in range(count):
        Image.new("RGB", (30 + number, 20), (number, 0, 0)).save(root / "negatives" / f"scene{number:02d}.png")


# ---------------------------------------------------------------------------------------------------------------------
# The protocol behind the paper's accuracies
# ---------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("category", "images", "objects"),
    [("bird", 302, 39), ("cat", 300, 56), ("cow", 294, 19), ("dog", 300, 68), ("horse", 296, 29), ("sheep", 296, 26)],
)
def test_the_protocol_leaves_as_many_validation_images_as_the_papers_accuracies_need(
    category: str, images: int, objects: int
) -> None:
    count = ICNN_OBJECTS[category]
    held_out = sorted(set(range(count)) - set(training_positions(count)))
    slots = list(itertools.islice(itertools.cycle(range(2 * count)), 3000))
    assert len(held_out) == objects
    assert sum(view // 2 in set(held_out) for view in slots) == images
    assert slot_repeats(count) == [Counter(slots)[view] for view in range(2 * count)]
    assert len(training_positions(1000)) == 900


@pytest.mark.parametrize("count", [1, 2, 5, 6, 11, 15, 100, 194, 681, 1000])
def test_training_objects_are_spread_as_matlab_does(count: int) -> None:
    chosen = floor(Fraction(9, 10) * count + Fraction(1, 2))
    step = Fraction(count - 1, chosen - 1) if chosen > 1 else 0
    assert training_positions(count) == [floor(1 + number * step + Fraction(1, 2)) - 1 for number in range(chosen)]
    assert len(set(training_positions(count))) == chosen


def test_icnn_repeats_views_and_divides_objects(root: Path) -> None:
    add_negatives(root, 11)
    module = pascal(root)
    assert module.splits["val"] is not module.splits["train"]
    assert module.splits["test"].ids == module.splits["val"].ids
    # the cows of val in the order of the list, without the small one
    objects = ["2009_000000/1", "2009_000000/3", "2009_000001/2", "2009_000002/2"]
    objects += [f"2009_{number:06d}/1" for number in range(4, 16, 2)]
    views = [(name, mirrored) for name in objects for mirrored in (False, True)]
    times = Counter(itertools.islice(itertools.cycle(views), 3000))
    train = {objects[number] for number in (0, 1, 2, 3, 5, 6, 7, 8, 9)}  # linspace(1, 10, 9) is 1, 2.125, ..., 5.5, ...
    for name, expected in (("train", train), ("val", set(objects) - train)):
        split = module.splits[name]
        assert split.mirrored is not None
        assert split.repeats is not None
        assert split.groups is not None
        seen = {}
        for position in np.flatnonzero(split.labels[:, 0]):
            identity, _, suffix = split.ids[position].partition("/mirrored")
            assert (split.ids[position] != identity) == split.mirrored[position], suffix
            seen[identity, bool(split.mirrored[position])] = int(split.repeats[position])
        assert seen == {view: times[view] for view in views if view[0] in expected}
        own = {
            (name.removesuffix("/mirrored"), int(group)) for name, group in zip(split.ids, split.groups, strict=True)
        }
        assert len(own) == len({name for name, _ in own}) == len({group for _, group in own})
    groups = [set(split.groups.tolist()) for split in (module.splits["train"], module.splits["val"])]  # type: ignore[union-attr]
    assert not groups[0] & groups[1]
    assert [int((~module.splits[name].labels).sum()) for name in ("train", "val")] == [10, 1]
    assert set(module.naming.ids) == train - {"2009_000000/3"}  # which has no part masks
    assert not any(module.naming.mirrored)  # type: ignore[arg-type]


def test_at_most_a_thousand_negatives_and_whole_photos_of_them(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pascal_part, "ICNN_NEGATIVES", 5)
    add_negatives(root, 9)
    splits = pascal(root).splits
    boxes = {
        name: tuple(box)
        for split in (splits["train"], splits["val"])
        for name, label, box in zip(split.ids, split.labels[:, 0], split.boxes.tolist(), strict=True)  # type: ignore[union-attr]
        if not label
    }
    assert len(boxes) == 5
    assert all(box == (0, 0, 30 + int(name.removeprefix("scene")), 20) for name, box in boxes.items())


def test_crops_of_other_animals_stand_in_for_missing_negatives(root: Path, caplog: pytest.LogCaptureFixture) -> None:
    module = pascal(root)
    assert "crops of other animals stand in" in caplog.text
    negatives = {
        name
        for split in module.splits.values()
        for name, label in zip(split.ids, split.labels[:, 0], strict=True)
        if not label
    }
    # not the dog beside a cow on 2009_000001, nobody from train, and no person
    assert negatives == {f"2009_{number:06d}/1" for number in range(3, 15, 2)}


def test_mirrored_views_are_not_mirrored_again(root: Path) -> None:
    with pytest.raises(
        ValueError, match=r"`icnn` holds the mirror image.*`performer_training\.flip=false`.*`data\.split=voc`"
    ):
        pascal(root, flip=True)
    assert pascal(root, flip=True, split="voc").flip_train


# ---------------------------------------------------------------------------------------------------------------------
# The photo-disjoint split
# ---------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("negatives", [0, 32])
def test_voc_splits_share_no_photo_and_hold_every_object_once(root: Path, negatives: int) -> None:
    if negatives:
        add_negatives(root, negatives)
    splits = pascal(root, split="voc").splits
    for one, other in itertools.combinations(splits.values(), 2):
        assert not set(one.paths) & set(other.paths)
    for split in splits.values():
        assert split.labels.any()
        assert not split.labels.all()
        assert len(set(split.ids)) == len(split.ids) == len(split.order())
        assert not any(split.mirrored)  # type: ignore[arg-type]
    learning = [*splits["train"].ids, *splits["val"].ids]
    cows = [name for name in learning if name.split("/")[0] in TRAIN[::2]]
    assert sorted(cows) == [f"{photo}/1" for photo in TRAIN[::2]]
    assert int(splits["val"].labels.sum()) == 1  # a tenth of six photos, but at least one
    assert int(splits["test"].labels.sum()) == 10
    assert len(learning) - len(cows) == (24 if negatives else 6)  # three quarters of 32
    assert int((~splits["test"].labels).sum()) == (8 if negatives else 6)  # a quarter of 32


def test_all_negatives_train_and_at_most_two_for_a_positive_are_tested_on(root: Path) -> None:
    add_negatives(root, 200)
    splits = pascal(root, split="voc").splits
    learning = np.concatenate([splits["train"].labels, splits["val"].labels])
    assert (int(learning.sum()), int((~learning).sum())) == (6, 150)
    assert (int(splits["test"].labels.sum()), int((~splits["test"].labels).sum())) == (10, 20)


def test_filters_are_named_on_training_objects_where_those_have_masks(root: Path) -> None:
    module = pascal(root, split="voc")
    train = module.splits["train"]
    assert set(module.naming.ids) == {name for name, label in zip(train.ids, train.labels[:, 0], strict=True) if label}


def test_otherwise_test_photos_are_set_aside_for_naming(root: Path, caplog: pytest.LogCaptureFixture) -> None:
    for photo in TRAIN:
        (root / "Annotations_Part" / f"{photo}.mat").unlink()
    objects = [
        {"image": photo, "cls": "dog" if number % 2 else "cow", "bbox": [11, 21, 90, 100]}
        for number, photo in enumerate(TRAIN)
    ]
    (root / "extra" / "animal_pose.json").write_text(json.dumps({"objects": objects}))
    with caplog.at_level(logging.INFO):
        module = pascal(root, split="voc", naming_share=0.4)
    train, test = module.splits["train"], module.splits["test"]
    assert set(map(tuple, train.boxes[train.labels[:, 0]].tolist())) == {(10, 20, 90, 100)}  # type: ignore[index]
    assert len(photos(module.naming)) == round(0.4 * 9)  # nine photos of val show cows with masks
    assert not photos(module.naming) & photos(test)
    assert module.naming.labels.all()
    assert all((module.part_map(module.naming, index) >= 0).any() for index in range(len(module.naming.ids)))
    assert "12 objects are on photos without part annotations" in caplog.text
    assert f"{len(module.naming.ids)} objects of {len(photos(module.naming))} test photos are set aside" in caplog.text


def test_choices_do_not_depend_on_the_seed_of_the_run(root: Path) -> None:
    for split in ("icnn", "voc"):
        ids = [[part.ids for part in pascal(root, split=split, seed=seed).splits.values()] for seed in (0, 1)]
        assert ids[0] == ids[1]


def test_a_limit_keeps_both_classes_and_holds_for_naming(root: Path) -> None:
    module = pascal(root, split="voc", limit=4)
    for split in module.splits.values():
        assert len(split.ids) <= 4
        assert 0 < split.labels.sum() < len(split.ids)
    assert len(module.naming.ids) == 4


# ---------------------------------------------------------------------------------------------------------------------
# Masks
# ---------------------------------------------------------------------------------------------------------------------


def test_every_leaf_part_belongs_to_one_coarse_part() -> None:
    assert set(PARTS) == set(CATEGORIES)
    counts = {"bird": 13, "cat": 17, "cow": 19, "dog": 18, "horse": 21, "sheep": 19}
    for category, groups in PARTS.items():
        leaves = [leaf for group in groups.values() for leaf in group]
        assert len(leaves) == len(set(leaves)) == counts[category]


@pytest.mark.parametrize("size", [16, 32, 128])
def test_part_maps_have_the_geometry_of_the_image(root: Path, size: int) -> None:
    module = pascal(root, image_size=size)
    split = module.splits["train"]
    special_first = ["eye", "mouth_and_nose", "ear", "horn", "head", "tail", "leg", "wing", "torso"]
    for name in ("2009_000002/2", "2009_000002/2/mirrored"):
        index = split.ids.index(name)
        found = module.part_map(split, index)
        left, top, right, bottom = COW[1]
        expected = np.full((size, size), -1)
        for row, column in itertools.product(range(size), range(size)):
            x = left + floor(Fraction(2 * column + 1, 2) * Fraction(right - left, size))
            y = top + floor(Fraction(2 * row + 1, 2) * Fraction(bottom - top, size))
            here = {
                coarse
                for coarse, leaves in PARTS["cow"].items()
                for leaf, part in COW[2].items()
                if leaf in leaves and part[0] <= x < part[2] and part[1] <= y < part[3]
            }
            if here:
                expected[row, column] = module.parts.index(min(here, key=special_first.index))
        if name.endswith("mirrored"):
            expected = expected[:, ::-1]
        assert found.dtype == np.int16
        np.testing.assert_array_equal(found, expected)

        image = split.read(index, size).permute(1, 2, 0).numpy().astype(int)
        for coarse, colour in (("torso", (250, 0, 10)), ("head", (210, 40, 10)), ("eye", (170, 80, 10))):
            wrong = np.abs(image - np.array(colour)).max(axis=2)[found == module.parts.index(coarse)] > 40
            assert wrong.mean() < (0.5 if size == 16 else 0.2)  # edges only


def test_areas_keep_their_share_of_the_crop(root: Path) -> None:
    module = pascal(root, image_size=48)
    shown = module.part_map(module.naming, module.naming.ids.index("2009_000002/2"))
    assert (shown == module.parts.index("eye")).mean() == pytest.approx(10 * 10 / 80**2, rel=0.05)
    assert (shown == module.parts.index("head")).mean() == pytest.approx((30 * 30 - 10 * 10) / 80**2, rel=0.05)


def test_negatives_and_objects_without_masks_show_no_part(root: Path) -> None:
    module = pascal(root, split="voc")
    test = module.splits["test"]
    bare = [index for index, label in enumerate(test.labels[:, 0]) if not label] + [test.ids.index("2009_000000/3")]
    for index in bare:
        assert (module.part_map(test, index) == -1).all()


def test_batches_hold_the_crops(root: Path) -> None:
    module = pascal(root, split="voc")
    for batch in module.val_dataloader():
        assert batch["image"].shape[1:] == (3, 16, 16)
        assert batch["label"].shape[1:] == (1,)


# ---------------------------------------------------------------------------------------------------------------------
# Files
# ---------------------------------------------------------------------------------------------------------------------


def test_annotations_of_any_number_of_objects_and_parts_are_read(tmp_path: Path) -> None:
    one = dict(itertools.islice(COW[2].items(), 1))
    for animals in ([], [COW], [SECOND_COW], [("cow", COW[1], one)], [PERSON, COW, SECOND_COW]):
        write_annotation(tmp_path / "a.mat", animals)
        found = read_annotation(tmp_path / "a.mat")
        assert [(item.name, item.box, list(item.parts)) for item in found] == [
            (name, box, list(parts)) for name, box, parts in animals
        ]
        for item, (_, _, parts) in zip(found, animals, strict=True):
            assert item.size == (HEIGHT, WIDTH)
            for leaf, box in parts.items():
                assert item.parts[leaf].dtype == np.bool_
                np.testing.assert_array_equal(item.parts[leaf], mask_of(box) > 0)


def test_an_object_without_pixels_takes_no_part(root: Path) -> None:
    write_photo(root, VAL[2], [("cow", (5, 5, 5, 5), {}), COW])
    assert read_annotation(root / "Annotations_Part" / f"{VAL[2]}.mat")[0].box == (0, 0, 0, 0)
    assert f"{VAL[2]}/1" not in {name for split in pascal(root).splits.values() for name in split.ids}


def test_a_summary_spares_the_annotations_until_they_change(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = pascal(root).fingerprint()
    read: list[str] = []
    monkeypatch.setattr(
        pascal_objects, "read_annotation", lambda path: (read.append(path.stem), read_annotation(path))[1]
    )
    for expected in (sorted(TRAIN + VAL), []):
        read.clear()
        assert pascal(root, index=str(tmp_path / "index")).fingerprint() == plain
        assert sorted(read) == expected
    write_photo(root, VAL[3], [COW])
    assert pascal(root, index=str(tmp_path / "index")).fingerprint() != plain
    assert read


def remove(name: str) -> Callable[[Path], None]:
    return lambda root: (root / name).rename(root / "elsewhere")


def write(name: str, text: str) -> Callable[[Path], None]:
    def change(root: Path) -> None:
        (root / name).write_text(text)

    return change


def cut(name: str, share: float) -> Callable[[Path], None]:
    def change(root: Path) -> None:
        content = (root / name).read_bytes()
        (root / name).write_bytes(content[: int(share * len(content))])

    return change


def annotate(change: Callable[[dict], None]) -> Callable[[Path], None]:
    return lambda root: write_annotation(root / "Annotations_Part" / f"{VAL[4]}.mat", [COW], change)


def without_object_field(name: str) -> Callable[[Path], None]:
    return annotate(lambda item: item.pop(name))


def enlarge_mask(item: dict) -> None:
    item["mask"] = np.ones((HEIGHT + 1, WIDTH), dtype=np.uint8)


def shrink_photo(root: Path) -> None:
    Image.new("RGB", (80, 60)).save(root / "JPEGImages" / f"{VAL[4]}.jpg")


def other_variable(root: Path) -> None:
    savemat(root / "Annotations_Part" / f"{VAL[4]}.mat", {"annotation": 1})


def number_for_struct(root: Path) -> None:
    savemat(root / "Annotations_Part" / f"{VAL[4]}.mat", {"anno": 3})


def empty_negatives(root: Path) -> None:
    (root / "negatives").mkdir()


MAT, JPG = f"Annotations_Part/{VAL[4]}.mat", f"JPEGImages/{VAL[4]}.jpg"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (remove("JPEGImages"), r"Expected the photos in .*JPEGImages\. .*host\.robots.*data=synthetic_animals"),
        (remove("Annotations_Part"), r"part annotations \(`data\.annotations`\) in .*roozbehm"),
        (remove("ImageSets/Main/val.txt"), r"list of photos .*val\.txt\. .*data=synthetic_animals"),
        (remove(JPG), rf"1 of the \d+ images in .* are not in .*JPEGImages: {VAL[4]}\.jpg\. Copy them there.*roozbehm"),
    ],
)
def test_missing_files_are_named_with_where_to_get_them(
    root: Path, change: Callable[[Path], None], message: str
) -> None:
    change(root)
    with pytest.raises(FileNotFoundError, match=message):
        pascal(root)


def test_a_missing_folder_of_negatives_and_a_missing_root_are_named(root: Path, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"photos without the animal in .*scenes \(`data\.negatives`\)"):
        pascal(root, negatives="scenes")
    with pytest.raises(FileNotFoundError, match=r"nowhere \(`data\.root`\)\. .*data=synthetic_animals"):
        pascal(tmp_path / "nowhere")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (write(MAT, "<!DOCTYPE html>" * 30), rf"MATLAB file \(version 5\) in .*{VAL[4]}\.mat, .*Copy or download"),
        (write(MAT, ""), rf"MATLAB file \(version 5\) in .*{VAL[4]}\.mat, .*roozbehm"),
        (cut(MAT, 0.5), rf"MATLAB file \(version 5\) in .*{VAL[4]}\.mat"),
        (other_variable, rf"{VAL[4]}\.mat must have the field `anno`, which is missing"),
        (number_for_struct, r"must have the field `anno\.objects`, which is missing"),
        (without_object_field("mask"), r"must have the field `anno\.objects\.mask`, which is missing"),
        (without_object_field("class"), r"must have the field `anno\.objects\.class`, which is missing"),
        (without_object_field("parts"), r"must have the field `anno\.objects\.parts`, which is missing"),
        (
            annotate(enlarge_mask),
            r"`anno\.objects\.parts\.mask` must be a matrix as large as the object's, \(121, 160\)",
        ),
        (
            annotate(lambda item: item.update(parts=struct_array([{"part_name": "wheel", "mask": mask_of(COW[1])}]))),
            r"the parts of a cow are leye, .*; unknown: wheel\.",
        ),
        (annotate(lambda item: item.update(mask="none")), r"`anno\.objects\.mask` must be a matrix, got"),
        (shrink_photo, rf"{VAL[4]}\.mat are 120 high and 160 wide, but .*{VAL[4]}\.jpg is 60 high and 80 wide"),
        (write(JPG, "no picture"), rf"complete image in .*{VAL[4]}\.jpg, but it cannot be decoded"),
        (write("ImageSets/Main/val.txt", ""), r"val\.txt is empty\. .*roozbehm"),
        (write("ImageSets/Main/val.txt", "a\nb\na\n"), r"val\.txt lists 1 images more than once: a\."),
        (write("ImageSets/Main/val.txt", f"{TRAIN[3]}\n"), rf"share 1 photos: {TRAIN[3]}\. Keep each in one"),
        (
            write("ImageSets/Main/val.txt", f"{VAL[3]}\n"),
            r"objects of the category cow .* on photos of val\.txt.*found 0",
        ),
        (write("ImageSets/Main/val.txt", f"{VAL[0]}\n"), r"negatives beside the photos of val\.txt.*`data\.negatives`"),
        (write("extra/animal_pose.json", "[1]"), r'animal_pose\.json must hold \{"objects".*`data\.object_boxes=null`'),
        (write("extra/animal_pose.json", "{"), r"animal_pose\.json must hold .*JSONDecodeError"),
        (empty_negatives, r"negatives holds no \.jpg or \.png"),
    ],
)
def test_files_that_are_not_as_expected_say_what_was(root: Path, change: Callable[[Path], None], message: str) -> None:
    change(root)
    with pytest.raises(ValueError, match=message):
        pascal(root)


# ---------------------------------------------------------------------------------------------------------------------
# Real data
# ---------------------------------------------------------------------------------------------------------------------

# Areas of the part masks in four genuine files, counted without the reader under test: photo, class, parts.
GENUINE = {
    "2008_000008": [
        "person 14",
        "horse head 4497 lear 814 rear 59 muzzle 2040 torso 24591 neck 4873 lflleg 1552 lfuleg 664 lfho 464 lblleg 791 "
        "lbuleg 1056 lbho 115 tail 2595",
    ],
    "2008_000009": [
        "cow head 298 lear 32 leye 6 muzzle 93 torso 1699 neck 126 lflleg 36 lfuleg 86 rflleg 47 rfuleg 38 lblleg 36 "
        "lbuleg 136 rblleg 46",
        "cow torso 539 lflleg 25 lfuleg 26 lblleg 51 lbuleg 62 rblleg 14 rbuleg 6 tail 123",
    ],
    "2008_000019": [
        "dog head 1074 rear 130 torso 3872 neck 746 lfleg 465 lfpa 121 rfleg 496 rfpa 165 lbleg 168 lbpa 119",
        "dog head 1922 lear 136 rear 229 leye 12 reye 27 muzzle 433 nose 69 torso 2978 neck 642 lfleg 1179 lfpa 191 "
        "rfleg 1226 rfpa 353 lbleg 1173 lbpa 180 tail 178",
        "dog head 4585 lear 634 rear 557 muzzle 425 nose 35 torso 8856 neck 988 lfleg 771 lfpa 369 rfleg 1258 "
        "rbleg 1377 rbpa 277 tail 440",
    ],
    "2008_000026": [
        "person 20",
        "dog head 1295 lear 154 rear 24 muzzle 384 torso 1010 lfleg 308 lfpa 196 lbleg 753 lbpa 124 rbleg 260 rbpa 193 "
        "tail 166",
    ],
}


@needs_subset
@pytest.mark.parametrize("photo", GENUINE)
def test_genuine_files_have_exactly_these_parts(photo: str) -> None:
    found = read_annotation(SUBSET / "Annotations_Part" / f"{photo}.mat")
    with Image.open(SUBSET / "JPEGImages" / f"{photo}.jpg") as image:
        assert {item.size for item in found} == {(image.height, image.width)}
    lines = []
    for item in found:
        areas = " ".join(f"{leaf} {mask.sum()}" for leaf, mask in item.parts.items())
        lines.append(f"{item.name} {areas if item.name in CATEGORIES else len(item.parts)}")
    assert lines == GENUINE[photo]


@needs_subset
def test_boxes_of_real_objects_are_those_published_beside_them() -> None:
    published = json.loads((SUBSET / "extra" / "part_boxes.json").read_text())["objects"]
    expected: dict[str, list[Any]] = {}
    for item in published:
        left, top, right, bottom = item["bbox"]
        expected.setdefault(item["image"], []).append((item["cls"], (left - 1, top - 1, right, bottom)))
    files = sorted((SUBSET / BOXES).iterdir())[::40]
    for path in files:
        assert Counter((item.name, item.box) for item in read_annotation(path)) == Counter(expected[path.stem])


@needs_subset
@pytest.mark.slow
def test_real_photos_give_the_official_counts(tmp_path: Path) -> None:
    sizes = {"cat": 300, "cow": 294, "dog": 300, "horse": 296, "sheep": 296}
    for category, images in sizes.items():
        options: dict[str, Any] = {"category": category, "annotations": BOXES, "index": str(tmp_path)}
        module = pascal(SUBSET, **options)
        objects = {
            name.removesuffix("/mirrored")
            for split in (module.splits["train"], module.splits["val"])
            for name, label in zip(split.ids, split.labels[:, 0], strict=True)
            if label
        }
        assert len(objects) == ICNN_OBJECTS[category]
        val = module.splits["val"]
        assert np.bincount(val.labels[val.order()][:, 0]).tolist() == [100, images]

        honest = pascal(SUBSET, split="voc", **options)
        for one, other in itertools.combinations([*map(photos, honest.splits.values()), photos(honest.naming)], 2):
            assert not one & other
        assert len(honest.naming.ids) > 30
        assert (honest.part_map(honest.naming, 0) >= 0).any()
