"""Drawn animals with exact part masks, in the on-disk layout of Pascal-Part (Sec. 4.1).

Every animal is put together from parts, so that it can be drawn again without one of them and with every other pixel
as it was: what a part contributes to a score is then known by experiment, not by annotation alone.
"""

import json
from collections.abc import Collection, Mapping, Sequence
from functools import partial
from itertools import pairwise
from math import isqrt
from pathlib import Path
from typing import Annotated, Any, NamedTuple, TypeVar

import numpy as np
from annotated_types import Ge
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from scipy.io import savemat
from torch import Tensor
from tqdm import tqdm

from semexplain.data.drawn import Colour, jpeg, mix, require_at_least, write_once
from semexplain.data.pascal_part import CATEGORIES, PARTS, Category, PascalPartDataModule
from semexplain.data.scenes import Redrawable, Scene, as_read

VERSION = 1  # of the pictures; goes up whenever a pixel changes
SMALLEST_SIZE = 128  # below it, many animals would be under the 50 x 50 pixels that count in Pascal-Part
CLASS_NUMBERS: dict[Category, int] = {"bird": 3, "cat": 8, "cow": 10, "dog": 12, "horse": 13, "sheep": 17}  # VOC's
LEAVES: dict[Category, tuple[str, ...]] = {
    category: tuple(leaf for leaves in PARTS[category].values() for leaf in leaves) for category in CATEGORIES
}
# As in Pascal-Part, the mask of a part has those of the smaller parts on it in it.
WITHIN: dict[str, tuple[str, ...]] = {
    "head": ("leye", "reye", "lear", "rear", "nose", "muzzle", "beak"),
    "muzzle": ("nose",),
    "torso": ("neck",),
    **{f"{side}leg": (f"{side}pa",) for side in ("lf", "rf", "lb", "rb")},
    **{f"{side}lleg": (f"{side}ho",) for side in ("lf", "rf", "lb", "rb")},
}

T = TypeVar("T")
Mask = NDArray[np.bool_]
Point = tuple[int, int]
Joint = tuple[int, int, int]  # x, y, radius


class Animal(NamedTuple):
    """One animal of a picture."""

    category: Category
    masks: dict[str, Mask]
    """``(size, size)``, for every leaf part that is seen."""


class Drawing(NamedTuple):
    """A picture and what is on it."""

    image: NDArray[np.uint8]
    """Red, green and blue bytes ``(size, size, 3)``."""
    animals: tuple[Animal, ...]
    """The animal asked for, then the one beside it, if any."""

    @property
    def masks(self) -> dict[str, Mask]:
        """The masks of the animal asked for."""
        return self.animals[0].masks


def render(
    index: int, *, seed: int = 0, size: int = 160, category: Category | None = None, without: Collection[str] = ()
) -> Drawing:
    """The picture of one animal; in one of five pictures there is a second one beside it.

    Pose, size, colours, surroundings and the parts that are missing by nature are drawn from ``seed`` and ``index``
    alone. The same animal without a part is therefore the same picture but for the pixels of that part and its edge,
    where a pixel is the mean of several things. Only what is named goes: without ``head`` the eyes stay where they
    were. All coordinates and colours are integers, so that the pixels are the same on every platform.

    Args:
        index: Number of the image, from 0.
        seed: Seed of the data set.
        size: Height and width in pixels.
        category: Kind of the animal; each in turn, by ``index``, if None.
        without: Coarse or leaf parts of `PARTS` to leave out; a name that is both means the coarse part.

    Raises:
        ValueError: If the size is below 128, another number is negative, or the category or a part is unknown.

    Example:
        >>> whole, tailless = render(0, category="dog"), render(0, category="dog", without=["tail"])
        >>> whole.masks.keys() - tailless.masks.keys()
        {'tail'}
        >>> changed = (whole.image != tailless.image).any(axis=-1)
        >>> bool(changed[whole.masks["tail"]].mean() > 0.9), bool(changed.mean() < 0.1)
        (True, True)
    """
    require_at_least(0, index=index, seed=seed)
    require_at_least(SMALLEST_SIZE, size=size)
    category = CATEGORIES[index % len(CATEGORIES)] if category is None else category
    if category not in CATEGORIES:
        raise ValueError(f"category must be one of {', '.join(CATEGORIES)}, got {category!r}.")
    absent = _leaves(category, without)

    chance = _Chance(seed, index, 0)
    pen = _Pen(size, chance)
    slots = _slots(chance, pairs=20)
    cast = [category, chance.pick(CATEGORIES)][: len(slots)]
    if chance.percent(50):
        pen.put(_thing(chance), _Slot(chance.between(100, 900), chance.between(550, 850), 400, 400))
    labels = [{leaf: 1 + 100 * n + i for i, leaf in enumerate(LEAVES[kind])} for n, kind in enumerate(cast)]
    for n in reversed(range(len(cast))):
        drawn = {leaf: label for leaf, label in labels[n].items() if n > 0 or leaf not in absent}
        pen.put(_animal(cast[n], _Chance(seed, index, 1 + n)), slots[n], drawn)
    if chance.percent(20):
        pen.put(_grass(chance), _Slot(slots[0].middle, slots[0].bottom + 20, slots[0].width, chance.between(90, 140)))
    animals = (Animal(kind, pen.masks(named)) for kind, named in zip(cast, labels, strict=True))
    return Drawing(pen.picture(chance), tuple(animals))


def render_negative(index: int, *, seed: int = 0, size: int = 160) -> NDArray[np.uint8]:
    """A picture without animal: furniture, plants and stones of the animals' colours, sizes and places.

    Args:
        index: Number of the image, from 0.
        seed: Seed of the data set.
        size: Height and width in pixels.

    Returns:
        Red, green and blue bytes ``(size, size, 3)``.

    Raises:
        ValueError: If the size is below 128 or another number is negative.

    Example:
        >>> render_negative(0, size=128).shape
        (128, 128, 3)
    """
    require_at_least(0, index=index, seed=seed)
    require_at_least(SMALLEST_SIZE, size=size)
    chance = _Chance(seed, index, 3)
    pen = _Pen(size, chance)
    pen.put(_thing(chance), _Slot(chance.between(100, 900), chance.between(550, 850), 400, 400))
    for slot in _slots(chance, pairs=40):
        pen.put(_thing(chance), slot)
    if chance.percent(20):
        pen.put(_grass(chance), _Slot(500, chance.between(900, 1000), 700, chance.between(90, 140)))
    return pen.picture(chance)


def _leaves(category: Category, names: Collection[str]) -> set[str]:
    groups = {**{leaf: (leaf,) for leaf in LEAVES[category]}, **PARTS[category]}
    unknown = sorted(set(names) - set(groups))
    if unknown:
        raise ValueError(f"A {category} has no part {', '.join(unknown)}; its parts are {', '.join(groups)}.")
    return {leaf for name in names for leaf in groups[name]}


# ---------------------------------------------------------------------------------------------------------------------
# Chance, figures and the pen
# ---------------------------------------------------------------------------------------------------------------------

BLACK: Colour = (14, 12, 14)
WHITE: Colour = (246, 244, 240)
PINK: Colour = (222, 156, 146)
HORN: Colour = (214, 198, 150)
SKIES: tuple[Colour, ...] = ((150, 190, 226), (206, 214, 220), (196, 178, 152), (120, 132, 120), (88, 96, 112))
GROUNDS: tuple[Colour, ...] = ((104, 140, 72), (150, 128, 92), (128, 128, 124), (92, 74, 58), (190, 174, 140))
COATS: dict[Category, tuple[Colour, ...]] = {
    "bird": ((62, 104, 176), (186, 54, 44), (226, 186, 56), (120, 118, 116), (112, 84, 58), (70, 134, 84)),
    "cat": ((214, 136, 62), (130, 130, 134), (62, 58, 60), (226, 206, 172), (150, 116, 84)),
    "cow": ((236, 232, 224), (140, 82, 46), (196, 158, 112), (70, 60, 56)),
    "dog": ((196, 148, 92), (122, 78, 46), (66, 58, 54), (236, 228, 214), (160, 156, 150)),
    "horse": ((134, 80, 46), (92, 58, 40), (66, 58, 56), (176, 172, 168), (198, 150, 96)),
    "sheep": ((236, 230, 216), (214, 204, 184), (182, 172, 156)),
}
ANY_COAT: tuple[Colour, ...] = tuple(colour for coats in COATS.values() for colour in coats)


class _Chance:
    """Endless random integers."""

    def __init__(self, *key: int) -> None:
        # Raw words: numpy promises them for ever, but not the numbers a Generator makes of them.
        self._bits = np.random.PCG64(np.random.SeedSequence(key))

    def between(self, low: int, high: int) -> int:
        """Uniform in ``low..high``, both included."""
        return low + (int(self._bits.random_raw()) >> 32) % (high - low + 1)

    def percent(self, probability: int) -> bool:
        return self.between(0, 99) < probability

    def pick(self, options: Sequence[T]) -> T:
        return options[self.between(0, len(options) - 1)]

    def shade(self, colour: Colour) -> Colour:
        """A little lighter or darker."""
        return mix(colour, self.pick((BLACK, WHITE)), self.between(0, 18))

    def bytes(self, count: int) -> NDArray[np.uint8]:
        words = np.asarray(self._bits.random_raw(-(-count // 8)), dtype="<u8")
        return words.view(np.uint8)[:count]


class _Shape(NamedTuple):
    part: str  # a leaf part, or empty
    points: tuple[Point, ...]
    colour: Colour
    round: bool  # an ellipse in the box between two corners, or else a polygon


class _Figure:
    """Shapes from back to front, in units of their own: x to the right, y down, the ground at 0."""

    RIM = 8

    def __init__(self) -> None:
        self.shapes: list[_Shape] = []

    def ellipse(self, part: str, x: int, y: int, half_width: int, half_height: int, colour: Colour) -> None:
        corners = ((x - half_width, y - half_height), (x + half_width, y + half_height))
        self.shapes.append(_Shape(part, corners, colour, True))

    def polygon(self, part: str, points: Sequence[Point], colour: Colour) -> None:
        self.shapes.append(_Shape(part, tuple(points), colour, False))

    def disc(self, part: str, x: int, y: int, half_width: int, half_height: int, colour: Colour) -> None:
        """An ellipse with a dark rim, so that it shows even on its own colour."""
        self.ellipse(part, x, y, half_width + self.RIM, half_height + self.RIM, mix(colour, BLACK, 45))
        self.ellipse(part, x, y, half_width, half_height, colour)

    def line(self, part: str, joints: Sequence[Joint], colour: Colour) -> None:
        """Discs at the joints and what lies between them."""
        for x, y, radius in joints:
            self.ellipse(part, x, y, radius, radius, colour)
        for (x, y, r), (u, v, s) in pairwise(joints):
            right, down = u - x, v - y
            length = max(1, isqrt(right * right + down * down))
            (a, b), (c, d) = ((-down * radius // length, right * radius // length) for radius in (r, s))
            self.polygon(part, [(x + a, y + b), (u + c, v + d), (u - c, v - d), (x - a, y - b)], colour)

    def limb(self, part: str, joints: Sequence[Joint], colour: Colour) -> None:
        """A line with a dark rim."""
        self.line(part, [(x, y, radius + self.RIM) for x, y, radius in joints], mix(colour, BLACK, 45))
        self.line(part, joints, colour)

    def mirrored(self) -> "_Figure":
        """The same facing left: its right side is then its left one."""
        other = _Figure()
        for part, points, colour, is_round in self.shapes:
            sides = {"l": "r", "r": "l"}
            part = sides.get(part[:1], part[:1]) + part[1:]
            points = tuple((-x, y) for x, y in points)
            if is_round:
                points = ((points[1][0], points[0][1]), (points[0][0], points[1][1]))
            other.shapes.append(_Shape(part, points, colour, is_round))
        return other


class _Slot(NamedTuple):
    """Where a figure stands, in thousandths of the image; it becomes as large as fits in width and height."""

    middle: int
    bottom: int
    width: int
    height: int


def _slots(chance: _Chance, *, pairs: int) -> list[_Slot]:
    """Room for one figure, or in ``pairs`` cases of a hundred for two, the first in front."""
    if not chance.percent(pairs):
        width = chance.between(640, 940)
        return [_Slot(chance.between(430, 570), chance.between(880, 1000), width, chance.between(600, 860))]
    side, width = chance.pick((-1, 1)), chance.between(520, 580)
    return [
        _Slot(500 + side * 235, chance.between(900, 980), width, 800),
        _Slot(500 - side * 235, chance.between(720, 860), width - 20, 700),
    ]


class _Pen:
    """Draws at twice the resolution, on the picture and, as labels, on a map of what is seen where."""

    def __init__(self, size: int, chance: _Chance) -> None:
        self.side = 2 * size
        self._image = Image.new("RGB", (self.side, self.side), chance.shade(chance.pick(SKIES)))
        self._map = Image.new("L", (self.side, self.side))
        self._pen, self._map_pen = ImageDraw.Draw(self._image), ImageDraw.Draw(self._map)
        ground = chance.shade(chance.pick(GROUNDS))
        self._pen.rectangle((0, self._pixels(chance.between(250, 750)), self.side, self.side), fill=ground)
        for _ in range(chance.between(3, 10)):
            x, y = (self._pixels(chance.between(0, 1000)) for _ in range(2))
            width, height = self._pixels(chance.between(20, 200)), self._pixels(chance.between(10, 90))
            colour = mix(ground, chance.pick(ANY_COAT), chance.between(15, 60))
            self._pen.ellipse((x - width, y - height, x + width, y + height), fill=colour)

    def _pixels(self, thousandths: int) -> int:
        return thousandths * self.side // 1000

    def put(self, figure: _Figure, slot: _Slot, labels: Mapping[str, int] | None = None) -> None:
        """Draw a figure; of its parts only those with a label."""
        labels = {"": 0, **(labels or {})}
        xs, ys = zip(*(point for shape in figure.shapes for point in shape.points), strict=True)
        wide, high = max(xs) - min(xs), max(ys) - min(ys)
        width, height = self._pixels(slot.width), self._pixels(slot.height)
        scale, unit = (width, wide) if width * high <= height * wide else (height, high)
        right = self._pixels(slot.middle) - (min(xs) + max(xs)) * scale // (2 * unit)
        down = self._pixels(slot.bottom) - max(ys) * scale // unit
        for part, points, colour, is_round in figure.shapes:
            if part not in labels:
                continue
            placed = [(x * scale // unit + right, y * scale // unit + down) for x, y in points]
            if is_round:
                self._pen.ellipse(placed, fill=colour)
                self._map_pen.ellipse(placed, fill=labels[part])
            else:
                self._pen.polygon(placed, fill=colour)
                self._map_pen.polygon(placed, fill=labels[part])

    def picture(self, chance: _Chance) -> NDArray[np.uint8]:
        """The picture at its size, grainy as a photo."""
        pixels = np.asarray(self._image.reduce(2)).astype(np.int16)
        grain = chance.bytes(pixels[..., 0].size).reshape(pixels.shape[:2]) % 15
        lit: NDArray[np.uint8] = (pixels + grain[..., None] - 7).clip(0, 255).astype(np.uint8)
        return lit

    def masks(self, labels: Mapping[str, int]) -> dict[str, Mask]:
        """Where each part is seen, with the parts on it; only parts that are seen."""
        seen = np.asarray(self._map)[::2, ::2]
        own = {part: seen == label for part, label in labels.items()}
        return {
            part: np.logical_or.reduce([mask, *(own[inner] for inner in WITHIN.get(part, ()) if inner in own)])
            for part, mask in own.items()
            if mask.any()
        }


# ---------------------------------------------------------------------------------------------------------------------
# Animals, facing right, so that it is their right side that one sees
# ---------------------------------------------------------------------------------------------------------------------


class _Build(NamedTuple):
    """What a four-legged animal looks like; lengths in units of a figure."""

    back: int  # between shoulder and hip
    chest: int
    belly: int  # radius at the hip
    leg: int
    thick: int  # radius of a leg
    necks: tuple[Point, ...]  # from the shoulder to the middle of the head
    throat: int
    skull: int
    snout: Point
    nose: int  # radius of the snout's end
    sits: int  # in this many of a hundred pictures
    frontal: int  # looks at the viewer in this many of a hundred pictures


BUILDS: dict[Category, _Build] = {
    "cat": _Build(330, 92, 96, 170, 27, ((110, -130), (140, -90)), 62, 102, (62, 40), 34, 40, 60),
    "cow": _Build(450, 150, 142, 300, 36, ((190, -130), (230, -50), (230, 200)), 88, 88, (120, 90), 58, 0, 45),
    "dog": _Build(370, 112, 92, 240, 34, ((130, -170), (170, -110)), 66, 98, (150, 52), 42, 30, 45),
    "horse": _Build(430, 128, 128, 370, 32, ((210, -290), (270, -210), (300, 200)), 74, 72, (120, 160), 46, 0, 15),
    "sheep": _Build(290, 150, 152, 215, 24, ((180, -120), (210, -40), (220, 150)), 84, 72, (72, 78), 40, 0, 45),
}
MISSING_BY_NATURE = {"tail": 10, "leye": 5, "reye": 5, "lear": 4, "rear": 4, "lhorn": 3, "rhorn": 3}  # in a hundred


def _animal(category: Category, chance: _Chance) -> _Figure:
    figure = _Figure()
    if category == "bird":
        _bird(figure, chance)
    else:
        _quadruped(figure, category, chance)
    if chance.percent(50):
        figure = figure.mirrored()
    missing = [part for part, probability in MISSING_BY_NATURE.items() if chance.percent(probability)]
    figure.shapes = [shape for shape in figure.shapes if shape.part not in missing]
    return figure


def _bird(figure: _Figure, chance: _Chance) -> None:
    coat = chance.shade(chance.pick(COATS["bird"]))
    breast = mix(coat, chance.pick((WHITE, (222, 142, 74))), 55)
    plumes, horny = mix(coat, BLACK, 35), chance.pick(((226, 150, 40), (70, 66, 62), (190, 120, 80)))
    flies, tilt, fan = chance.percent(40), chance.between(-50, 40), chance.between(20, 60)
    head_x, head_y = 165 + chance.between(-20, 30), -400 + tilt // 2 + chance.between(-20, 20)
    if flies:
        figure.polygon("lwing", [(20, -270), (120, -280), (130, -560), (30, -690), (-40, -640), (-60, -460)], plumes)
    figure.polygon("tail", [(-130, -210), (-430, -190 - tilt - fan), (-450, -130 - tilt + fan), (-120, -130)], plumes)
    for side, x in (("l", 40), ("r", -30)):
        swing = chance.between(-25, 25)
        figure.limb(f"{side}leg", [(x, -130, 22), (x + swing, -20, 11)], horny)
        for toe in (-60, 45, 75):
            figure.limb(f"{side}foot", [(x + swing, -16, 10), (x + swing + toe, -4, 7)], horny)
    figure.limb("torso", [(-130, -190, 75), (60, -240, 125)], coat)
    figure.ellipse("torso", 90, -205, 70, 80, breast)
    figure.limb("neck", [(100, -300, 75), (head_x, head_y, 62)], coat)
    figure.limb("beak", [(head_x + 60, head_y + 5, 34), (head_x + chance.between(130, 190), head_y + 25, 5)], horny)
    figure.disc("head", head_x, head_y, 86, 80, coat)
    _eye(figure, "reye", head_x + 28, head_y - 18, 20, (236, 190, 60))
    if flies:
        figure.polygon("rwing", [(60, -230), (-60, -240), (-330, -560), (-250, -640), (-90, -600), (90, -360)], plumes)
        figure.line("rwing", [(40, -270, 6), (-220, -580, 6)], mix(plumes, BLACK, 50))
    else:
        wing = [(80, -250 + tilt // 4, 62), (-60, -210, 60), (-260, -165 - tilt // 2, 12)]
        figure.limb("rwing", wing, plumes)
        figure.line("rwing", [(20, -200, 6), (-180, -170, 6)], mix(plumes, BLACK, 50))


def _quadruped(figure: _Figure, category: Category, chance: _Chance) -> None:
    build = BUILDS[category]
    coat = chance.shade(chance.pick(COATS[category]))
    mark = mix(coat, BLACK, 65) if sum(coat) > 270 else mix(coat, WHITE, 70)
    skin = chance.pick((coat, mix(coat, BLACK, 78), mix(coat, PINK, 35))) if category == "sheep" else coat
    sits = chance.percent(build.sits)
    leg = build.leg * chance.between(85, 115) // 100
    front, hind = build.back // 2, -build.back // 2
    chest_y = -leg - build.chest // 3
    hip_y = -build.belly if sits else -leg - build.belly // 3
    if sits:
        front, chest_y = front - build.back // 4, chest_y - build.chest // 3

    _tail(figure, category, hind - build.belly, hip_y, mix(coat, mark, 30), chance)
    for side in "lr":
        shade = mix(skin, BLACK, 28 if side == "l" else 6)
        offset = build.thick * 2 if side == "l" else 0
        _leg(figure, category, f"{side}f", front + offset, chest_y + build.chest // 3, shade, chance)
        if not sits:
            _leg(figure, category, f"{side}b", hind + offset, hip_y + build.belly // 3, shade, chance)
        elif side == "l":
            _paw(figure, category, "lb", hind + 150, shade)
        if side == "l":
            _torso(figure, category, (hind, hip_y), (front, chest_y), coat, mark, chance)
    if sits:
        thigh = build.belly * 3 // 4
        figure.limb("rbleg", [(hind + 20, -thigh, thigh), (hind + 110, -30, 26)], mix(coat, BLACK, 6))
        _paw(figure, category, "rb", hind + 130, mix(coat, BLACK, 6))

    right, down = chance.pick(build.necks)
    x = front + right + chance.between(-20, 20)
    y = chest_y - build.chest // 3 + down + chance.between(-20, 20)
    if category == "horse":
        figure.line("neck", [(front - 30, chest_y - 90, 60), (x - 50, y - 30, 40)], mix(coat, BLACK, 70))
    throat = [(front + 10, chest_y, build.chest * 3 // 4), (x, y, build.throat)]
    figure.limb("neck", throat, coat)
    _head(figure, category, x, y, down > 0, skin, mark, chance)


def _tail(figure: _Figure, category: Category, x: int, y: int, colour: Colour, chance: _Chance) -> None:
    swing = chance.between(-60, 40)
    match category:
        case "cat":
            up = chance.pick((-1, 1))
            end = (x - 90 + swing, y - 250) if up > 0 else (x - 220 + swing, y + 130)
            joints = [(x + 40, y, 26), (x - 100, y - 40 * up, 24), (x - 150 + swing, y - 160 * up, 22), (*end, 18)]
            figure.limb("tail", [(u, min(v, -30), radius) for u, v, radius in joints], colour)
        case "dog":
            figure.limb("tail", [(x + 40, y - 20, 28), (x - 70, y - 110, 24), (x - 90 + swing, y - 210, 10)], colour)
        case "horse":
            joints = [(x + 30, y - 60, 26), (x - 60, y + 20, 46), (x - 80 + swing, y + 230, 40)]
            figure.limb("tail", joints, mix(colour, BLACK, 60))
        case "cow":
            end = (x - 50 + swing, y + 200)
            figure.limb("tail", [(x + 20, y - 90, 16), (x - 45, y, 13), (*end, 11)], colour)
            figure.limb("tail", [(*end, 24), (end[0], end[1] + 50, 18)], mix(colour, BLACK, 50))
        case _:
            figure.limb("tail", [(x + 20, y - 40, 40), (x - 45, y + 60, 30)], colour)


def _leg(figure: _Figure, category: Category, name: str, x: int, y: int, colour: Colour, chance: _Chance) -> None:
    """From the body at (x, y) to the ground."""
    thick = BUILDS[category].thick
    knee, foot = x + chance.between(-30, 40), x + chance.between(-60, 50)
    middle = y * 45 // 100
    upper = [(x, y, thick * 3 // 2), (knee, middle, thick)]
    lower = [(knee, middle, thick), (foot, -thick, thick * 3 // 4)]
    if category in ("cat", "dog"):
        figure.limb(f"{name}leg", [*upper, lower[1]], colour)
        _paw(figure, category, name, foot + thick // 2, colour)
        return
    figure.limb(f"{name}lleg", lower, colour)
    figure.limb(f"{name}uleg", upper, colour)
    hoof = f"{name}ho" if category == "horse" else f"{name}lleg"
    points = [(foot - thick, 0), (foot - thick * 3 // 4, -thick * 3 // 2), (foot + thick, -thick * 3 // 2)]
    figure.polygon(hoof, [*points, (foot + thick * 3 // 2, 0)], mix(colour, BLACK, 72))


def _paw(figure: _Figure, category: Category, name: str, x: int, colour: Colour) -> None:
    thick = BUILDS[category].thick
    figure.disc(f"{name}pa", x, -thick * 3 // 4, thick * 3 // 2, thick * 3 // 4, mix(colour, WHITE, 35))


def _torso(
    figure: _Figure, category: Category, hip: Point, shoulder: Point, coat: Colour, mark: Colour, chance: _Chance
) -> None:
    build = BUILDS[category]
    ends = ((*hip, build.belly), (*shoulder, build.chest))
    if category == "sheep":
        for x in range(hip[0] - 60, shoulder[0] + 110, 85):
            for y in (hip[1] - 100, hip[1] + 95):
                figure.disc("torso", x, y, 70, 66, coat)
        for y in (-60, 30):
            for x in (hip[0] - 110, shoulder[0] + 110):
                figure.disc("torso", x, hip[1] + y, 68, 68, coat)
        figure.line("torso", ends, coat)
        for _ in range(7):
            x, y = chance.between(hip[0] - 40, shoulder[0] + 40), hip[1] + chance.between(-100, 90)
            figure.ellipse("torso", x, y, 40, 36, mix(coat, BLACK, 14))
            figure.ellipse("torso", x - 6, y - 8, 36, 32, coat)
        return
    if category == "cow":
        figure.disc("torso", hip[0] + 70, hip[1] + build.belly, 52, 40, PINK)
    figure.limb("torso", ends, coat)
    along = [(hip[0] + (shoulder[0] - hip[0]) * t // 6, hip[1] + (shoulder[1] - hip[1]) * t // 6) for t in range(7)]
    spots, stripes = chance.percent(35), chance.percent(70)
    if category == "cow" or (category == "dog" and spots):
        for t in (0, 3, 6):
            x, y = along[t]
            width, height = chance.between(build.chest // 3, build.chest * 2 // 3), chance.between(40, build.chest // 2)
            figure.ellipse("torso", x + chance.between(-20, 20), y + chance.between(-40, 20), width, height, mark)
    elif category == "cat" and stripes:
        for x, y in along[:6]:
            figure.line("torso", [(x + 18, y - build.belly + 14, 11), (x, y - 20, 5)], mark)


def _eye(figure: _Figure, part: str, x: int, y: int, radius: int, iris: Colour) -> None:
    figure.ellipse(part, x, y, radius + 7, radius + 5, BLACK)
    figure.ellipse(part, x, y, radius, radius, iris)
    figure.ellipse(part, x, y, radius * 5 // 9, radius * 2 // 3, BLACK)
    figure.ellipse(part, x - radius // 3, y - radius // 3, radius // 4, radius // 4, WHITE)


def _head(
    figure: _Figure, category: Category, x: int, y: int, grazes: bool, skin: Colour, mark: Colour, chance: _Chance
) -> None:
    build = BUILDS[category]
    skull, (long, deep) = build.skull, build.snout
    iris = chance.pick(((96, 62, 32), (190, 150, 50), (110, 150, 80)) if category == "cat" else ((96, 62, 32),))
    drooping, horned, blaze = chance.percent(60), chance.percent(45), chance.percent(40)
    # Where eyes and ears are, in hundredths of the skull to the right, and to which side an ear points.
    if chance.percent(build.frontal) and not grazes:
        eyes, ears, far, near = {"r": -45, "l": 45}, {"r": (-70, -1), "l": (70, 1)}, "", "rl"
        tip = (x, y + max(long, deep) * 3 // 4)
    else:
        eyes, ears, far, near = {"r": 30}, {"r": (-45, -1), "l": (15, 1)}, "l", "r"
        tip = (x + long * 2 // 3, y + max(long, deep)) if grazes else (x + long, y + deep)
    middle = ((x + tip[0]) // 2, (y + tip[1]) // 2)

    def at(right: int, up: int, radius: int) -> Joint:
        return x + skull * right // 100, y - skull * up // 100, radius

    def ear(side: str) -> None:
        (u, out), part = ears[side], f"{side}ear"
        tint = mix(skin, BLACK, 25 if side in far else 0)
        match category:
            case "cat":
                figure.limb(part, [at(u, 60, 40), at(u + 22 * out, 150, 4)], tint)
                figure.line(part, [at(u, 70, 18), at(u + 16 * out, 125, 2)], PINK)
            case "dog" if drooping:
                figure.limb(part, [at(u, 65, 30), at(u + 50 * out, -60, 40)], mix(tint, mark, 60))
            case "dog":
                figure.limb(part, [at(u, 75, 34), at(u + 10 * out, 165, 5)], tint)
            case "horse":
                figure.limb(part, [at(u, 75, 24), at(u + 14 * out, 190, 5)], tint)
            case _:
                figure.limb(part, [at(u, 45, 24), at(u + 90 * out, 35, 30), at(u + 150 * out, 0, 8)], tint)

    def horn(side: str) -> None:
        (u, out), part = ears[side], f"{side}horn"
        if category == "cow" and horned:
            figure.limb(part, [at(u, 75, 22), at(u + 85 * out, 120, 16), at(u + 110 * out, 220, 4)], HORN)
        elif category == "sheep" and horned:
            joints = [at(u, 75, 26), at(u + 100 * out, 130, 24), at(u + 170 * out, 45, 18), at(u + 145 * out, -55, 6)]
            figure.limb(part, joints, HORN)

    for side in far:
        ear(side)
        horn(side)
    if category in ("cat", "dog"):
        figure.disc("head", x, y, skull * 108 // 100, skull * 95 // 100, skin)
    else:
        figure.limb("head", [(x, y, skull), (*middle, (skull + build.nose) // 2)], skin)
    if blaze and category in ("cow", "dog", "horse"):
        figure.line("head", [(*middle, skull // 5), ((3 * x + tip[0]) // 4, y - skull // 2, skull // 6)], WHITE)
    if category == "sheep":
        figure.disc("head", x - 10, y - skull * 80 // 100, 56, 40, mix(skin, WHITE, 50))
    _snout(figure, category, middle, tip, skin)
    for side in near:
        ear(side)
        horn(side)
    for side, u in eyes.items():
        _eye(figure, f"{side}eye", *at(u, 15, 19 if category == "horse" else 22), iris)


def _snout(figure: _Figure, category: Category, middle: Point, tip: Point, skin: Colour) -> None:
    nose = BUILDS[category].nose
    dark = mix(skin, BLACK, 80)
    if category == "cat":
        x, y = (middle[0] + tip[0]) // 2, (middle[1] + tip[1]) // 2
        figure.ellipse("head", x, y + 14, 46, 32, mix(skin, WHITE, 45))
        figure.line("head", [(x, y + 10, 4), (x, y + 30, 4)], dark)
        figure.polygon("nose", [(x - 26, y - 16), (x + 26, y - 16), (x, y + 14)], (196, 96, 96))
        return
    if category == "dog":
        figure.limb("muzzle", [(*middle, nose + 14), (*tip, nose)], mix(skin, WHITE, 28))
        figure.line("muzzle", [(tip[0] - 4, tip[1] + 26, 5), (middle[0], middle[1] + 38, 5)], dark)
        figure.ellipse("nose", tip[0] + 4, tip[1] - 14, 32, 26, BLACK)
        figure.ellipse("nose", tip[0] - 4, tip[1] - 22, 8, 6, WHITE)
        return
    pale = mix(skin, PINK, 65) if category == "cow" else mix(skin, BLACK, 35)
    figure.limb("muzzle", [((middle[0] + 2 * tip[0]) // 3, (middle[1] + 2 * tip[1]) // 3, nose), (*tip, nose)], pale)
    for right in (-nose // 2, nose // 2):
        figure.ellipse("muzzle", tip[0] + right, tip[1] - 4, nose // 5, nose // 4, BLACK)


# ---------------------------------------------------------------------------------------------------------------------
# Things
# ---------------------------------------------------------------------------------------------------------------------


def _thing(chance: _Chance) -> _Figure:
    """Furniture, a plant or stones, in the colours of the animals."""
    figure = _Figure()
    chance.pick((_table, _tree, _stones, _bush, _jug))(figure, chance.shade(chance.pick(ANY_COAT)), chance)
    return figure


def _table(figure: _Figure, colour: Colour, chance: _Chance) -> None:
    half, high = chance.between(250, 400), chance.between(250, 450)
    for x in (-half + 60, -half + 140, half - 140, half - 60):
        figure.limb("", [(x, -high, 30), (x + chance.between(-20, 20), -20, 22)], mix(colour, BLACK, 20))
    figure.limb("", [(-half, -high, 60), (half, -high, 60)], colour)
    if chance.percent(50):
        figure.limb("", [(half, -high, 50), (half + 30, -high - chance.between(150, 350), 40)], colour)
    if chance.percent(40):
        figure.disc("", chance.between(-150, 150), -high - 130, 90, 80, chance.pick(ANY_COAT))


def _tree(figure: _Figure, colour: Colour, chance: _Chance) -> None:
    figure.limb("", [(0, -20, 60), (chance.between(-60, 60), -450, 45)], mix(colour, BLACK, 45))
    for _ in range(chance.between(4, 7)):
        x, y = chance.between(-220, 220), chance.between(-700, -430)
        figure.disc("", x, y, chance.between(100, 170), chance.between(80, 140), colour)


def _stones(figure: _Figure, colour: Colour, chance: _Chance) -> None:
    for _ in range(chance.between(2, 4)):
        x, width, height = chance.between(-300, 300), chance.between(120, 260), chance.between(100, 220)
        figure.disc("", x, -height, width, height, chance.shade(colour))
        for _ in range(chance.between(0, 3)):
            hole = chance.between(15, 35)
            figure.ellipse("", x + chance.between(-70, 70), -height + chance.between(-60, 60), hole, hole, BLACK)


def _bush(figure: _Figure, colour: Colour, chance: _Chance) -> None:
    for _ in range(chance.between(10, 18)):
        radius = chance.between(60, 110)
        figure.disc("", chance.between(-320, 320), -chance.between(80, 330), radius, radius, chance.shade(colour))


def _jug(figure: _Figure, colour: Colour, chance: _Chance) -> None:
    figure.limb("", [(150, -380, 30), (chance.between(240, 330), -320, 26), (160, -170, 26)], mix(colour, BLACK, 20))
    figure.limb("", [(0, -160, 160), (0, -300, 110), (0, -420, 90)], colour)
    figure.disc("", 0, -500, 100, 30, mix(colour, BLACK, 60))
    figure.ellipse("", chance.between(-60, 60), -250, 40, 50, chance.pick(ANY_COAT))


def _grass(chance: _Chance) -> _Figure:
    figure = _Figure()
    colour = chance.shade((86, 124, 60))
    for x in range(-500, 500, 50):
        tip = (x + chance.between(-40, 40), -chance.between(60, 160))
        figure.polygon("", [(x - 30, 0), tip, (x + 40, 0)], mix(colour, BLACK, chance.between(0, 30)))
    return figure


# ---------------------------------------------------------------------------------------------------------------------
# Files
# ---------------------------------------------------------------------------------------------------------------------


def write_animals(
    root: str | Path,
    *,
    train: int,
    valid: int,
    negatives: int,
    size: int = 160,
    seed: int = 0,
    progress: bool = True,
) -> None:
    """Write drawn animals that a reader of Pascal-Part reads.

    The folder holds ``JPEGImages/000001.jpg`` and so on, where image ``i`` is ``render(i - 1, seed=seed, size=size)``,
    ``Annotations_Part/000001.mat`` with its objects and parts, ``ImageSets/Main/train.txt`` and ``val.txt`` (the
    training images come first), ``negatives/000001.jpg`` and so on, and ``ground_truth.json`` with the settings.
    It appears at ``root`` complete or not at all, and only one of several processes writes it. Animals that are
    already there with the same settings are left alone.

    Args:
        root: Folder to make.
        train: Number of training images, each category in turn.
        valid: Number of validation images.
        negatives: Number of images without animal; without any there is no such folder.
        size: Height and width of the images in pixels.
        seed: Seed of the pictures.
        progress: Whether to show a progress bar.

    Raises:
        ValueError: If ``root`` holds something else than these animals, or a number is too small.
    """
    require_at_least(1, train=train, valid=valid)
    require_at_least(0, negatives=negatives, seed=seed)
    require_at_least(SMALLEST_SIZE, size=size)
    truth = {
        "pictures": "semexplain.data.synthetic_animals.render(number of the image - 1, seed, size)",
        "version": VERSION,
        "parts": json.loads(json.dumps(PARTS)),
        "settings": {"train": train, "valid": valid, "negatives": negatives, "size": size, "seed": seed},
    }
    write_once(Path(root), truth, "animals", partial(_write_folder, truth=truth, progress=progress))


def _write_folder(folder: Path, truth: dict[str, Any], *, progress: bool) -> None:
    train, valid, negatives, size, seed = truth["settings"].values()
    images, annotations, lists = folder / "JPEGImages", folder / "Annotations_Part", folder / "ImageSets" / "Main"
    for made in (images, annotations, lists):
        made.mkdir(parents=True)
    names = [f"{i + 1:06d}" for i in range(max(train + valid, negatives))]
    for i, name in enumerate(tqdm(names[: train + valid], desc="Drawing animals", unit="image", disable=not progress)):
        drawing = render(i, seed=seed, size=size)
        _write_image(images / f"{name}.jpg", drawing.image)
        savemat(annotations / f"{name}.mat", {"anno": _annotation(name, drawing)}, do_compression=True)
    (lists / "train.txt").write_text("".join(f"{name}\n" for name in names[:train]), newline="\n")
    (lists / "val.txt").write_text("".join(f"{name}\n" for name in names[train : train + valid]), newline="\n")
    for i, name in enumerate(names[:negatives]):
        _write_image(folder / "negatives" / f"{name}.jpg", render_negative(i, seed=seed, size=size))


def _write_image(path: Path, pixels: NDArray[np.uint8]) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(jpeg(pixels))


def _annotation(name: str, drawing: Drawing) -> NDArray[np.void]:
    """``anno.objects{class, class_ind, mask, parts{part_name, mask}}`` as MATLAB nests it."""
    objects = []
    for category, masks in drawing.animals:
        parts = [{"part_name": leaf, "mask": mask.astype(np.uint8)} for leaf, mask in masks.items()]
        whole = np.logical_or.reduce([*masks.values()]).astype(np.uint8)
        number = np.uint8(CLASS_NUMBERS[category])
        objects.append({"class": category, "class_ind": number, "mask": whole, "parts": _structs(parts)})
    return _structs([{"imname": name, "objects": _structs(objects)}])


def _structs(records: Sequence[Mapping[str, Any]]) -> NDArray[np.void]:
    """A row of MATLAB structs."""
    row = np.empty((1, len(records)), dtype=[(field, object) for field in records[0]])
    for i, record in enumerate(records):
        row[0, i] = tuple(record.values())
    return row


class SyntheticAnimalsDataModule(Redrawable, PascalPartDataModule):
    """Drawn animals with exact part masks, written on first use and then read like Pascal-Part.

    An animal can be drawn again without some of its coarse parts, unless it is the second one of its picture.

    Args:
        root: Folder of the animals, see `write_animals`.
        category: The animal to recognise.
        train: Number of training images, each category in turn; in one of five there is a second animal.
        valid: Number of validation images.
        negatives_count: Number of images without animal; with none, the other five categories are the negatives.
        draw_size: Height and width in pixels at which animals are drawn; ``image_size`` is the size that their crops
            are read at.
        draw_seed: Seed of the pictures.
        **kwargs: Everything else of `PascalPartDataModule`.
    """

    def __init__(
        self,
        *,
        root: str,
        category: Category,
        train: Annotated[int, Ge(1)] = 600,
        valid: Annotated[int, Ge(1)] = 300,
        negatives_count: Annotated[int, Ge(0)] = 400,
        draw_size: Annotated[int, Ge(SMALLEST_SIZE)] = 160,
        draw_seed: Annotated[int, Ge(0)] = 0,
        **kwargs: Any,
    ) -> None:
        super().__init__(root=root, category=category, **kwargs)
        self.draw_size = draw_size
        self.draw_seed = draw_seed
        self.redrawable = self.parts
        self.write = partial(
            write_animals,
            self.root,
            train=train,
            valid=valid,
            negatives=negatives_count,
            size=draw_size,
            seed=draw_seed,
        )

    def prepare_data(self) -> None:
        """Draw the animals unless they are there, then prepare them like Pascal-Part."""
        self.write()
        super().prepare_data()

    def rates(self) -> NDArray[np.float64]:
        """``(P,)``. A part that is taken away is absent."""
        return np.zeros(len(self.parts))

    def scenes(self, split: str) -> list[Scene]:
        """The images that show the animal their picture was made for, cut out where the whole animal was."""
        views = self._split(split)
        settings: dict[str, Any] = {"seed": self.draw_seed, "size": self.draw_size, "image_size": self.image_size}
        scenes = []
        for at, name in enumerate(views.ids):
            photo, _, number = name.removesuffix("/mirrored").rpartition("/")
            if number != "1" or not views.labels[at, 0] or views.boxes is None:
                continue
            mirrored = views.mirrored is not None and bool(views.mirrored[at])
            view = {"index": int(photo) - 1, "box": views.boxes[at], "mirrored": mirrored}
            draw = partial(_redrawn, parts=self.parts, **view, **settings)
            scenes.append(Scene(at, np.ones(len(self.parts), dtype=np.bool_), draw))
        return scenes


def _redrawn(
    present: NDArray[np.bool_],
    parts: Sequence[str],
    index: int,
    seed: int,
    size: int,
    image_size: int,
    box: NDArray[np.int64],
    mirrored: bool,
) -> Tensor:
    absent = [part for part, is_present in zip(parts, present, strict=True) if not is_present]
    picture = as_read(render(index, seed=seed, size=size, without=absent).image, image_size, box)
    return picture.flip(2) if mirrored else picture
