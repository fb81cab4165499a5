"""CelebA, faces with 40 attributes (Sec. 4.2), from a local copy of the aligned images; or any table of attributes."""

import logging
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from semexplain.data.attributes import ATTRIBUTES
from semexplain.data.images import SPLITS, Split
from semexplain.data.module import ImageDataModule
from semexplain.data.text_files import fields_of_lines, first_few, require_present, require_unique
from semexplain.system.trouble import Trouble

IMAGES = "img_align_celeba"
HELP = (
    "CelebA is free for non-commercial research at https://mmlab.ie.cuhk.edu.hk/projects/CelebA.html: put "
    f"`{IMAGES}/`, `list_attr_celeba.txt` and `list_eval_partition.txt` under `data.root`. "
    "To try the code without any download, use `data=synthetic_faces`."
)

logger = logging.getLogger(__name__)


class CelebADataModule(ImageDataModule):
    """Aligned CelebA faces, or any part of them: the partition file decides which images take part.

    Both text files may be in the original layout or, under the same stem, in the common ``.csv`` form. The table may
    have other attributes than CelebA's 40, see :func:`read_attributes`: a performer says which of them it tells.

    Args:
        root: Folder with the images (``img_align_celeba/``) and both text files.
        partition: File under ``root`` that puts images into training (0), validation (1) or test (2).
        attributes: File under ``root`` with the attributes of every image.
        **kwargs: What every :class:`ImageDataModule` takes: sizes, workers, seed, flips, cache.
    """

    def __init__(
        self,
        *,
        root: str,
        partition: str = "list_eval_partition.txt",
        attributes: str = "list_attr_celeba.txt",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.root = Path(root).expanduser()
        self.partition = partition
        self.attributes = attributes

    def read(self) -> dict[str, Split]:
        """Read both text files and look for every image of the partition.

        Raises:
            FileNotFoundError: If the folder, one of the files or an image is missing.
            ValueError: If a file is not as expected, or a split is empty.
        """
        if not self.root.is_dir():
            raise FileNotFoundError(f"Expected the folder of CelebA at {self.root.absolute()} (`data.root`). {HELP}")
        attribute_file = _either(self.root / self.attributes)
        partition_file = _either(self.root / self.partition)
        folder = self.root / IMAGES
        if (folder / IMAGES).is_dir():  # the .csv distribution nests the folder once
            folder = folder / IMAGES
        if not folder.is_dir():
            raise FileNotFoundError(f"Expected the aligned images in {folder}. {HELP}")

        images, labels, self.names = read_attributes(attribute_file)
        parts = read_partition(partition_file)
        row = {image: number for number, image in enumerate(images)}

        unlabelled = [image for image in parts if image not in row]
        if unlabelled:
            raise Trouble(
                f"{partition_file} lists {len(unlabelled)} images without a row in {attribute_file}: "
                f"{first_few(unlabelled)}. Remove them from the partition or use the matching attribute file."
            )
        remedy = f"Copy them there, or set `data.partition` to a file that lists only the images at hand. {HELP}"
        require_present(list(parts), folder, source=str(partition_file), remedy=remedy)
        if len(row) > len(parts):
            logger.info("%d images of %s are in no split and left out.", len(row) - len(parts), attribute_file)

        splits = {}
        for part, name in enumerate(SPLITS):
            ids = tuple(image for image, value in parts.items() if value == part)
            if not ids:
                raise Trouble(
                    f"The split {name!r} is empty: no image has the value {part} in {partition_file}. With a part of "
                    "CelebA the official partition can leave splits without images; write a partition file of your "
                    "own and name it in `data.partition`."
                )
            splits[name] = Split(ids, tuple(folder / image for image in ids), labels[[row[image] for image in ids]])
        return splits


def read_attributes(path: Path) -> tuple[list[str], np.ndarray, tuple[str, ...]]:
    """Read the attribute file: the number of images, the names, then a row of -1 and 1 per image.

    As ``.csv``: a header ``image_id,...``, then rows of -1 and 1 or of 0 and 1.

    Args:
        path: ``list_attr_celeba.txt`` or ``list_attr_celeba.csv``.

    Returns:
        Names of the images; labels of shape ``(N, K)``, bool; and names of the attributes, at least two: CelebA's 40
        in the order of :data:`ATTRIBUTES`, others in that of the file.

    Raises:
        ValueError: If the file does not follow the layout, with the line at fault.
    """
    rows = fields_of_lines(path, HELP)
    if path.suffix == ".csv":
        count = None
        names = _header(path, rows)
    else:
        count = _count(path, rows)
        names = next(rows, (2, []))[1]
    order = _ordered(path, names)

    images: list[str] = []
    labels: list[list[bool]] = []
    signs: set[str] = set()
    alphabet = {"-1", "0", "1"} if path.suffix == ".csv" else {"-1", "1"}
    for line, (image, *values) in rows:
        if len(values) != len(names):
            raise Trouble(
                f"{path}, line {line}: expected an image and {len(names)} values, got {len(values)} values. {HELP}"
            )
        signs.update(values)
        if not signs <= alphabet:
            raise Trouble(
                f"{path}, line {line}: attributes must be -1 or 1{' (or 0 or 1)' if '0' in alphabet else ''}, "
                f"got {', '.join(sorted(signs - alphabet))}. {HELP}"
            )
        if {"-1", "0"} <= signs:
            raise Trouble(
                f"{path}, line {line}: the file uses both -1 and 0 for absent attributes. Write it with one of them."
            )
        images.append(image)
        labels.append([value == "1" for value in values])

    if not images:
        raise Trouble(f"{path} lists no images. {HELP}")
    if count is not None and count != len(images):
        raise Trouble(
            f"{path} announces {count} images in its first line but lists {len(images)}. If the file was cut, "
            "download it again; if it was shortened on purpose, correct the first line."
        )
    require_unique(path, images)
    return images, np.array(labels, dtype=np.bool_)[:, [names.index(name) for name in order]], order


def read_partition(path: Path) -> dict[str, int]:
    """Read the partition file: an image and 0 (training), 1 (validation) or 2 (test) per line.

    As ``.csv``: the same after a header ``image_id,partition``.

    Args:
        path: ``list_eval_partition.txt`` or ``list_eval_partition.csv``.

    Returns:
        The part of each image, in the order of the file.

    Raises:
        ValueError: If the file does not follow the layout, with the line at fault.
    """
    rows = fields_of_lines(path, HELP)
    if path.suffix == ".csv":
        _header(path, rows)
    parts: list[tuple[str, int]] = []
    for line, fields in rows:
        if len(fields) != 2:
            raise Trouble(f"{path}, line {line}: expected an image and its part, got {len(fields)} fields. {HELP}")
        image, part = fields
        if part not in ("0", "1", "2"):
            raise Trouble(f"{path}, line {line}: the part must be 0 (train), 1 (val) or 2 (test), got {part!r}. {HELP}")
        parts.append((image, int(part)))
    if not parts:
        raise Trouble(f"{path} lists no images. {HELP}")
    require_unique(path, [image for image, _ in parts])
    return dict(parts)


def _either(path: Path) -> Path:
    """The file, or its ``.csv`` form if only that exists."""
    table = path.with_suffix(".csv")
    for candidate in (path, table):
        if candidate.is_file():
            return candidate
    also = f" or {table.name}" if table != path else ""
    raise FileNotFoundError(f"Expected the file {path}{also}. {HELP}")


def _count(path: Path, rows: Iterator[tuple[int, list[str]]]) -> int:
    _, fields = next(rows, (1, []))
    if len(fields) != 1 or not fields[0].isdecimal():
        text = " ".join(fields)[:60]
        raise Trouble(f"{path}, line 1: expected the number of images, got {text!r}. {HELP}")
    return int(fields[0])


def _header(path: Path, rows: Iterator[tuple[int, list[str]]]) -> list[str]:
    _, fields = next(rows, (1, []))
    if not fields or fields[0] != "image_id":
        text = ",".join(fields)[:60]
        raise Trouble(f"{path}, line 1: expected a header that begins with `image_id`, got {text!r}. {HELP}")
    return fields[1:]


def _ordered(path: Path, names: Sequence[str]) -> tuple[str, ...]:
    duplicates = [name for name, times in Counter(names).items() if times > 1]
    if duplicates or len(names) < 2:
        problem = f"repeated: {', '.join(duplicates)}" if duplicates else f"got {', '.join(names) or 'none'}"
        raise Trouble(f"{path} must name at least two attributes, each once; {problem}. {HELP}")
    return ATTRIBUTES if set(names) == set(ATTRIBUTES) else tuple(names)
