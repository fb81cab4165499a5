"""Images and what is known of them, from wherever people keep them: folders, tables, memory, Hugging Face data sets."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
from torch import Tensor

from semexplain.data.framing import READABLE, Held, Picture, WithNumbers
from semexplain.data.text_files import first_few, require_unique
from semexplain.system.config import suggest
from semexplain.system.trouble import Trouble

SPLIT_NAMES = {"train": "train", "val": "val", "valid": "val", "validation": "val", "test": "test"}
SPLIT, LABEL = "split", "label"  # columns of a table
TABLES = (".csv", ".parquet")
YES, NO = {"1", "1.0", "true"}, {"0", "0.0", "-1", "-1.0", "false"}
Labels = np.ndarray | Tensor | Sequence[str] | Sequence[int]

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Collection:
    """Images with labels and splits, as far as they are known.

    Attributes:
        ids: Name of each of the ``N`` images, by which they are dealt out at random.
        images: Files, or pictures in memory; all of one kind.
        labels: By name, bool ``(N,)``; none if nothing is known.
        classes: Which of the labels exclude one another: an image has one of them.
        splits: Of each image, if that is known.
    """

    ids: tuple[str, ...]
    images: tuple[Held, ...]
    labels: Mapping[str, np.ndarray] = field(default_factory=dict)
    classes: tuple[str, ...] = ()
    splits: tuple[str, ...] | None = None

    def part(self, wanted: Sequence[bool] | np.ndarray) -> "Collection":
        """The images that are wanted, bool ``(N,)``."""
        rows = np.flatnonzero(wanted)
        labels = {name: values[rows] for name, values in self.labels.items()}
        ids, images = tuple(self.ids[row] for row in rows), tuple(self.images[row] for row in rows)
        return Collection(ids, images, labels, self.classes)


def collection(
    source: Any,
    *,
    labels: Labels | None = None,
    names: Sequence[str] | None = None,
    image_column: str = "image",
    numbers: Sequence[str] = (),
) -> Collection:
    """The images of any source, see :class:`~semexplain.data.pictures.PicturesDataModule`.

    Raises:
        FileNotFoundError: If there is no such folder or table.
        Trouble: If it has no images, or not what it says.
    """
    if numbers and Path(str(source)).suffix.lower() not in TABLES:
        raise Trouble("numbers: only a table of images (.csv, .parquet) has columns of them; else give `WithNumbers`.")
    if isinstance(source, str | Path):
        path = Path(source).expanduser()
        if not path.exists():
            raise FileNotFoundError(f"Expected a folder of images, or a table of them, at {path.absolute()}.")
        if path.is_dir():
            return of_folder(path)
        if path.suffix.lower() in TABLES:
            return of_table(path, image_column, numbers)
        raise Trouble(f"{path} is no folder of images and no table ({' or '.join(TABLES)}) of them.")
    if hasattr(source, "cast_column"):
        return of_dataset(source)
    return in_memory(source, labels, names)


def of_folder(folder: Path) -> Collection:
    """All images in a folder and below, by name.

    Folders ``train``, ``val`` and ``test`` at the top are splits. Where all images lie in folders (of a split), these
    are classes, in the order of torchvision's ``ImageFolder``.

    Raises:
        Trouble: If there are none.
    """
    candidates = (path.relative_to(folder) for path in folder.rglob("*") if path.suffix.lower() in READABLE)
    places = sorted(path for path in candidates if not any(part.startswith(".") for part in path.parts))
    places = [path for path in places if not (folder / path).is_dir()]
    if not places:
        raise Trouble(f"There are no images in {folder.absolute()}: expected files such as a.jpg, b.png or c.npy.")
    parents = [path.parts[:-1] for path in places]
    splits = None
    if all(parent and parent[0] in SPLIT_NAMES for parent in parents):
        splits = tuple(SPLIT_NAMES[parent[0]] for parent in parents)
        parents = [parent[1:] for parent in parents]
    classes = [parent[0] if parent else "" for parent in parents]
    labels = one_hot(classes) if "" not in classes else {}
    ids = tuple(path.as_posix() for path in places)
    return Collection(ids, tuple(folder / path for path in places), labels, tuple(labels), splits)


def of_table(path: Path, image_column: str, numbers: Sequence[str] = ()) -> Collection:
    """The images that a CSV or parquet file lists, one a row.

    Columns: the image's path, relative to the table's folder; perhaps ``split`` (train, val, test); perhaps ``label``,
    a class; those of ``numbers``, which go with the pixels; every other column of 0 and 1 (or -1 and 1, or true and
    false) is a label of its name.

    Raises:
        FileNotFoundError: If images are not there.
        Trouble: If it is no such table.
    """
    try:
        table = pd.read_csv(path, dtype=str, keep_default_na=False) if path.suffix.lower() == ".csv" else None
        table = pq.read_table(path).to_pandas().astype(str) if table is None else table
    except Exception as error:  # a damaged table can lead a reader into any of them
        raise Trouble(f"{path} cannot be read as a table: {' '.join(str(error).split())[:200]}") from error
    columns = {str(name).strip(): table[name].str.strip() for name in table.columns}
    if image_column not in columns:
        raise Trouble(
            f"{path} has no column {image_column!r} of images{suggest(image_column, columns)}; it has "
            f"{first_few(list(columns))}. Name it by `data.image_column`."
        )
    ids = columns.pop(image_column).tolist()
    if not ids:
        raise Trouble(f"{path} lists no images.")
    require_unique(path, ids)
    files = tuple(path.parent / name for name in ids)
    _require_files(files, str(path))
    splits = _splits(path, columns.pop(SPLIT).tolist()) if SPLIT in columns else None
    classes = _classes(path, columns.pop(LABEL).tolist()) if LABEL in columns else {}
    beside = _numbers(path, ids, columns, numbers)
    labels, ignored = dict(classes), []
    for name, values in columns.items():
        words = set(values.str.lower())
        if words <= YES | NO:
            labels[name] = values.str.lower().isin(YES).to_numpy()
        elif words <= YES | NO | {"", "nan", "none"} and words & (YES | NO):
            row = int(np.flatnonzero(~values.str.lower().isin(YES | NO))[0])
            raise Trouble(f"{path}: the column {name!r} has no value for {ids[row]}. Fill it, or leave the column out.")
        else:
            ignored.append(name)
    if ignored:
        log.info("%s: columns that are not 0 and 1 are left out: %s.", path, first_few(ignored))
    images = tuple(map(WithNumbers, files, beside)) if numbers else files
    return Collection(tuple(ids), images, labels, tuple(classes), splits)


def of_dataset(dataset: Any) -> Collection:
    """The images of a Hugging Face data set, decoded as files are; names are their positions.

    Its first column of images is taken, classes from the first ``ClassLabel``, labels from columns of truth values.

    Raises:
        Trouble: If it has no column of images.
    """
    import datasets  # optional

    features = dataset.features
    column = next((name for name, kind in features.items() if isinstance(kind, datasets.Image)), None)
    if column is None:
        raise Trouble(f"The data set has no column of images; it has {first_few(list(features))}.")
    encoded = dataset.cast_column(column, datasets.Image(decode=False))
    rows = range(len(dataset))
    labels: dict[str, np.ndarray] = {}
    classes = next((name for name, kind in features.items() if isinstance(kind, datasets.ClassLabel)), None)
    if classes is not None:
        numbers = np.array([-1 if number is None else number for number in dataset[classes]])
        labels = {word: numbers == at for at, word in enumerate(features[classes].names)}
    named = tuple(labels)
    for name, kind in features.items():
        if getattr(kind, "dtype", None) == "bool":
            labels[name] = np.array(dataset[name][:], dtype=bool)
    ids = tuple(map(str, rows))
    return Collection(ids, tuple(partial(_encoded, encoded, column, row) for row in rows), labels, named)


def in_memory(images: Any, labels: Labels | None, names: Sequence[str] | None) -> Collection:
    """An array ``(N, H, W)`` or ``(N, H, W, C)``, a tensor ``(N, C, H, W)``, or a list of pictures or files.

    Args:
        images: Of files, the names are their paths; else positions.
        labels: bool ``(N, K)`` of ``K`` names; or the class of each image, its name or its position in ``names``.
        names: Of the labels or classes.
    """
    if isinstance(images, np.ndarray | Tensor) and images.ndim not in (3, 4):
        raise Trouble(f"Expected an array of images (N, H, W, C) or a tensor (N, C, H, W), got {tuple(images.shape)}.")
    if isinstance(images, Tensor) and images.ndim == 3:
        images = images[:, None]
    if not hasattr(images, "__len__") or len(images) == 0:
        raise Trouble(f"There are no images: expected an array or a list of them, got {type(images).__name__}.")
    held = tuple(Path(image).expanduser() if isinstance(image, str) else image for image in images)
    files = [image for image in held if isinstance(image, Path)]
    if files and len(files) < len(held):
        raise Trouble("Expected a list of files or one of pictures, got some of each. Open the files first.")
    _require_files(files, "the list")
    ids = tuple(map(str, files)) or tuple(map(str, range(len(held))))
    known = {} if labels is None else _given(labels, names, len(held))
    exclusive = labels is not None and np.asarray(labels).ndim == 1
    return Collection(ids, held, known, tuple(known) if exclusive else ())


def one_hot(classes: Sequence[str]) -> dict[str, np.ndarray]:
    """Whether an image is of each class, bool ``(N,)`` by class, in the order of their names as text.

    Example:
        >>> {name: values.tolist() for name, values in one_hot(["dog", "cat", "dog"]).items()}
        {'cat': [False, True, False], 'dog': [True, False, True]}
    """
    column = np.array(classes)
    return {name: column == name for name in sorted(set(classes))}


def _given(labels: Labels, names: Sequence[str] | None, count: int) -> dict[str, np.ndarray]:
    """Labels of pictures in memory, by name."""
    array = np.asarray(labels)
    if len(array) != count:
        raise Trouble(f"Expected labels of {count} images, got {len(array)}.")
    if array.ndim == 1 and array.dtype.kind in "US":
        return one_hot([str(name) for name in array])
    if names is None:
        raise Trouble("Expected the names of the labels, or of the classes that numbers stand for: `names=[...]`.")
    if array.ndim == 1 and array.dtype.kind in "iu" and array.min() >= 0 and array.max() < len(names):
        return {name: array == at for at, name in enumerate(names)}
    if array.ndim == 2 and array.shape[1] == len(names) and np.isin(array, (0, 1)).all():
        return {name: array[:, at] == 1 for at, name in enumerate(names)}
    raise Trouble(
        f"Expected labels (N, {len(names)}) of 0 and 1, or (N,) of class numbers below {len(names)}, got {array.dtype} "
        f"{array.shape}."
    )


def _encoded(dataset: Any, column: str, row: int) -> Picture:
    """The file of an image in a Hugging Face data set."""
    image = dataset[row][column]
    return BytesIO(image["bytes"]) if image["bytes"] is not None else Path(image["path"])


def _splits(path: Path, words: list[str]) -> tuple[str, ...]:
    unknown = [word for word in words if word not in SPLIT_NAMES]
    if unknown:
        raise Trouble(f"{path}: the column {SPLIT!r} must say train, val or test, got {unknown[0]!r}.")
    return tuple(SPLIT_NAMES[word] for word in words)


def _numbers(path: Path, ids: Sequence[str], columns: dict[str, Any], names: Sequence[str]) -> list[tuple[float, ...]]:
    """The numbers of each image, whose columns are no labels then."""
    found = []
    for name in names:
        if name not in columns:
            raise Trouble(
                f"{path} has no column {name!r}{suggest(name, columns)}: expected numbers of the images there."
            )
        values = pd.to_numeric(columns.pop(name), errors="coerce").to_numpy(dtype=np.float64)
        if not np.isfinite(values).all():
            raise Trouble(f"{path}: the column {name!r} has no number for {ids[int(np.isfinite(values).argmin())]}.")
        found.append(values)
    return list(zip(*found, strict=True))


def _classes(path: Path, words: list[str]) -> dict[str, np.ndarray]:
    if "" in words:
        raise Trouble(f"{path}: the column {LABEL!r} has no class in row {words.index('') + 1}. Fill it, or rename it.")
    return one_hot(words)


def _require_files(files: Sequence[Path], source: str) -> None:
    missing = [str(file) for file in files if not file.is_file()]
    if missing:
        raise FileNotFoundError(
            f"{len(missing)} of the {len(files)} images in {source} are not there: {first_few(missing, 3)}. Copy them "
            "there, or mend their paths."
        )
