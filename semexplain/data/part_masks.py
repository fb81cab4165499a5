"""Where parts are seen in pictures: boxes and polygons from COCO's json, or a folder of masks."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Annotated, Any

import numpy as np
from annotated_types import Gt, Len
from pydantic import AfterValidator, BaseModel, FiniteFloat, ValidationError

from semexplain.data.framing import Framing, read_image
from semexplain.system.image_files import decoded, photo_size
from semexplain.system.reading import require_file
from semexplain.system.trouble import Trouble

Size = tuple[int, int]  # height and width
ROUNDING = 1.0  # pixels by which a box may lie outside its picture, and is clipped
MASK = ".png"
EXPECTED = "Expected COCO's json of `images`, `annotations` and `categories`, or a folder <part>/<image>.png of masks"


def _paired(values: list[float]) -> list[float]:
    if len(values) % 2:
        raise ValueError(f"a polygon is [x, y, x, y, ...], got {len(values)} numbers")
    return values


Polygon = Annotated[list[FiniteFloat], Len(6), AfterValidator(_paired)]  # x, y, x, y, ...
Box = tuple[FiniteFloat, FiniteFloat, Annotated[FiniteFloat, Gt(0)], Annotated[FiniteFloat, Gt(0)]]  # x, y, w, h
Shape = Path | Box | list[Polygon]


class _Picture(BaseModel):
    id: int | str
    file_name: str
    width: int | None = None
    height: int | None = None


class _Category(BaseModel):
    id: int | str
    name: str


class _Annotation(BaseModel):
    image_id: int | str
    category_id: int | str
    bbox: Box | None = None
    segmentation: list[Polygon] | dict[str, Any] | None = None


class _Coco(BaseModel):
    images: list[_Picture]
    annotations: list[_Annotation]
    categories: list[_Category]


@dataclass(frozen=True)
class Area:
    """Where a part is seen in a picture.

    Attributes:
        part: Its name.
        shape: The file of a mask; a box ``(x, y, width, height)``; or polygons ``[x, y, x, y, ...]``.
        size: Height and width of the picture that it was drawn on, if that is known.
    """

    part: str
    shape: Shape
    size: Size | None

    def mask(self, size: Size) -> np.ndarray:
        """Its pixels, bool ``(H, W)``, in a picture of a height and width.

        Example:
            >>> Area("eye", (1, 0, 2, 1), None).mask((2, 4)).astype(int)
            array([[0, 1, 1, 0],
                   [0, 0, 0, 0]])
        """
        if isinstance(self.shape, Path):
            return np.array(decoded(self.shape, "L")) > 0
        if isinstance(self.shape, tuple):
            left, top, width, height = self.shape
            mask = np.zeros(size, dtype=np.bool_)
            rows = slice(max(math.floor(top), 0), math.ceil(top + height))
            mask[rows, max(math.floor(left), 0) : math.ceil(left + width)] = True
            return mask
        return np.logical_or.reduce([_inside(polygon, size) for polygon in self.shape])

    def require_inside(self, name: str, size: Size) -> None:
        """Refuse an area that was drawn on another picture.

        Raises:
            Trouble: If the sizes differ, or it lies outside.
        """
        drawn = self.size or size
        if drawn != size:
            raise Trouble(
                f"the {self.part} of {name} is marked on a picture {drawn[1]} wide and {drawn[0]} high, but "
                f"the picture is {size[1]} wide and {size[0]} high. Mark the very pictures, before they are resized."
            )
        if isinstance(self.shape, Path):
            return
        box = self.shape
        if isinstance(box, tuple):
            columns, rows = [box[0], box[0] + box[2]], [box[1], box[1] + box[3]]
        else:
            columns, rows = ([value for polygon in box for value in polygon[at::2]] for at in (0, 1))
        outside = max(-min(*columns, *rows), max(columns) - size[1], max(rows) - size[0])
        if outside > ROUNDING:
            edges = ", ".join(f"{edge:g}" for edge in (min(columns), min(rows), max(columns), max(rows)))
            raise Trouble(
                f"the {self.part} of {name} reaches beyond the picture, which is {size[1]} wide and {size[0]} high: "
                f"its left, top, right and bottom are {edges}. Expected [x, y, width, height] in pixels."
            )


@dataclass(frozen=True)
class PartMasks:
    """Where the parts of some pictures are seen.

    Attributes:
        source: The file or the folder that says so.
        names: Of the ``P`` parts.
        areas: By name of the picture, each of which has some.
        endings: Whether names of pictures have theirs, such as ``.jpg``.
    """

    source: Path
    names: tuple[str, ...]
    areas: Mapping[str, Sequence[Area]]
    endings: bool = True

    @classmethod
    def of(cls, source: Path | str) -> "PartMasks":
        """From COCO's json, see :func:`of_coco`, or a folder, see :func:`of_folder`.

        Raises:
            FileNotFoundError: If there is neither.
            Trouble: If it is not as expected.
        """
        path = Path(source).expanduser()
        if not path.exists():
            raise FileNotFoundError(f"There is no file or folder {path.absolute()}. {EXPECTED}.")
        return of_folder(path) if path.is_dir() else of_coco(path)

    def among(self, pictures: Sequence[str]) -> dict[str, str]:
        """Which of some pictures each of ``areas`` is of: the one whose path ends in its name.

        Args:
            pictures: Paths, or names.

        Returns:
            Names in ``areas`` by picture; pictures of which nothing is known are left out, and so are names that no
            picture has.

        Raises:
            Trouble: If two pictures end alike.

        Example:
            >>> masks = PartMasks(Path("boxes.json"), ("eye",), {"b/1.jpg": [], "2.jpg": []})
            >>> masks.among(["/photos/a/1.jpg", "/photos/b/1.jpg"])
            {'/photos/b/1.jpg': 'b/1.jpg'}
        """
        ends: dict[str, list[tuple[tuple[str, ...], str]]] = {}
        for picture in pictures:
            words = _words(picture, whole=self.endings)
            ends.setdefault(words[-1], []).append((words, picture))
        found: dict[str, str] = {}
        for name in self.areas:
            words = _words(name)  # a mask's ending is gone already
            same = [(w, picture) for w, picture in ends.get(words[-1], []) if w[-len(words) :] == words]
            same = [pair for pair in same if pair[0] == words] or same
            if len(same) > 1 or (same and same[0][1] in found):
                first = found.get(same[0][1], same[-1][1])
                raise Trouble(
                    f"{self.source} says {name!r}, which does not tell {same[0][1]} from {first}. Give each picture a "
                    "name of its own, with as many of its folders as it takes."
                )
            if same:
                found[same[0][1]] = name
        return found

    def part_map(self, name: str, size: Size) -> np.ndarray:
        """Which part is seen at each pixel of a picture; where areas overlap, the smaller one, as an eye in a head.

        Args:
            name: One of ``areas``.
            size: Height and width of the picture.

        Returns:
            int32 ``(H, W)``: position in ``names``, -1 for none.

        Raises:
            Trouble: If an area is of another picture.

        Example:
            >>> eye, head = Area("eye", (1, 0, 1, 1), None), Area("head", (0, 0, 3, 1), None)
            >>> PartMasks(Path("boxes.json"), ("eye", "head"), {"a.jpg": [eye, head]}).part_map("a.jpg", (1, 4))
            array([[ 1,  0,  1, -1]], dtype=int32)
        """
        found = np.full(size, -1, dtype=np.int32)
        for area in self.areas[name]:
            area.require_inside(f"{name} in {self.source}", size)
        masks = [(self.names.index(area.part), area.mask(size)) for area in self.areas[name]]
        for part, mask in sorted(masks, key=lambda pair: -int(np.count_nonzero(pair[1]))):
            found[mask] = part
        return found


def framed_part_map(part_map: np.ndarray, framing: Framing) -> np.ndarray:
    """The part at each pixel where :func:`~semexplain.data.framing.read_image` brings it: that of the nearest pixel.

    Args:
        part_map: int32 ``(H, W)`` of the picture, -1 for none.
        framing: How the picture is framed.

    Returns:
        int32 ``(height, width)``.

    Raises:
        Trouble: If a function frames pictures, which may bring pixels anywhere.

    Example:
        >>> framed_part_map(np.array([[-1, 2, 3, -1]] * 2, dtype=np.int32), Framing(3, 1, 1, shorter=1))
        array([[2]], dtype=int32)
    """
    if framing.function is not None:
        raise Trouble(
            "pictures of this network are made by a function, so that it is not known where it brings the parts of a "
            "picture: describe it, `transform: {size, mean, std, scale}`."
        )
    numbers, options = part_map.astype(np.float32) + 1, {"dtype": "float32", "interpolation": "nearest"}
    plain = Framing.of((1, framing.height, framing.width), {**options, "shorter": framing.shorter, "top": 1e6})
    return read_image(numbers, plain)[0].numpy().astype(np.int32) - 1


def of_coco(file: Path) -> PartMasks:
    """Areas from COCO's json: ``segmentation`` where an annotation has one, or else ``bbox``.

    Parts are the categories that are annotated, in their order; names of pictures are ``file_name``.

    Raises:
        Trouble: If it is no such file, an annotation is of a picture or category that it does not list, or there are
            none.
    """
    try:
        coco = _Coco.model_validate_json(require_file(file).read_bytes())
    except (ValidationError, RecursionError) as error:
        raise Trouble(f"{file}: {_first_fault(error)}. {EXPECTED}.") from error
    pictures, categories = {one.id: one for one in coco.images}, {one.id: one.name for one in coco.categories}
    for keys in (
        [one.id for one in coco.images],
        [one.file_name for one in coco.images],
        [one.id for one in coco.categories],
        [one.name for one in coco.categories],
    ):
        if twice := [key for key, times in Counter(keys).items() if times > 1]:
            raise Trouble(f"{file} lists {twice[0]!r} twice, as an id or a name. Each has to be there once.")
    areas: dict[str, list[Area]] = {}
    for number, one in enumerate(coco.annotations):
        where = f"{file}, annotation {number}"
        if (picture := pictures.get(one.image_id)) is None:
            raise Trouble(f"{where} is of the image {one.image_id!r}, which is not among its `images`.")
        if (part := categories.get(one.category_id)) is None:
            raise Trouble(f"{where} is of the category {one.category_id!r}, which is not among its `categories`.")
        if isinstance(one.segmentation, dict):
            raise Trouble(f"{where} is a mask by its runs (RLE). Expected polygons, or a folder <part>/<image>{MASK}.")
        if (shape := one.segmentation or one.bbox) is None:
            raise Trouble(f"{where} has neither `bbox` [x, y, width, height] nor `segmentation`.")
        size = None if picture.height is None or picture.width is None else (picture.height, picture.width)
        areas.setdefault(picture.file_name, []).append(Area(part, shape, size))
    if not areas:
        raise Trouble(f"{file} has no annotations. {EXPECTED}.")
    used = {area.part for found in areas.values() for area in found}
    return PartMasks(file, tuple(name for name in categories.values() if name in used), areas)


def of_folder(folder: Path) -> PartMasks:
    """Areas from masks ``<part>/<image>.png``, in which what is not black belongs to the part.

    Parts are in the order of their names; the image may lie in folders, as it does among the pictures.

    Raises:
        Trouble: If there are none.
    """
    areas: dict[str, list[Area]] = {}
    names = []
    for part in sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith(".")):
        files = sorted(path for path in part.rglob(f"*{MASK}") if not path.name.startswith("."))
        names += [part.name] if files else []
        for file in files:
            name = file.relative_to(part).with_suffix("").as_posix()
            areas.setdefault(name, []).append(Area(part.name, file, photo_size(file)))
    if not areas:
        raise Trouble(f"There are no masks in {folder.absolute()}. {EXPECTED}.")
    return PartMasks(folder, tuple(names), areas, endings=False)


def _inside(polygon: Sequence[float], size: Size) -> np.ndarray:
    """Pixels whose centres lie inside a polygon, bool ``(H, W)``: right of them is an odd number of its sides."""
    corners = np.array(polygon).reshape(-1, 2)
    rows, columns = (np.arange(side) + 0.5 for side in size)
    inside = np.zeros(size, dtype=np.bool_)
    for (x, y), (next_x, next_y) in zip(corners, np.roll(corners, -1, 0), strict=True):
        across = np.flatnonzero((y <= rows) != (next_y <= rows))
        crossing = x + (rows[across] - y) * ((next_x - x) / (next_y - y)) if len(across) else rows[across]
        inside[across] ^= columns < crossing[:, None]
    return inside


def _words(name: str, *, whole: bool = True) -> tuple[str, ...]:
    """Folders and name of a picture, of which the ending may be left away."""
    path = PurePosixPath(name.replace("\\", "/"))
    return tuple(word for word in (path if whole else path.with_suffix("")).parts if word not in ("/", ".", ".."))


def _first_fault(error: Exception) -> str:
    """What is wrong with a file and where, in a few words."""
    if not isinstance(error, ValidationError):
        return "it is nested too deeply"
    fault = error.errors(include_url=False, include_context=False)[0]
    where = "".join(f"[{at}]" if isinstance(at, int) else f".{at}" for at in fault["loc"] if _is_place(at))
    message = fault["msg"].removeprefix("Value error, ")
    return f"{where.removeprefix('.')}: {message[:1].lower()}{message[1:]}".removeprefix(": ")


def _is_place(at: object) -> bool:
    """Whether it is a position or a key, and not one of the kinds that a value may be of."""
    kinds = (_Coco, _Picture, _Category, _Annotation)
    return isinstance(at, int) or any(at in kind.model_fields for kind in kinds)
