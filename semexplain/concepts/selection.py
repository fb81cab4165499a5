"""Which of a performer's concepts an explanation may use (Fig. 8: explanations from fewer concepts).

Each function takes the performer's concept names first and returns positions among them, in the performer's order.
"""

from collections import Counter
from collections.abc import Sequence
from difflib import get_close_matches
from typing import Annotated

import numpy as np
from annotated_types import Ge

from semexplain.system.seed import Seed


def all_concepts(names: Sequence[str]) -> list[int]:
    """Use every concept.

    Args:
        names: The ``n`` concept names of the performer.

    Returns:
        0, 1, ..., n - 1.

    Example:
        >>> all_concepts(["Smiling", "Young"])
        [0, 1]
    """
    return list(range(len(names)))


def random_concepts(names: Sequence[str], *, count: Annotated[int, Ge(1)], seed: Seed = 0) -> list[int]:
    """Use a random choice of concepts that only grows with ``count``.

    The first ``count`` places of one seeded permutation are taken. For a given seed a larger choice therefore contains
    every smaller one, and two runs that are to be compared use the same concepts.

    Args:
        names: The ``n`` concept names of the performer.
        count: How many concepts to use.
        seed: Which permutation.

    Returns:
        ``count`` positions, sorted.

    Raises:
        ValueError: If there are not ``count`` concepts, or the seed is out of range.

    Example:
        >>> random_concepts(["Bald", "Eyeglasses", "Smiling", "Young"], count=2)
        [2, 3]
        >>> random_concepts(["Bald", "Eyeglasses", "Smiling", "Young"], count=4)
        [0, 1, 2, 3]
    """
    if not 1 <= count <= len(names):
        raise ValueError(f"`count` must be between 1 and the {len(names)} concepts of this performer, got {count}.")
    if not 0 <= seed < 2**32:
        raise ValueError(f"`seed` must be between 0 and 2**32 - 1, got {seed}.")
    # NumPy promises that the numbers of RandomState never change, which no other generator here does.
    permutation = np.random.RandomState(seed).permutation(len(names))
    return sorted(permutation[:count].tolist())


def named_concepts(names: Sequence[str], *, include: list[str]) -> list[int]:
    """Use the concepts of a list.

    Args:
        names: The ``n`` concept names of the performer.
        include: Names of the concepts to use, in any order.

    Returns:
        Their positions, sorted.

    Raises:
        TypeError: If ``include`` is one string instead of a list.
        ValueError: If ``include`` is empty, repeats a name, or has a name that the performer does not know.

    Example:
        >>> named_concepts(["Bald", "Eyeglasses", "Smiling", "Young"], include=["Young", "Bald"])
        [0, 3]
    """
    if isinstance(include, str):
        raise TypeError(f"`include` must be a list of concept names, got the string {include!r}. Write [{include}].")
    if len(include) == 0:
        raise ValueError("`include` must name at least one concept, got an empty list.")
    doubles = [name for name, times in Counter(include).items() if times > 1]
    if doubles:
        raise ValueError(f"`include` must name each concept once, got {', '.join(map(repr, doubles))} more than once.")
    unknown = [_suggest(name, names) for name in include if name not in names]
    if unknown:
        raise ValueError(
            f"`include` must hold names among the {len(names)} concepts of this performer, got {'; '.join(unknown)}."
        )
    return sorted(list(names).index(name) for name in include)


def _suggest(name: str, names: Sequence[str]) -> str:
    spellings = {spelling.casefold(): spelling for spelling in names}
    matches = [spellings[match] for match in get_close_matches(str(name).casefold(), spellings)]
    return f"{name!r} (did you mean {', '.join(matches)}?)" if matches else f"{name!r}"
