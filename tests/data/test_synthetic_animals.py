"""Drawn animals: the pictures, their parts and the files."""

import hashlib
import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from scipy.io import loadmat

from semexplain.data import synthetic_animals
from semexplain.data.drawn.animals import LEAVES, Drawing, render, render_negative
from semexplain.data.pascal_annotations import CATEGORIES, PARTS, Category
from semexplain.data.synthetic_animals import SyntheticAnimalsDataModule, write_animals

FEW = {"train": 3, "valid": 2, "negatives": 2, "size": 128, "seed": 5, "progress": False}
Mask = NDArray[np.bool_]


@pytest.fixture(scope="module")
def many() -> list[Drawing]:
    return [render(index) for index in range(240)]


def union(masks: list[Mask]) -> Mask:
    whole = np.zeros((160, 160), dtype=bool)
    for mask in masks:
        whole |= mask
    return whole


def grown(mask: Mask) -> Mask:
    """The mask and its neighbours: a pixel is the mean of four, and on an edge not all are of the part."""
    wide = np.zeros_like(mask)
    for y, x in zip(*mask.nonzero(), strict=True):
        wide[max(y - 1, 0) : y + 2, max(x - 1, 0) : x + 2] = True
    return wide


def box_of(mask: Mask) -> tuple[int, int]:
    rows, columns = mask.nonzero()
    return columns.max() + 1 - columns.min(), rows.max() + 1 - rows.min()


# The pictures


@pytest.mark.parametrize("category", CATEGORIES)
def test_without_a_part_only_its_pixels_change(category: Category) -> None:
    for index in (3, 8):
        whole = render(index, category=category)
        for part, leaves in PARTS[category].items():
            mask = union([whole.masks[leaf] for leaf in leaves if leaf in whole.masks])
            other = render(index, category=category, without=[part])
            changed = (other.image != whole.image).any(axis=-1)
            assert (changed & ~grown(mask)).sum() <= 8, (part, index)  # slivers thinner than a pixel
            assert changed.any() == mask.any(), (part, index)
            assert not other.masks.keys() & set(leaves)


@pytest.mark.parametrize("category", CATEGORIES)
def test_without_a_part_the_others_keep_their_masks_outside_it(category: Category) -> None:
    for index in (4, 7):
        whole = render(index, category=category)
        for leaf, gone in whole.masks.items():
            other = render(index, category=category, without=[leaf] if leaf != "torso" else ["torso", "neck"])
            gone = gone | whole.masks.get("neck", gone) if leaf == "torso" else gone
            for name, mask in other.masks.items():
                before = whole.masks.get(name, np.zeros_like(mask))
                np.testing.assert_array_equal(mask & ~gone, before & ~gone, err_msg=f"{name} without {leaf}")


def test_without_several_parts_all_of_them_are_gone_and_the_second_animal_stays(many: list[Drawing]) -> None:
    index = next(i for i, drawing in enumerate(many) if len(drawing.animals) == 2)
    category = many[index].animals[0].category
    other = render(index, without=LEAVES[category])
    assert other.masks == {}
    beside = other.animals[1]
    assert beside.category == many[index].animals[1].category
    for leaf, mask in many[index].animals[1].masks.items():
        assert (beside.masks[leaf] | ~mask).all()


def test_a_coarse_part_is_its_leaves() -> None:
    for part in ("eye", "ear", "mouth_and_nose", "leg"):
        at_once, one_by_one = (render(1, category="horse", without=names) for names in ([part], PARTS["horse"][part]))
        np.testing.assert_array_equal(at_once.image, one_by_one.image)


def test_a_name_that_is_also_a_coarse_part_means_the_coarse_part() -> None:
    assert {"torso", "neck"} <= render(1, category="cow").masks.keys()
    assert not {"torso", "neck"} & render(1, category="cow", without=["torso"]).masks.keys()


def test_every_part_of_every_category_is_drawn_and_named_as_in_pascal_part(many: list[Drawing]) -> None:
    seen: dict[str, set[str]] = {category: set() for category in CATEGORIES}
    for drawing in many:
        for category, masks in drawing.animals:
            seen[category] |= masks.keys()
    assert seen == {category: set(LEAVES[category]) for category in CATEGORIES}


def test_masks_are_disjoint_but_for_parts_within_parts(many: list[Drawing]) -> None:
    """An eye is within the head as a paw is within the leg; nothing else overlaps."""
    within = {("leye", "head"), ("reye", "head"), ("lear", "head"), ("rear", "head"), ("nose", "head")}
    within |= {("muzzle", "head"), ("beak", "head"), ("nose", "muzzle"), ("neck", "torso")}
    within |= {(f"{side}pa", f"{side}leg") for side in ("lf", "rf", "lb", "rb")}
    within |= {(f"{side}ho", f"{side}lleg") for side in ("lf", "rf", "lb", "rb")}
    for drawing in many[:24]:
        for category, masks in drawing.animals:
            for inner, small in masks.items():
                for outer, large in masks.items():
                    if inner == outer or (outer, inner) in within:
                        continue
                    shared = (small & large).sum()
                    assert shared == (small.sum() if (inner, outer) in within else 0), (category, inner, outer)


def test_animals_are_large_enough_to_count(many: list[Drawing]) -> None:
    for index, drawing in enumerate(many):
        for category, masks in drawing.animals:
            width, height = box_of(union([*masks.values()]))
            assert width * height >= 50 * 50, (index, category)


def test_animals_vary(many: list[Drawing]) -> None:
    assert len({drawing.image.tobytes() for drawing in many}) == len(many)
    assert 0.1 < np.mean([len(drawing.animals) == 2 for drawing in many]) < 0.3
    assert [drawing.animals[0].category for drawing in many[:12]] == [*CATEGORIES, *CATEGORIES]
    assert {drawing.animals[1].category for drawing in many if len(drawing.animals) == 2} == set(CATEGORIES)
    assert 0.03 < np.mean(["tail" not in drawing.masks for drawing in many]) < 0.2
    cats = [drawing.masks for drawing in many if drawing.animals[0].category == "cat"]
    assert {sum(eye in masks for eye in ("leye", "reye")) for masks in cats} >= {1, 2}


def test_the_side_that_one_sees_has_its_name(many: list[Drawing]) -> None:
    """A bird whose head is to the right of its body shows its right eye."""
    birds = [masks for drawing in many for category, masks in drawing.animals if category == "bird"]
    faces = set()
    for masks in birds:
        eyes = masks.keys() & {"leye", "reye"}
        right = masks["head"].nonzero()[1].mean() > masks["torso"].nonzero()[1].mean()
        assert eyes <= {"reye" if right else "leye"}
        faces |= eyes
    assert faces == {"leye", "reye"}


def test_another_category_leaves_the_surroundings() -> None:
    dog, cat = (render(2, category=category) for category in ("dog", "cat"))
    outside = ~grown(union([*dog.masks.values()]) | union([*cat.masks.values()]))
    assert outside.mean() > 0.2
    np.testing.assert_array_equal(dog.image[outside], cat.image[outside])


def test_pictures_depend_on_index_and_seed() -> None:
    keys = [(0, 0), (1, 0), (0, 1), (1, 1)]
    for draw in (
        lambda i, s: render(i, seed=s, category="cow", size=128).image.tobytes(),
        lambda i, s: render_negative(i, seed=s, size=128).tobytes(),
    ):
        pictures = [draw(*key) for key in keys]
        assert len(set(pictures)) == 4
        assert pictures[0] == draw(0, 0)


def digest(*arrays: NDArray[np.generic]) -> str:
    return hashlib.sha256(b"".join(array.tobytes() for array in arrays)).hexdigest()


@pytest.mark.parametrize(
    ("category", "expected"),
    [
        ("bird", "9a1882b8aec5931482f84c5d72f3b55b6286330022511a66183a98e9085fbcf6"),
        ("cat", "9d99d39b326a35e8223ef2103c86f1fadd9fa136898e03379eee166659fe2a1d"),
        ("cow", "f485b49117c0c6c3341ba0d59db227e26d388232b03d71eede856402e00616d3"),
        ("dog", "fbdf76793f6d4f6ed814d55943c000fbcf42875818ace92714e3e12dc894897f"),
        ("horse", "227482fbbbc9de2fdc937a9f508645c420857b0b4c0661acc3faf02c23890e25"),
        ("sheep", "cfe94125689c6e11c8bd6c8dfafe9fc54cd14861a5df6a028b51df532ea9e99e"),
    ],
)
def test_pixels_are_the_same_on_every_platform(category: Category, expected: str) -> None:
    """Pinned: other pixels are another data set, and `VERSION` must say so."""
    drawing = render(1, category=category, size=128)
    assert digest(drawing.image, *drawing.masks.values()) == expected


def test_negatives_are_the_same_on_every_platform() -> None:
    assert (
        digest(*(render_negative(index, size=128) for index in range(6)))
        == "822004ea93b1474d46330ae2a41db74364f16b1ea34a5c9c9f5c58d83f303952"
    )


@pytest.mark.parametrize("size", [128, 161, 300])
def test_any_size_from_128_can_be_drawn(size: int) -> None:
    drawing = render(0, size=size)
    assert drawing.image.shape == (size, size, 3)
    assert drawing.image.dtype == np.uint8
    assert {mask.shape for mask in drawing.masks.values()} == {(size, size)}
    assert render_negative(0, size=size).shape == (size, size, 3)


def test_the_same_share_is_drawn_at_every_size() -> None:
    small, large = (render(0, category="dog", size=size).masks["torso"].mean() for size in (128, 512))
    assert small == pytest.approx(large, rel=0.05)


def test_unusable_arguments_are_named() -> None:
    with pytest.raises(ValueError, match="size must be at least 128, got 96"):
        render(0, size=96)
    with pytest.raises(ValueError, match="index must be at least 0, got -1"):
        render(-1)
    with pytest.raises(ValueError, match="seed must be at least 0, got -3"):
        render_negative(0, seed=-3)
    with pytest.raises(ValueError, match="category must be one of bird, .*, sheep, got 'frog'"):
        render(0, category="frog")
    with pytest.raises(ValueError, match="A dog has no part wing; its parts are .*nose.*tail.*mouth_and_nose"):
        render(0, category="dog", without=["wing", "tail"])


# The files


def test_files_have_the_layout_of_pascal_part(tmp_path: Path) -> None:
    write_animals(tmp_path / "animals", **FEW)
    root = tmp_path / "animals"
    assert (root / "ImageSets" / "Main" / "train.txt").read_bytes() == b"000001\n000002\n000003\n"
    assert (root / "ImageSets" / "Main" / "val.txt").read_bytes() == b"000004\n000005\n"
    names = ["000001", "000002", "000003", "000004", "000005"]
    assert sorted(path.name for path in (root / "JPEGImages").iterdir()) == [f"{name}.jpg" for name in names]
    assert sorted(path.name for path in (root / "Annotations_Part").iterdir()) == [f"{name}.mat" for name in names]
    assert sorted(path.name for path in (root / "negatives").iterdir()) == ["000001.jpg", "000002.jpg"]

    pictures = [
        (root / "JPEGImages" / f"{name}.jpg", render(i, seed=5, size=128).image) for i, name in enumerate(names)
    ]
    pictures += [(root / "negatives" / f"00000{i + 1}.jpg", render_negative(i, seed=5, size=128)) for i in range(2)]
    for path, drawn in pictures:
        with Image.open(path) as image:
            stored = np.asarray(image.convert("RGB")).astype(int)
        assert abs(stored - drawn).mean() < 8  # JPEG is not exact

    record = json.loads((root / "ground_truth.json").read_text())
    assert record["settings"] == {key: value for key, value in FEW.items() if key != "progress"}
    assert record["parts"]["dog"]["eye"] == ["leye", "reye"]


def test_annotations_are_nested_like_those_of_pascal_part(tmp_path: Path, many: list[Drawing]) -> None:
    """Fields, types and shapes as scipy shows them of a genuine file."""
    count = next(i for i, drawing in enumerate(many) if len(drawing.animals) == 2) + 1
    write_animals(tmp_path / "animals", **{**FEW, "train": count, "seed": 0, "size": 160})
    for index in (0, count - 1):
        drawing = many[index]
        anno = loadmat(tmp_path / "animals" / "Annotations_Part" / f"{index + 1:06d}.mat")["anno"]
        assert anno.shape == (1, 1)
        assert anno.dtype.names == ("imname", "objects")
        assert anno[0, 0]["imname"] == f"{index + 1:06d}"
        objects = anno[0, 0]["objects"]
        assert objects.shape == (1, len(drawing.animals))
        assert objects.dtype.names == ("class", "class_ind", "mask", "parts")
        for found, (category, masks) in zip(objects[0], drawing.animals, strict=True):
            assert found["class"].tolist() == [category]
            voc = {"bird": 3, "cat": 8, "cow": 10, "dog": 12, "horse": 13, "sheep": 17}
            assert found["class_ind"].tolist() == [[voc[category]]]
            assert found["mask"].dtype == np.uint8
            np.testing.assert_array_equal(found["mask"], union([*masks.values()]))
            assert found["parts"].shape == (1, len(masks))
            assert found["parts"].dtype.names == ("part_name", "mask")
            for part, (leaf, mask) in zip(found["parts"][0], masks.items(), strict=True):
                assert part["part_name"].tolist() == [leaf]
                assert part["mask"].dtype == np.uint8
                np.testing.assert_array_equal(part["mask"], mask)


def test_more_images_leave_the_first_ones_as_they_are(tmp_path: Path) -> None:
    write_animals(tmp_path / "few", **FEW)
    write_animals(tmp_path / "more", **{**FEW, "train": 6, "negatives": 3})
    for name in ("JPEGImages/000005.jpg", "negatives/000002.jpg"):
        few, more = (tmp_path / folder / name for folder in ("few", "more"))
        assert few.read_bytes() == more.read_bytes()


def test_there_need_be_no_negatives(tmp_path: Path) -> None:
    write_animals(tmp_path / "animals", **{**FEW, "negatives": 0})
    assert not (tmp_path / "animals" / "negatives").exists()


def test_existing_animals_are_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_animals(tmp_path / "animals", **FEW)
    monkeypatch.setattr(synthetic_animals, "render", pytest.fail)
    write_animals(tmp_path / "animals", **FEW)


def test_animals_of_other_settings_are_an_error(tmp_path: Path) -> None:
    write_animals(tmp_path / "animals", **FEW)
    with pytest.raises(ValueError, match=r"'seed': 5\}, but .*'seed': 6\} was asked for. Choose another root"):
        write_animals(tmp_path / "animals", **{**FEW, "seed": 6})


def test_animals_of_another_version_are_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_animals(tmp_path / "animals", **FEW)
    monkeypatch.setattr(synthetic_animals, "VERSION", 0)
    with pytest.raises(ValueError, match="another version of the drawing"):
        write_animals(tmp_path / "animals", **FEW)


def test_a_foreign_folder_is_an_error_and_stays(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("keep me")
    with pytest.raises(ValueError, match=r"holds something else .*Choose another root, or delete"):
        write_animals(tmp_path, **FEW)
    assert (tmp_path / "notes.txt").read_text() == "keep me"


def test_an_interrupted_write_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(index: int, *, seed: int, size: int) -> Drawing:
        if index == 3:
            raise KeyboardInterrupt
        return render(index, seed=seed, size=size)

    monkeypatch.setattr(synthetic_animals, "render", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write_animals(tmp_path / "animals", **FEW)
    assert {path.name for path in tmp_path.iterdir()} <= {"animals.lock"}
    monkeypatch.undo()
    write_animals(tmp_path / "animals", **FEW)
    assert len([*(tmp_path / "animals" / "JPEGImages").iterdir()]) == 5


def test_of_several_writers_one_writes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = []

    def counted(index: int, *, seed: int, size: int) -> Drawing:
        drawn.append(index)
        return render(index, seed=seed, size=size)

    monkeypatch.setattr(synthetic_animals, "render", counted)
    with ThreadPoolExecutor(3) as pool:
        for writer in [pool.submit(write_animals, tmp_path / "animals", **FEW) for _ in range(3)]:
            writer.result()
    assert drawn == [0, 1, 2, 3, 4]


def test_at_least_one_image_per_split_is_wanted(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="valid must be at least 1, got 0"):
        write_animals(tmp_path / "animals", **{**FEW, "valid": 0})
    with pytest.raises(ValueError, match="negatives must be at least 0, got -1"):
        write_animals(tmp_path / "animals", **{**FEW, "negatives": -1})


@pytest.mark.parametrize("split", ["icnn", "voc"])
def test_the_data_module_writes_animals_on_first_use_and_reads_them_as_pascal_part(tmp_path: Path, split: str) -> None:
    module = SyntheticAnimalsDataModule(
        root=str(tmp_path / "animals"),
        category="dog",
        split=split,
        train=60,
        valid=30,
        negatives_count=20,
        draw_seed=1,
        image_size=32,
        batch_size=2,
        num_workers=0,
    )
    module.prepare_data()
    module.setup("fit")
    batch = next(iter(module.train_dataloader()))
    assert batch["image"].shape == (2, 3, 32, 32)
    assert batch["label"].shape == (2, 1)
    for name, data in module.splits.items():
        assert data.labels.any(), name
        assert not data.labels.all(), name
    # The part map of an object is that of its drawing, whatever is in front and however it is cropped.
    data = module.naming
    for index in range(min(4, len(data.ids))):
        drawing = render(int(data.paths[index].stem) - 1, seed=1)
        left, top, right, bottom = data.boxes[index]
        animal = next(a for a in drawing.animals if box_of_mask(a.masks) == (left, top, right, bottom))
        parts = module.part_map(data, index)
        for number, name in enumerate(module.parts):
            leaves = [animal.masks[leaf] for leaf in PARTS["dog"][name] if leaf in animal.masks]
            share = union(leaves)[top:bottom, left:right].mean()
            assert (parts == number).mean() <= share + 0.05
            if name in ("eye", "mouth_and_nose", "ear", "leg", "tail"):
                assert (parts == number).mean() == pytest.approx(share, abs=0.05)


def box_of_mask(masks: dict[str, Mask]) -> tuple[int, int, int, int]:
    rows, columns = union([*masks.values()]).nonzero()
    return columns.min(), rows.min(), columns.max() + 1, rows.max() + 1
