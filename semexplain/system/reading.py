"""Text, JSON and YAML as data from anywhere: plain values of a bounded size, and a file that is named if it is not."""

import json
import os
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from omegaconf._utils import get_yaml_loader

from semexplain.system.trouble import DamagedFileError

MOST_BYTES = 4 * 2**20
MOST_DEPTH = 64
MOST_NODES = 100_000
REMEDY = "Restore it from a copy, or do without what needs it."
_Fast = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class _PlainLoader(_Fast):  # type: ignore[misc, valid-type]
    """Reads what OmegaConf writes, with its notion of numbers, but builds nothing other than plain values."""

    yaml_implicit_resolvers = get_yaml_loader().yaml_implicit_resolvers

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """Refuse a key that is there twice, of which one would be lost."""
        keys = [key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
        if len(set(keys)) < len(keys):
            twice = next(key for key in keys if keys.count(key) > 1)
            raise yaml.constructor.ConstructorError(None, None, f"the key {twice!r} is there twice", node.start_mark)
        return super().construct_mapping(node, deep)


def require_file(path: Path) -> Path:
    """The path of a regular file, whose reading can neither wait nor go on for ever.

    Raises:
        FileNotFoundError: If there is nothing.
        DamagedFileError: If it is a folder, a pipe or a device.

    Example:
        >>> require_file(Path("/dev/null"))
        Traceback (most recent call last):
        ...
        semexplain.system.trouble.DamagedFileError: /dev/null is a device, where a file was expected. ...
    """
    mode = path.stat().st_mode
    if stat.S_ISREG(mode):
        return path
    raise DamagedFileError(f"{path} is {kind_of(mode)}, where a file was expected. {REMEDY}")


def kind_of(mode: int) -> str:
    """What something is that is no regular file, by its mode.

    Example:
        >>> kind_of(Path("/").stat().st_mode)
        'a folder'
    """
    kinds = {stat.S_IFDIR: "a folder", stat.S_IFIFO: "a pipe", stat.S_IFSOCK: "a socket"}
    return kinds.get(stat.S_IFMT(mode), "a device")


def read_text(path: Path, most: int = MOST_BYTES) -> str:
    """A text file.

    Raises:
        FileNotFoundError: If there is nothing.
        DamagedFileError: If it is no regular file, larger than ``most`` bytes, or not UTF-8.
    """
    require_file(path)
    with open(os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0)), "rb") as file:  # should it become a pipe now
        content = file.read(most + 1)
    if len(content) > most:
        raise DamagedFileError(f"{path} has more than {most / 2**20:g} MiB, which no such file has. {REMEDY}")
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise DamagedFileError(f"{path} is not UTF-8 text ({error.reason} at byte {error.start}). {REMEDY}") from error


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object.

    Raises:
        FileNotFoundError: If there is nothing.
        DamagedFileError: If the file holds anything else.
    """
    text = read_text(path)
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise DamagedFileError(f"{path} is not JSON: {_one_line(error)}. {REMEDY}") from error
    if not isinstance(content, dict):
        raise DamagedFileError(f"{path} must hold a JSON object, it holds {type(content).__name__}. {REMEDY}")
    return content


def read_yaml(path: Path) -> Any:
    """Plain values of a YAML file: no anchors, no tags, of a bounded depth and number.

    Raises:
        FileNotFoundError: If there is nothing.
        DamagedFileError: If the file holds anything else.
    """
    text = read_text(path)
    try:
        _require_plain(text)
        content = yaml.load(text, Loader=_PlainLoader)
    except (yaml.YAMLError, ValueError, TypeError, RecursionError) as error:
        raise DamagedFileError(f"{path} is not YAML of plain values: {_one_line(error)}. {REMEDY}") from error
    return content


def read_mapping(path: Path) -> dict[str, Any]:
    """A mapping with words as its keys from a YAML file, such as a recorded configuration.

    Raises:
        FileNotFoundError: If there is nothing.
        DamagedFileError: If the file holds anything else.
    """
    content = read_yaml(path)
    if not isinstance(content, Mapping) or not all(isinstance(key, str) for key in content):
        raise DamagedFileError(f"{path} must hold lines `<option>: <value>`, it holds {str(content)[:60]!r}. {REMEDY}")
    return dict(content)


def _require_plain(text: str) -> None:
    """Refuse what takes another form, or another size, in memory than in the file.

    Raises:
        ValueError: Saying what.
    """
    depth = nodes = 0
    for event in yaml.parse(text, Loader=_Fast):
        if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None) is not None:
            raise ValueError("it has anchors (`&name`, `*name`), which nothing here writes")
        if isinstance(event, yaml.ScalarEvent | yaml.CollectionStartEvent):
            nodes += 1
            if event.tag is not None:
                raise ValueError(f"it has the tag {event.tag}, and only plain values are read")
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > MOST_DEPTH or nodes > MOST_NODES:
            raise ValueError(f"it has more than {MOST_NODES:,} values, or more than {MOST_DEPTH} inside one another")


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:200]
