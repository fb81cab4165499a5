"""Where parts are seen in anyone's pictures: boxes, polygons, runs and masks, and how they follow the picture."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from matplotlib.path import Path as Outline
from PIL import Image
from support import ROOT
from torch import nn

from semexplain.data.framing import Framing, read_image
from semexplain.data.part_masks import Area, PartMasks
from semexplain.data.pascal_annotations import PARTS, read_annotation
from semexplain.data.pictures import PicturesDataModule
from semexplain.data.synthetic_animals import SyntheticAnimalsDataModule
from semexplain.performers.network import Network
from semexplain.runs.naming import PartNaming

CHANCE = np.random.default_rng(0)
COCO: dict[str, Any] = {
    "info": {"year": 2026},
    "images": [{"id": 7, "file_name": "a.png", "width": 20, "height": 12}],
    "categories": [
        {"id": 1, "name": "eye"},
        {"id": 2, "name": "head", "supercategory": "dog"},
        {"id": 3, "name": "tail"},
    ],
    "annotations": [
        {"id": 0, "image_id": 7, "category_id": 2, "bbox": [3, 2, 9, 8], "segmentation": [], "iscrowd": 0},
        {"id": 1, "image_id": 7, "category_id": 1, "bbox": [5, 4, 2.5, 3]},
    ],
}


def coco(folder: Path, content: Any) -> Path:
    file = folder / "parts.json"
    file.write_text(content if isinstance(content, str) else json.dumps(content))
    return file


def annotated(**changes: Any) -> dict[str, Any]:
    """One annotation in place of both, with some of its values changed."""
    return COCO | {"annotations": [{"image_id": 7, "category_id": 1, "bbox": [5, 4, 2, 3]} | changes]}


def drawn(folder: Path, count: int = 12, size: tuple[int, int] = (12, 20)) -> Path:
    """Pictures in folders of splits; every picture is called as one in each other split."""
    for split in ("train", "val", "test"):
        (folder / split).mkdir(parents=True, exist_ok=True)
        for number in range(count // 3):
            pixels = CHANCE.integers(0, 256, (*size, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / split / f"{number}.png")
    return folder


def pictures(root: Path, parts: Path, **options: Any) -> PicturesDataModule:
    module = PicturesDataModule(
        str(root), parts=str(parts), **{"image_size": 8, "batch_size": 2, "num_workers": 0, **options}
    )
    module.setup()
    return module


# -- areas -----------------------------------------------------------------------------------------------------------


def test_boxes_cover_the_pixels_that_they_touch_and_the_smaller_one_wins(tmp_path: Path):
    masks = PartMasks.of(coco(tmp_path, COCO))
    assert masks.names == ("eye", "head")  # a category without annotations is no part
    expected = np.full((12, 20), -1)
    for row in range(12):
        for column in range(20):
            if 3 <= column < 12 and 2 <= row < 10:
                expected[row, column] = 1
            if 5 <= column < 8 and 4 <= row < 7:  # 5 + 2.5 reaches into column 7
                expected[row, column] = 0
    np.testing.assert_array_equal(masks.part_map("a.png", (12, 20)), expected)


def test_polygons_cover_the_pixels_whose_centres_they_enclose():
    corners = [(4.2, 3.1), (30.7, 8.4), (25.3, 27.9), (9.6, 22.2)]
    mask = Area("eye", [[value for corner in corners for value in corner]], None).mask((32, 40))
    rows, columns = np.indices((32, 40))
    inside = Outline(corners).contains_points(np.stack([columns, rows], -1).reshape(-1, 2) + 0.5).reshape(32, 40)
    np.testing.assert_array_equal(mask, inside)
    two = Area("eye", [[1, 1, 4, 1, 4, 3, 1, 3], [3, 2, 6, 2, 6, 5, 3, 5]], None).mask((8, 8))
    assert two.sum() == 6 + 9 - 1
    square = Area("eye", [[2, 1, 6, 1, 6, 4, 2, 4]], None).mask((8, 8))
    assert (square.sum(), square[1:4, 2:6].sum()) == (12, 12)  # whole pixels are those of a box


def test_masks_in_folders_are_as_their_boxes(tmp_path: Path):
    boxes = PartMasks.of(coco(tmp_path, COCO))
    for area in boxes.areas["a.png"]:
        (tmp_path / "masks" / area.part).mkdir(parents=True)
        Image.fromarray(area.mask((12, 20)).astype(np.uint8)).save(tmp_path / "masks" / area.part / "a.png")
    masks = PartMasks.of(tmp_path / "masks")
    assert masks.names == boxes.names
    np.testing.assert_array_equal(masks.part_map("a", (12, 20)), boxes.part_map("a.png", (12, 20)))


def test_a_name_means_the_picture_whose_path_ends_in_it():
    masks = PartMasks(Path("x.json"), ("eye",), {"train/0.png": [], "./b\\1.png": [], "9.png": [], "in/2.jpg": []})
    assert masks.among(["/p/train/0.png", "/p/test/0.png", "b/1.png", "2.jpg"]) == {
        "/p/train/0.png": "train/0.png",
        "b/1.png": "./b\\1.png",
    }
    folder = PartMasks(Path("masks"), ("eye",), {"a/0": [], "1.front": []}, endings=False)
    assert folder.among(["/p/a/0.jpg", "/p/b/0.jpg", "1.front.png"]) == {"/p/a/0.jpg": "a/0", "1.front.png": "1.front"}
    with pytest.raises(ValueError, match="x.json says '0.png', which does not tell /p/train/0.png from /p/test/0.png"):
        PartMasks(Path("x.json"), ("eye",), {"0.png": []}).among(["/p/train/0.png", "/p/test/0.png"])
    with pytest.raises(ValueError, match="says 'b/0.png', which does not tell /a/b/0.png from 0.png"):
        PartMasks(Path("x.json"), ("eye",), {"0.png": [], "b/0.png": []}).among(["/a/b/0.png"])


# -- with the pictures -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("size", "framing"),
    [(8, {}), ([3, 8, 11], {}), ([3, 8, 8], {"shorter": 10}), ([1, 12, 9], {"shorter": 17, "dtype": "float32"})],
)
def test_parts_are_brought_where_the_picture_is(size: Any, framing: dict[str, Any], tmp_path: Path):
    """A picture whose colours are the numbers of its parts, read as any picture is, without averaging."""
    content = COCO | {"images": [COCO["images"][0] | {"file_name": "train/0.png"}]}
    data = pictures(drawn(tmp_path / "photos"), coco(tmp_path, content), image_size=size, framing=framing)
    assert (data.parts, data.naming and data.naming.ids) == (("eye", "head"), ("train/0.png",))
    whole = PartMasks.of(tmp_path / "parts.json").part_map("train/0.png", (12, 20))
    colours = Image.fromarray(((whole + 1) * 50).astype(np.uint8))
    same = Framing(1, *data.framing.shape[1:], shorter=framing.get("shorter"), interpolation="nearest")
    expected = read_image(colours, same)[0].numpy().astype(int) // 50 - 1
    train = data.splits["train"]
    np.testing.assert_array_equal(data.part_map(train, train.ids.index("train/0.png")), expected)
    assert len(np.unique(expected)) == 3
    assert (data.part_map(data.splits["test"], 0) == -1).all()


def test_pictures_in_memory_and_a_limit(tmp_path: Path):
    content = COCO | {"images": [{"id": 7, "file_name": "3"}]}
    images = CHANCE.integers(0, 256, (30, 12, 20, 3), dtype=np.uint8)
    data = PicturesDataModule(images=images, parts=str(coco(tmp_path, content)), image_size=8)
    data.setup()
    assert "3" in data.splits["train"].ids
    split = next(split for split in data.splits.values() if "3" in split.ids)
    assert (data.part_map(split, split.ids.index("3")) >= 0).any()
    apart = PicturesDataModule(train=images[:9], val=images[9:18], test=images[18:], parts=data.parts_at, image_size=8)
    with pytest.raises(ValueError, match="parts.json says '3', which does not tell 3 from 3"):  # each split has one
        apart.setup()
    content = COCO | {"images": [COCO["images"][0] | {"file_name": "train/3.png"}]}
    with pytest.raises(ValueError, match="is about none of the 2 training images, by which filters are named"):
        pictures(drawn(tmp_path / "photos"), coco(tmp_path, content), limit=2)


def test_numbers_beside_a_picture_have_no_parts(tmp_path: Path):
    photos = drawn(tmp_path / "photos")
    lines = [f"{path.relative_to(tmp_path)},{path.parent.name},3" for path in sorted(photos.rglob("*.png"))]
    (tmp_path / "table.csv").write_text("\n".join(["image,split,age", *lines]))
    file = coco(tmp_path, COCO | {"images": [COCO["images"][0] | {"file_name": "train/0.png"}]})
    plain = pictures(photos, file)
    with_age = pictures(tmp_path / "table.csv", file, numbers=["age"], image_size=[4, 8, 8])
    maps = [data.part_map(data.naming, 0) for data in (plain, with_age) if data.naming is not None]
    np.testing.assert_array_equal(*maps)


def test_pictures_that_are_not_there_are_told_of(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    both = [
        COCO["images"][0] | {"file_name": name, "id": number} for number, name in enumerate(("train/0.png", "x.png"))
    ]
    marks = [{"image_id": number, "category_id": 1, "bbox": [5, 4, 2, 3]} for number in (0, 1)]
    file = coco(tmp_path, COCO | {"images": both, "annotations": marks})
    pictures(drawn(tmp_path / "photos"), file)
    assert "1 of the 2 pictures it is about are not among the images: x.png." in caplog.text


@pytest.fixture(scope="module")
def animals(tmp_path_factory: pytest.TempPathFactory) -> SyntheticAnimalsDataModule:
    """Drawn dogs in the layout of Pascal-Part, and beside them the same cut out as anyone's pictures."""
    folder = tmp_path_factory.mktemp("animals")
    data = SyntheticAnimalsDataModule(
        root=str(folder / "drawn"), category="dog", train=48, valid=60, negatives_count=6, image_size=32
    )
    data.prepare_data()
    data.setup()
    write_crops(data, folder)
    return data


@pytest.mark.parametrize("parts", ["masks", "parts.json"])
def test_drawn_animals_are_as_in_pascal_part(parts: str, animals: SyntheticAnimalsDataModule):
    mine = pictures(animals.root.parent / "photos", animals.root.parent / parts, image_size=32)
    assert mine.naming is not None
    assert len(mine.naming.ids) == len(animals.naming.ids) >= 3
    assert set(mine.parts) == set(animals.parts)
    numbers = np.array([animals.parts.index(name) for name in mine.parts] + [-1])  # folders come by name
    for index in range(len(mine.naming.ids)):
        assert (mine.naming.read(index, 32) == animals.naming.read(index, 32)).all()
        found = numbers[mine.part_map(mine.naming, index)]
        np.testing.assert_array_equal(found, animals.part_map(animals.naming, index))


def test_filters_get_the_names_that_pascal_part_gives_them(animals: SyntheticAnimalsDataModule, tmp_path: Path):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 12, 5, 2), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(12, 2))
    network = Network(model, "1", output="dog", classes=["cat", "dog"], transform={"size": 32})
    mine = pictures(animals.root.parent / "photos", animals.root.parent / "parts.json", image_size=32)
    found, theirs = (
        PartNaming()(network, data, torch.device("cpu"), tmp_path / name)
        for name, data in (("mine", mine), ("theirs", animals))
    )
    assert found.names == theirs.names
    assert found.assignment == theirs.assignment
    assert len(set(found.assignment)) > 2
    assert found.matrix is not None
    np.testing.assert_array_equal(found.matrix, theirs.matrix)


def write_crops(animals: SyntheticAnimalsDataModule, folder: Path) -> None:
    """The images for naming as ``photos/train/000.png``; their coarse parts as masks, and as polygons; other splits."""
    naming = animals.naming
    assert naming.boxes is not None
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for index, name in enumerate(naming.ids):
        photo, _, number = name.rpartition("/")
        left, top, right, bottom = naming.boxes[index].tolist()
        place = f"train/{index:03d}.png"
        (folder / "photos/train").mkdir(parents=True, exist_ok=True)
        Image.open(naming.paths[index]).crop((left, top, right, bottom)).save(folder / "photos" / place)
        images.append({"id": index, "file_name": place, "width": right - left, "height": bottom - top})
        leaves = read_annotation(animals.root / f"Annotations_Part/{photo}.mat")[int(number) - 1].parts
        for part, names in PARTS[animals.category].items():
            seen = [leaves[leaf][top:bottom, left:right] for leaf in names if leaf in leaves]
            if seen and np.logical_or.reduce(seen).any():
                mask = np.logical_or.reduce(seen)
                (folder / "masks" / part / "train").mkdir(parents=True, exist_ok=True)
                Image.fromarray(mask).save(folder / "masks" / part / place)
                edges = np.argwhere(np.diff(np.pad(mask, ((0, 0), (1, 1))).astype(int), axis=1)).reshape(-1, 2, 2)
                stripes = [[x, y, end, y, end, y + 1, x, y + 1] for (y, x), (_, end) in edges.tolist()]
                annotations.append(
                    {"image_id": index, "category_id": animals.parts.index(part), "segmentation": stripes}
                )
    categories = [{"id": number, "name": part} for number, part in enumerate(animals.parts)]
    coco(folder, {"images": images, "annotations": annotations, "categories": categories})
    drawn(folder / "others")
    for split in ("val", "test"):
        (folder / "others" / split).rename(folder / "photos" / split)


# -- what is refused -------------------------------------------------------------------------------------------------

MALFORMED: dict[str, tuple[Any, str]] = {
    "no json": ("{", "parts.json: invalid JSON: EOF .* Expected COCO's json of `images`, `annotations` and `cat"),
    "nested for ever": ("[" * 10**5, "invalid JSON: recursion limit"),
    "a list": ([], "parts.json: input should be an object"),
    "no images": ({"annotations": [], "categories": []}, "parts.json: images: field required"),
    "no annotations": (COCO | {"annotations": []}, "parts.json has no annotations"),
    "another picture": (annotated(image_id=8), "annotation 0 is of the image 8, which is not among its `images`"),
    "another category": (annotated(category_id="eye"), "of the category 'eye', which is not among its `categories`"),
    "three numbers": (annotated(bbox=[1, 2, 3]), r"annotations\[0\].bbox\[3\]: field required"),
    "a word": (annotated(bbox=[1, 2, 3, "x"]), r"annotations\[0\].bbox\[3\]: input should be a valid number"),
    "not a number": (json.dumps(annotated(bbox=[1, 2, 3, float("nan")])), "input should be a finite number"),
    "nothing wide": (annotated(bbox=[1, 2, 0, 3]), r"annotations\[0\].bbox\[2\]: input should be greater than 0"),
    "no box": (annotated(bbox=None), "annotation 0 has neither `bbox`"),
    "half a corner": (annotated(segmentation=[[1, 2, 3, 4, 5, 6, 7]]), r"a polygon is \[x, y, x, y, ...\], got 7"),
    "two corners": (annotated(segmentation=[[1, 2, 3, 4]]), "list should have at least 6 items"),
    "runs": (annotated(segmentation={"size": [12, 20], "counts": "x"}), r"annotation 0 is a mask by its runs \(RLE\)"),
    "a picture twice": (COCO | {"images": COCO["images"] * 2}, "lists 7 twice, as an id or a name"),
    "a category twice": (COCO | {"categories": [*COCO["categories"], {"id": 9, "name": "eye"}]}, "lists 'eye' twice"),
}


@pytest.mark.parametrize(("content", "message"), MALFORMED.values(), ids=list(MALFORMED))
def test_what_is_no_file_of_boxes_is_refused_in_a_sentence(content: Any, message: str, tmp_path: Path):
    with pytest.raises(ValueError, match=message) as told:
        PartMasks.of(coco(tmp_path, content))
    assert "\n" not in str(told.value)


def masked(folder: Path) -> Path:
    (folder / "masks/eye/train").mkdir(parents=True)
    Image.new("L", (9, 9), 255).save(folder / "masks/eye/train/0.png")
    return folder / "masks"


REFUSED: dict[str, tuple[Callable[[Path], Path], str]] = {
    "nothing": (lambda folder: folder / "x.json", "There is no file or folder .*x.json. Expected COCO's json"),
    "no folder of parts": (lambda folder: coco(folder, COCO).parent / "photos/train", "There are no masks in "),
    "other names": (
        lambda folder: coco(folder, COCO),
        "parts.json is about a.png, and none of the 12 images is called",
    ),
    "another size": (
        masked,
        "the eye of train/0 in .*masks is marked on a picture 9 wide and 9 high, but the picture is 20",
    ),
    "another size in the file": (
        lambda folder: coco(
            folder, COCO | {"images": [{"id": 7, "file_name": "train/0.png", "width": 2, "height": 2}]}
        ),
        "the head of train/0.png in .*parts.json is marked on a picture 2 wide and 2 high",
    ),
    "a box beyond the picture": (
        lambda folder: coco(
            folder, annotated(bbox=[15, 2, 8, 3]) | {"images": [{"id": 7, "file_name": "train/0.png"}]}
        ),
        "the eye of train/0.png in .*reaches beyond the picture, which is 20 wide and 12 high: .* are 15, 2, 23, 5",
    ),
    "a polygon beyond it": (
        lambda folder: coco(
            folder,
            annotated(segmentation=[[1, 2, 3, 4, 5, 60]]) | {"images": [{"id": 7, "file_name": "train/0.png"}]},
        ),
        "its left, top, right and bottom are 1, 2, 5, 60",
    ),
}


@pytest.mark.parametrize(("made", "message"), REFUSED.values(), ids=list(REFUSED))
def test_parts_that_are_not_of_these_pictures_are_refused(made: Callable[[Path], Path], message: str, tmp_path: Path):
    photos = drawn(tmp_path / "photos")
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        pictures(photos, made(tmp_path))


def test_what_a_function_frames_has_no_known_places(tmp_path: Path):
    content = COCO | {"images": [COCO["images"][0] | {"file_name": "train/0.png"}]}
    data = pictures(drawn(tmp_path / "photos"), coco(tmp_path, content))
    data.framing = Framing(3, 8, 8, dtype="float32", function=lambda image: image)  # type: ignore[arg-type, return-value]
    with pytest.raises(ValueError, match="made by a function, so that it is not known where it brings the parts"):
        data.part_map(data.splits["train"], 0)


def test_the_configuration_knows_it():
    assert "parts: null" in (ROOT / "conf/data/pictures.yaml").read_text()
