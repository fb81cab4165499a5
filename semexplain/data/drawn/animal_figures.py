"""What a drawn animal is made of: shapes of parts, a pen, and chance."""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from math import isqrt
from typing import NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from semexplain.data.drawn.colours import ANY_COAT, BLACK, GROUNDS, SKIES, WHITE
from semexplain.data.drawn.folder import Colour, mix

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
Joint = tuple[int, int, int]  # x, y, radius
Point = tuple[int, int]


class Chance:
    """Endless random integers."""

    def __init__(self, *key: int) -> None:
        # Raw words: numpy promises them for ever, but not the numbers a Generator makes of them.
        self._bits = np.random.PCG64(np.random.SeedSequence(key))

    def between(self, low: int, high: int) -> int:
        """Uniform in ``low..high``, both included."""
        return low + (int(self._bits.random_raw()) >> 32) % (high - low + 1)

    def percent(self, probability: int) -> bool:
        """Whether something of this probability happens."""
        return self.between(0, 99) < probability

    def pick(self, options: Sequence[T]) -> T:
        """One of the options."""
        return options[self.between(0, len(options) - 1)]

    def shade(self, colour: Colour) -> Colour:
        """A little lighter or darker."""
        return mix(colour, self.pick((BLACK, WHITE)), self.between(0, 18))

    def bytes(self, count: int) -> NDArray[np.uint8]:
        """So many random bytes."""
        words = np.asarray(self._bits.random_raw(-(-count // 8)), dtype="<u8")
        return words.view(np.uint8)[:count]


class _Shape(NamedTuple):
    part: str  # a leaf part, or empty
    points: tuple[Point, ...]
    colour: Colour
    round: bool  # an ellipse in the box between two corners, or else a polygon


class Figure:
    """Shapes from back to front, in units of their own: x to the right, y down, the ground at 0."""

    RIM = 8

    def __init__(self) -> None:
        self.shapes: list[_Shape] = []

    def ellipse(self, part: str, x: int, y: int, half_width: int, half_height: int, colour: Colour) -> None:
        """Add an ellipse."""
        corners = ((x - half_width, y - half_height), (x + half_width, y + half_height))
        self.shapes.append(_Shape(part, corners, colour, True))

    def polygon(self, part: str, points: Sequence[Point], colour: Colour) -> None:
        """Add a polygon."""
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

    def mirrored(self) -> "Figure":
        """The same facing left: its right side is then its left one."""
        figure = Figure()
        for part, points, colour, is_round in self.shapes:
            sides = {"l": "r", "r": "l"}
            part = sides.get(part[:1], part[:1]) + part[1:]
            points = tuple((-x, y) for x, y in points)
            if is_round:
                points = ((points[1][0], points[0][1]), (points[0][0], points[1][1]))
            figure.shapes.append(_Shape(part, points, colour, is_round))
        return figure


class Slot(NamedTuple):
    """Where a figure stands, in thousandths of the image; it becomes as large as fits in width and height."""

    middle: int
    bottom: int
    width: int
    height: int


def random_slots(chance: Chance, *, pairs: int) -> list[Slot]:
    """Room for one figure, or in ``pairs`` cases of a hundred for two, the first in front."""
    if not chance.percent(pairs):
        width = chance.between(640, 940)
        return [Slot(chance.between(430, 570), chance.between(880, 1000), width, chance.between(600, 860))]
    side, width = chance.pick((-1, 1)), chance.between(520, 580)
    return [
        Slot(500 + side * 235, chance.between(900, 980), width, 800),
        Slot(500 - side * 235, chance.between(720, 860), width - 20, 700),
    ]


class Pen:
    """Draws at twice the resolution, on the picture and, as labels, on a map of what is seen where."""

    def __init__(self, size: int, chance: Chance) -> None:
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

    def put(self, figure: Figure, slot: Slot, labels: Mapping[str, int] | None = None) -> None:
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
            corners = [(x * scale // unit + right, y * scale // unit + down) for x, y in points]
            if is_round:
                self._pen.ellipse(corners, fill=colour)
                self._map_pen.ellipse(corners, fill=labels[part])
            else:
                self._pen.polygon(corners, fill=colour)
                self._map_pen.polygon(corners, fill=labels[part])

    def picture(self, chance: Chance) -> NDArray[np.uint8]:
        """The picture at its size, grainy as a photo."""
        pixels = np.asarray(self._image.reduce(2)).astype(np.int16)
        grain = chance.bytes(pixels[..., 0].size).reshape(pixels.shape[:2]) % 15
        lit: NDArray[np.uint8] = (pixels + grain[..., None] - 7).clip(0, 255).astype(np.uint8)
        return lit

    def masks(self, labels: Mapping[str, int]) -> dict[str, Mask]:
        """Where each part is seen, with the parts on it; only parts that are seen."""
        pixels = np.asarray(self._map)[::2, ::2]
        masks = {part: pixels == label for part, label in labels.items()}
        return {
            part: np.logical_or.reduce([mask, *(masks[inner] for inner in WITHIN.get(part, ()) if inner in masks)])
            for part, mask in masks.items()
            if mask.any()
        }
