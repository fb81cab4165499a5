"""Networks that torchvision, timm and Hugging Face know by name, with what these say of classes and pictures.

Nothing that comes with weights or with a configuration is executed: options through which a library would open a
pickle, or fetch and run code, are refused.
"""

import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torchvision
from torch import nn

from semexplain.performers import presets
from semexplain.performers.class_names import class_names, own_class_names
from semexplain.performers.presets import Preset
from semexplain.system.config import suggest
from semexplain.system.reading import read_json
from semexplain.system.trouble import Trouble

CONFIG = "config.json"
RESERVED = (  # by which libraries fetch or open weights, or code, in ways of their own
    "auto_map",
    "cache_dir",
    "checkpoint_path",
    "code_revision",
    "custom_load",
    "force_download",
    "pretrained",
    "pretrained_cfg",
    "pretrained_cfg_overlay",
    "progress",
    "proxies",
    "revision",
    "subfolder",
    "token",
    "trust_remote_code",
    "weights",
    "weights_backbone",
)


class Found(NamedTuple):
    """A network, whether its weights are random, and what is known of its outputs and of its pictures."""

    model: nn.Module
    random: bool = False
    classes: tuple[str, ...] | None = None
    preset: Preset | None = None


def of_torchvision(name: str, weights: str | None, arguments: dict[str, Any]) -> Found:
    """A network of torchvision's, with random weights unless some are named, which torchvision downloads."""
    names = torchvision.models.list_models()
    if name not in names:
        raise Trouble(f"model: torchvision has no {name!r}{suggest(name, names)}.")
    _require_plain(arguments)
    if weights is None:
        return Found(_made(f"torchvision:{name}", lambda: _of_torchvision(name, None, arguments)), random=True)
    known = torchvision.models.get_model_weights(name)
    if weights not in known.__members__:
        there = ", ".join(known.__members__) or "none"
        raise Trouble(f"weights: torchvision's {name} has {there}, got {weights!r}. A file goes to `checkpoint`.")
    chosen = known[weights]
    model = _made(f"torchvision:{name} with {weights}", lambda: _of_torchvision(name, chosen, arguments))
    categories = chosen.meta.get("categories")
    return Found(model, False, class_names(categories) if categories else None, presets.preset_of(chosen))


def of_timm(name: str, weights: str | None, arguments: dict[str, Any]) -> Found:
    """A network of timm's, with random weights unless some are named, which timm downloads."""
    timm = _library("timm", "timm")
    if not timm.is_model(name):  # also names of repositories and folders, which bring options of their own
        raise Trouble(f"model: timm has no {name!r}{suggest(name, timm.list_models())}.")
    _require_plain(arguments)
    tagged = name if weights in (None, "DEFAULT") else f"{name.partition('.')[0]}.{weights}"
    if tagged != name and not timm.is_model_pretrained(tagged):
        tags = [other.partition(".")[2] for other in timm.list_pretrained(f"{name.partition('.')[0]}.*")]
        raise Trouble(f"weights: timm's {name} has {', '.join(['DEFAULT', *tags])}, got {weights!r}.")
    what = f"timm:{tagged}"
    model = _made(what, lambda: timm.create_model(tagged, pretrained=weights is not None, **arguments))
    known = None if weights is None else own_class_names(model)
    return Found(model, weights is None, known, presets.of_timm(model))


def of_hugging_face(place: str, arguments: dict[str, Any], replaced: bool) -> Found:
    """A classification network of a local folder, or of a name that transformers finds or downloads.

    Args:
        place: A folder with ``config.json``, with random weights if there are none in it; or a name.
        arguments: Values in place of the configuration's.
        replaced: Whether other weights will be loaded.

    Raises:
        Trouble: If it is no classification network, needs code of its own, or lacks some weights.
    """
    transformers = _library("transformers", "hf")
    folder = Path(place).expanduser()
    if not folder.is_dir() and place.startswith((".", "/", "~")):
        raise Trouble(f"model: there is no folder {folder.absolute()}.")
    where = str(folder) if folder.is_dir() else place
    said = read_json(folder / CONFIG) if folder.is_dir() else {}
    _require_plain({**said, **arguments} if isinstance(said, Mapping) else arguments)
    what, auto = f"hf:{place}", transformers.AutoModelForImageClassification
    safe: dict[str, Any] = {"trust_remote_code": False}
    config = _made(what, lambda: transformers.AutoConfig.from_pretrained(where, **safe, **arguments))
    _require_plain(config.to_dict())
    _require_plain({"attn_implementation": getattr(config, "_attn_implementation", None)})
    kept = not folder.is_dir() or any((*folder.glob("*.safetensors*"), *folder.glob("pytorch_model*.bin*")))
    if replaced or not kept:
        model = _made(what, lambda: auto.from_config(config, **safe))
    else:
        model, facts = _made(what, lambda: auto.from_pretrained(where, config=config, output_loading_info=True, **safe))
        absent = sorted({*facts["missing_keys"], *(str(key) for key in facts.get("mismatched_keys", ()))})
        if absent:
            raise Trouble(
                f"model: the weights of {what} lack {', '.join(absent[:4])}, which would be random: it was not saved "
                "as a classification network of these classes."
            )
    return Found(model, not kept, own_class_names(model), presets.of_folder(where))


def _of_torchvision(name: str, weights: Any, arguments: dict[str, Any]) -> nn.Module:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The default weight initialization of", FutureWarning)
        return torchvision.models.get_model(name, weights=weights, **arguments)


def _library(package: str, extra: str) -> Any:
    try:
        return __import__(package)
    except ImportError as error:
        raise Trouble(f"model: {package} is not installed ({error}): `pip install 'semexplain[{extra}]'`.") from error


def _made(what: str, make: Any) -> Any:
    """What a library builds; its refusal in a line."""
    try:
        return make()
    except Trouble:
        raise
    except Exception as error:  # libraries refuse in many ways
        text = " ".join(f"{type(error).__name__}: {error}".split())
        raise Trouble(f"model: {what} cannot be built here ({text:.300}).") from error


def _require_plain(options: Mapping[str, Any]) -> None:
    """Refuse options by which a library would fetch or open something in a way of its own."""
    for key, value in _options(options):
        if key in RESERVED and value not in (None, False):
            raise Trouble(
                f"arguments: `{key}` is refused, in a configuration as well: code that comes with a network is not run "
                "here, and weights are named by `weights` or `checkpoint`."
            )
        if key.endswith("implementation") and isinstance(value, str) and ("/" in value or "|" in value):
            raise Trouble(f"arguments: `{key}` {value!r} would fetch code and run it, which is refused.")


def _options(node: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(node, Mapping):
        for key, value in node.items():
            yield str(key), value
            yield from _options(value)
    elif isinstance(node, list | tuple):
        for value in node:
            yield from _options(value)
