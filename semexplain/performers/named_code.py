"""A function or class that builds a network, in a file or a module that a user names. Building executes it."""

import functools
import hashlib
import importlib
import importlib.metadata
import importlib.util
import sys
import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.machinery import PathFinder
from pathlib import Path
from types import ModuleType
from typing import Any

from torch import nn

from semexplain.system.config import suggest
from semexplain.system.reading import require_file
from semexplain.system.trouble import Trouble

_beside: dict[str, Path] = {}  # modules that lie beside a file that was named, and its folder


def of_file(place: str, name: str, arguments: Mapping[str, Any]) -> nn.Module:
    """What a function or class in a file builds; the file may import what lies beside it, as a program may.

    Raises:
        Trouble: If there is no such file or name, if it raises, or if it builds something else.
    """
    file = Path(place).expanduser().absolute()
    own = _own_name(file_digest(file))
    spec = importlib.util.spec_from_file_location(own, file)
    assert spec is not None
    loader = spec.loader
    assert loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[own] = module  # where dataclasses and pickles look for it
    with _importing_from(file.parent):
        _asked(f"{place}", lambda: loader.exec_module(module))
        return _built(place, _named(module, place, name), name, arguments)


def of_module(place: str, name: str, arguments: Mapping[str, Any]) -> nn.Module:
    """What a function or class of a module builds.

    Raises:
        Trouble: As :func:`of_file`.
    """
    if file_of_module(place) is None:
        raise Trouble(f"model: there is no module {place!r}. Is it on PYTHONPATH? Or name a file: `<file>.py:{name}`.")
    module = _asked(place, lambda: importlib.import_module(place))
    return _built(place, _named(module, place, name), name, arguments)


def loaded(place: str, name: str, digest: str) -> Any:
    """What else the code is called that has built a network, such as a function that prepares its pictures.

    Args:
        place: The file or module.
        name: In it.
        digest: SHA-256 of the file as it was when it was executed.

    Raises:
        Trouble: If there is no such name.
    """
    module = sys.modules[_own_name(digest) if place.endswith(".py") else place]
    return _named(module, place, name, "transform")


@functools.cache
def distribution(module: str) -> str | None:
    """The installed package that a module is from; ``None`` if it is just a file somewhere."""
    names = importlib.metadata.packages_distributions().get(module.partition(".")[0], [])
    return names[0] if names and names[0] != "semexplain" else None


def file_of_module(module: str) -> Path | None:
    """The file of a module, found without importing it or what it lies in."""
    path: Any = None
    words = module.split(".")
    for count in range(1, len(words) + 1):
        spec = PathFinder.find_spec(".".join(words[:count]), path)
        if spec is None:
            return None
        path = spec.submodule_search_locations
    return None if spec is None or spec.origin is None else Path(spec.origin)


def file_digest(file: Path) -> str:
    """SHA-256 of a file.

    Raises:
        Trouble: If there is none, or something that is no file.
    """
    if not file.exists():
        raise Trouble(f"model: there is no file {file.absolute()}.")
    with require_file(file).open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()


def _own_name(digest: str) -> str:
    return f"semexplain_network_{digest[:16]}"


@contextmanager
def _importing_from(folder: Path) -> Iterator[None]:
    """A folder as the first to import from; another folder's modules of the same names are not taken for its own."""
    for name in [name for name, place in _beside.items() if place != folder]:
        sys.modules.pop(name, None)
        del _beside[name]
    before = set(sys.modules)
    sys.path.insert(0, str(folder))
    try:
        yield
    finally:
        sys.path.remove(str(folder))
        for name in set(sys.modules) - before:
            origin = getattr(sys.modules[name], "__file__", None)
            if origin and Path(origin).is_relative_to(folder) and not name.startswith("semexplain_network_"):
                _beside[name] = folder


def _named(module: ModuleType, place: str, name: str, key: str = "model") -> Any:
    if name not in vars(module):
        names = [word for word, value in vars(module).items() if callable(value) and not word.startswith("_")]
        there = ", ".join(names) or "nothing"
        raise Trouble(f"{key}: {place} has no {name!r}{suggest(name, names)}. It has: {there}.")
    return vars(module)[name]


def _built(place: str, build: Any, name: str, arguments: Mapping[str, Any]) -> nn.Module:
    if not callable(build) or isinstance(build, nn.Module):
        raise Trouble(
            f"model: {place}:{name} is a {type(build).__name__}; expected a function or class that builds the network, "
            "such as `def build(): return Net()`."
        )
    model = _asked(f"{place}:{name}", lambda: build(**arguments))
    if not isinstance(model, nn.Module):
        raise Trouble(f"model: {place}:{name} returned a {type(model).__name__}; expected a torch.nn.Module.")
    return model


def _asked(what: str, do: Any) -> Any:
    """What a stranger's code returns; what it raises is told with the line of it."""
    try:
        return do()
    except Exception as error:
        frame = traceback.extract_tb(error.__traceback__)[-1]
        text = f"{type(error).__name__}: {error}"
        raise Trouble(f"model: {what} raised {text:.300} ({frame.filename}, line {frame.lineno}).") from error
