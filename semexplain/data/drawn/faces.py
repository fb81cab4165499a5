"""Drawn faces: every attribute has its own shapes."""

import itertools
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter

from semexplain.data.attributes import ATTRIBUTES
from semexplain.data.drawn.folder import Colour, mix, require_at_least

Point = tuple[int, int]
SMALLEST_SIZE = 24

HAIR_COLOURS: dict[str, Colour] = {
    "Black_Hair": (24, 22, 26),
    "Blond_Hair": (240, 205, 96),
    "Brown_Hair": (98, 58, 30),
    "Gray_Hair": (190, 190, 194),
}

GINGER: Colour = (182, 80, 34)
PALE_SKIN: Colour = (248, 230, 220)
LIGHTEST_SKIN: Colour = (232, 182, 146)
DARKEST_SKIN: Colour = (168, 112, 76)
IRISES: tuple[Colour, ...] = ((70, 45, 25), (50, 95, 160), (60, 115, 70))
CLOTHES: tuple[Colour, ...] = ((52, 84, 132), (70, 110, 80), (96, 70, 116), (70, 70, 78), (150, 96, 60))
HATS: tuple[Colour, ...] = ((38, 60, 110), (120, 40, 44), (56, 92, 60), (70, 62, 58))
BLACK: Colour = (12, 12, 14)
WHITE: Colour = (250, 250, 250)


def draw_face(attributes: NDArray[np.bool_], *, index: int, seed: int = 0, size: int = 96) -> NDArray[np.uint8]:
    """The picture of one face.

    What the attributes leave open (place, scale, background, light, complexion, eyes, clothes) is drawn from ``seed``
    and ``index`` alone. The same face with one attribute changed is therefore the same picture but for that
    attribute. All coordinates and colours are integers, so that the pixels are the same on every platform. Of
    attributes that exclude one another in `LOCAL_CAUSES` but are asked for together, one may hide the other: baldness
    hides waves, a hat the receding hairline, waves straight hair, and a hair colour the later ones of `HAIR_COLOURS`.

    Args:
        attributes: Booleans ``(40,)`` in the order of `ATTRIBUTES`.
        index: Number of the image, from 0.
        seed: Seed of the data set.
        size: Height and width in pixels.

    Returns:
        Red, green and blue bytes ``(size, size, 3)``.

    Raises:
        ValueError: If there are not 40 attributes, the size is below 24 or another number is negative.

    Example:
        >>> plain = np.zeros(40, dtype=bool)
        >>> smiling = plain.copy()
        >>> smiling[ATTRIBUTES.index("Smiling")] = True
        >>> changed = (draw_face(plain, index=3) != draw_face(smiling, index=3)).any(axis=-1)
        >>> changed.shape, bool(0 < changed.mean() < 0.1)
        ((96, 96), True)
    """
    if attributes.shape != (len(ATTRIBUTES),):
        raise ValueError(f"attributes must have the shape ({len(ATTRIBUTES)},), got {attributes.shape}.")
    require_at_least(0, index=index, seed=seed)
    require_at_least(SMALLEST_SIZE, size=size)
    face = _Face.of(attributes, index=index, seed=seed)
    pen = _Pen(size, face.chance)
    for draw in (_clothes, _hair, _head, _forehead, _jaw, _cheeks, _eyes, _nose, _beard, _mouth, _accessories):
        draw(pen, face)
    image = pen.image.reduce(2)
    if face.has["Blurry"]:
        image = image.filter(ImageFilter.BoxBlur(max(1, size // 36)))
    return _lit(np.asarray(image), face.chance)


class _Chance(NamedTuple):
    """What differs between two faces of equal attributes, every number uniform in 0..999."""

    right: int
    down: int
    scale: int
    red: int
    green: int
    blue: int
    light: int
    slope: int
    complexion: int
    iris: int
    cloth: int
    hat: int

    @classmethod
    def of(cls, index: int, seed: int) -> "_Chance":
        # Raw words: numpy promises them for ever, but not the numbers a Generator makes of them.
        words = np.random.PCG64(np.random.SeedSequence([seed, index])).random_raw(len(cls._fields))
        return cls(*(int(word >> 32) % 1000 for word in words.tolist()))


class _Face(NamedTuple):
    """Attributes, outline and colours of one face; lengths in thousandths of the image's width."""

    has: dict[str, bool]
    chance: _Chance
    half_width: int
    half_height: int
    skin: Colour
    hair: Colour

    @classmethod
    def of(cls, attributes: NDArray[np.bool_], *, index: int, seed: int) -> "_Face":
        has = dict(zip(ATTRIBUTES, attributes.tolist(), strict=True))
        chance = _Chance.of(index, seed)
        half_width, half_height = (208, 326) if has["Oval_Face"] else (240, 282)
        skin = PALE_SKIN if has["Pale_Skin"] else mix(DARKEST_SKIN, LIGHTEST_SKIN, chance.complexion // 10)
        hair = next((colour for name, colour in HAIR_COLOURS.items() if has[name]), GINGER)
        return cls(has, chance, half_width, half_height, skin, hair)

    @property
    def chin(self) -> int:
        return _MIDDLE + self.half_height

    @property
    def beard(self) -> Colour:
        return mix(self.hair, BLACK, 30)


_MIDDLE = 450  # height of the middle of the head


class _Pen:
    """Draws at twice the resolution, in thousandths of the image's width, shifted and scaled by chance."""

    def __init__(self, size: int, chance: _Chance) -> None:
        self.scale = 2 * size * (930 + 110 * chance.scale // 1000)
        self.right = 2 * size * (chance.right * 80 // 1000 - 40)
        self.down = 2 * size * (chance.down * 50 // 1000 - 25)
        background = tuple(60 + 150 * c // 1000 for c in (chance.red, chance.green, chance.blue))
        self.image = Image.new("RGB", (2 * size, 2 * size), background)
        self._draw = ImageDraw.Draw(self.image)
        self._size = size

    def _x(self, x: int) -> int:
        return ((x - 500) * self.scale + 1000 * self.right + 1_000_000 * self._size) // 1_000_000

    def _y(self, y: int) -> int:
        return ((y - 500) * self.scale + 1000 * self.down + 1_000_000 * self._size) // 1_000_000

    def _box(self, x: int, y: int, half_width: int, half_height: int) -> tuple[int, int, int, int]:
        return self._x(x - half_width), self._y(y - half_height), self._x(x + half_width), self._y(y + half_height)

    def ellipse(self, x: int, y: int, half_width: int, half_height: int, colour: Colour) -> None:
        self._draw.ellipse(self._box(x, y, half_width, half_height), fill=colour)

    def ring(self, x: int, y: int, half_width: int, half_height: int, colour: Colour, width: int) -> None:
        width = max(1, width * self.scale // 1_000_000)
        self._draw.ellipse(self._box(x, y, half_width, half_height), outline=colour, width=width)

    def chord(self, x: int, y: int, half_width: int, half_height: int, start: int, end: int, colour: Colour) -> None:
        """The segment of an ellipse between two angles in degrees, clockwise from the right."""
        self._draw.chord(self._box(x, y, half_width, half_height), start, end, fill=colour)

    def polygon(self, points: Iterable[Point], colour: Colour) -> None:
        self._draw.polygon([(self._x(x), self._y(y)) for x, y in points], fill=colour)

    def rectangle(self, left: int, top: int, right: int, bottom: int, colour: Colour) -> None:
        self._draw.rectangle((self._x(left), self._y(top), self._x(right), self._y(bottom)), fill=colour)

    def crescent(self, x: int, y: int, half_width: int, upper: int, lower: int, colour: Colour) -> None:
        """Between two parabolas through the corners, ``upper`` and ``lower`` below them in the middle."""
        steps = range(-4, 5)
        over = [(x + half_width * t // 4, y + upper * (16 - t * t) // 16) for t in steps]
        under = [(x + half_width * t // 4, y + lower * (16 - t * t) // 16) for t in reversed(steps)]
        self.polygon(over + under, colour)


def _clothes(pen: _Pen, face: _Face) -> None:
    pen.ellipse(500, 1080, 420, 235, _choose(CLOTHES, face.chance.cloth))


def _hair(pen: _Pen, face: _Face) -> None:
    """Everything behind the head, the neck included."""
    side = face.half_width + 45
    if not face.has["Bald"]:
        if face.has["Wavy_Hair"]:
            pen.rectangle(500 - side, 380, 500 + side, 800, face.hair)
            for y, sign in itertools.product((340, 450, 560, 670, 780), (-1, 1)):
                pen.ellipse(500 + sign * side, y, 52, 62, face.hair)
        elif face.has["Straight_Hair"]:
            pen.rectangle(500 - side, 380, 500 + side, 850, face.hair)
        pen.chord(500, 400, side, face.half_height + 25, 164, 376, face.hair)
    pen.rectangle(415, 660, 585, 850, mix(face.skin, BLACK, 14))
    pen.ellipse(500, 850, 85, 55, mix(face.skin, BLACK, 14))


def _head(pen: _Pen, face: _Face) -> None:
    for sign in (-1, 1):
        pen.ellipse(500 + sign * face.half_width, 470, 36, 62, mix(face.skin, BLACK, 8))
    # A dark rim first, so that the outline shows even on a background of the colour of the skin.
    for rim, colour in ((9, mix(face.skin, BLACK, 35)), (0, face.skin)):
        if face.has["Double_Chin"]:
            pen.ellipse(500, face.chin - 5, 150 + rim, 72 + rim, colour)
        if face.has["Chubby"]:
            for sign in (-1, 1):
                pen.ellipse(500 + sign * (face.half_width - 75), 585, 112 + rim, 130 + rim, colour)
        pen.ellipse(500, _MIDDLE, face.half_width + rim, face.half_height + rim, colour)


def _forehead(pen: _Pen, face: _Face) -> None:
    top = _MIDDLE - face.half_height
    if face.has["Bald"]:
        pen.ellipse(430, top + 80, 66, 36, mix(face.skin, WHITE, 65))
    else:
        pen.chord(500, _MIDDLE, face.half_width + 14, face.half_height + 14, 180, 360, face.hair)
        pen.ellipse(500, 500, face.half_width, 235, face.skin)
        if face.has["Receding_Hairline"]:
            for sign in (-1, 1):
                pen.ellipse(500 + sign * 105, 275, 74, 70, face.skin)
    if face.has["Bangs"]:
        fringe = [(685, 372), (620, 330), (560, 378), (500, 334), (440, 378), (380, 330), (315, 372)]
        pen.polygon([(315, 265), (400, top + 30), (600, top + 30), (685, 265), *fringe], face.hair)


def _jaw(pen: _Pen, face: _Face) -> None:
    if face.has["5_o_Clock_Shadow"]:
        stubble = mix(face.skin, (60, 70, 86), 42)
        pen.chord(500, _MIDDLE, face.half_width, face.half_height, 28, 152, stubble)
        for row, y in enumerate(range(600, face.chin - 25, 28)):
            for x in range(372 + 14 * (row % 2), 640, 28):
                pen.rectangle(x - 4, y - 4, x + 4, y + 4, mix(stubble, BLACK, 45))
    if face.has["Double_Chin"]:
        pen.crescent(500, face.chin - 30, 135, 12, 46, mix(face.skin, BLACK, 45))


def _cheeks(pen: _Pen, face: _Face) -> None:
    for sign in (-1, 1):
        if face.has["Rosy_Cheeks"]:
            pen.ellipse(500 + sign * 140, 570, 56, 42, mix(face.skin, (238, 62, 100), 55))
        if face.has["High_Cheekbones"]:
            near, far = 500 + sign * 112, 500 + sign * 204
            pen.polygon([(near, 545), (far, 500), (far, 548)], mix(face.skin, WHITE, 55))
            pen.polygon([(near, 622), (far, 556), (far, 596)], mix(face.skin, BLACK, 38))


def _eyes(pen: _Pen, face: _Face) -> None:
    open_eye = 12 if face.has["Narrow_Eyes"] else 32
    thick = 38 if face.has["Bushy_Eyebrows"] else 15
    lid = mix(face.skin, BLACK, 65)
    for x in (395, 605):
        if face.has["Bags_Under_Eyes"]:
            pen.crescent(x, 486, 56, 4, 44, mix(face.skin, (84, 44, 92), 60))
        pen.ellipse(x, 452, 56, open_eye + 9, lid)
        pen.ellipse(x, 455, 50, open_eye, WHITE)
        pen.ellipse(x, 455, 23, min(24, open_eye), _choose(IRISES, face.chance.iris))
        pen.ellipse(x, 455, 11, min(12, open_eye), BLACK)
        if face.has["Arched_Eyebrows"]:
            outward = 1 if x > 500 else -1
            brow = [(x - outward * 68, 396), (x + outward * 22, 338), (x + outward * 72, 388)]
            under = [(brow_x, y + thick + 6) for brow_x, y in reversed(brow)]
            pen.polygon(brow + under, mix(face.hair, BLACK, 45))
        else:
            pen.crescent(x, 388 - thick // 3, 68, -14, thick, mix(face.hair, BLACK, 45))


def _nose(pen: _Pen, face: _Face) -> None:
    wide = 78 if face.has["Big_Nose"] else 38
    shade, light = mix(face.skin, BLACK, 28), mix(face.skin, WHITE, 35)
    if face.has["Pointy_Nose"]:
        pen.polygon([(500, 440), (500 + wide, 585), (500, 610), (500 - wide, 585)], shade)
        pen.polygon([(500, 440), (500 - wide // 3, 585), (500, 610)], light)
    else:
        pen.rectangle(488, 470, 512, 570, mix(face.skin, BLACK, 12))
        pen.ellipse(500, 572, wide, 28 + wide // 8, shade)
        pen.ellipse(500, 562, wide - 12, 24 + wide // 10, face.skin)
    if face.has["Big_Nose"]:
        for x in (466, 534):
            pen.ellipse(x, 588, 15, 10, mix(face.skin, BLACK, 70))


def _beard(pen: _Pen, face: _Face) -> None:
    if face.has["Goatee"]:
        pen.ellipse(500, face.chin - 18, 74, 36, face.beard)
        pen.ellipse(500, face.chin + 8, 52, 30, face.beard)
    if face.has["Mustache"]:
        for sign in (-1, 1):
            points = [(500, 598), (500 + sign * 66, 598), (500 + sign * 138, 652), (500 + sign * 56, 638), (500, 634)]
            pen.polygon(points, face.beard)
    if face.has["Sideburns"]:
        for sign in (-1, 1):
            edge, side = face.half_width, 500 + sign * face.half_width
            points = [(side, 410), (side - sign * 46, 410), (side - sign * 58, 610), (side - sign * edge // 8, 590)]
            pen.polygon(points, face.beard)


def _mouth(pen: _Pen, face: _Face) -> None:
    lips = (196, 14, 62) if face.has["Wearing_Lipstick"] else mix(face.skin, (150, 62, 60), 62)
    thick = 42 if face.has["Big_Lips"] else 18
    gap = 28 if face.has["Mouth_Slightly_Open"] else 0
    # The curve of the closed mouth: corners above the middle by `curve`, the middle staying where it is.
    curve = 52 if face.has["Smiling"] else 0
    half_width = 112 if face.has["Smiling"] else 92
    corner = 666 - curve
    pen.crescent(500, corner, half_width, curve - 3 * thick // 4 - gap // 2, curve + gap // 2 + thick, lips)
    if gap:
        pen.crescent(500, corner, half_width - 22, curve - gap // 2, curve + gap // 2, (60, 10, 16))
        pen.crescent(500, corner, half_width - 30, curve - gap // 2, curve, WHITE)
    else:
        pen.crescent(500, corner, half_width, curve - 4, curve + 4, mix(lips, BLACK, 55))


def _accessories(pen: _Pen, face: _Face) -> None:
    if face.has["Wearing_Necktie"]:
        pen.polygon([(380, 845), (500, 930), (620, 845), (640, 900), (500, 1080), (360, 900)], WHITE)
        pen.polygon([(465, 880), (535, 880), (520, 930), (570, 1080), (430, 1080), (480, 930)], (140, 16, 34))
    if face.has["Wearing_Necklace"]:
        for t in range(-5, 6):
            x, y = 500 + 24 * t, 905 - 3 * t * t
            pen.ellipse(x, y, 15, 15, (90, 80, 60))
            pen.ellipse(x, y, 11, 11, (255, 246, 220))
    for sign in (-1, 1):
        if face.has["Wearing_Earrings"]:
            pen.ellipse(500 + sign * (face.half_width + 18), 556, 30, 30, (110, 76, 8))
            pen.ellipse(500 + sign * (face.half_width + 18), 556, 23, 23, (255, 204, 30))
        if face.has["Eyeglasses"]:
            pen.ring(500 + sign * 105, 456, 92, 76, BLACK, 15)
            bow = sorted((500 + sign * 195, 500 + sign * face.half_width))
            pen.rectangle(bow[0], 440, bow[1], 455, BLACK)
    if face.has["Eyeglasses"]:
        pen.rectangle(484, 440, 516, 455, BLACK)
    if face.has["Wearing_Hat"]:
        hat = _choose(HATS, face.chance.hat)
        pen.chord(500, 245, face.half_width + 20, 205, 180, 360, hat)
        pen.ellipse(500, 245, face.half_width + 120, 34, mix(hat, BLACK, 35))


def _choose(options: tuple[Colour, ...], chance: int) -> Colour:
    return options[chance * len(options) // 1000]


def _lit(pixels: NDArray[np.uint8], chance: _Chance) -> NDArray[np.uint8]:
    """Brighter or darker as a whole, and from one side to the other."""
    size = pixels.shape[1]
    side = (2 * np.arange(size, dtype=np.int32) - size) * (chance.slope - 500) * 24 // (500 * size)
    gain = 240 + (chance.light - 500) * 24 // 500 + side
    lit: NDArray[np.uint8] = np.minimum(pixels * gain[:, None] >> 8, 255).astype(np.uint8)
    return lit
