"""Files and frames of explanations that somebody has changed."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import torch

from malformed.case import Malformed
from malformed.images import file
from semexplain.explanation import Explanation
from semexplain.explanation.table import METADATA


def whole(rows: int = 4) -> Explanation:
    """What is saved: some images with everything an explanation can hold; pictures are not square."""
    generator = torch.Generator().manual_seed(0)
    values, weights = (torch.randn(rows, 3, generator=generator) for _ in range(2))
    eye = torch.randn(rows, 1, generator=generator)
    total = (values * weights).sum(1, keepdim=True)
    return Explanation(
        torch.randn(rows, generator=generator),
        values,
        weights,
        torch.tensor(0.5),
        ("A", "B", "C"),
        "Male",
        tuple(f"{row}.jpg" for row in range(rows)),
        torch.arange(rows) % 2 == 0,
        ("eye", "other"),
        torch.cat([eye, total - eye], 1),
        torch.randint(0, 256, (rows, 3, 4, 6), generator=generator, dtype=torch.uint8),
        torch.rand(rows, 4, 6, generator=generator),
    )


def numbers(path: Path) -> np.ndarray:
    return Explanation.load(path).contributions.numpy()


def written(change: Callable[[pa.Table], pa.Table], keep: bool = True) -> Callable[[Path], Path]:
    """A file that was changed; ``keep``: what was noted in it is left."""

    def make(folder: Path) -> Path:
        path = folder / "explanations.parquet"
        whole().save(path)
        table = pq.read_table(path)
        noted = table.schema.metadata if keep else None
        changed = change(table)
        pq.write_table(changed.replace_schema_metadata(noted), path)
        return path

    return make


def put(name: str, value: Any, row: int = 1) -> Callable[[pa.Table], pa.Table]:
    def change(table: pa.Table) -> pa.Table:
        values = table[name].to_pylist()
        values[row] = value
        return table.set_column(table.column_names.index(name), name, pa.array(values))

    return change


def text(name: str) -> Callable[[pa.Table], pa.Table]:
    return lambda table: table.set_column(table.column_names.index(name), name, pa.array(["x"] * len(table)))


def raw(**changes: Any) -> Callable[[Path], Path]:
    """Only what is noted in the file is changed."""

    def make(folder: Path) -> Path:
        path = folder / "explanations.parquet"
        whole().save(path)
        table = pq.read_table(path)
        noted = json.loads(table.schema.metadata[METADATA]) | changes
        pq.write_table(table.replace_schema_metadata({METADATA: json.dumps(noted).encode()}), path)
        return path

    return make


def same(table: pa.Table) -> pa.Table:
    return table


def bare(table: pa.Table) -> pa.Table:
    """Without the pictures, whose shape only the notes say."""
    return table.drop(["image", "heat"])


Change = Callable[[pa.Table], pa.Table]
CHANGES: dict[str, tuple[Change, str]] = {
    "a number": (put("score", 9.0), r"row 1 \(1.jpg\): residual is .*, but score minus prediction is"),
    "a contribution": (put("contribution/B", 9.0), r"row 1 \(1.jpg\): contribution/B is 9, but alpha times y is"),
    "a weight": (put("alpha/C", 9.0), "row 1 .*: contribution/C is .*, but alpha times y is"),
    "a value": (put("y/A", 9.0, 3), "row 3 .3.jpg.: contribution/A is"),
    "the prediction": (
        put("prediction", 9.0),
        "row 1 .*: prediction is 9, but the sum of contributions and base value",
    ),
    "the residual": (put("residual", 9.0), "row 1 .*: residual is 9, but score minus prediction"),
    "a base value": (put("base_value", 9.0), "row 1 .*: base_value is 9, but that of the first row is 0.5"),
    "a part": (put("part/eye", 9.0), "row 1 .*: part/... is .*, but the sum of the contributions is"),
    "to no number": (put("score", float("nan")), r"row 1 \(1.jpg\): score is nan"),
    "to infinity": (put("alpha/A", float("inf")), "row 1 .*: alpha/A is inf"),
    "to nothing": (put("y/B", None), "row 1 .*: y/B is nan"),
    "to text": (text("score"), "the column 'score' must hold numbers, not string"),
    "a label": (put("label", None), "row 1 .*: label is nan|must hold numbers"),
    "an id": (put("id", "0.jpg"), "the image '0.jpg' has 2 rows"),
    "an id to nothing": (put("id", None), "the column 'id' must name the images, got None"),
    "twice the rows": (lambda table: pa.concat_tables([table, table]), "the image '0.jpg' has 2 rows"),
    "no prediction": (lambda table: table.drop(["prediction"]), "the column 'prediction' is missing"),
    "no score": (lambda table: table.drop(["score"]), "the column 'score' is missing"),
    "no ids": (lambda table: table.drop(["id"]), "the column 'id' is missing"),
    "no weights": (lambda table: table.drop(["alpha/B"]), "columns y, alpha and contribution of 'B' are not all there"),
    "no values": (lambda table: table.drop(["y/B"]), "columns y, alpha and contribution of 'B' are not all there"),
    "an image to none": (put("image", b"none"), "row 1: its image is none"),
    "an image to nothing": (put("image", None), "row 1: its image is none"),
}
WITH_NOTES: dict[str, tuple[Change, str]] = {
    "half the rows": (lambda table: table.slice(0, 2), "it has 2 rows, but 4 were written"),
    "twice the rows": (lambda table: pa.concat_tables([table, table]), "it has 8 rows, but 4 were written"),
    "no rows": (lambda table: table.slice(0, 0), "it has 0 rows, but 4 were written"),
    "an id": (put("id", "9.jpg"), "its numbers were changed after they were written"),
    "a label": (put("label", True), "its numbers were changed after they were written"),
    "order": (lambda table: table.take([1, 0, 2, 3]), "its numbers were changed after they were written"),
    "a column more": (lambda table: table.append_column("z", table["score"]), "its numbers were changed"),
    "a concept less": (lambda table: table.drop(["y/B", "alpha/B", "contribution/B"]), "row 0 .*: prediction is"),
}


def cut(share: float) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        path = written(same)(folder)
        content = path.read_bytes()
        path.write_bytes(content[: int(share * len(content))])
        return path

    return make


def garbled(folder: Path) -> Path:
    path = written(same)(folder)
    content = bytearray(path.read_bytes())
    content[len(content) // 3] ^= 0xFF
    path.write_bytes(content)
    return path


def frame(change: Callable[[pd.DataFrame], pd.DataFrame]) -> Callable[[Path], np.ndarray]:
    return lambda _: Explanation.from_frame(change(whole().to_frame()), "Male").contributions.numpy()


def centred(frame: pd.DataFrame) -> pd.DataFrame:
    """As if the concepts were measured from their means 2, -7 and 0."""
    means = {"A": 2.0, "B": -7.0, "C": 0.0}
    values = {f"centred/{name}": frame[f"y/{name}"] for name in means}
    strengths = {f"y/{name}": frame[f"y/{name}"] + np.float32(mean) for name, mean in means.items()}
    return frame.assign(**values, **strengths)


FRAMES: dict[str, tuple[Callable[[pd.DataFrame], pd.DataFrame], Any]] = {
    "whole": (lambda frame: frame, whole().contributions.numpy()),
    "some rows": (lambda frame: frame.iloc[1:3], whole().contributions.numpy()[1:3]),
    "another order": (lambda frame: frame.iloc[::-1], whole().contributions.numpy()[::-1]),
    "rounded": (lambda frame: frame.round(2), "row 0 .*: contribution/. is .*, but alpha times y is"),
    "scaled": (lambda frame: frame.assign(score=frame.score * 2), "row 0 .*: residual is"),
    "with a gap": (
        lambda frame: frame.assign(score=frame.score.where(frame.index != 2)),
        "row 2 .2.jpg.: score is nan",
    ),
    "with text": (lambda frame: frame.assign(score="high"), "the column 'score' must hold numbers"),
    "with mixed kinds": (lambda frame: frame.assign(score=["a", 1, None, 2.0]), "The frame is not one of explanations"),
    "of something else": (lambda frame: frame[["score"]], "the column 'id' is missing"),
    "twice the rows": (lambda frame: pd.concat([frame, frame]), "the image '0.jpg' has 2 rows"),
    "centred": (centred, whole().contributions.numpy()),
    "centred, a strength": (
        lambda frame: centred(frame).assign(**{"y/B": [-7.0, 3.0, 2.0, 1.0]}),
        "row 1 .*: the mean of B, y less centred, is .*, but that of the first row is",
    ),
    "centred, a value": (
        lambda frame: centred(frame).assign(**{"centred/B": 9.0}),
        "row 0 .*: contribution/B is .*, but alpha times the centred y is",
    ),
    "centred, one less": (
        lambda frame: centred(frame).drop(columns="centred/B"),
        "columns y, alpha, contribution and centred of 'B' are not all there",
    ),
    "a base value that varies": (lambda frame: frame.assign(base_value=range(4)), "row 1 .*: base_value is 1"),
}
EXPLANATIONS = [
    Malformed("explanations, whole", written(same), numbers, whole().contributions.numpy()),
    Malformed("explanations of before", written(bare, keep=False), numbers, whole().contributions.numpy()),
    *(
        Malformed(f"explanations, changed: {name}", written(change, keep=False), numbers, message)
        for name, (change, message) in CHANGES.items()
    ),
    *(
        Malformed(f"explanations with notes, changed: {name}", written(change), numbers, message)
        for name, (change, message) in WITH_NOTES.items()
    ),
    Malformed("explanations, another digest", raw(digest="0"), numbers, "its numbers were changed after"),
    Malformed("explanations, another count", raw(rows=9, digest="0"), numbers, "it has 4 rows, but 9 were written"),
    Malformed("explanations, heat of another shape", raw(heat=[5, 5]), numbers, "its heat is no table of numbers"),
    Malformed("explanations, cut in half", cut(0.5), numbers, "is not a complete parquet file"),
    Malformed("explanations, cut at the end", cut(0.99), numbers, "is not a complete parquet file"),
    Malformed("explanations, cut to nothing", cut(0), numbers, "is not a complete parquet file"),
    Malformed(
        "explanations, a byte changed", garbled, numbers, "explanations.parquet (is not a complete|cannot be read)"
    ),
    Malformed("explanations: text", file("a.parquet", b"id,score\n"), numbers, "is not a complete parquet file"),
    Malformed("explanations: a page", file("a.parquet", b"<html>"), numbers, "is not a complete parquet file"),
    Malformed("explanations: a folder", lambda folder: folder, numbers, "there is no such file"),
    *(
        Malformed(f"frame {name}", lambda folder: folder, frame(change), result)
        for name, (change, result) in FRAMES.items()
    ),
]
