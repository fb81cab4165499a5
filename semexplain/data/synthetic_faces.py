"""Drawn faces in the on-disk layout of CelebA, whose four global attributes follow a known formula (Sec. 4.2).

A real face data set says *that* a face is attractive, not *why*. Here the why is known. Three latent factors cause
36 local attributes, which are drawn; the local attributes cause the four global ones, which are not drawn. An
explanation of a global attribute by the local ones can therefore be compared with the truth.
"""

import itertools
from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import numpy as np
from annotated_types import Ge
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter
from torch import Tensor
from tqdm import tqdm

from semexplain.attributes import ATTRIBUTES
from semexplain.data.celeba import CelebADataModule
from semexplain.data.drawn import Colour, jpeg, mix, require_at_least, write_once
from semexplain.data.scenes import Redrawable, Scene, as_read

# ---------------------------------------------------------------------------------------------------------------------
# The causal model: latents -> local attributes -> global attributes
# ---------------------------------------------------------------------------------------------------------------------

LATENTS = ("masculinity", "age", "grooming")
GLOBAL_ATTRIBUTES = ("Attractive", "Heavy_Makeup", "Male", "Young")
BEARDS = ("5_o_Clock_Shadow", "Goatee", "Mustache", "Sideburns")
NEVER = -100.0  # a logit that excludes the attribute: its probability is 4e-44, below every uniform number but zero
NOISE_SCALE = 0.2  # of the logistic noise added to the logits of the global attributes


class LocalCause(NamedTuple):
    """``P(attribute) = sigmoid(bias + sum of weight * cause)``; causes are latents or attributes named earlier."""

    bias: float
    causes: dict[str, float]


class GlobalCause(NamedTuple):
    """``logit = bias + sum of additive[a] * a + sum of c * a * b over interactions``, all attributes 0 or 1."""

    bias: float
    additive: dict[str, float]
    interactions: tuple[tuple[str, str, float], ...]


# In causal order. No_Beard is missing: it is the absence of the four beards. The biases give lifelike rates.
LOCAL_CAUSES: dict[str, LocalCause] = {
    "Bald": LocalCause(-4.9, {"masculinity": 0.8, "age": 0.8}),
    "Receding_Hairline": LocalCause(-3.11, {"masculinity": 0.4, "age": 0.8, "Bald": NEVER}),
    "Gray_Hair": LocalCause(-4.09, {"age": 1.2, "Bald": NEVER}),
    "Blond_Hair": LocalCause(-2.08, {"masculinity": -0.7, "Bald": NEVER, "Gray_Hair": NEVER}),
    "Black_Hair": LocalCause(-0.8, {"masculinity": 0.3, "Bald": NEVER, "Gray_Hair": NEVER, "Blond_Hair": NEVER}),
    "Brown_Hair": LocalCause(
        -0.35, {"masculinity": -0.2, "Bald": NEVER, "Gray_Hair": NEVER, "Blond_Hair": NEVER, "Black_Hair": NEVER}
    ),
    "Wearing_Hat": LocalCause(-2.87, {"masculinity": 0.3, "age": -0.2, "Receding_Hairline": NEVER}),
    "Bangs": LocalCause(-1.91, {"masculinity": -0.5, "age": -0.3, "Bald": NEVER, "Receding_Hairline": NEVER}),
    "Wavy_Hair": LocalCause(-1.03, {"masculinity": -0.7, "grooming": 0.3, "Bald": NEVER}),
    "Straight_Hair": LocalCause(-0.63, {"grooming": 0.2, "Bald": NEVER, "Wavy_Hair": NEVER}),
    "Wearing_Lipstick": LocalCause(-0.37, {"masculinity": -1.8, "grooming": 0.8}),
    "Arched_Eyebrows": LocalCause(-1.92, {"masculinity": -0.3, "grooming": 0.4, "Wearing_Lipstick": 1.2}),
    "Bushy_Eyebrows": LocalCause(-1.81, {"masculinity": 0.5, "Arched_Eyebrows": -0.5}),
    "Rosy_Cheeks": LocalCause(-3.65, {"grooming": 0.4, "Wearing_Lipstick": 1.8}),
    "Wearing_Earrings": LocalCause(-2.53, {"grooming": 0.5, "Wearing_Lipstick": 1.5}),
    "Wearing_Necklace": LocalCause(-2.57, {"masculinity": -0.4, "Wearing_Earrings": 1.5}),
    "Wearing_Necktie": LocalCause(-3.6, {"masculinity": 1.0, "age": 0.3, "grooming": 0.3, "Wearing_Necklace": NEVER}),
    "Smiling": LocalCause(-0.08, {"masculinity": -0.15, "grooming": 0.1}),
    "High_Cheekbones": LocalCause(-2.1, {"Smiling": 3.2, "Wearing_Lipstick": 0.5}),
    "Mouth_Slightly_Open": LocalCause(-1.26, {"Smiling": 2.4}),
    "Goatee": LocalCause(-4.19, {"masculinity": 1.3, "Wearing_Lipstick": -3.0}),
    "Mustache": LocalCause(-4.06, {"masculinity": 0.5, "age": 0.3, "Goatee": 2.5, "Wearing_Lipstick": -3.0}),
    "Sideburns": LocalCause(-4.33, {"masculinity": 0.9, "Goatee": 2.5, "Wearing_Lipstick": -3.0}),
    "5_o_Clock_Shadow": LocalCause(-3.28, {"masculinity": 1.2, "Goatee": 0.5, "Wearing_Lipstick": -3.0}),
    "Big_Nose": LocalCause(-1.5, {"masculinity": 0.6, "age": 0.4}),
    "Pointy_Nose": LocalCause(-1.13, {"Wearing_Lipstick": 0.6, "Big_Nose": -0.5}),
    "Big_Lips": LocalCause(-1.41, {"Wearing_Lipstick": 0.5}),
    "Chubby": LocalCause(-2.75, {"masculinity": 0.3, "age": 0.4}),
    "Double_Chin": LocalCause(-4.61, {"age": 0.3, "Chubby": 4.5}),
    "Oval_Face": LocalCause(-1.04, {"Wearing_Lipstick": 0.4, "Chubby": -2.0}),
    "Bags_Under_Eyes": LocalCause(-1.64, {"masculinity": 0.4, "age": 0.5}),
    "Narrow_Eyes": LocalCause(-2.16, {"Smiling": 0.3}),
    "Eyeglasses": LocalCause(-2.82, {"masculinity": 0.4, "age": 0.5}),
    "Pale_Skin": LocalCause(-2.81, {"masculinity": -0.2}),
    "Blurry": LocalCause(-2.84, {}),
}

GLOBAL_CAUSES: dict[str, GlobalCause] = {
    "Attractive": GlobalCause(
        -1.42,
        {
            "Arched_Eyebrows": 0.8,
            "Bags_Under_Eyes": -0.9,
            "Bald": -1.2,
            "Big_Nose": -1.0,
            "Blurry": -1.4,
            "Chubby": -1.4,
            "Eyeglasses": -1.0,
            "Gray_Hair": -1.2,
            "High_Cheekbones": 0.5,
            "Oval_Face": 1.0,
            "Pointy_Nose": 0.6,
            "Smiling": 0.4,
            "Wavy_Hair": 0.7,
            "Wearing_Lipstick": 1.0,
        },
        (
            ("High_Cheekbones", "Smiling", 0.8),
            ("Wavy_Hair", "Wearing_Lipstick", 0.6),
            ("Bushy_Eyebrows", "Straight_Hair", 1.2),
            ("Bags_Under_Eyes", "Eyeglasses", -0.8),
        ),
    ),
    "Heavy_Makeup": GlobalCause(
        -2.41,
        {
            "Arched_Eyebrows": 1.0,
            "Bags_Under_Eyes": -0.6,
            "Eyeglasses": -0.8,
            "Pale_Skin": 0.5,
            "Rosy_Cheeks": 1.5,
            "Wearing_Earrings": 0.6,
            "Wearing_Lipstick": 2.6,
        },
        (
            ("Arched_Eyebrows", "Wearing_Lipstick", 1.0),
            ("High_Cheekbones", "Rosy_Cheeks", 1.0),
            ("Eyeglasses", "Wearing_Lipstick", -1.0),
        ),
    ),
    "Male": GlobalCause(
        2.13,
        {
            "Arched_Eyebrows": -0.6,
            "Bald": 1.6,
            "Big_Nose": 0.9,
            "Bushy_Eyebrows": 1.2,
            "No_Beard": -2.0,
            "Receding_Hairline": 0.8,
            "Wavy_Hair": -0.9,
            "Wearing_Earrings": -1.0,
            "Wearing_Lipstick": -2.6,
            "Wearing_Necktie": 2.0,
        },
        (
            ("Goatee", "Mustache", 1.0),
            ("Big_Nose", "Bushy_Eyebrows", 0.8),
            ("Wearing_Earrings", "Wearing_Lipstick", -0.8),
        ),
    ),
    "Young": GlobalCause(
        1.16,
        {
            "Bags_Under_Eyes": -1.1,
            "Bald": -1.6,
            "Bangs": 0.8,
            "Chubby": -0.8,
            "Double_Chin": -1.0,
            "Eyeglasses": -0.9,
            "Gray_Hair": -3.0,
            "Receding_Hairline": -1.4,
            "Wavy_Hair": 0.4,
            "Wearing_Necktie": -0.7,
        },
        (
            ("Bags_Under_Eyes", "Receding_Hairline", -1.0),
            ("Bangs", "Smiling", 0.6),
            ("Eyeglasses", "Wearing_Necktie", -0.8),
        ),
    ),
}

DRAWN_AS: dict[str, str] = {
    "5_o_Clock_Shadow": "grey-blue tint and dots on the jaw",
    "Arched_Eyebrows": "eyebrows with a peak instead of nearly straight ones",
    "Bags_Under_Eyes": "purple crescents under the eyes",
    "Bald": "no hair but bangs and a highlight on the skull; straight, wavy and receding hair are hidden",
    "Bangs": "jagged fringe of hair on the forehead",
    "Big_Lips": "lips of more than twice the height",
    "Big_Nose": "base of the nose of twice the width, with nostrils",
    "Black_Hair": "black hair, brows and beard; without any hair colour they are ginger",
    "Blond_Hair": "yellow hair",
    "Blurry": "box blur of the whole image",
    "Brown_Hair": "brown hair",
    "Bushy_Eyebrows": "eyebrows of more than twice the thickness",
    "Chubby": "wide lower cheeks",
    "Double_Chin": "second chin below the first, with a fold between them",
    "Eyeglasses": "two black rings and a bridge",
    "Goatee": "patch of hair on the chin",
    "Gray_Hair": "light grey hair",
    "High_Cheekbones": "light wedge with a shadow below it on each cheek",
    "Mouth_Slightly_Open": "dark gap with teeth between the lips",
    "Mustache": "hair between nose and mouth",
    "Narrow_Eyes": "eyes of under half the height",
    "Oval_Face": "longer and narrower outline of the head",
    "Pale_Skin": "skin lighter than the lightest other skin",
    "Pointy_Nose": "triangular nose instead of a rounded one",
    "Receding_Hairline": "two bays of skin in the hair above the temples; hidden under a hat",
    "Rosy_Cheeks": "pink discs on the cheeks",
    "Sideburns": "strips of hair in front of the ears",
    "Smiling": "raised corners of the mouth",
    "Straight_Hair": "long hair with straight edges; hair neither straight nor wavy is short",
    "Wavy_Hair": "long hair with scalloped edges",
    "Wearing_Earrings": "gold discs below the ears",
    "Wearing_Hat": "brimmed hat on the top of the head",
    "Wearing_Lipstick": "crimson lips instead of lips near the colour of the skin",
    "Wearing_Necklace": "string of pearls around the neck",
    "Wearing_Necktie": "dark red tie on a white collar",
}

_DRAWN = [ATTRIBUTES.index(name) for name in DRAWN_AS]

NOT_DRAWN: dict[str, str] = {
    **dict.fromkeys(GLOBAL_ATTRIBUTES, "global: caused by local attributes, without a mark of its own"),
    "No_Beard": "holds exactly when there is none of " + ", ".join(BEARDS) + ", which are drawn",
}


def sample_attributes(count: int, seed: int) -> NDArray[np.bool_]:
    """The 40 attributes of ``count`` faces, drawn from the causal model.

    Latents are standard logistic. Local attributes follow `LOCAL_CAUSES` in causal order. A global attribute is
    present where its logit, see `global_logits`, plus logistic noise of scale `NOISE_SCALE` is positive; the noise
    turns about one global attribute in twenty against the sign of its logit.

    Row ``i`` depends on ``seed`` and ``i`` alone: more faces leave the first ones as they are.

    Returns:
        Booleans of shape ``(count, 40)``, columns in the order of `ATTRIBUTES`.

    Raises:
        ValueError: If ``count`` or ``seed`` is negative.

    Example:
        >>> attributes = sample_attributes(1000, seed=0)
        >>> attributes.shape
        (1000, 40)
        >>> bool(np.array_equal(attributes[:10], sample_attributes(10, seed=0)))
        True
    """
    require_at_least(0, count=count, seed=seed)
    uniform = iter(_uniform(count, len(LATENTS) + len(LOCAL_CAUSES) + len(GLOBAL_CAUSES), seed).T)
    values: dict[str, NDArray[Any]] = {latent: _logit(next(uniform)) for latent in LATENTS}
    for name, (bias, causes) in LOCAL_CAUSES.items():
        logit = np.full(count, bias)
        for cause, weight in causes.items():
            logit += weight * values[cause]
        values[name] = _logit(next(uniform)) + logit > 0
    values["No_Beard"] = ~np.logical_or.reduce([values[beard] for beard in BEARDS])
    values |= {name: np.zeros(count, dtype=bool) for name in GLOBAL_ATTRIBUTES}

    attributes = np.stack([values[name] for name in ATTRIBUTES], axis=1)
    noise = NOISE_SCALE * np.stack([_logit(next(uniform)) for _ in GLOBAL_ATTRIBUTES], axis=1)
    attributes[:, [ATTRIBUTES.index(name) for name in GLOBAL_ATTRIBUTES]] = global_logits(attributes) + noise > 0
    return attributes


def global_logits(attributes: NDArray[np.bool_]) -> NDArray[np.float64]:
    r"""Noiseless logits of the global attributes, from the local ones alone.

    .. math:: l_g = b_g + \sum_i c_{g,i}\, a_i + \sum_{(i,j)} c_{g,ij}\, a_i a_j, \qquad a \in \{0, 1\}

    Args:
        attributes: ``(B, 40)`` in the order of `ATTRIBUTES`; the global columns are not looked at.

    Returns:
        Logits ``(B, 4)`` in the order of `GLOBAL_ATTRIBUTES`.

    Raises:
        ValueError: If there are not 40 columns.

    Example:
        A face with nothing but lipstick and glasses. Heavy makeup has its bias, 2.6 for the lipstick, -0.8 for the
        glasses and -1 for both together.

        >>> face = np.array([[name in ("Wearing_Lipstick", "Eyeglasses") for name in ATTRIBUTES]])
        >>> round(float(global_logits(face)[0, 1] - GLOBAL_CAUSES["Heavy_Makeup"].bias), 6)
        0.8
    """
    if attributes.ndim != 2 or attributes.shape[1] != len(ATTRIBUTES):
        raise ValueError(f"attributes must have the shape (B, {len(ATTRIBUTES)}), got {attributes.shape}.")
    column = {name: attributes[:, i].astype(np.float64) for i, name in enumerate(ATTRIBUTES)}
    logits = np.empty((len(attributes), len(GLOBAL_CAUSES)))
    for g, (bias, additive, interactions) in enumerate(GLOBAL_CAUSES.values()):
        logits[:, g] = bias
        for name, coefficient in additive.items():
            logits[:, g] += coefficient * column[name]
        for a, b, coefficient in interactions:
            logits[:, g] += coefficient * column[a] * column[b]
    return logits


def ground_truth() -> dict[str, Any]:
    """Everything that is known about why a face has its attributes, ready for json.

    Returns:
        ``formula`` in words, ``noise_scale``, ``globals`` (per global attribute its ``bias``, ``additive``
        coefficients and ``interactions``), ``locals`` (per local attribute its ``bias`` and ``causes``), ``latents``,
        ``drawn_as`` (what to look for in the image) and ``not_drawn`` (with the reason).

    Example:
        >>> ground_truth()["globals"]["Heavy_Makeup"]["interactions"][0]
        ['Arched_Eyebrows', 'Wearing_Lipstick', 1.0]
    """
    return {
        "formula": (
            "A global attribute is present where bias + sum of additive coefficients of the present attributes "
            "+ sum of coefficients of the interactions whose two attributes are both present "
            "+ noise_scale * standard logistic noise is positive. "
            "A local attribute is present with probability sigmoid(bias + sum of weight * cause), a cause being a "
            "standard logistic latent or another attribute (0 or 1)."
        ),
        "noise_scale": NOISE_SCALE,
        "globals": {
            name: {
                "bias": cause.bias,
                "additive": dict(cause.additive),
                "interactions": [*map(list, cause.interactions)],
            }
            for name, cause in GLOBAL_CAUSES.items()
        },
        "locals": {name: {"bias": cause.bias, "causes": dict(cause.causes)} for name, cause in LOCAL_CAUSES.items()},
        "latents": list(LATENTS),
        "drawn_as": dict(DRAWN_AS),
        "not_drawn": dict(NOT_DRAWN),
    }


# ---------------------------------------------------------------------------------------------------------------------
# Drawing
# ---------------------------------------------------------------------------------------------------------------------

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


def _uniform(rows: int, columns: int, seed: int) -> NDArray[np.float64]:
    """Uniform in the open interval (0, 1), filled row by row."""
    # Raw words: numpy promises them for ever, but not the numbers a Generator makes of them.
    words = np.random.PCG64(np.random.SeedSequence(seed)).random_raw(rows * columns)
    return ((words >> np.uint64(12)).astype(np.float64) + 0.5).reshape(rows, columns) * 2.0**-52


def _logit(probability: NDArray[np.float64]) -> NDArray[np.float64]:
    logit: NDArray[np.float64] = np.log(probability) - np.log1p(-probability)
    return logit


# ---------------------------------------------------------------------------------------------------------------------
# Files
# ---------------------------------------------------------------------------------------------------------------------


def write_faces(
    root: str | Path, *, train: int, valid: int, test: int, size: int = 96, seed: int = 0, progress: bool = True
) -> None:
    """Write a data set of drawn faces that a reader of CelebA reads.

    The folder holds ``img_align_celeba/000001.jpg`` and so on, ``list_attr_celeba.txt``, ``list_eval_partition.txt``
    (0 training, 1 validation, 2 test, in this order) and ``ground_truth.json`` with `ground_truth` and the settings.
    It appears at ``root`` complete or not at all, and only one of several processes writes it. Faces that are already
    there with the same settings are left alone.

    Args:
        root: Folder to make.
        train: Number of training images.
        valid: Number of validation images.
        test: Number of test images.
        size: Height and width of the images in pixels.
        seed: Seed of attributes and pictures.
        progress: Whether to show a progress bar.

    Raises:
        ValueError: If ``root`` holds something else than these faces, or a number is too small.
    """
    require_at_least(1, train=train, valid=valid, test=test)
    require_at_least(0, seed=seed)
    require_at_least(SMALLEST_SIZE, size=size)
    settings = {"train": train, "valid": valid, "test": test, "size": size, "seed": seed}
    truth = {**ground_truth(), "settings": settings}
    write_once(Path(root), truth, "faces", partial(_write_folder, truth=truth, progress=progress))


def _write_folder(folder: Path, truth: dict[str, Any], *, progress: bool) -> None:
    settings = truth["settings"]
    size, seed = settings["size"], settings["seed"]
    partition = [number for number, name in enumerate(("train", "valid", "test")) for _ in range(settings[name])]
    attributes = sample_attributes(len(partition), seed)
    names = [f"{i + 1:06d}.jpg" for i in range(len(partition))]

    images = folder / "img_align_celeba"
    images.mkdir()
    for i, name in enumerate(tqdm(names, desc="Drawing faces", unit="image", disable=not progress)):
        (images / name).write_bytes(jpeg(draw_face(attributes[i], index=i, seed=seed, size=size)))

    rows = (" ".join(f"{1 if value else -1:2d}" for value in row) for row in attributes.tolist())
    lines = [str(len(names)), " ".join(ATTRIBUTES) + " ", *map(" ".join, zip(names, rows, strict=True))]
    _write_lines(folder / "list_attr_celeba.txt", lines)
    _write_lines(folder / "list_eval_partition.txt", [f"{name} {p}" for name, p in zip(names, partition, strict=True)])


def _write_lines(path: Path, lines: Iterable[str]) -> None:
    path.write_text("".join(f"{line}\n" for line in lines), newline="\n")


class SyntheticFacesDataModule(Redrawable, CelebADataModule):
    """Drawn faces with known causes, written on first use and then read like CelebA.

    Any face can be drawn again with other local attributes. The global ones and No_Beard have no picture of their own,
    see `NOT_DRAWN`.

    Args:
        root: Folder of the faces, see `write_faces`.
        train: Number of training images.
        valid: Number of validation images.
        test: Number of test images.
        draw_size: Height and width in pixels at which faces are drawn; ``image_size`` is the size they are read at.
        draw_seed: Seed of attributes and pictures.
        **kwargs: Everything else of `CelebADataModule`.
    """

    redrawable = tuple(DRAWN_AS)

    def __init__(
        self,
        *,
        root: str,
        train: Annotated[int, Ge(1)] = 4000,
        valid: Annotated[int, Ge(1)] = 500,
        test: Annotated[int, Ge(1)] = 500,
        draw_size: Annotated[int, Ge(SMALLEST_SIZE)] = 96,
        draw_seed: Annotated[int, Ge(0)] = 0,
        **kwargs: Any,
    ) -> None:
        super().__init__(root=root, **kwargs)
        self.draw_size = draw_size
        self.draw_seed = draw_seed
        self.write = partial(
            write_faces, self.root, train=train, valid=valid, test=test, size=draw_size, seed=draw_seed
        )

    def prepare_data(self) -> None:
        """Draw the faces unless they are there, then prepare them like CelebA."""
        self.write()
        super().prepare_data()

    def rates(self) -> NDArray[np.float64]:
        """``(35,)``. Share of the training faces that have each attribute."""
        rates: NDArray[np.float64] = self._split("train").labels[:, _DRAWN].mean(axis=0)
        return rates

    def scenes(self, split: str) -> list[Scene]:
        """All faces of a split."""
        faces = self._split(split)
        settings: dict[str, Any] = {"seed": self.draw_seed, "size": self.draw_size, "image_size": self.image_size}
        return [
            Scene(at, labels[_DRAWN], partial(_redrawn, attributes=labels, index=int(path.stem) - 1, **settings))
            for at, (path, labels) in enumerate(zip(faces.paths, faces.labels, strict=True))
        ]


def _redrawn(
    present: NDArray[np.bool_], attributes: NDArray[np.bool_], index: int, seed: int, size: int, image_size: int
) -> Tensor:
    changed = attributes.copy()
    changed[_DRAWN] = present
    return as_read(draw_face(changed, index=index, seed=seed, size=size), image_size)
