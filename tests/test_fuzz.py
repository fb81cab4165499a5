"""Readers and what is explained, given anything: they read, or refuse with a sentence, and raise nothing else."""

import contextlib
import io
import json
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from malformed.annotations import cow, mat
from malformed.explanations import whole
from malformed.images import BLOCKS, COLOURED, encoded
from malformed.weights import LEGACY, PTH, SAFE, trunk

from semexplain.concepts.parts import Parts, read_parts
from semexplain.data.celeba import read_attributes, read_partition
from semexplain.data.framing import read_image
from semexplain.data.part_masks import PartMasks
from semexplain.data.pascal_annotations import read_annotation
from semexplain.data.pascal_objects import boxed_objects
from semexplain.explanation import Explanation
from semexplain.report.own_images import image_files
from semexplain.system.image_files import ImageError
from semexplain.system.trouble import Trouble

hypothesis = pytest.importorskip("hypothesis")
from hypothesis import assume, given, settings  # noqa: E402
from hypothesis import strategies as st  # noqa: E402

bounded = settings(max_examples=80, deadline=None, database=None, derandomize=True)
PERFORMER = {"sha256": "ab12", "n": 3}
IMAGES = {
    "jpg": encoded(BLOCKS, "JPEG"),
    "progressive.jpg": encoded(BLOCKS, "JPEG", progressive=True),
    "png": encoded(COLOURED, "PNG"),
    "gif": encoded(BLOCKS, "GIF"),
    "bmp": encoded(COLOURED, "BMP"),
    "tif": encoded(COLOURED, "TIFF", compression="tiff_lzw"),
    "webp": encoded(COLOURED, "WEBP", lossless=True),
    "ppm": encoded(COLOURED, "PPM"),
    "jp2": encoded(COLOURED, "JPEG2000"),
}
plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8) | st.integers(0, 3), inner, max_size=4)
    ),
    max_leaves=12,
)


@st.composite
def damaged(draw: Callable[[Any], Any], content: bytes) -> bytes:
    """A file of which some bytes are others, missing, or there twice."""
    data = bytearray(content)
    for _ in range(draw(st.integers(0, 4))):
        at = draw(st.integers(0, max(0, len(data) - 1)))
        kind = draw(st.sampled_from(("other", "missing", "twice", "cut")))
        if kind == "other" and data:
            data[at] = draw(st.integers(0, 255))
        elif kind == "missing":
            del data[at : at + draw(st.integers(1, 40))]
        elif kind == "twice":
            data[at:at] = data[at : at + draw(st.integers(1, 40))]
        else:
            del data[at:]
    return bytes(data)


def refused_or(read: Callable[[Path], Any], name: str, content: bytes | str) -> Any:
    """What is read of a file; None if it is refused with a sentence."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode("utf-8", "surrogatepass"))
        with contextlib.suppress(Trouble):
            return read(path)
    return None


@given(kind=st.sampled_from(sorted(IMAGES)), data=st.data())
@settings(bounded, max_examples=400)
def test_damaged_images_are_images_or_refused(kind: str, data: Any) -> None:
    found = refused_or(lambda path: read_image(path, 8), f"a.{kind}", data.draw(damaged(IMAGES[kind])))
    assert found is None or (found.dtype == torch.uint8 and found.shape == (3, 8, 8))


@given(content=st.binary(max_size=200) | st.text(alphabet='01-2 \n,"a.jpgimage_id\0é', max_size=120))
@bounded
def test_tables_of_anything(content: bytes | str) -> None:
    for name in ("a.txt", "a.csv"):
        attributes = refused_or(read_attributes, name, content)
        assert attributes is None or attributes[1].shape == (len(attributes[0]), len(attributes[2]))
        parts = refused_or(read_partition, name, content)
        assert parts is None or set(parts.values()) <= {0, 1, 2}


@given(
    changes=st.dictionaries(
        st.sampled_from(("performer", "parts", "assignment", "manual", "scores", "matrix", "source")), plain
    )
)
@bounded
def test_names_of_filters_of_any_shape(changes: dict[str, Any]) -> None:
    content = {"performer": PERFORMER, "parts": ["eye", "leg"], "assignment": {0: "eye"}} | changes
    found = refused_or(lambda path: read_parts(path, performer=PERFORMER), "parts.yaml", yaml.safe_dump(content))
    assert found is None or (isinstance(found, Parts) and len(found.assignment) == 3)


@given(content=plain, item=st.dictionaries(st.sampled_from(("image", "cls", "bbox")), plain))
@bounded
def test_boxes_of_any_shape(content: Any, item: dict[str, Any]) -> None:
    whole = {"image": "a", "cls": "cow", "bbox": [1, 1, 9, 9]}
    for value in (content, {"objects": content}, {"objects": [whole | item]}):
        for items in (refused_or(boxed_objects, "boxes.json", json.dumps(value)) or {}).values():
            assert all(0 <= one.box[0] < one.box[2] and 0 <= one.box[1] < one.box[3] for one in items)


@given(content=plain, annotation=st.dictionaries(st.sampled_from(("image_id", "bbox", "segmentation")), plain))
@bounded
def test_parts_of_any_shape(content: Any, annotation: dict[str, Any]) -> None:
    whole = {"image_id": 1, "category_id": 2, "bbox": [0, 0, 3, 4]}
    lists = {"images": [{"id": 1, "file_name": "a.png"}], "categories": [{"id": 2, "name": "eye"}]}
    for value in (content, lists | {"annotations": content}, lists | {"annotations": [whole | annotation]}):
        found = refused_or(lambda path: PartMasks.of(path).part_map("a.png", (5, 5)), "parts.json", json.dumps(value))
        assert found is None or set(np.unique(found)) <= {-1, 0}


@given(content=st.sampled_from((PTH, LEGACY, SAFE)).flatmap(damaged), name=st.sampled_from(("a.pth", "a.safetensors")))
@bounded
def test_damaged_weights_are_weights_or_refused(content: bytes, name: str) -> None:
    found = refused_or(trunk, name, content)
    assert found is None or np.isfinite(found)


def annotation() -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        return mat(cow())(Path(folder)).read_bytes()


@given(content=damaged(annotation()[:20_000]))
@bounded
def test_damaged_annotations_are_annotations_or_refused(content: bytes) -> None:
    for item in refused_or(read_annotation, "a.mat", content) or ():
        assert all(part.shape == item.size for part in item.parts.values())


def explanations() -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        whole().save(Path(folder) / "a.parquet")
        return (Path(folder) / "a.parquet").read_bytes()


@given(content=damaged(explanations()))
@bounded
def test_damaged_explanations_are_the_explanations_or_refused(content: bytes) -> None:
    found = refused_or(Explanation.load, "a.parquet", content)
    assert found is None or torch.equal(found.contributions, whole().contributions)


@given(row=st.integers(0, 3), column=st.integers(0, 13), factor=st.floats(1.1, 5) | st.floats(-5, 0.9))
@bounded
def test_any_number_that_is_changed_is_noticed(row: int, column: int, factor: float) -> None:
    frame: pd.DataFrame = whole().to_frame()
    name = frame.columns[2:][column]
    frame.loc[row, name] = np.float32(frame.loc[row, name] * factor)
    with pytest.raises(Trouble, match="not one of explanations: row"):
        Explanation.from_frame(frame)


@given(
    kind=st.sampled_from(("uint8", "uint16", "int8", "float32", "bool", "object")),
    shape=st.lists(st.integers(0, 5), max_size=4),
    tensor=st.booleans(),
)
@bounded
def test_arrays_of_any_kind_are_pictures_or_refused(kind: str, shape: list[int], tensor: bool) -> None:
    assume(not (tensor and kind == "object"))
    array = np.zeros(shape, dtype=kind)
    with contextlib.suppress(TypeError, ValueError):
        assert read_image(torch.from_numpy(array) if tensor else array, 8).shape == (3, 8, 8)


@given(names=st.lists(st.text(alphabet="ab[]*?!-~'\" \nä.", min_size=1, max_size=6), min_size=1, max_size=3))
@bounded
def test_folders_of_any_name_are_found(names: list[str]) -> None:
    assume(all(name.strip(".") for name in names) and not names[0].startswith("~"))
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder).joinpath(*names)
        place.mkdir(parents=True)
        (place / "a.png").write_bytes(b"")
        for images in (folder, place, place / "*.png", place / "a.png"):
            assert image_files(str(images)) == [place / "a.png"]


def test_open_files_are_named_as_such() -> None:
    with pytest.raises(ImageError, match="Expected a complete image in an open file"):
        read_image(io.BytesIO(b"no image"), 8)
