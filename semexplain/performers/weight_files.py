"""Files of weights, as other programs write them: state dicts, safetensors, MatConvNet. Executes nothing in them."""

import pickle
import warnings
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from scipy.io import loadmat
from torch import Tensor

from semexplain.performers.preprocessing import RECIPES
from semexplain.system.trouble import DamagedFileError, Trouble

# How far a file's mean colour may be from a recipe's to be its mean: sets of images differ by less, BGR by more
MEAN_TOLERANCE = 5.0
WRAPPERS = ("state_dict", "model_state_dict", "model", "net", "weights")  # under which programs keep a state dict
PREFIXES = ("module.", "_orig_mod.")  # which DataParallel and torch.compile put before every name
PICKLED = (b"PK\x03\x04", b"\x80")  # how files of torch.save begin, new and old
AGAIN = "Copy or download it again."


def read_weights(path: Path) -> tuple[dict[str, Tensor], str | None]:
    """State dict of a local file, and the preprocessing that its metadata records, if any.

    A state dict is taken out of what training programs put around it (see ``WRAPPERS`` and ``PREFIXES``).

    Raises:
        Trouble: If it holds something else; nothing in it is executed to find out.
    """
    start = _start(path)
    if start.startswith(PICKLED) or not (path.suffix == ".safetensors" or start[8:9] == b"{"):
        state, recipe = _bare(_state_dict(path, _unpickled(path, start))), None
    else:
        state, recipe = _safetensors(path)
    broken = [name for name, value in state.items() if value.is_floating_point() and not value.isfinite().all()]
    if broken:
        raise DamagedFileError(f"The weights {path} are not all numbers: {broken[0]} has infinite or undefined values.")
    return state, recipe


def read_matconvnet(path: Path) -> tuple[list[tuple[Tensor, Tensor]], str | None]:
    """Weight and bias of every convolution of a MatConvNet file, and the preprocessing that its mean image tells.

    MatConvNet keeps a convolution as (height, width, in, out), PyTorch as (out, in, height, width); with groups both
    keep the inputs of one group. The networks subtract a mean image from RGB values 0..255; it is reduced to its mean
    colour here, which then is ``caffe_rgb255``. Fully-connected layers are convolutions as well and follow at the end.

    Raises:
        ValueError: If the file is none that MATLAB wrote, has no layers, or its mean is not one of RGB values 0..255.
    """
    _start(path)
    try:
        content = loadmat(path, squeeze_me=True, struct_as_record=False)
    except Exception as error:  # a damaged file can lead the reader into any of them
        raise DamagedFileError(
            f"{path} is not a readable MATLAB 5 file ({error}). Copy it again, or save it by `save(..., '-v7')`."
        ) from error
    net: Any = content.get("net")
    fields = content if net is None else {name: getattr(net, name) for name in getattr(net, "_fieldnames", ())}
    if "layers" not in fields:
        raise Trouble(f"{path} holds no MatConvNet network: expected `layers`, found {sorted(fields)}.")
    try:
        convolutions = _convolutions(fields["layers"])
    except (AttributeError, TypeError, ValueError, RuntimeError) as error:
        raise Trouble(f"{path} holds no MatConvNet network: its layers cannot be read ({error}).") from error
    normalization = getattr(fields.get("meta"), "normalization", fields.get("normalization"))
    mean = getattr(normalization, "averageImage", None)
    return convolutions, None if mean is None else _recipe_of(path, torch.tensor(mean).float().reshape(-1, 3).mean(0))


def _convolutions(layers: Any) -> list[tuple[Tensor, Tensor]]:
    convolutions = []
    for layer in (layer for layer in np.atleast_1d(layers) if layer.type == "conv"):
        weight, bias = layer.weights if hasattr(layer, "weights") else (layer.filters, layer.biases)
        if weight.ndim == 3 and np.size(bias) == weight.shape[2] > 1:  # squeezed: the inputs are one
            weight = weight[:, :, None]
        while weight.ndim < 4:  # squeezed: the outputs are one
            weight = weight[..., None]
        convolutions.append((torch.tensor(weight).permute(3, 2, 0, 1).contiguous(), torch.tensor(bias).reshape(-1)))
    return convolutions


def _recipe_of(path: Path, mean: Tensor) -> str:
    recipe = RECIPES["caffe_rgb255"]
    if (mean - torch.tensor(recipe.mean)).abs().max() > MEAN_TOLERANCE:
        raise Trouble(
            f"The mean image of {path} has the mean colour {[round(value, 1) for value in mean.tolist()]}; expected "
            f"RGB 0..255, about {recipe.mean}. Convert the weights to a `.safetensors` state dict of `features`."
        )
    return "caffe_rgb255"


def _start(path: Path) -> bytes:
    """The first bytes of a file that may be one of weights."""
    with path.open("rb") as file:
        start = file.read(256)
    if not start:
        raise DamagedFileError(f"The weights {path} are empty. {AGAIN}")
    if start.startswith(b"version https://git-lfs"):
        raise DamagedFileError(
            f"The weights {path} are not here yet: the file is a pointer of Git LFS. Fetch what it points to by "
            "`git lfs pull`."
        )
    if start.lstrip().lower().startswith((b"<!doctype", b"<html", b"<?xml")):
        raise DamagedFileError(
            f"{path} is a web page ({start.lstrip()[:30]!r}), not weights. Download the file itself."
        )
    return start


def _safetensors(path: Path) -> tuple[dict[str, Tensor], str | None]:
    try:
        with safe_open(path, "pt") as file:
            description = (file.metadata() or {}).get("input")
        state = load_file(path)
    except (SafetensorError, ValueError, KeyError) as error:
        raise DamagedFileError(
            f"{path} is not a readable safetensors file ({error}). Copy or convert it again."
        ) from error
    names = {recipe.description: name for name, recipe in RECIPES.items()}
    if description is not None and description not in names:
        raise Trouble(f"The weights {path} expect input `{description}`, which is none of: {'; '.join(names)}.")
    return _bare(state), names.get(description or "")


def _unpickled(path: Path, start: bytes) -> Any:
    """Tensors and plain values of a file of ``torch.save``."""
    if start.startswith(PICKLED) and _is_program(path):
        raise Trouble(
            f"{path} is a TorchScript archive, a program with its weights, which is not run here. Where you trust it: "
            "`torch.save(torch.jit.load(file).state_dict(), 'weights.pth')`."
        )
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of old formats
            with path.open("rb") as file:  # a name could say something else
                return torch.load(file, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        if "eights only load failed" in str(error) and start.startswith(PICKLED):
            raise Trouble(
                f"{path} holds more than weights (a whole module, perhaps), and opening it would run code of its own. "
                "Where you trust it: `torch.save(torch.load(file, weights_only=False).state_dict(), 'weights.pth')`."
            ) from error
        raise _not_weights(path, start) from error
    except Exception as error:  # a damaged file can lead the reader into any of them
        raise _not_weights(path, start) from error


def _is_program(path: Path) -> bool:
    """Whether a file is what ``torch.jit.save`` writes: an archive that holds code."""
    try:
        with zipfile.ZipFile(path) as archive:
            return any(name.partition("/")[2].startswith("code/") for name in archive.namelist())
    except (zipfile.BadZipFile, OSError):  # an old pickle, or a damaged file, which is told later
        return False


def _not_weights(path: Path, start: bytes) -> DamagedFileError:
    return DamagedFileError(
        f"Expected a state dict in {path} (`torch.save`, or `.safetensors`), but it is cut, or something else: it "
        f"begins with {start[:16]!r}. {AGAIN}"
    )


def _state_dict(path: Path, content: Any) -> dict[str, Tensor]:
    """The state dict in what a program saved."""
    for _ in range(2):
        inner = [content[key] for key in WRAPPERS if isinstance(content, Mapping) and key in content]
        if inner and isinstance(inner[0], Mapping):
            content = inner[0]
    tensors = isinstance(content, Mapping) and all(isinstance(value, Tensor) for value in content.values())
    if not tensors or not content or not all(isinstance(key, str) for key in content):
        raise Trouble(f"Expected a state dict in {path}, names with their tensors, but it holds {_described(content)}.")
    return dict(content)


def _described(content: Any) -> str:
    if isinstance(content, Mapping):
        entries = [f"{key!r:.40}: {type(value).__name__}" for key, value in list(content.items())[:4]]
        return f"{{{', '.join(entries)}{', ...' if len(content) > 4 else ''}}}"
    return f"a {type(content).__name__}"


def _bare(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Without the prefixes that every name has."""
    while prefix := next((p for p in PREFIXES if state and all(name.startswith(p) for name in state)), None):
        state = {name.removeprefix(prefix): value for name, value in state.items()}
    return state
