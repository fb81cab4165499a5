"""Run folders that were made on another machine, or changed since: they are read, and choose nothing else.

Such a folder neither learns what is in the environment, nor says where anything is written, nor whom it is sent to.
"""

import inspect
import logging
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, cast

import pytorch_lightning as pl
from omegaconf import DictConfig, OmegaConf
from pytorch_lightning.loggers import Logger

from semexplain.runs.options import PATHS, name_problems
from semexplain.system.config import ConfigError, targets
from semexplain.system.ownership import is_own
from semexplain.system.reading import read_mapping
from semexplain.system.references import references
from semexplain.system.trouble import DamagedFileError, Trouble
from semexplain.system.trust import trusted

log = logging.getLogger(__name__)
SECTIONS = (
    "performer",
    "data",
    "concepts",
    "module",
    "metrics",
    "report_figures",
    "trainer",
    "paths",
)  # without which no run was recorded
LOCAL = "pytorch_lightning.loggers.CSVLogger"
VARIABLES = {"data": "SEMEXPLAIN_DATA", "performers": "SEMEXPLAIN_PERFORMERS", "cache": "SEMEXPLAIN_CACHE"}
INDEX = "pascal_part"  # below the cache
UNCHECKED = "wandb"  # Weights & Biases links what it sends; the folder itself is checked


def read_config(file: Path, *, trust: bool = False) -> DictConfig:
    """The configuration that a run recorded, as plain data.

    Args:
        file: The run's ``config.yaml``.
        trust: Treat a foreign folder as one's own.

    Raises:
        DamagedFileError: If the file holds no such thing.
        ConfigError: If the folder is foreign and refers to the environment, which may hold secrets.
    """
    values = read_mapping(file)
    for problem in name_problems(values):
        raise DamagedFileError(f"{file}: {problem}")
    if not trust and (keys := list(references(values))) and not is_own(file):
        raise ConfigError(_foreign(file.parent, f"{', '.join(keys[:3])} would be read from your environment"))
    return cast(DictConfig, OmegaConf.create(values))


def require_sections(config: DictConfig, file: Path) -> None:
    """Refuse a recorded configuration that lacks what every run has.

    Raises:
        DamagedFileError: Naming what is missing.
    """
    for name in SECTIONS:
        if not isinstance(config.get(name), DictConfig):
            raise DamagedFileError(f"{file} has no options `{name}`: it is not as a run wrote it. Restore it.")


def confined(config: DictConfig, file: Path, given: Mapping[str, Any]) -> DictConfig:
    """A recorded configuration that writes only where this command does, if its folder is foreign.

    Args:
        config: As recorded; it is changed.
        file: The run's ``config.yaml``.
        given: Options that this command was given, by dotted key.

    Raises:
        ConfigError: If callbacks, loggers or figures are to write somewhere else.
    """
    if is_own(file):
        return config
    for problem in _leading_out(cast(dict[str, Any], OmegaConf.to_container(config))):
        raise ConfigError(_foreign(file.parent, problem))
    places = {f"paths.{name}": place for name, place in own_paths().items()}
    cache = given.get("paths.cache") or places["paths.cache"]
    if config.data.get("cache") not in (None, "auto", "off"):
        places["data.cache"] = "auto"
    if config.data.get("index") is not None:
        places["data.index"] = str(Path(cache) / INDEX)
    for key, value in {**places, **given}.items():
        OmegaConf.update(config, key, value, force_add=True)
    return config


def require_data(config: DictConfig, file: Path, given: Mapping[str, Any]) -> None:
    """Refuse to fill a folder that only a foreign run names with drawn data.

    Raises:
        ConfigError: If there is nothing at the data's root.
    """
    root = config.data.get("root")
    if root is None or given.get("data.root") is not None or is_own(file):
        return
    if not os.path.isfile(root) and (not os.path.isdir(root) or not os.listdir(root)):
        problem = f"it would have data drawn or fetched into {root}. Say where the data are: `data.root=<folder>`"
        raise ConfigError(_foreign(file.parent, problem))


def without_strange_loggers(config: DictConfig, file: Path) -> DictConfig:
    """A recorded configuration whose run is told to nobody else, if its folder is foreign; it is changed."""
    if not is_own(file):
        strange = [name for name, node in config.logger.items() if node.get("_target_") != LOCAL]
        for name in strange:
            log.info("%s", _foreign(file.parent, f"its logger {name!r} is left out"))
            del config.logger[name]
    return config


def own_paths() -> dict[str, str]:
    """Where this user's commands keep things unless they are told otherwise, as ``conf/paths/default.yaml`` says."""
    return {name: os.path.abspath(os.environ.get(VARIABLES.get(name, ""), name)) for name in PATHS}


def within(folder: Path | str, *names: str, trust: bool = False) -> Path:
    """A place in a run folder where something will be written, unless a link there leads out of the folder.

    Raises:
        ConfigError: If it does.
    """
    place, base = Path(folder, *names), Path(folder).resolve()
    if not trust and not place.resolve().is_relative_to(base):
        raise ConfigError(_linked(place))
    return place


def require_no_links_out(folder: Path | str, *, trust: bool = False) -> None:
    """Refuse a run folder that is to be written into if a link in it leads elsewhere.

    Raises:
        ConfigError: If one does.
    """
    base = Path(folder).resolve()
    for place, folders, files in os.walk(folder) if not trust else ():
        for name in (*folders, *files):
            path = Path(place, name)
            if path.is_symlink() and not path.resolve().is_relative_to(base):
                raise ConfigError(_linked(path))
        if Path(place) == Path(folder) and UNCHECKED in folders:
            folders.remove(UNCHECKED)


def _checked_run(resume: str | None, trust: bool = False) -> str | None:
    if resume is not None:
        require_no_links_out(Path(resume).expanduser(), trust=bool(trust))
    return resume


# ${resumed:folder,trust}, ${within:folder,name,trust}: folders, unless links in them lead elsewhere; for Hydra itself
# writes there before a command begins
OmegaConf.register_new_resolver("resumed", _checked_run, replace=True)
OmegaConf.register_new_resolver(
    "within", lambda folder, name, trust=False: str(within(folder, name, trust=bool(trust))), replace=True
)


def _leading_out(values: dict[str, Any]) -> Iterator[str]:
    """What callbacks, loggers, figures and the trainer of a configuration name that is not inside the run folder."""
    for path, node in targets(values):
        try:
            target = trusted(node["_target_"])
        except Trouble:  # which is refused when it is to be built
            continue
        writer = inspect.isclass(target) and issubclass(target, pl.Callback | Logger | pl.Trainer)
        if writer or path.split(".")[0] in ("figures", "report_figures", "callbacks", "logger"):
            for key, value in _words(node, path):
                if (key.split(".")[-1] == "dirpath" and value) or _leads_out(value):
                    yield f"{key} says where to write ({value!r})"


def _words(node: Any, path: str) -> Iterator[tuple[str, str]]:
    if isinstance(node, Mapping):
        for key, value in node.items():
            yield from _words(value, f"{path}.{key}")
            yield path, str(key)
    elif isinstance(node, list):
        for position, value in enumerate(node):
            yield from _words(value, f"{path}[{position}]")
    elif isinstance(node, str):
        yield path, node


def _leads_out(text: str) -> bool:
    return text.startswith(("/", "\\", "~")) or ".." in re.split(r"[/\\]", text) or "://" in text or text[1:2] == ":"


def _foreign(folder: Path, what: str) -> str:
    return (
        f"run: {folder} was made on another machine or changed since: {what}. If you trust who made it: `trust=true`, "
        "for report and parts `--trust`."
    )


def _linked(path: Path) -> str:
    return (
        f"run: {path} is a link that leads out of the run folder, where something would be written. Remove it, or if "
        "you made it: `trust=true`, for report and parts `--trust`."
    )
