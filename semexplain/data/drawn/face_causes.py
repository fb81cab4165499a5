"""What decides which attributes a drawn face has: a causal model whose truth is known."""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from semexplain.data.attributes import ATTRIBUTES
from semexplain.data.drawn.folder import require_at_least

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

DRAWN_COLUMNS = [ATTRIBUTES.index(name) for name in DRAWN_AS]
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


def _uniform(rows: int, columns: int, seed: int) -> NDArray[np.float64]:
    """Uniform in the open interval (0, 1), filled row by row."""
    # Raw words: numpy promises them for ever, but not the numbers a Generator makes of them.
    words = np.random.PCG64(np.random.SeedSequence(seed)).random_raw(rows * columns)
    return ((words >> np.uint64(12)).astype(np.float64) + 0.5).reshape(rows, columns) * 2.0**-52


def _logit(probability: NDArray[np.float64]) -> NDArray[np.float64]:
    logit: NDArray[np.float64] = np.log(probability) - np.log1p(-probability)
    return logit
