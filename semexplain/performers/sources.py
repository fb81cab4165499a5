"""From what a yaml or a command line calls a network to the network: code, a name of a library's, or a file."""

import hashlib
import importlib.metadata
import re
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from semexplain.performers import libraries, named_code, onnx_files
from semexplain.performers.presets import Preset
from semexplain.performers.weight_files import read_weights
from semexplain.performers.weights import differences, versioned
from semexplain.system.config import suggest
from semexplain.system.trouble import Trouble

LIBRARIES = {"torchvision": "torchvision", "timm": "timm", "hf": "transformers", "onnx": "onnx2torch"}  # packages
FORMS = (
    "`my_nets.py:build` (a function or class in a file), `package.module:build`, `torchvision:resnet18`, "
    "`timm:resnet10t`, `hf:<folder or name>` or `file.onnx`"
)


@dataclass(frozen=True)
class Source:
    """A network with what is known of where it is from.

    Attributes:
        model: The network, with its weights.
        name: The words that it was called by.
        digest: SHA-256 of the file that says it, or of name and version of the package; see :func:`source_digest`.
        versions: Of the packages that it depends on, by name.
        classes: Names of its outputs, if they are known.
        preset: How pictures are prepared for it, if that is known.
        random: Whether its weights are random.
    """

    model: nn.Module
    name: str
    digest: str
    versions: Mapping[str, str]
    classes: tuple[str, ...] | None = None
    preset: Preset | None = None
    random: bool = False

    def transform(self, said: Any) -> Any:
        """What is said of its pictures; a name is that of something in the file or module that builds the network."""
        words = words_of(self.name)
        if isinstance(said, str) and words.executes:
            return named_code.loaded(words.place, said, self.digest)
        return said


class Words(NamedTuple):
    """What a network is called: the kind of its source, a file, folder or module, and a name in it."""

    kind: str
    place: str
    name: str = ""

    @property
    def executes(self) -> bool:
        """Whether code that no library brings would be run."""
        return self.kind in ("file", "module")

    @property
    def file(self) -> Path | None:
        """The file that says what the network is; ``None`` if a library does."""
        if self.kind in ("file", "onnx"):
            return Path(self.place)
        if self.kind == "module":
            return named_code.file_of_module(self.place)
        return Path(self.place, libraries.CONFIG) if self.kind == "hf" and Path(self.place).is_dir() else None

    def absolute(self) -> str:
        """The same in another folder.

        Example:
            >>> words_of("/nets/mine.py:build").absolute(), words_of("torchvision:resnet18").absolute()
            ('/nets/mine.py:build', 'torchvision:resnet18')
        """
        local = self.kind in ("file", "onnx") or (self.kind == "hf" and Path(self.place).is_dir())
        place = str(Path(self.place).expanduser().absolute()) if local else self.place
        return {"onnx": place, "file": f"{place}:{self.name}", "module": f"{place}:{self.name}"}.get(
            self.kind, f"{self.kind}:{place}"
        )


def words_of(model: str) -> Words:
    """What a network is called, taken apart; nothing is opened.

    Raises:
        Trouble: If it is none of the ways to name one.

    Example:
        >>> words_of("nets/mine.py:build")
        Words(kind='file', place='nets/mine.py', name='build')
        >>> words_of("timm:resnet10t").executes
        False
    """
    prefix, _, rest = model.partition(":")
    if prefix in ("torchvision", "timm", "hf") and rest:
        return Words(prefix, rest)
    if model.endswith(".onnx"):
        return Words("onnx", model)
    place, _, name = model.rpartition(":")
    if name.isidentifier() and place.endswith(".py"):
        return Words("file", place, name)
    if name.isidentifier() and re.fullmatch(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*", place):
        return Words("module", place, name)
    mend = ""
    if model.endswith(".py"):
        mend = f" Say which function or class of it: `{model}:build`."
    elif re.search(r"\.(pth?|safetensors|ckpt|bin)$", model):
        mend = " A file of weights goes to `checkpoint`; `model` names the code that they belong to."
    elif model.isidentifier():
        mend = f" For the library's own: `torchvision:{model}` or `timm:{model}`."
    raise Trouble(f"model: expected {FORMS}; got {model!r}.{mend}")


def source_digest(model: str) -> str:
    """SHA-256 of the file that says what a network is, or of name and version of its package. Executes nothing.

    Of a Hugging Face folder it is that of ``config.json``; weights have a digest of their own.

    Raises:
        Trouble: If the file is not there.
    """
    words = words_of(model)
    if words.kind == "module" and (package := named_code.distribution(words.place)):
        return _text_digest(f"{package} {importlib.metadata.version(package)}")
    if (file := words.file) is not None:
        return named_code.file_digest(file)
    package = LIBRARIES.get(words.kind, words.place)
    return _text_digest(f"{package} {_versions(words).get(package, 'none')}")


def source_of(
    model: str, checkpoint: str | None = None, weights: str | None = None, arguments: Mapping[str, Any] = {}
) -> Source:
    """The network that is called so. Code that it names is executed: whoever calls this trusts it.

    Parts of it that are initialised at random are the same each time, and leave the caller's random numbers alone.

    Args:
        model: ``my_nets.py:build``, ``package.module:build``, ``torchvision:resnet18``, ``timm:resnet10t``,
            ``hf:<folder or name>`` or ``file.onnx``.
        checkpoint: File of a state dict (``.pt``, ``.pth``, ``.safetensors``) for it; only tensors are read.
        weights: Name of pretrained weights of torchvision (``DEFAULT``, ``IMAGENET1K_V1``) or timm (``DEFAULT``, a
            tag), which these download.
        arguments: Of the function or class, or of the library's.

    Raises:
        Trouble: If there is no such network, or the checkpoint is not its own.

    Example:
        >>> with warnings.catch_warnings(action="ignore"):  # random weights
        ...     source = source_of("torchvision:squeezenet1_1", arguments={"num_classes": 4})
        >>> type(source.model).__name__, list(source.versions)
        ('SqueezeNet', ['torch', 'torchvision'])
    """
    words = words_of(model)
    if weights is not None and (words.kind not in ("torchvision", "timm") or checkpoint is not None):
        raise Trouble(
            f"weights: {weights!r} names pretrained weights of a torchvision or timm network without a checkpoint; "
            f"the network is {model!r}{' with a checkpoint' if checkpoint else ''}. A file goes to `checkpoint`."
        )
    digest = source_digest(model)
    with torch.random.fork_rng(devices=[]), torch.device("cpu"):
        torch.manual_seed(0)
        found = _found(words, weights, dict(arguments), checkpoint is not None)
    if checkpoint is not None:
        _load(found.model, Path(checkpoint), model)
    random = found.random and checkpoint is None
    if random:
        warn_of_random(model)
    return Source(found.model, model, digest, _versions(words), found.classes, found.preset, random)


def warn_of_random(model: str) -> None:
    """Warn that a network of a library has not been trained."""
    warnings.warn(
        f"The network {model} has random weights: name trained ones by `checkpoint` (a file), or by `weights` if its "
        "library has them.",
        stacklevel=3,
    )


def _found(words: Words, weights: str | None, arguments: dict[str, Any], replaced: bool) -> libraries.Found:
    if words.kind == "torchvision":
        return libraries.of_torchvision(words.place, weights, arguments)
    if words.kind == "timm":
        return libraries.of_timm(words.place, weights, arguments)
    if words.kind == "hf":
        return libraries.of_hugging_face(words.place, arguments, replaced)
    if words.kind == "onnx":
        if arguments:
            raise Trouble(f"arguments: a graph such as {words.place} takes none, got {', '.join(arguments)}.")
        return libraries.Found(onnx_files.network_of(Path(words.place)))
    build: Callable[..., Any] = named_code.of_file if words.kind == "file" else named_code.of_module
    return libraries.Found(build(words.place, words.name, arguments))


def _versions(words: Words) -> dict[str, str]:
    package = named_code.distribution(words.place) if words.kind == "module" else LIBRARIES.get(words.kind)
    names = dict.fromkeys(["torch", package])
    versions = {}
    for name in names:
        try:
            versions.update({name: importlib.metadata.version(name)} if name else {})
        except importlib.metadata.PackageNotFoundError:
            continue
    return versions


def _text_digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _load(model: nn.Module, file: Path, name: str) -> None:
    """Fill a network with the weights of a file.

    Raises:
        Trouble: If they are not its own, naming the first that are missing or too many.
    """
    if not file.is_file():
        raise Trouble(f"checkpoint: there is no file {file.absolute()}.")
    state, _ = read_weights(file)
    own = model.state_dict()
    fitting = next((other for other in _otherwise_named(state) if other.keys() == own.keys()), state)
    if fault := differences(model, fitting):
        missing, more = ([key for key in a if key not in b] for a, b in ((own, fitting), (fitting, own)))
        raise Trouble(
            f"checkpoint: {file} does not fit {name} ({len(missing)} of its {len(own)} tensors are missing, "
            f"{len(more)} are too many{suggest(more[0], missing) if more else ''}): {fault}."
        )
    model.load_state_dict(versioned(fitting, model))


def _otherwise_named(state: Mapping[str, Tensor]) -> list[dict[str, Tensor]]:
    """A state dict, and the same without what Lightning or a compiled part puts into all or some of its names."""
    plain = {re.sub(r"(^|\.)(_orig_mod|module)\.", r"\1", key): value for key, value in state.items()}
    first = next(iter(state), "").partition(".")[0] + "."
    common = all(key.startswith(first) for key in state)
    return [dict(state), plain, {key.removeprefix(first): value for key, value in state.items() if common}]
