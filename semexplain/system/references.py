"""References to the environment in a configuration: kept as they were written wherever it is put down."""

import os
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from omegaconf import Container, Node, OmegaConf
from omegaconf.basecontainer import BaseContainer
from omegaconf.resolvers.oc import decode

LOCATIONS = "SEMEXPLAIN_"  # variables of the package's own say where things lie, which is not secret
_NOTHING = object()


def as_written(config: Any) -> Any:
    """A configuration as plain values, all settled but for references to the environment, which may be secrets.

    Args:
        config: Of OmegaConf, or plain values, which are handed back.

    Example:
        >>> as_written(OmegaConf.create({"beta": 1, "b": "${beta}", "key": "${oc.env:KEY}", "same": "${key}"}))
        {'beta': 1, 'b': 1, 'key': '${oc.env:KEY}', 'same': '${oc.env:KEY}'}
    """
    if not OmegaConf.is_config(config):
        return config
    with _resolvers({"oc.env": _environment, "oc.decode": _decoded}):
        return OmegaConf.to_container(config, resolve=True)


def references(node: Any, path: str = "") -> Iterator[str]:
    """Dotted keys of all plain values that refer to something else by ``${...}``.

    Example:
        >>> list(references({"a": 1, "b": {"c": ["x", "${oc.env:KEY}"]}}))
        ['b.c[1]']
    """
    if isinstance(node, Mapping):
        for key, value in node.items():
            yield from references(value, f"{path}.{key}" if path else str(key))
            if "${" in str(key):
                yield f"{path}.{key}"
    elif isinstance(node, list | tuple):
        for position, value in enumerate(node):
            yield from references(value, f"{path}[{position}]")
    elif isinstance(node, str) and "${" in node:
        yield path


def is_reference(value: Any) -> bool:
    """Whether a plain value refers to something else.

    Example:
        >>> is_reference("${oc.env:KEY}"), is_reference("key"), is_reference(3)
        (True, False, False)
    """
    return isinstance(value, str) and "${" in value


def without_values(text: str, config: Any) -> str:
    """A message in which references of a configuration stand in place of what they refer to in the environment.

    Example:
        >>> os.environ["KEY"] = "hunter2"
        >>> without_values("expected int, got 'hunter2'", OmegaConf.create({"seed": "${oc.env:KEY}"}))
        "expected int, got '${oc.env:KEY}'"
    """
    written = str(OmegaConf.to_container(config) if OmegaConf.is_config(config) else config)
    for name in re.findall(r"\$\{oc\.env:\s*(\w+)", written):
        value = os.environ.get(name)
        if value and not name.startswith(LOCATIONS):
            text = text.replace(value, f"${{oc.env:{name}}}")
    return text


@contextmanager
def _resolvers(changes: Mapping[str, Callable[..., Any]]) -> Iterator[None]:
    before = {name: BaseContainer._resolvers[name] for name in changes}
    try:
        for name, resolver in changes.items():
            OmegaConf.register_new_resolver(name, resolver, replace=True)
        yield
    finally:
        BaseContainer._resolvers.update(before)


def _environment(name: str, default: Any = _NOTHING) -> Any:
    if name.startswith(LOCATIONS):
        value = os.environ.get(name, default)
        if value is _NOTHING:
            raise KeyError(f"Environment variable '{name}' not found")
        return value if value is None else str(value)
    return f"${{oc.env:{name}{'' if default is _NOTHING else f',{_literal(default)}'}}}"


def _decoded(text: str | None, _parent_: Container, _node_: Node) -> Any:
    return f"${{oc.decode:{text}}}" if is_reference(text) else decode(text, _parent_=_parent_, _node_=_node_)


def _literal(value: Any) -> str:
    """A default as OmegaConf's grammar writes it, where it becomes a string."""
    if value is None:
        return "null"
    text = str(value)
    if not is_reference(text):  # backslashes count before a quote and at the end
        text = re.sub(r"(\\*)('|\Z)", lambda match: match[1] * 2 + match[2].replace("'", "\\'"), text)
    return f"'{text}'"
