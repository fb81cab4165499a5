"""Annotations of Pascal-Part, boxes of objects, lists and photos that cannot be right."""

import json
import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from scipy.io import savemat

from malformed.case import Malformed
from malformed.images import exif, file
from semexplain.data.pascal_annotations import read_annotation
from semexplain.data.pascal_objects import boxed_objects
from semexplain.data.pascal_part import PascalPartDataModule

HEIGHT, WIDTH = 60, 80


def mask(left: int, top: int, right: int, bottom: int) -> np.ndarray:
    pixels = np.zeros((HEIGHT, WIDTH), dtype=np.uint8)
    pixels[top:bottom, left:right] = 1
    return pixels


def array(rows: Sequence[Mapping[str, Any]]) -> np.ndarray:
    """A MATLAB struct array."""
    structs = np.empty((1, len(rows)), dtype=[(name, object) for name in rows[0]])
    for column, row in enumerate(rows):
        for name, value in row.items():
            structs[0, column][name] = value
    return structs


def part(name: Any = "torso", pixels: Any = None) -> dict[str, Any]:
    return {"part_name": name, "mask": mask(10, 5, 40, 40) if pixels is None else pixels}


def cow(*parts: dict[str, Any], **changes: Any) -> dict[str, Any]:
    item = {"class": "cow", "class_ind": 1, "mask": mask(5, 5, 65, 58), "parts": array(parts or (part(),))} | changes
    return {name: value for name, value in item.items() if value is not None}


def mat(*objects: dict[str, Any], content: dict[str, Any] | None = None) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        path = folder / "a.mat"
        savemat(path, content or {"anno": {"imname": "a", "objects": array(objects)}})
        return path

    return make


def told(path: Path) -> list[tuple[str, tuple[int, ...], list[str]]]:
    return [(item.name, item.box, sorted(item.parts)) for item in read_annotation(path)]


NANS = np.full((HEIGHT, WIDTH), np.nan)
EDGE = mask(5, 5, 40, 40)
EDGE[:5, 5:40] = 1  # a few pixels above the object
ONE = [("cow", (5, 5, 65, 58), ["torso"])]
ANNOTATIONS: dict[str, tuple[Callable[[Path], Path], Any]] = {
    "whole": (mat(cow()), ONE),
    "two objects": (mat(cow(), cow()), ONE * 2),
    "no parts": (mat(cow(parts=np.zeros((0, 0)))), [("cow", (5, 5, 65, 58), [])]),
    "no objects": (mat(content={"anno": {"imname": "a", "objects": np.zeros((0, 0))}}), []),
    "an object without pixels": (
        mat(cow(part(pixels=np.zeros((HEIGHT, WIDTH))), mask=np.zeros((HEIGHT, WIDTH)))),
        [("cow", (0, 0, 0, 0), ["torso"])],
    ),
    "a mask of 255": (mat(cow(part(pixels=mask(10, 5, 40, 40) * 255))), ONE),
    "a mask of doubles": (mat(cow(part(pixels=mask(10, 5, 40, 40) * 1.0))), ONE),
    "a mask of booleans": (mat(cow(mask=mask(5, 5, 65, 58) > 0)), ONE),
    "a part a few pixels outside": (mat(cow(part(pixels=EDGE))), ONE),
    "a class that no animal is": (mat(cow(part("wheel"), **{"class": "car"})), [("car", (5, 5, 65, 58), ["wheel"])]),
    "a mask of NaN": (mat(cow(mask=NANS)), "`anno.objects.mask` has 4800 values that are no number"),
    "a part's mask of NaN": (
        mat(cow(part(pixels=NANS))),
        "`anno.objects.parts.mask` has 4800 values that are no number",
    ),
    "a mask with infinity": (mat(cow(mask=np.where(mask(5, 5, 65, 58), np.inf, 0))), "values that are no number"),
    "a numeric class": (mat(cow(**{"class": 3})), "`anno.objects.class` must be a text, got 3"),
    "an empty class": (mat(cow(**{"class": ""})), "`anno.objects.class` must be a text"),
    "several classes": (
        mat(cow(**{"class": np.array(["cow", "dog"], dtype=object)})),
        "`anno.objects.class` must be a text",
    ),
    "a numeric part": (mat(cow(part(7))), "`anno.objects.parts.part_name` must be a text, got 7"),
    "a part outside": (
        mat(cow(part(pixels=mask(66, 0, 80, 60)))),
        "most of the part torso of a cow lies outside its object",
    ),
    "a part mostly outside": (mat(cow(part(pixels=mask(60, 5, 80, 58)))), "most of the part torso"),
    "a part of an object without pixels": (mat(cow(mask=np.zeros((HEIGHT, WIDTH)))), "most of the part torso"),
    "a part twice": (mat(cow(part(), part())), "a cow has the part torso twice. Keep one of them"),
    "a part of another animal": (mat(cow(part("lwing"))), "the parts of a cow are leye, .*; unknown: lwing"),
    "a part's mask of another size": (mat(cow(part(pixels=np.ones((6, 8))))), r"as large as the object's, \(60, 80\)"),
    "a mask of three dimensions": (mat(cow(mask=np.ones((6, 8, 3)))), "must be a matrix, got"),
    "a mask of text": (mat(cow(mask="none")), "must be a matrix, got"),
    "a mask of complex numbers": (mat(cow(mask=mask(5, 5, 65, 58) * 1j)), "must be a matrix, got complex128"),
    "a single number for a mask": (mat(cow(mask=1)), "must be a matrix, got"),
    "no mask": (mat(cow(mask=None)), "`anno.objects.mask`, which is missing"),
    "no class": (mat(cow(**{"class": None})), "`anno.objects.class`, which is missing"),
    "no list of parts": (mat(cow(parts=None)), "`anno.objects.parts`, which is missing"),
    "parts that are a number": (mat(cow(parts=5)), "`anno.objects.parts.part_name`, which is missing"),
    "objects that are text": (mat(content={"anno": {"objects": "cow"}}), "`anno.objects.class`, which is missing"),
    "no annotation": (mat(content={"x": 1}), "must have the field `anno`, which is missing"),
    "text": (file("a.mat", b"anno\n" * 40), "Expected a MATLAB file .version 5."),
    "an empty file": (file("a.mat", b""), "Expected a MATLAB file"),
    "MATLAB 7.3": (file("a.mat", b"MATLAB 7.3 MAT-file".ljust(124) + b"\0\2IM" + bytes(400)), "Expected a MATLAB file"),
    "nowhere": (lambda folder: folder / "a.mat", "there is none"),
}


def boxes(*items: Any) -> Callable[[Path], Path]:
    return file("boxes.json", json.dumps({"objects": items}).encode())


def box(bbox: Any = (6, 6, 65, 58), image: Any = "a", cls: Any = "cow") -> dict[str, Any]:
    return {"image": image, "cls": cls, "bbox": bbox}


def corners(path: Path) -> list[tuple[int, ...]]:
    return [item.box for items in boxed_objects(path).values() for item in items]


BOXES: dict[str, tuple[Callable[[Path], Path], Any]] = {
    "whole": (boxes(box()), [(5, 5, 65, 58)]),
    "fractions": (boxes(box([6.2, 6.9, 64.5, 58])), [(5, 5, 65, 58)]),
    "one pixel": (boxes(box([6, 6, 6, 6])), [(5, 5, 6, 6)]),
    "none": (boxes(), []),
    "no file": (lambda folder: folder / "boxes.json", []),
    "reversed": (boxes(box(), box([65, 6, 6, 58])), r"object 2 of it gave .*a box is \[left, top, right, bottom\]"),
    "upside down": (boxes(box([6, 58, 65, 6])), "object 1 of it gave .*got .6, 58, 65, 6."),
    "counted from 0": (boxes(box([0, 0, 65, 58])), "in pixels counted from 1"),
    "negative": (boxes(box([-6, 6, 65, 58])), "in pixels counted from 1"),
    "three numbers": (boxes(box([6, 6, 65])), "object 1 of it gave ValueError"),
    "text for numbers": (boxes(box(["6", 6, 65, 58])), "expected four numbers"),
    "a text": (boxes(box("6 6 65 58")), "object 1 of it gave"),
    "nothing for numbers": (boxes(box([None] * 4)), "object 1 of it gave TypeError"),
    "not a number": (
        file("b.json", b'{"objects": [{"image": "a", "cls": "cow", "bbox": [NaN, 1, 2, 3]}]}'),
        "expected four numbers",
    ),
    "infinite": (
        file("b.json", b'{"objects": [{"image": "a", "cls": "cow", "bbox": [1, 1, Infinity, 3]}]}'),
        "expected four numbers",
    ),
    "no image": (boxes({"cls": "cow", "bbox": [6, 6, 65, 58]}), "object 1 of it gave KeyError"),
    "an image outside": (boxes(box(image="../../secret")), "expected the name of an image, not a path"),
    "an image that is a number": (boxes(box(image=5)), "expected a text, got 5"),
    "a class that is a number": (boxes(box(cls=5)), "expected a text, got 5"),
    "objects that are a number": (file("b.json", b'{"objects": 5}'), "`objects` is no list"),
    "objects of numbers": (boxes(1, 2), "object 1 of it gave TypeError"),
    "a list": (file("b.json", b"[1]"), "reading it gave TypeError"),
    "cut": (file("b.json", b'{"objects": [{"image"'), "reading it gave JSONDecodeError.*`data.object_boxes=null`"),
    "empty": (file("b.json", b""), "reading it gave JSONDecodeError"),
    "deep": (file("b.json", b'{"objects": ' + b"[" * 100_000), "reading it gave RecursionError"),
    "UTF-16": (file("b.json", '{"objects": []}'.encode("utf-16")), "reading it gave UnicodeDecodeError"),
}


def voc(change: Callable[[Path], None]) -> Callable[[Path], Path]:
    """A folder in VOC's layout, of cows with and without part annotations and of dogs, with something changed."""

    def make(folder: Path) -> Path:
        for name in ("JPEGImages", "Annotations_Part", "ImageSets/Main", "extra"):
            (folder / name).mkdir(parents=True)
        items = []
        for number in range(12):
            photo = f"p{number}"
            Image.new("RGB", (WIDTH, HEIGHT), (number, 90, 90)).save(folder / f"JPEGImages/{photo}.jpg")
            name = "dog" if number % 2 else "cow"
            if number < 8:
                made = mat(cow(**{"class": name}))(folder)
                made.rename(folder / f"Annotations_Part/{photo}.mat")
            else:
                items.append(box([6, 6, 65, 58], photo, name))
        (folder / "extra/animal_pose.json").write_text(json.dumps({"objects": items}))
        (folder / "ImageSets/Main/train.txt").write_text("p0\np1\np2\np3\np8\np9\n")
        (folder / "ImageSets/Main/val.txt").write_text("p4\np5\np6\np7\np10\np11\n")
        change(folder)
        return folder

    return make


def count(root: Path) -> int:
    """Images of cows and dogs in all splits."""
    splits = PascalPartDataModule(root=str(root), category="cow", split="voc", index=str(root / "index")).read()
    return sum(len(split.ids) for split in splits.values())


def write(name: str, text: str) -> Callable[[Path], None]:
    return lambda root: [(root / name).write_text(text), None][1]


def turned(root: Path) -> None:
    Image.new("RGB", (WIDTH, HEIGHT)).save(root / "JPEGImages/p0.jpg", exif=exif(3))


def shrunk(root: Path) -> None:
    Image.new("RGB", (40, 30)).save(root / "JPEGImages/p8.jpg")


def linked(root: Path) -> None:
    (root / "Annotations_Part").rename(root / "elsewhere")
    (root / "Annotations_Part").symlink_to("elsewhere")


def index(text: str) -> Callable[[Path], None]:
    """A summary that was written before and is damaged now."""

    def change(root: Path) -> None:
        count(root)
        for path in (root / "index").glob("*.json"):
            path.write_text(text)

    return change


def pipe(root: Path) -> None:
    (root / "JPEGImages/p0.jpg").unlink()
    os.mkfifo(root / "JPEGImages/p0.jpg")


FOLDERS: dict[str, tuple[Callable[[Path], None], Any]] = {
    "whole": (lambda root: None, 12),
    "annotations behind a link": (linked, 12),
    "a summary that is empty": (index(""), 12),
    "a summary that is cut": (index('{"p0": [["p0", 1'), 12),
    "a summary of numbers": (index('{"p0": 5}'), 12),
    "a summary of other things": (index('{"p0": [["p0", "one", 5, [1], "x", []]]}'), 12),
    "a summary that is a list": (index("[]"), 12),
    "a photo outside": (
        write("ImageSets/Main/val.txt", "../../secret\n"),
        "val.txt names '../../secret': expected the name",
    ),
    "a photo at the root": (
        write("ImageSets/Main/val.txt", "/etc/hostname\n"),
        "expected the name of an image, not a path",
    ),
    "a list in UTF-16": (
        lambda root: [(root / "ImageSets/Main/val.txt").write_bytes("p4".encode("utf-16")), None][1],
        "no text in UTF-8",
    ),
    "a photo that a tag turns": (turned, "has a tag that turns it, so that its boxes do not fit"),
    "a photo that is too small for its box": (
        shrunk,
        r"has the box \(5, 5, 65, 58\) .* of p8/1, but .* is 40 wide and 30 high",
    ),
    "a photo that is a pipe": (pipe, "1 of the 12 images .* are not in .*p0.jpg"),
    "photos that are gone": (lambda root: shutil.rmtree(root / "JPEGImages"), "Expected the photos in"),
}
PASCAL = [
    *(Malformed(f"annotation: {name}", make, told, result) for name, (make, result) in ANNOTATIONS.items()),
    *(Malformed(f"boxes: {name}", make, corners, result) for name, (make, result) in BOXES.items()),
    *(Malformed(f"photos: {name}", voc(change), count, result) for name, (change, result) in FOLDERS.items()),
]
