"""The configuration against the code: signatures are the schema, all problems are reported together."""

import contextlib
import difflib
import functools
import inspect
import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, get_type_hints

import hydra
import torch
from annotated_types import Ge
from hydra.errors import InstantiationException
from hydra.utils import get_object
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from pydantic import ConfigDict, PydanticUserError, TypeAdapter, ValidationError
from torch import nn

# What a configuration may build. A run folder's configuration is data from elsewhere, so this is a list of what is
# allowed, not of what is forbidden. Own packages: SEMEXPLAIN_TRUSTED=mypackage,other.
TRUSTED = (
    "semexplain.",
    "torch.optim.",
    "pytorch_lightning.Trainer",
    "pytorch_lightning.callbacks.",
    "pytorch_lightning.loggers.",
    "torchmetrics.",
)

# ${first:a,b}: the first that is not null; ${least:a,b}: the least of those; ${unless:a,b}: b if a is null, else null
OmegaConf.register_new_resolver("first", lambda *values: next((v for v in values if v is not None), None), replace=True)
OmegaConf.register_new_resolver("least", lambda *values: min(v for v in values if v is not None), replace=True)
OmegaConf.register_new_resolver("unless", lambda flag, value: None if flag is not None else value, replace=True)
PRECISIONS = ("32-true", "32", "bf16-mixed", "16-mixed")
PATHS = ("data", "performers", "cache", "outputs", "multirun")


class ConfigError(ValueError):
    """The configuration does not fit the code; the message lists every problem."""


def root_options(
    *,
    task: Literal["explainer", "performer"],
    beta: Annotated[float, Ge(0)],
    seed: Annotated[int, Ge(0)],
    resume: str | None,
    objective: str,
    data: Any,
    performer: Any,
    performer_training: Any,
    concepts: Any,
    explainer: Any,
    prior: Any,
    prior_loss: Any,
    optimizer: Any,
    scheduler: Any,
    metrics: Any,
    figures: Any,
    callbacks: Any,
    trainer: Any,
    logger: Any,
    module: Any,
    paths: Any,
    parts: Any = None,
    control: Any = None,
    start: Any = None,
) -> None:
    """The root of the configuration; the signature is its schema.

    Args:
        task: Train an explainer, or only the performer that it would explain.
        beta: Constant of λ(t) = β / √t, Eq. (3); 0 trains the baseline without prior.
        seed: Of the explainer's initialisation, its data order and random concepts.
        resume: Folder of an interrupted run to continue.
        objective: Key of ``metrics.json`` that a sweep minimises.
        data: This and the rest are groups under ``conf/``, each checked against its own target.
        performer: The network to explain.
        performer_training: How it is trained where it is missing.
        concepts: Which concepts explain it.
        explainer: The network that explains.
        start: An attribution that it starts from, if any.
        prior: What the performer itself suggests.
        prior_loss: Disagreement with the prior.
        optimizer: Of the explainer.
        scheduler: Of the explainer's learning rate.
        metrics: By name.
        figures: By name; drawn of validation images while the explainer trains.
        callbacks: By name.
        trainer: Lightning's.
        logger: By name.
        module: What is trained.
        paths: Folders.
        parts: How filters are given the names of object parts, if they are.
        control: What the explainer is told in place of the truth, if it is.
    """


def instantiate(config: Any, *args: Any, **kwargs: Any) -> Any:
    """Build what a configuration describes, if all of it is trusted (see ``TRUSTED``).

    Raises:
        ConfigError: If any ``_target_`` is outside the trusted packages, or a constructor refuses its arguments.
    """
    problems = [problem for path, node in _targets(_plain(config)) for problem in _untrusted(path, node["_target_"])]
    if problems:
        raise ConfigError("\n  ".join(["The configuration may not build this:", *problems]))
    try:
        return hydra.utils.instantiate(config, *args, **kwargs)
    except InstantiationException as error:
        if isinstance(error.__cause__, ValueError | TypeError | OSError | ImportError):
            raise ConfigError(f"{config.get('_target_', 'configuration')}: {error.__cause__}") from error
        raise


def check(config: DictConfig) -> None:
    """Compare a composed configuration with the code before anything is built.

    Raises:
        ConfigError: Naming every unknown key, wrong type, impossible value and missing value in the user's words.
    """
    told: dict[str, str] = {}
    for problem in _problems(config):
        text = problem.partition(": ")[2]
        if text not in told or _is_taken_over(config, told[text].partition(": ")[0]):
            told[text] = problem
    _refuse(list(told.values()))


def check_group(config: DictConfig, group: str) -> None:
    """Compare one group of options with the code, as ``check`` does with all.

    Raises:
        ConfigError: Naming every problem.
    """
    node = OmegaConf.select(config, group)
    missing = {f"{group}.{key}" for key in OmegaConf.missing_keys(node)}
    problems = [f"{key}: needs a value, for example `{key}=...` on the command line." for key in sorted(missing)]
    _refuse([*problems, *_problems_of_targets({group: _plain(node)}, missing)])


def _refuse(problems: list[str]) -> None:
    if problems:
        count = "1 problem" if len(problems) == 1 else f"{len(problems)} problems"
        raise ConfigError(f"The configuration has {count}; nothing was started.\n  " + "\n  ".join(problems))


def _problems(config: DictConfig) -> Iterator[str]:
    try:
        missing = OmegaConf.missing_keys(config)
        plain = _plain(config)
    except OmegaConfBaseException as error:
        yield f"{error.full_key}: {str(error).splitlines()[0]}"
        return
    missing = {key for key in missing if not key.startswith("module.")}  # it repeats the groups
    yield from (f"{key}: needs a value, for example `{key}=...` on the command line." for key in sorted(missing))
    yield from _misfits("", plain, root_options, missing, complete=True)
    found = list(_problems_of_targets({**plain, "module": _own(plain["module"], config.module)}, missing))
    yield from found
    if not found and not missing:
        yield from _contradictions(config, plain)


def _problems_of_targets(plain: Mapping[str, Any], missing: set[str]) -> Iterator[str]:
    for path, node in _targets(plain):
        untrusted = list(_untrusted(path, node["_target_"]))
        yield from untrusted
        if untrusted:
            continue
        try:
            target = get_object(node["_target_"])
        except Exception as error:
            yield f"{path}._target_: cannot import {node['_target_']!r} ({error})."
            continue
        values = {key: value for key, value in node.items() if not key.startswith("_")}
        misfits = list(_misfits(path, values, target, missing, complete=not node.get("_partial_", False)))
        yield from misfits
        if not misfits and not missing:
            yield from _misbuilds(path, node, target)


def _is_taken_over(config: DictConfig, path: str) -> bool:
    """Whether an option takes its value from another one, which is the one to mend."""
    parent, _, key = path.rpartition(".")
    node = OmegaConf.select(config, parent) if parent else config
    return isinstance(node, DictConfig) and key in node and OmegaConf.is_interpolation(node, key)


def _misfits(
    path: str, values: Mapping[str, Any], target: Callable, missing: set[str], *, complete: bool
) -> Iterator[str]:
    """Unknown keys, absent keys and values that do not fit the annotations of a target's parameters."""
    parameters, hints = _signature(target)
    open_ended = any(p.kind is inspect.Parameter.VAR_KEYWORD for p in parameters.values())
    for key in values:
        if key not in parameters and not open_ended:
            known = f"{_owner(path, target)} takes: {', '.join(parameters)}"
            yield f"{_join(path, key)}: unknown key{_suggest(key, parameters)}. {known}."
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
    except PydanticUserError:  # an annotation that says nothing about plain values
        return None
    except ValidationError as error:
        first = error.errors()[0]
        options = [str(option) for option in getattr(hint, "__args__", ()) if isinstance(option, str)]
        if first["type"] == "literal_error" and len(options) > 8:
            some = f"{options[0]!r}, {options[1]!r}, ... ({len(options)} in all)"
            return f"expected one of {some}, got {value!r}{_suggest(value, options)}."
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
                target(in_channels=1, map_size=1, n_concepts=1, **values)
    except (ValueError, TypeError) as error:
        yield f"{path}: {error}"


def _contradictions(config: DictConfig, plain: dict[str, Any]) -> Iterator[str]:
    """Values that are possible each but not together."""
    try:
        select_concepts(config)
    except (ValueError, TypeError) as error:
        yield f"concepts: {error.__cause__ or error}"
    if plain["prior_loss"]["_target_"].endswith("prior_cross_entropy"):
        if plain["explainer"].get("output") == "identity":
            yield "prior_loss: the cross-entropy needs positive weights: `explainer.output=softplus`, or use l2."
        if plain["prior"]["_target_"].endswith("feature_ratio"):
            yield "prior_loss: the cross-entropy needs a positive prior, feature_ratio is signed: `prior_loss=l2`."
        if plain["prior"].get("clamp") is False:
            yield "prior_loss: the cross-entropy needs a positive prior: `prior.clamp=true`, or use l2."
    elif plain["prior_loss"]["_target_"].endswith("prior_l2") and plain["prior"].get("clamp"):
        yield "prior_loss: l2 compares directions, which a prior clamped at 0 has lost: `prior.clamp=false`."
    module = plain["module"]
    outputs = not plain["prior"]["_target_"].endswith("filter_jacobian")
    if module.get("ablations", 0) > 0 and outputs and not module.get("centre"):
        yield (
            "module.ablations: an output of the head is taken away by setting it to its mean, where it must contribute "
            "nothing: `module.centre=true`."
        )
    if plain.get("start") is not None and plain["explainer"].get("output") == "softplus":
        yield "start: it is corrected in both directions, a softplus goes one way: `explainer.output=identity`."
    for name in ("part_error", "part_ranks"):
        if name in plain["metrics"] and plain.get("parts") is None:
            yield f"metrics: {name} needs filters that have been named, for example by `parts=peak`."
        if name in plain["metrics"] and not plain["concepts"]["_target_"].endswith("all_concepts"):
            yield f"metrics: {name} removes all filters of a part, so all must explain: `concepts=all`, or do without."
    if "parts_pie" in plain["figures"] and plain.get("parts") is None:
        yield "figures: a pie of parts needs filters that have been named, for example by `parts=peak`."
    if plain.get("parts") is not None and "category" not in plain["data"]:
        yield "parts: filters are named from part masks: use data=pascal_part or data=synthetic_animals, or `~parts`."
    callbacks = [node for _, node in _targets(plain["callbacks"])]
    if plain["beta"] > 0 and not any(node["_target_"].endswith("PriorWeight") for node in callbacks):
        yield "callbacks: without prior_weight λ stays 0 whatever `beta` is. Add it to the list, or give `beta=0`."
    kept = {node.get("filename") for node in callbacks if node["_target_"].endswith("ModelCheckpoint")}
    yield from (
        f"callbacks: {name}_checkpoint is missing, without it a run cannot be {use}."
        for name, use in (("best", "measured"), ("last", "resumed"))
        if name not in kept
    )
    size, seen = plain["data"].get("image_size"), plain["performer"].get("image_size")
    if size != seen:
        yield f"data.image_size: {size} but the performer sees images of performer.image_size={seen}. Set that alone."
    category, target = plain["data"].get("category"), plain["performer"].get("target")
    if category not in (None, target):
        yield f"data.category: {category!r} but the performer explains performer.target={target!r}. Set that alone."
    if plain["data"].get("split") == "icnn" and plain["performer_training"].get("flip"):
        yield (
            "performer_training.flip: the split `icnn` holds the mirror image of every object already. Use "
            "performer_training.flip=false, or data.split=voc."
        )
    file = (plain.get("parts") or {}).get("file")
    if file is not None and not Path(file).is_file():
        yield f"parts.file: there is no file {Path(file).absolute()}."
    if plain["data"].get("flip"):
        yield "data.flip: an explainer sees every image as it is; `performer_training.flip` mirrors the performer's."
    precision = plain["trainer"].get("precision", "32-true")
    if str(precision) not in PRECISIONS:
        yield f"trainer.precision: expected one of {', '.join(PRECISIONS)}, got {precision!r}: priors need 32 bits."
    weights = plain["performer"].get("weights")
    if weights is not None and not weights.isidentifier() and not Path(weights).is_file():
        yield f"performer.weights: there is no file {Path(weights).absolute()}."
    unknown = set(plain["paths"]) - set(PATHS)
    yield from (f"paths.{key}: unknown key{_suggest(key, PATHS)}. There are: {', '.join(PATHS)}." for key in unknown)


def select_concepts(config: DictConfig) -> list[int]:
    """Columns of the performer's concepts that the explanation uses."""
    performer = get_object(config.performer._target_)
    names = performer.names_of_concepts(**_plain(config.performer))
    return instantiate(config.concepts)(names)


def _plain(config: Any) -> Any:
    return OmegaConf.to_container(config, resolve=True) if OmegaConf.is_config(config) else config


def _targets(node: Any, path: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    if isinstance(node, Mapping):
        if "_target_" in node:
            yield path, dict(node)
        for key, value in node.items():
            yield from _targets(value, _join(path, str(key)))
    elif isinstance(node, list):
        for position, value in enumerate(node):
            yield from _targets(value, f"{path}[{position}]")


def _untrusted(path: str, target: str) -> Iterator[str]:
    own = [f"{name}." for name in os.environ.get("SEMEXPLAIN_TRUSTED", "").split(",") if name]
    if not str(target).startswith((*TRUSTED, *own)):
        package = str(target).split(".")[0]
        yield (
            f"{path}._target_: {target!r} is not in a trusted package ({', '.join(TRUSTED)}). If it is your own code, "
            f"set the environment variable SEMEXPLAIN_TRUSTED={package}."
        )


def _own(plain: dict[str, Any], config: DictConfig) -> dict[str, Any]:
    """A node without what it takes over from elsewhere by interpolation, which is checked there."""
    return {key: value for key, value in plain.items() if not OmegaConf.is_interpolation(config, key)}


def _holds_target(value: Any) -> bool:
    return next(_targets(value), None) is not None


def _join(path: str, key: str) -> str:
    return f"{path}.{key}" if path else key


def _owner(path: str, target: Callable) -> str:
    return target.__qualname__ if path else "The root of the configuration"


def _suggest(word: Any, options: Any) -> str:
    close = difflib.get_close_matches(str(word), list(options), n=1, cutoff=0.6)
    return f" (did you mean {close[0]!r}?)" if close else ""


def _signature(target: Callable) -> tuple[dict[str, inspect.Parameter], dict[str, Any]]:
    """Parameters and type hints; where a class forwards ``**kwargs``, its base class's parameters as well."""
    functions = (
        [vars(c)["__init__"] for c in target.__mro__ if "__init__" in vars(c)] if inspect.isclass(target) else [target]
    )
    parameters: dict[str, inspect.Parameter] = {}
    hints: dict[str, Any] = {}
    for function in functions:
        own = dict(inspect.signature(function).parameters)
        own.pop("self", None)
        parameters = {**own, **parameters}
        with contextlib.suppress(NameError, TypeError, AttributeError):  # annotations that only type checkers can read
            hints = {**get_type_hints(function, include_extras=True), **hints}
        forwards = [p.name for p in own.values() if p.kind is inspect.Parameter.VAR_KEYWORD]
        if not forwards:
            break
        if function is not functions[-1]:
            for name in forwards:
                parameters.pop(name)
    return parameters, hints


@functools.cache
def _adapter(hint: Any) -> TypeAdapter:
    return TypeAdapter(hint, config=ConfigDict(arbitrary_types_allowed=True))
