"""The configuration against the code: signatures are the schema, all problems are reported together."""

import contextlib
import difflib
import functools
import inspect
from collections.abc import Callable, Iterator, Mapping
from typing import Any, get_type_hints

import hydra
import torch
from hydra.errors import InstantiationException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from pydantic import ConfigDict, PydanticUserError, TypeAdapter, ValidationError
from pydantic_core import SchemaError
from torch import nn

from semexplain.system.references import without_values
from semexplain.system.trouble import Trouble
from semexplain.system.trust import trusted

# ${first:a,b}: the first that is not null; ${least:a,b}: the least of those; ${unless:a,b}: b if a is null, else null
OmegaConf.register_new_resolver("first", lambda *values: next((v for v in values if v is not None), None), replace=True)
OmegaConf.register_new_resolver("least", lambda *values: min(v for v in values if v is not None), replace=True)
OmegaConf.register_new_resolver("unless", lambda flag, value: None if flag is not None else value, replace=True)


class ConfigError(Trouble):
    """The configuration does not fit the code; the message lists every problem."""


def instantiate(config: Any, *args: Any, **kwargs: Any) -> Any:
    """Build what a configuration describes, if all of it may be built (see :mod:`semexplain.system.trust`).

    Raises:
        ConfigError: If any ``_target_`` may not, or a constructor refuses its arguments.
    """
    try:
        problems = list(_untrusted(plain(config)))
    except OmegaConfBaseException as error:
        raise ConfigError(f"{error.full_key}: {str(error).splitlines()[0]}") from error
    if problems:
        raise ConfigError("\n  ".join(["The configuration may not build this:", *problems]))
    try:
        return hydra.utils.instantiate(config, *args, **kwargs)
    except InstantiationException as error:
        if isinstance(error.__cause__, ValueError | TypeError | OSError | ImportError):
            # words of this package say what they are about; of others it has to be said
            where = "" if isinstance(error.__cause__, Trouble) else f"{config.get('_target_', 'configuration')}: "
            raise ConfigError(without_values(f"{where}{error.__cause__}", config)) from error.__cause__
        raise


def trusted_target(target: Any) -> Any:
    """The class or function that a ``_target_`` names, if a configuration may build it.

    Raises:
        ConfigError: If it may not, or cannot be imported.
    """
    try:
        return trusted(target)
    except Trouble as error:
        raise ConfigError(f"_target_: {error}") from error


def check_group(config: DictConfig, group: str) -> None:
    """Compare one group of options with the code, as ``check`` does with all.

    Raises:
        ConfigError: Naming every problem.
    """
    node = OmegaConf.select(config, group)
    missing = {f"{group}.{key}" for key in OmegaConf.missing_keys(node)}
    problems = [f"{key}: needs a value, for example `{key}=...` on the command line." for key in sorted(missing)]
    refuse([*problems, *problems_of_targets({group: plain(node)}, missing)])


def refuse(problems: list[str]) -> None:
    """Raise a ``ConfigError`` that lists problems, if there are any."""
    if problems:
        count = "1 problem" if len(problems) == 1 else f"{len(problems)} problems"
        raise ConfigError(f"The configuration has {count}; nothing was started.\n  " + "\n  ".join(problems))


def problems_of_targets(values: Mapping[str, Any], missing: set[str]) -> Iterator[str]:
    """What does not fit the constructors that plain values name, except for keys that are missing."""
    for path, node in targets(values):
        try:
            target = trusted(node["_target_"])
        except Trouble as error:
            yield f"{path}._target_: {error}"
            continue
        arguments = {key: value for key, value in node.items() if not key.startswith("_")}
        problems = list(misfits(path, arguments, target, missing, complete=not node.get("_partial_", False)))
        yield from problems
        if not problems and not missing:
            yield from _misbuilds(path, node, target)


def misfits(
    path: str, values: Mapping[str, Any], target: Callable, missing: set[str], *, complete: bool
) -> Iterator[str]:
    """Unknown keys, absent keys and values that do not fit the annotations of a target's parameters."""
    parameters, hints = _signature(target)
    open_ended = any(p.kind is inspect.Parameter.VAR_KEYWORD for p in parameters.values())
    for key in values:
        if key not in parameters and not open_ended:
            hint = f"{_owner(path, target)} takes: {', '.join(parameters)}"
            yield f"{_join(path, key)}: unknown key{suggest(key, parameters)}. {hint}."
    if complete:
        for name, parameter in parameters.items():
            required = (
                parameter.default is inspect.Parameter.empty and parameter.kind is not inspect.Parameter.VAR_KEYWORD
            )
            if required and name not in values and parameter.kind is not inspect.Parameter.VAR_POSITIONAL:
                yield f"{_join(path, name)}: needs a value; {_owner(path, target)} has no default for it."
    for key, value in values.items():
        if key in hints and not _holds_target(value) and _join(path, key) not in missing:
            problem = _misvalue(value, hints[key])
            if problem:
                yield f"{_join(path, key)}: {problem}"


def _misvalue(value: Any, hint: Any) -> str | None:
    try:
        _adapter(hint).validate_python(value, strict=not isinstance(value, list))
    except (PydanticUserError, SchemaError):  # an annotation that says nothing about plain values
        return None
    except ValidationError as error:
        first = error.errors()[0]
        options = [str(option) for option in getattr(hint, "__args__", ()) if isinstance(option, str)]
        if first["type"] == "literal_error" and len(options) > 8:
            some = f"{options[0]!r}, {options[1]!r}, ... ({len(options)} in all)"
            return f"expected one of {some}, got {value!r}{suggest(value, options)}."
        return f"{first['msg'].replace('Input should be', 'expected')}, got {value!r}."
    return None


def _misbuilds(path: str, node: dict[str, Any], target: Callable) -> Iterator[str]:
    """What only a constructor knows: optimizer and scheduler are tried on a parameter, the explainer without memory."""
    values = {key: value for key, value in node.items() if not key.startswith("_")}
    try:
        with torch.device("meta"):
            parameter = nn.Parameter(torch.zeros(1))
            if path.split(".")[-1] == "optimizer":
                target([parameter], **values)
            elif path == "scheduler":
                target(torch.optim.SGD([parameter], lr=1.0), **values)
            elif path == "explainer":
                target(map_shape=(1, 1, 1), n_concepts=1, **values)
    except (ValueError, TypeError) as error:
        yield f"{path}: {error}"


def plain(config: Any) -> Any:
    """A configuration as dictionaries and lists, everything resolved."""
    return OmegaConf.to_container(config, resolve=True) if OmegaConf.is_config(config) else config


def targets(node: Any, path: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """Every node below that names a ``_target_``, with its path."""
    if isinstance(node, Mapping):
        if "_target_" in node:
            yield path, dict(node)
        for key, value in node.items():
            yield from targets(value, _join(path, str(key)))
    elif isinstance(node, list | tuple):
        for position, value in enumerate(node):
            yield from targets(value, f"{path}[{position}]")


def _untrusted(values: Any) -> Iterator[str]:
    for path, node in targets(values):
        try:
            trusted(node["_target_"])
        except Trouble as error:
            yield f"{path}._target_: {error}".removeprefix(".")


def _holds_target(value: Any) -> bool:
    return next(targets(value), None) is not None


def _join(path: str, key: str) -> str:
    return f"{path}.{key}" if path else key


def _owner(path: str, target: Callable) -> str:
    return target.__qualname__ if path else "The root of the configuration"


def suggest(word: Any, options: Any) -> str:
    """`` (did you mean ...?)`` if one of the options is close to a word."""
    matches = difflib.get_close_matches(str(word), list(options), n=1, cutoff=0.6)
    return f" (did you mean {matches[0]!r}?)" if matches else ""


def _signature(target: Callable) -> tuple[dict[str, inspect.Parameter], dict[str, Any]]:
    """Parameters and type hints; where a class forwards ``**kwargs``, its base class's parameters as well."""
    functions = (
        [vars(c)["__init__"] for c in target.__mro__ if "__init__" in vars(c)] if inspect.isclass(target) else [target]
    )
    parameters: dict[str, inspect.Parameter] = {}
    hints: dict[str, Any] = {}
    for function in functions:
        arguments = dict(inspect.signature(function).parameters)
        arguments.pop("self", None)
        parameters = {**arguments, **parameters}
        with contextlib.suppress(NameError, TypeError, AttributeError):  # annotations that only type checkers can read
            hints = {**get_type_hints(function, include_extras=True), **hints}
        forwards = [p.name for p in arguments.values() if p.kind is inspect.Parameter.VAR_KEYWORD]
        if not forwards:
            break
        if function is not functions[-1]:
            for name in forwards:
                parameters.pop(name)
    return parameters, hints


@functools.cache
def _adapter(hint: Any) -> TypeAdapter:
    return TypeAdapter(hint, config=ConfigDict(arbitrary_types_allowed=True))
