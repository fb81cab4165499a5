"""What a configuration may build: a name is resolved, and what it stands for has to be of a kind that is allowed."""

import functools
import importlib
import inspect
import os
import re
from types import ModuleType
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.loggers import Logger
from torchmetrics import Metric

from semexplain.system.trouble import Trouble

OWN = "SEMEXPLAIN_TRUSTED"  # the environment variable that names a user's own packages
# A run folder's configuration is data from elsewhere, so these are lists of what is allowed, not of what is forbidden.
LIBRARIES: dict[str, tuple[type, ...]] = {  # classes that derive from these, in the packages of libraries
    "torch.optim": (torch.optim.Optimizer, torch.optim.lr_scheduler.LRScheduler),
    "pytorch_lightning.callbacks": (pl.Callback,),
    "pytorch_lightning.loggers": (Logger,),
    "torchmetrics": (Metric,),
}
# The other packages of torchmetrics fetch networks by name, or run what they are given.
ARITHMETIC = tuple(f"torchmetrics.{name}" for name in ("classification", "regression", "aggregation", "nominal"))
# Components of this package: classes that derive from these, in the module by which they are named.
KINDS = (
    "semexplain.attributions.base.Attribution",
    "semexplain.concepts.base.ConceptKind",
    "semexplain.data.module.ImageDataModule",
    "semexplain.explainers.base.Explainer",
    "semexplain.performers.base.Performer",
    "semexplain.training.controls.Control",
    "pytorch_lightning.callbacks.callback.Callback",
    "pytorch_lightning.loggers.logger.Logger",
    "torch.optim.lr_scheduler.LRScheduler",
    "torchmetrics.metric.Metric",
)
# Components that are functions: those that are defined in these modules.
FUNCTIONS = (
    "semexplain.concepts.losses",
    "semexplain.concepts.priors",
    "semexplain.concepts.selection",
    "semexplain.report.figures",
)
SINGLE = (  # and these, of which there is one each
    "pytorch_lightning.Trainer",
    "semexplain.runs.naming.PartNaming",
    "semexplain.runs.performer_training.PerformerTraining",
    "semexplain.training.distillation.Distillation",
)
REFUSED = ("pytorch_lightning.callbacks.lambda_function.LambdaCallback",)  # runs what it is given
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]*(\.[A-Za-z][A-Za-z0-9_]*)+")


class UntrustedError(Trouble):
    """A configuration names what it may not build."""


def trusted(target: Any) -> Any:
    """What a ``_target_`` stands for, if a configuration may build it.

    Nothing outside the trusted packages is imported. It has to be defined where it is named, so that what a trusted
    module merely imports can not be reached through it.

    Args:
        target: ``<module>.<name>``.

    Raises:
        UntrustedError: If it may not be built.
        Trouble: If there is no such thing.

    Example:
        >>> trusted("torch.optim.Adam").__name__
        'Adam'
        >>> trusted("torch.optim.optimizer.torch.hub.load")
        Traceback (most recent call last):
        ...
        semexplain.system.trust.UntrustedError: ... none of the kinds of component that a configuration may build...
    """
    if not isinstance(target, str) or not _NAME.fullmatch(target):
        raise UntrustedError(f"expected <module>.<name> in plain letters and without a leading _, got {target!r}.")
    packages = ("semexplain", *LIBRARIES, *own_packages())
    if target not in SINGLE and not any(_lies_in(target, package) for package in packages):
        raise UntrustedError(
            f"{target!r} is not in a trusted package ({', '.join(packages)}). If it is your own code, set the "
            f"environment variable {OWN}={target.split('.')[0]}."
        )
    for package in own_packages():
        if _lies_in(target, package):
            return _own(target, package)
    module, _, name = target.rpartition(".")
    found = _module(module, target)
    if found is None:
        raise UntrustedError(_not_a_component(target))
    if name not in vars(found):
        raise Trouble(f"cannot import {target!r}: there is no {name!r} in {module}.")
    item = vars(found)[name]
    if not _is_component(target, item):
        raise UntrustedError(_not_a_component(target))
    return item


def own_packages() -> tuple[str, ...]:
    """The packages that the user trusts, from the environment, which no run folder can set."""
    return tuple(name for item in os.environ.get(OWN, "").split(",") if (name := item.strip()))


def _is_component(target: str, item: Any) -> bool:
    if target in SINGLE:
        return True
    if target.startswith("semexplain."):
        defined = getattr(item, "__module__", None) == target.rpartition(".")[0]
        if inspect.isfunction(item):
            return defined and any(_lies_in(target, module) for module in FUNCTIONS)
        return defined and inspect.isclass(item) and not inspect.isabstract(item) and not _bases(item).isdisjoint(KINDS)
    if not inspect.isclass(item) or inspect.isabstract(item) or _qualified(item) in REFUSED:
        return False
    package = next(package for package in LIBRARIES if _lies_in(target, package))
    places = ARITHMETIC if package == "torchmetrics" else (package,)
    defined = any(_lies_in(item.__module__, place) for place in places)
    return defined and issubclass(item, LIBRARIES[package]) and item not in LIBRARIES[package]


def _bases(item: type) -> set[str]:
    """What a class derives from, but for itself."""
    return {_qualified(base) for base in item.__mro__[1:]}


def _qualified(item: type) -> str:
    return f"{item.__module__}.{item.__qualname__}"


def _lies_in(name: str, package: str) -> bool:
    return name == package or name.startswith(f"{package}.")


def _not_a_component(target: str) -> str:
    return (
        f"{target!r} is none of the kinds of component that a configuration may build, or is not defined there. If it "
        f"is your own code, put it into a package of yours and set the environment variable {OWN}."
    )


def _module(name: str, target: str) -> ModuleType | None:
    """A module, None if its name leads through something else."""
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is not None and _lies_in(name, error.name):
            return None
        raise Trouble(f"cannot import {target!r} ({error}).") from error
    except Exception as error:
        raise Trouble(f"cannot import {target!r} ({error}).") from error


def _own(target: str, package: str) -> Any:
    """What a user's own package defines under a name: a function, a class, or a method of a class."""
    words = target.split(".")
    for count in range(len(words), 0, -1):
        module = _module(".".join(words[:count]), target) if _lies_in(".".join(words[:count]), package) else None
        if module is not None:
            break
    else:
        raise Trouble(f"cannot import {target!r}: there is no module {package!r}. Is it on PYTHONPATH?")
    try:
        item = functools.reduce(getattr, words[count:], module)
    except AttributeError as error:
        raise Trouble(f"cannot import {target!r} ({error}).") from error
    if isinstance(item, ModuleType) or not _lies_in(str(getattr(item, "__module__", "")), package):
        raise UntrustedError(f"{target!r} is not defined in {package}, which merely uses it.")
    return item
