"""Names of a network's outputs: from a file, from a list, or from what a library keeps with a model."""

import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from torch import nn

from semexplain.system.reading import read_text
from semexplain.system.trouble import Trouble

log = logging.getLogger(__name__)


def class_names(classes: str | Path | Sequence[str] | Mapping[int, str]) -> tuple[str, ...]:
    """Names of outputs, each of which is there once.

    Args:
        classes: A text file with one name per line, a list, or names by their index.

    Returns:
        The names in the order of the outputs. What several outputs are called ("crane", among ImageNet's) gets the
        index of each; a warning tells where numbers are sorted as text.

    Raises:
        Trouble: If there is no such file, or an index is missing.

    Example:
        >>> class_names(["crane", "dog", "crane"])
        ('crane 0', 'dog', 'crane 2')
    """
    if isinstance(classes, Mapping):
        numbers = {int(index): str(name) for index, name in classes.items()}
        if sorted(numbers) != list(range(len(numbers))):
            raise Trouble(f"classes: expected a name for every index from 0 on, got the indices {sorted(numbers)[:8]}.")
        names = [numbers[index] for index in range(len(numbers))]
    elif isinstance(classes, str | Path):
        names = _lines(Path(classes))
    else:
        names = [str(name) for name in classes]
    if any(not name.strip() for name in names):
        raise Trouble("classes: a name is empty. Expected one for each output, in the order of the outputs.")
    _doubt_order(names)
    counts = Counter(names)
    unique = tuple(name if counts[name] == 1 else f"{name} {index}" for index, name in enumerate(names))
    if len(set(unique)) < len(unique):
        twice = next(name for name, count in Counter(unique).items() if count > 1)
        raise Trouble(f"classes: two outputs would be called {twice!r}. Give each a name of its own.")
    return unique


def own_class_names(model: nn.Module) -> tuple[str, ...] | None:
    """What a model of timm or Hugging Face calls its outputs; ``None`` if it does not say."""
    if isinstance(known := getattr(model, "pretrained_cfg", None), Mapping):
        return _of_timm(model, known)
    labels = getattr(getattr(model, "config", None), "id2label", None)
    if not isinstance(labels, Mapping) or all(str(name).startswith("LABEL_") for name in labels.values()):
        return None
    return class_names(labels)


def _of_timm(model: nn.Module, known: Mapping) -> tuple[str, ...] | None:
    from timm.data import ImageNetInfo, infer_imagenet_subset

    count = getattr(model, "num_classes", None)
    names = known.get("label_names")
    if names is not None:
        return class_names(list(names)) if len(names) == count else None
    if count != known.get("num_classes"):  # another head than that of the weights
        return None
    subset = infer_imagenet_subset(model)
    return class_names(ImageNetInfo(subset).label_descriptions()) if subset else None


def _lines(file: Path) -> list[str]:
    if not file.is_file():
        raise Trouble(f"classes: there is no file {file.absolute()}. Expected one name per line, or a list of names.")
    lines = [line.strip() for line in read_text(file).splitlines()]
    while lines and not lines[-1]:
        lines.pop()
    if not lines:
        raise Trouble(f"classes: {file} is empty. Expected one name per line, in the order of the outputs.")
    return lines


def _doubt_order(names: Sequence[str]) -> None:
    """Class folders that are numbers are sorted as text by most programs, and their outputs are in that order."""
    if len(names) > 1 and all(name.isascii() and name.isdecimal() for name in names):
        text, number = sorted(names), sorted(names, key=int)
        if text != number and list(names) in (text, number):
            other = number if list(names) == text else text
            log.warning(
                "The classes are numbers in the order %s. If the network was trained in the order %s, as it is with "
                "folders sorted %s, every name stands for another class: check one that you know.",
                ", ".join(names[:4]),
                ", ".join(other[:4]),
                "as numbers" if other is number else "as text",
            )
