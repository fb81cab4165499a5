"""A network as a yaml or a command line names it: its source, and where it is cut."""

import json
import os
from typing import Any

import torch

from semexplain.concepts.base import ConceptKind
from semexplain.concepts.filters import Filters
from semexplain.performers.class_names import class_names
from semexplain.performers.network import Network
from semexplain.performers.presets import preset_of
from semexplain.performers.sources import source_of, warn_of_random, words_of
from semexplain.system.config import plain
from semexplain.system.trouble import Trouble

NAMES = "my_nets.py:build|package.module:build|torchvision:resnet18|timm:resnet10t|hf:<folder or name>|file.onnx"
_outlined: dict[str, "NamedNetwork"] = {}  # the last outline, for the one who asks for the network itself


class NamedNetwork(Network):
    """Anyone's network, by what it is called: ``python train.py performer=network network.model=my_nets.py:build``.

    Its outline is the network itself, since only a forward tells the shapes of a stranger: it is kept and handed over
    to the first who asks for the network, so that nothing is loaded, run or tried twice.

    Args:
        model: ``my_nets.py:build``, ``package.module:build``, ``torchvision:resnet18``, ``timm:resnet10t``,
            ``hf:<folder or name>`` or ``file.onnx``, see :func:`~semexplain.performers.sources.source_of`.
        checkpoint: File of a state dict for it.
        weights: Name of pretrained weights of torchvision or timm.
        arguments: Of the function or class that builds it.
        layer: Where it is cut.
        map: The layer that the explainer sees.
        target: The output that is explained.
        classes: Names of the outputs, or a text file with one a line; what its source says by default.
        transform: How pictures are prepared; ``auto``: what its source says; a name: what has it in the file or module
            that builds the network, such as a function from a PIL image to a tensor.
        inputs: Further inputs.
        kind: What the concepts are.

    Attributes:
        source: Name, SHA-256 and package versions of where it is from, and the transform; a run keeps them.
        random: Whether nobody has trained it.
    """

    source: dict[str, Any]
    random: bool

    explanation_options = Network.explanation_options | {"target"}
    outlined_without = ()

    def __init__(
        self,
        *,
        model: str | None = None,
        checkpoint: str | None = None,
        weights: str | None = None,
        arguments: dict[str, Any] | None = None,
        layer: str | list[str] | None = None,
        map: str | list[str] | None = None,
        target: int | str | list[int | str | list[int | str]] | None = None,
        classes: str | list[str] | None = None,
        transform: str | dict[str, Any] | None = "auto",
        inputs: dict[str, Any] | None = None,
        kind: ConceptKind | None = None,
    ) -> None:
        if not isinstance(model, str):
            raise Trouble(f"model: name the network, `network.model={NAMES}`; got {model!r:.80}.")
        outline = torch.empty(0).is_meta
        arguments, classes, transform = plain(arguments) or {}, plain(classes), plain(transform)
        where = {"layer": plain(layer), "map": plain(map), "output": plain(target), "inputs": plain(inputs)}
        words = [model, checkpoint, weights, arguments, classes, transform, where]
        known = _outlined.pop(_key(*words), None)
        _outlined.clear()
        if known is None:
            with torch.device("cpu"):
                self._build(model, checkpoint, weights, arguments, classes, transform, where)
        else:
            vars(self).update(vars(known))
            vars(self).pop("concept_names", None)
            if self.random:
                warn_of_random(model)
        self.kind = kind or Filters()
        if outline:  # the same for who calls the output by its name from now on, as a run does that writes it down
            where = {**where, "output": self.target_name if isinstance(target, int | None) else where["output"]}
            _outlined.update(dict.fromkeys((_key(*words), _key(*words[:-1], where)), self))

    def _build(
        self,
        model: str,
        checkpoint: str | None,
        weights: str | None,
        arguments: dict[str, Any],
        classes: Any,
        transform: Any,
        where: dict[str, Any],
    ) -> None:
        source = source_of(model, checkpoint, weights, arguments)
        names = source.classes if classes is None else class_names(classes)
        preset = source.preset if transform in (None, "auto") else preset_of(source.transform(transform))
        super().__init__(source.model, classes=names, transform=preset, **where)
        self.random = source.random
        self.source = {
            "name": source.name,
            "sha256": source.digest,
            "versions": dict(source.versions),
            "transform": None if preset is None else preset.words(),
        }

    @property
    def encode_variant(self) -> str:
        """Also the source: the same weights in other code are another network."""
        return f"{super().encode_variant} {self.source['sha256']}"

    @property
    def head_variant(self) -> str:
        """Also the source."""
        return f"{super().head_variant} {self.source['sha256']}"


def _key(*words: Any) -> str:
    """Of what is said of a network, wherever it is said, and when the files that it names were written."""
    model, checkpoint, weights, arguments, classes, *others = words
    named = words_of(model)
    files = [os.path.abspath(file) for file in (checkpoint, classes) if isinstance(file, str)]
    times = [os.stat(file).st_mtime_ns for file in (named.file, *files) if file is not None and os.path.exists(file)]
    names = classes if isinstance(classes, list) else None
    return json.dumps([named.absolute(), files, times, weights, arguments, names, *others, os.getcwd()], default=repr)
