"""Pascal-Part's annotation files: objects, their masks and their parts."""

from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args

import numpy as np
from scipy.io import loadmat

from semexplain.system.trouble import Trouble

Category = Literal["bird", "cat", "cow", "dog", "horse", "sheep"]
CATEGORIES: tuple[Category, ...] = get_args(Category)
_HOOFED_LEGS = tuple(f"{side}{half}leg" for side in ("lf", "rf", "lb", "rb") for half in ("u", "l"))
_PAWED_LEGS = tuple(f"{side}{part}" for side in ("lf", "rf", "lb", "rb") for part in ("leg", "pa"))
_HOOVES = ("lfho", "rfho", "lbho", "rbho")
Leaves = dict[str, tuple[str, ...]]  # of each coarse part
_EARS: Leaves = {"ear": ("lear", "rear")}
_HORNS: Leaves = {"horn": ("lhorn", "rhorn")}
_WINGS: Leaves = {"wing": ("lwing", "rwing")}


def _body(mouth: tuple[str, ...], ears: Leaves, legs: tuple[str, ...]) -> Leaves:
    """What all six animals have, in the order of Table 3, then the others."""
    trunk = {"torso": ("torso", "neck"), "leg": legs, "head": ("head",), "tail": ("tail",)}
    return {"eye": ("leye", "reye"), "mouth_and_nose": mouth, **ears, **trunk}


# Coarse parts as in Table 3 of the paper, then the others: the leaf parts of Pascal-Part that each gathers.
PARTS: dict[Category, Leaves] = {
    "bird": _body(("beak",), {}, ("lleg", "lfoot", "rleg", "rfoot")) | _WINGS,
    "cat": _body(("nose",), _EARS, _PAWED_LEGS),
    "cow": _body(("muzzle",), _EARS, _HOOFED_LEGS) | _HORNS,
    "dog": _body(("nose", "muzzle"), _EARS, _PAWED_LEGS),
    "horse": _body(("muzzle",), _EARS, (*_HOOFED_LEGS, *_HOOVES)),
    "sheep": _body(("muzzle",), _EARS, _HOOFED_LEGS) | _HORNS,
}

# What is painted over what in a map of parts: the special part hides the general one.
BACK_TO_FRONT = ("torso", "wing", "leg", "tail", "head", "horn", "ear", "mouth_and_nose", "eye")
Box = tuple[int, int, int, int]
Size = tuple[int, int]


class PartObject(NamedTuple):
    """One annotated object of a photo."""

    name: str
    """Its VOC class."""
    box: Box
    """Left, top, right and bottom (exclusive) of its mask; all 0 if that is empty."""
    size: Size
    """Height and width of the masks."""
    parts: dict[str, np.ndarray]
    """bool ``(H, W)`` for every leaf part that is seen."""


def read_annotation(path: Path) -> list[PartObject]:
    """Objects and parts of one photo, from ``anno.objects{class, mask, parts{part_name, mask}}``.

    The file is read as data; nothing in it is executed.

    Args:
        path: A MATLAB file, version 5.

    Returns:
        The objects of all classes, in the order of the file.

    Raises:
        FileNotFoundError: If there is no such file.
        Trouble: If it is not a MATLAB file, lacks a field, a mask has other than finite numbers or another size, a
            name is no text, an object has a part twice or one of which most lies outside it, or an animal of
            :data:`CATEGORIES` has a part that is not in :data:`PARTS`.
    """
    if not path.is_file():
        raise FileNotFoundError(f"Expected an annotation at {path}, but there is none. {HELP}")
    try:
        content = loadmat(path, squeeze_me=True, struct_as_record=False)
    except Exception as error:  # a damaged file can lead the reader into any of them
        raise Trouble(
            f"Expected a MATLAB file (version 5) in {path}, but it cannot be read: {error}. Copy or download it "
            f"again. {HELP}"
        ) from error
    if "anno" not in content:
        raise Trouble(f"{path} must have the field `anno`, which is missing. {HELP}")
    return [_object(path, item) for item in np.atleast_1d(_field(path, content["anno"], "anno", "objects"))]


def _object(path: Path, item: Any) -> PartObject:
    name = _text(path, item, "anno.objects", "class")
    mask = _mask(path, item, "anno.objects")
    parts: dict[str, np.ndarray] = {}
    for part in np.atleast_1d(_field(path, item, "anno.objects", "parts")):
        leaf = _text(path, part, "anno.objects.parts", "part_name")
        pixels = _mask(path, part, "anno.objects.parts", mask.shape)
        if leaf in parts:
            raise Trouble(f"{path}: a {name} has the part {leaf} twice. Keep one of them. {HELP}")
        if 2 * np.count_nonzero(pixels & ~mask) > np.count_nonzero(pixels):
            raise Trouble(f"{path}: most of the part {leaf} of a {name} lies outside its object. {HELP}")
        parts[leaf] = pixels
    if name in PARTS:
        leaves = [leaf for group in PARTS[name].values() for leaf in group]
        unknown = sorted(set(parts) - set(leaves))
        if unknown:
            raise Trouble(
                f"{path}: the parts of a {name} are {', '.join(leaves)}; unknown: {', '.join(unknown)}. {HELP}"
            )
    return PartObject(name, _box(mask), (mask.shape[0], mask.shape[1]), parts)


def _field(path: Path, struct: Any, where: str, name: str) -> Any:
    if not hasattr(struct, name):
        raise Trouble(f"{path} must have the field `{where}.{name}`, which is missing. {HELP}")
    return getattr(struct, name)


def _text(path: Path, struct: Any, where: str, name: str) -> str:
    value = _field(path, struct, where, name)
    if not isinstance(value, str) or not value.strip():
        raise Trouble(f"{path}: `{where}.{name}` must be a text, got {value!r:.60}. {HELP}")
    return value


def _mask(path: Path, struct: Any, where: str, shape: tuple[int, ...] | None = None) -> np.ndarray:
    mask = np.asarray(_field(path, struct, where, "mask"))
    if mask.ndim != 2 or mask.dtype.kind not in "biuf" or (shape is not None and mask.shape != shape):
        expected = "a matrix" if shape is None else f"a matrix as large as the object's, {shape}"
        raise Trouble(f"{path}: `{where}.mask` must be {expected}, got {mask.dtype} of shape {mask.shape}. {HELP}")
    if not np.isfinite(mask).all():
        raise Trouble(
            f"{path}: `{where}.mask` has {np.count_nonzero(~np.isfinite(mask))} values that are no number. "
            f"It must be 0 outside and 1 inside. {HELP}"
        )
    return mask != 0


def _box(mask: np.ndarray) -> Box:
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if not len(rows):
        return 0, 0, 0, 0
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1


def box_area(box: Box) -> int:
    """Pixels of a box."""
    left, top, right, bottom = box
    return (right - left) * (bottom - top)


HELP = (
    "Pascal-Part is free for research: put `Annotations_Part/` of https://roozbehm.info/pascal-parts/pascal-parts.html "
    "under `data.root`, with `JPEGImages/` and `ImageSets/` of VOC 2010 (http://host.robots.ox.ac.uk/pascal/VOC). "
    "To try the code without any download, use `data=synthetic_animals`."
)
