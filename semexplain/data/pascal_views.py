"""Which views of which objects a split of Pascal-Part shows: the paper's protocol and its balance."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple, TypeVar

import numpy as np

from semexplain.data.images import Split
from semexplain.data.pascal_annotations import Box, Category, Size
from semexplain.system.image_files import photo_size

T = TypeVar("T")
_CHOICES = 0  # seed of all choices: not that of a run, so that every run has the same test images
# Objects of the `icnn` split in the full data, slots of the positives among its 4000 images, and its negatives.
ICNN_OBJECTS: dict[Category, int] = {"bird": 388, "cat": 559, "cow": 194, "dog": 681, "horse": 293, "sheep": 263}
ICNN_SLOTS = 3000
ICNN_NEGATIVES = 1000


class Instance(NamedTuple):
    """An object without its masks."""

    photo: str
    number: int  # from 1, among those of the photo
    name: str
    box: Box
    parts: int | None = None  # how many part masks it has; None: it is not in the part annotations
    size: Size | None = None  # height and width of the masks


class View(NamedTuple):
    """An image of a split."""

    id: str
    photo: str
    path: Path
    label: bool
    box: Box
    parts: bool = False  # whether it is the animal and has part masks
    size: Size | None = None  # height and width of the masks
    mirrored: bool = False
    repeats: int = 1
    group: int = 0


def training_positions(count: int) -> list[int]:
    """The nine tenths that train in the ``icnn`` split: ``round(linspace(1, P, round(0.9 P))) - 1``.

    Halves are rounded away from zero, as in MATLAB, here in whole numbers throughout.

    Args:
        count: Number of objects, ``P``.

    Returns:
        Positions, counted from 0.

    Example:
        >>> training_positions(11)
        [0, 1, 2, 3, 4, 6, 7, 8, 9, 10]
    """
    picks = (9 * count + 5) // 10
    steps = max(picks - 1, 1)
    return [(2 * step * (count - 1) + steps) // (2 * steps) for step in range(picks)]


def slot_repeats(count: int) -> list[int]:
    """How often each view occurs in the ``icnn`` split: object and mirror image in turn, again and again, 3000 in all.

    Args:
        count: Number of objects.

    Returns:
        Two numbers for every object.

    Example:
        >>> slot_repeats(700)[:3], slot_repeats(700)[200:203], sum(slot_repeats(700))
        ([3, 3, 3], [2, 2, 2], 3000)
    """
    return [ICNN_SLOTS // (2 * count) + (view < ICNN_SLOTS % (2 * count)) for view in range(2 * count)]


def shuffle(items: Sequence[T]) -> list[T]:
    """The items in an order that is always the same."""
    return [items[position] for position in np.random.RandomState(_CHOICES).permutation(len(items))]


def share_of_photos(photos: Iterable[str], share: float) -> set[str]:
    """A share of the photos, at least one of them and never all."""
    distinct = sorted(set(photos))
    return set(shuffle(distinct)[: min(max(round(share * len(distinct)), 1), len(distinct) - 1)])


def gather(views: Sequence[View]) -> Split:
    """A split of these images, shuffled, with about the same share of positives everywhere."""
    classes = [[view for view in shuffle(views) if view.label == label] for label in (True, False)]
    places = [((rank + 0.5) / len(members), view) for members in classes for rank, view in enumerate(members)]
    views = [view for _, view in sorted(places, key=lambda pair: pair[0])]
    sizes = {view.path: photo_size(view.path) for view in views if view.box == (0, 0, 0, 0)}
    boxes = [(0, 0, *sizes[view.path][::-1]) if view.path in sizes else view.box for view in views]
    return Split(
        tuple(view.id for view in views),
        tuple(view.path for view in views),
        np.array([[view.label] for view in views], dtype=np.bool_).reshape(-1, 1),
        np.array(boxes, dtype=np.int64).reshape(-1, 4),
        np.array([view.mirrored for view in views], dtype=np.bool_),
        np.array([view.repeats for view in views], dtype=np.int64),
        np.array([view.group for view in views], dtype=np.int64),
    )
