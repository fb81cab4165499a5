"""Drawn animals: what is drawn, in which order, and the mask of every part."""

from collections.abc import Collection
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from semexplain.data.drawn.animal_figures import Chance, Figure, Mask, Pen, Slot, random_slots
from semexplain.data.drawn.animal_shapes import bird, quadruped
from semexplain.data.drawn.folder import require_at_least
from semexplain.data.drawn.surroundings import grass, thing
from semexplain.data.pascal_annotations import CATEGORIES, PARTS, Category

VERSION = 1  # of the pictures; goes up whenever a pixel changes
SMALLEST_SIZE = 128  # below it, many animals would be under the 50 x 50 pixels that count in Pascal-Part
CLASS_NUMBERS: dict[Category, int] = {"bird": 3, "cat": 8, "cow": 10, "dog": 12, "horse": 13, "sheep": 17}  # VOC's
LEAVES: dict[Category, tuple[str, ...]] = {
    category: tuple(leaf for leaves in PARTS[category].values() for leaf in leaves) for category in CATEGORIES
}


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

    chance = Chance(seed, index, 0)
    pen = Pen(size, chance)
    slots = random_slots(chance, pairs=20)
    cast = [category, chance.pick(CATEGORIES)][: len(slots)]
    if chance.percent(50):
        pen.put(thing(chance), Slot(chance.between(100, 900), chance.between(550, 850), 400, 400))
    labels = [{leaf: 1 + 100 * n + i for i, leaf in enumerate(LEAVES[kind])} for n, kind in enumerate(cast)]
    for n in reversed(range(len(cast))):
        parts = {leaf: label for leaf, label in labels[n].items() if n > 0 or leaf not in absent}
        pen.put(_animal(cast[n], Chance(seed, index, 1 + n)), slots[n], parts)
    if chance.percent(20):
        pen.put(grass(chance), Slot(slots[0].middle, slots[0].bottom + 20, slots[0].width, chance.between(90, 140)))
    animals = (Animal(kind, pen.masks(numbers)) for kind, numbers in zip(cast, labels, strict=True))
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
    chance = Chance(seed, index, 3)
    pen = Pen(size, chance)
    pen.put(thing(chance), Slot(chance.between(100, 900), chance.between(550, 850), 400, 400))
    for slot in random_slots(chance, pairs=40):
        pen.put(thing(chance), slot)
    if chance.percent(20):
        pen.put(grass(chance), Slot(500, chance.between(900, 1000), 700, chance.between(90, 140)))
    return pen.picture(chance)


def _leaves(category: Category, names: Collection[str]) -> set[str]:
    groups = {**{leaf: (leaf,) for leaf in LEAVES[category]}, **PARTS[category]}
    unknown = sorted(set(names) - set(groups))
    if unknown:
        raise ValueError(f"A {category} has no part {', '.join(unknown)}; its parts are {', '.join(groups)}.")
    return {leaf for name in names for leaf in groups[name]}


MISSING_BY_NATURE = {"tail": 10, "leye": 5, "reye": 5, "lear": 4, "rear": 4, "lhorn": 3, "rhorn": 3}  # in a hundred


def _animal(category: Category, chance: Chance) -> Figure:
    figure = Figure()
    if category == "bird":
        bird(figure, chance)
    else:
        quadruped(figure, category, chance)
    if chance.percent(50):
        figure = figure.mirrored()
    missing = [part for part, probability in MISSING_BY_NATURE.items() if chance.percent(probability)]
    figure.shapes = [shape for shape in figure.shapes if shape.part not in missing]
    return figure
