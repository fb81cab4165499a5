"""Tensors in what modules return: tuples, lists, dicts, model outputs and dataclasses of them."""

import copy
import dataclasses
from collections.abc import Callable, Iterator, MutableMapping
from typing import Any

from torch import Tensor


def tensors(value: Any) -> Iterator[Tensor]:
    """All tensors, in the order in which :func:`replaced` takes them.

    Example:
        >>> import torch
        >>> [t.item() for t in tensors((torch.tensor(1), None, {"a": [torch.tensor(2)]}))]
        [1, 2]
    """
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, MutableMapping):
        for item in value.values():
            yield from tensors(item)
    elif isinstance(value, tuple | list):
        for item in value:
            yield from tensors(item)
    elif dataclasses.is_dataclass(value) and not isinstance(value, type):
        for field in dataclasses.fields(value):
            yield from tensors(getattr(value, field.name))


def replaced(value: Any, change: Callable[[Tensor], Tensor]) -> Any:
    """The same with every tensor changed; other things stay as they are.

    Example:
        >>> import torch
        >>> replaced((torch.tensor(1), None), lambda tensor: tensor + 1)
        (tensor(2), None)
    """
    if isinstance(value, Tensor):
        return change(value)
    if isinstance(value, MutableMapping):
        other = copy.copy(value)
        for key in list(value):
            other[key] = replaced(value[key], change)
        return other
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return type(value)(*(replaced(item, change) for item in value))
    if isinstance(value, tuple | list):
        return type(value)(replaced(item, change) for item in value)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        changed = copy.copy(value)
        for field in dataclasses.fields(value):
            object.__setattr__(changed, field.name, replaced(getattr(value, field.name), change))
        return changed
    return value
