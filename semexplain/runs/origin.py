"""Where the network of a run is from: what is recorded of it, and what a folder from elsewhere may have built.

A network that is named on the command line or in Python is trusted by that act. The same words in a run folder that was
made elsewhere execute nothing, unless the folder is trusted and the file that they name is the one that was recorded.
"""

import inspect
import logging
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, cast

from omegaconf import DictConfig, OmegaConf

from semexplain.concepts.filters import Filters
from semexplain.performers.named_network import NamedNetwork
from semexplain.performers.sources import Words, source_digest, words_of
from semexplain.system.config import ConfigError, targets
from semexplain.system.ownership import is_own
from semexplain.system.reading import read_json
from semexplain.system.trouble import Trouble
from semexplain.system.trust import trusted

log = logging.getLogger(__name__)
FACTS = "performer.json"
MODEL, CLASSES = "performer.model", "performer.classes"


def absolute_model(model: str) -> str:
    """What a network is called, in another folder; what is no such word stays as it is, to be refused by itself.

    Example:
        >>> absolute_model("/nets/mine.py:build"), absolute_model("torchvision:resnet18"), absolute_model("?")
        ('/nets/mine.py:build', 'torchvision:resnet18', '?')
    """
    try:
        return words_of(model).absolute()
    except Trouble:
        return model


def require_same_source(config: DictConfig, file: Path, given: Mapping[str, Any], *, trust: bool = False) -> None:
    """Refuse to build what a recorded configuration calls a network, unless it is one's own or harmless, and the same.

    Args:
        config: As recorded.
        file: The run's ``config.yaml``.
        given: Options that this command was given, by dotted key: a network and classes among them are trusted by that.
        trust: Treat the folder as one's own.

    Raises:
        ConfigError: If the folder is foreign and would have code run, or something downloaded; or if it is trusted,
            and its code is not what was recorded.
    """
    own = is_own(file)
    for path, node in () if own or trust else _nodes(config, Filters):
        if isinstance(node.get("names"), str):  # a run writes down what they are called
            raise ConfigError(
                f"run: {file.parent} was made on another machine or changed since: it would have the file "
                f"{path}.names={node['names']} read for names. If you trust who made it: `trust=true`, for report and "
                "parts `--trust`."
            )
    for path, node in _nodes(config, NamedNetwork):
        if "model" not in node:
            continue
        named, words = f"{path}.model" in given, words_of(str(node["model"]))
        if named and not own and not trust and isinstance(chosen := node.get("transform", "auto"), str):
            _require_unnamed(chosen, path, file)
        if not own and not (trust and path == "performer"):
            for deed in _deeds(None if named else words, node if f"{path}.classes" not in given else {}):
                remedy = f"Say its classes yourself: `{path}.classes=...`" if named else _named(path)
                trusting = "; or if you trust who made it: `trust=true`, for report and parts `--trust`"
                raise ConfigError(
                    f"run: {file.parent} was made on another machine or changed since: its network {path}.model="
                    f"{node['model']} {deed}. {remedy}{trusting * (path == 'performer')}."
                )
        if path == "performer" and not named:
            _require_recorded(str(node["model"]), file, refuse=not own and words.executes)


def _named(path: str) -> str:
    return f"Name the network yourself: `{path}.model=<file>.py:<function>`"


def _deeds(words: Words | None, node: Mapping[str, Any]) -> Iterator[str]:
    """What building a network does beyond reading tensors and the configuration of a library's own network.

    Args:
        words: What the folder calls its network; None if the command has named another.
        node: What else the folder says of it.
    """
    if words is not None and words.executes:
        yield "is code that would be run"
    if words is not None and words.kind == "hf" and words.file is None:
        yield "would be downloaded"
    if isinstance(node.get("classes"), str):
        yield f"would have the file {node['classes']} read for names"


def _require_unnamed(transform: str, path: str, file: Path) -> None:
    """Refuse to call what a foreign folder chooses, though it lies in the code that the command has named."""
    if transform != "auto":
        raise ConfigError(
            f"run: {file.parent} was made on another machine or changed since: it would have "
            f"{path}.transform={transform} called, which it chooses. If you trust who made it: `trust=true`, for "
            "report and parts `--trust`."
        )


def _require_recorded(model: str, file: Path, *, refuse: bool) -> None:
    """Compare the source with what the run wrote down; code that somebody else has named must be the same."""
    facts = read_json(file.with_name(FACTS)) if file.with_name(FACTS).exists() else {}
    recorded = facts.get("source") if isinstance(facts, dict) else None
    before = recorded.get("sha256") if isinstance(recorded, dict) else None
    if before is None and not refuse:  # a run that ended before it had a network
        return
    try:
        now = source_digest(model)
    except Trouble as trouble:
        raise ConfigError(f"run: {trouble} Say where it is: `{MODEL}=...`.") from trouble
    if before != now:
        text = f"{MODEL}: {model} is not what the run was made with (SHA-256 {before!s:.12} then, {now:.12} now)."
        if refuse:
            raise ConfigError(f"{text} Restore it. {_named('performer')}.")
        log.warning("%s", text)


def _nodes(config: DictConfig, kind: type) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Places in a configuration where something of a kind is to be built, and what is said of it."""
    for path, node in targets(cast(dict[str, Any], OmegaConf.to_container(config))):
        try:
            target = trusted(node["_target_"])
        except Trouble:  # which is refused when it is to be built
            continue
        if inspect.isclass(target) and issubclass(target, kind):
            yield path, node
