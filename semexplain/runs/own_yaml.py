"""One's own network, concepts and images in ten lines of yaml: read, checked, and put into words for ``train.py``."""

import copy
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from omegaconf import DictConfig, OmegaConf
from torch import Tensor

from semexplain.data.images import SPLITS
from semexplain.data.module import ready_data
from semexplain.performers.checks import Checks
from semexplain.performers.layers import Layers
from semexplain.performers.named_network import NamedNetwork
from semexplain.performers.network import Network
from semexplain.performers.sources import words_of
from semexplain.runs.explainer import CONF, composed, frame
from semexplain.runs.options import check
from semexplain.runs.targets import jobs_of, train_each, with_targets
from semexplain.system.config import ConfigError, instantiate, misfits, suggest
from semexplain.system.devices import require_devices
from semexplain.system.places import require_folder
from semexplain.system.reading import read_mapping
from semexplain.system.words import override

CASES = ("filters", "outputs")
NAMED = f"{NamedNetwork.__module__}.{NamedNetwork.__qualname__}"
CHECKED = 64  # images that a network is checked on


def keys(
    *,
    network: dict[str, Any],
    concepts: str | dict[str, str | list[str] | dict[str, Any]] = "filters",
    images: str | dict[str, str] | None = None,
    parts: str | None = None,
    targets: list[Any] | None = None,
    method: str | None = "semexplain",
    out: str | None = None,
    options: list[str] | None = None,
) -> None:
    """What such a yaml may say; the signature is its schema. Paths are relative to the yaml's folder.

    Args:
        network: Keys of the node ``network`` of ``conf/performer/network.yaml``.
        concepts: ``filters``, ``outputs``, ``{outputs: [names]}``, or ``{filters: table of their names}``; or
            ``{outputs: {names: [...], network: {...}}}``, of a second network that shares the layer.
        images: A folder or a table, or one for each of ``train``, ``val`` and ``test``.
        parts: Where parts of the images are seen, of which filters get names: COCO's json, or a folder of masks.
        targets: Several outputs, each as ``network.output``, in place of that one.
        method: A name of the group ``method``; null is the paper's own.
        out: The run's folder; of several targets that of all runs.
        options: Further words as on the command line of ``train.py``.
    """


@dataclass(frozen=True)
class OwnYaml:
    """What such a yaml says, every path absolute.

    Attributes:
        file: Where it is.
        network: As in ``conf/performer/network.yaml``.
        case: Kind of the concepts.
        names: Which outputs, or what filters are called.
        second: The network whose outputs they are, if that is another one.
        images: Values of ``data.root``, or of ``data.train``, ``data.val`` and ``data.test``; and of ``data.parts``.
        targets: Outputs to explain, if they are several.
        method: Name of the method.
        out: The run's folder; of several targets that of all runs.
        options: Further words.
    """

    file: Path
    network: Mapping[str, Any]
    case: str
    names: str | list[str] | None
    second: Mapping[str, Any] | None
    images: Mapping[str, str]
    targets: tuple[Any, ...] | None
    method: str | None
    out: Path | None
    options: tuple[str, ...]

    def words(self) -> list[str]:
        """For ``train.py``, of several targets for the first; what comes later goes first."""
        said: dict[str, Any] = {"data": "pictures", "performer": "network", "case": self.case}
        said |= {} if self.method is None else {"method": self.method}
        said |= {f"network.{key}": value for key, value in self.network.items()}
        said |= {} if self.targets is None else {"network.output": self.targets[0]}
        said |= {f"data.{key}": value for key, value in self.images.items()}
        if "parts" in self.images:
            said["parts"] = "erased"
        if self.names is not None:
            said["performer.kind.names"] = self.names
        if self.second is not None:
            target = self.second.get("output", 0)  # of which nothing depends
            network = {key: value for key, value in self.second.items() if key != "output"} | {"target": target}
            said["performer.kind.network"] = {"_target_": NAMED, **network}
        return [*(override(key, value) for key, value in said.items()), *self.options]


def own_yaml(file: Path) -> OwnYaml:
    """Read such a yaml; nothing that it names is opened or run.

    Raises:
        ConfigError: If it is not there, or says anything else, a line for each fault.
    """
    if not file.is_file():
        raise ConfigError(f"There is no file {file}. Expected a yaml with `network: {{model: ...}}`, `images: ...`.")
    values = read_mapping(file)
    faults = list(misfits("", values, keys, set(), complete=True))
    if not faults:
        faults = [
            *_network_faults(values["network"]),
            *_concept_faults(values),
            *_image_faults(values),
            *_target_faults(values),
        ]
    if faults:
        raise ConfigError("\n".join(f"{file}: {fault}" for fault in faults))
    folder = file.parent.absolute()
    concepts, images = values.get("concepts", CASES[0]), values.get("images") or {}
    case, names = (concepts, None) if isinstance(concepts, str) else next(iter(concepts.items()))
    second = names.get("network") if isinstance(names, Mapping) else None
    names = names.get("names") if isinstance(names, Mapping) else names
    images = {"root": images} if isinstance(images, str) else dict(images)
    if values.get("parts") is not None:
        images["parts"] = values["parts"]
    out = values.get("out")
    return OwnYaml(
        file,
        _located(values["network"], folder),
        case,
        _placed(names, folder) if isinstance(names, str) else names,
        None if second is None else _located(second, folder),
        {name: _placed(place, folder) for name, place in images.items()},
        None if values.get("targets") is None else tuple(values["targets"]),
        values.get("method", "semexplain"),
        None if out is None else Path(_placed(out, folder)),
        tuple(values.get("options") or ()),
    )


def layers_of_yaml(yaml: OwnYaml) -> Layers:
    """Where its network may be cut, whatever layer it says."""
    return _network(composed("train", [*yaml.words(), "network.layer=null", "network.map=null"])).layers()


def checks_of_yaml(yaml: OwnYaml, options: list[str]) -> dict[str, Checks]:
    """What is tried of its network on its images, by target, with classes as labels if they are called as outputs are.

    Raises:
        Trouble: If something is at fault, with the reason and the remedy.
    """
    if not yaml.images:
        raise ConfigError(f"{yaml.file}: images: say where they are, such as `images: photos`.")
    config = composed("train", [*yaml.words(), *options])
    network = _network(config)
    frame(config, network)
    networks = [network] if yaml.targets is None else with_targets(network, yaml.targets)
    for one in networks:
        check(config, one)
    return {one.target_name: one.check(*_images(config, one)) for one in networks}


def targets_of_yaml(yaml: OwnYaml, options: Sequence[str], out: Path) -> list[Path]:
    """Fit an explainer for each of its targets, or go on with that, and return the folders of their runs.

    Raises:
        Trouble: If a target or an option cannot be, or a folder holds something else.
    """
    assert yaml.targets is not None
    if given := [word for word in options if word.startswith(("network.output=", "performer.target="))]:
        raise ConfigError(f"{given[0]}: {yaml.file} has `targets`. Leave one of the two out.")
    config = composed("train", [*yaml.words(), *options])
    network = _network(config)
    frame(config, network)
    networks = with_targets(network, yaml.targets)
    configs = [copy.deepcopy(config) for _ in networks]
    for one, target, config_of_it in zip(networks, yaml.targets, configs, strict=True):
        config_of_it.network.output = target
        check(config_of_it, one)
    require_devices(config.trainer)
    for name, place in config.paths.items():
        require_folder(f"paths.{name}", Path(place))
    jobs = jobs_of(configs, networks, out, ready_data(config.data))
    train_each(jobs)
    return [job.folder for job in jobs]


def _network(config: DictConfig) -> Network:
    return instantiate(config.performer)


def _images(config: DictConfig, network: Network) -> tuple[Tensor, Tensor | None]:
    """Training images at random, and which output is right for each if that is known of all."""
    outputs, data = network.output_names, ready_data(config.data)
    split = data.splits["train"]
    chosen = np.random.default_rng(0).permutation(len(split.ids))[:CHECKED]
    classes = getattr(data, "classes", ())
    labels = None
    if classes and set(classes) <= set(outputs):
        numbers = np.array([outputs.index(name) for name in classes])
        labels = torch.from_numpy(numbers[split.labels[chosen, : len(classes)].argmax(1)])
    return torch.stack([split.read(int(at), network.framing) for at in chosen]), labels


def _network_faults(network: Mapping[str, Any], place: str = "network") -> list[str]:
    known = [str(key) for key in OmegaConf.load(CONF / "performer" / "network.yaml").network]
    faults = [
        f"{place}.{key}: unknown key{suggest(key, known)}. There are: {', '.join(known)}."
        for key in network
        if key not in known
    ]
    return (
        faults if network.get("model") else [*faults, f"{place}.model: say which, such as `model: my_nets.py:build`."]
    )


def _concept_faults(values: Mapping[str, Any]) -> list[str]:
    concepts = values.get("concepts", CASES[0])
    case, names = (concepts, None) if isinstance(concepts, str) else next(iter(concepts.items()), ("", None))
    if case not in CASES or (not isinstance(concepts, str) and len(concepts) != 1):
        expected = "filters, outputs, {outputs: [names]}, {outputs: {names, network}} or {filters: table}"
        return [f"concepts: expected {expected}, got {concepts!r}{suggest(case, CASES)}."]
    if isinstance(names, Mapping):
        if case != "outputs" or not set(names) <= {"names", "network"} or not isinstance(names.get("network"), Mapping):
            return [f"concepts.{case}: expected {{names: [...], network: {{model: ...}}}} of outputs, got {names!r}."]
        return _network_faults(names["network"], "concepts.outputs.network")
    if case == "outputs" and isinstance(names, str):
        return [f"concepts.outputs: expected a list of names, such as [{names}], got {names!r}."]
    return []


def _image_faults(values: Mapping[str, Any]) -> list[str]:
    images = values.get("images")
    names = list(images) if isinstance(images, Mapping) else []
    return [
        f"images.{name}: unknown split{suggest(name, SPLITS)}. There are: {', '.join(SPLITS)}."
        for name in names
        if name not in SPLITS
    ]


def _target_faults(values: Mapping[str, Any]) -> list[str]:
    targets = values.get("targets")
    if targets is not None and not targets:
        return ["targets: expected one or several outputs, such as [dog, cat], got none."]
    if targets is not None and "output" in values["network"]:
        return ["network.output: leave it out, `targets` say what is explained."]
    return []


def _located(network: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """What is said of a network, with the files that it names where they are."""
    found = dict(network)
    for name in ("checkpoint", "classes"):
        if isinstance(found.get(name), str):
            found[name] = _placed(found[name], folder)
    words = words_of(str(found["model"]))
    place = _placed(words.place, folder)
    if words.kind in ("file", "onnx") or (words.kind == "hf" and os.path.isdir(place)):
        found["model"] = words._replace(place=place).absolute()
    return found


def _placed(path: str, folder: Path) -> str:
    return os.path.normpath(folder / Path(path).expanduser())
