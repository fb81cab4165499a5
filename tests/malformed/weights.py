"""Files of weights as other programs write them, and what is none."""

import io
import json
import os
import pickle
import struct
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save
from scipy.io import savemat
from torch import Tensor, nn

from malformed.case import Malformed
from malformed.images import file
from semexplain.performers.weight_files import read_matconvnet
from semexplain.performers.weights import load_trunk

WEIGHT, BIAS = torch.arange(12.0).reshape(3, 1, 2, 2), torch.tensor([1.0, 2.0, 3.0])
STATE = {"features.0.weight": WEIGHT, "features.0.bias": BIAS}
VALUE = float(WEIGHT.sum() + BIAS.sum())
NONE = "Expected a state dict in .* cut, or something else: it begins with"


def trunk(path: Path) -> float:
    """Sum of the weights that a trunk of one convolution gets."""
    layers = nn.Sequential(nn.Conv2d(1, 3, 2))
    load_trunk(layers, str(path), "torchvision", network="a toy")
    return sum(float(value.double().sum()) for value in layers.state_dict().values())


def saved(content: Any, **options: Any) -> bytes:
    buffer = io.BytesIO()
    torch.save(content, buffer, **options)
    return buffer.getvalue()


def named(prefix: str, state: dict[str, Tensor] = STATE) -> dict[str, Tensor]:
    return {prefix + name: value for name, value in state.items()}


class Evil:
    """Runs when it is unpickled as Python would."""

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, ("touch executed",)


def tar() -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name in ("sys_info", "pickle", "tensors", "storages"):
            content = pickle.dumps(Evil())
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return buffer.getvalue()


def mat(content: dict[str, Any]) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        savemat(folder / "a.mat", content)
        return folder / "a.mat"

    return make


PTH, LEGACY, SAFE = saved(STATE), saved(STATE, _use_new_zipfile_serialization=False), save(STATE)
header = json.dumps({"a": {"dtype": "F32", "shape": [9], "data_offsets": [0, 36]}}).encode()
PAGE, POINTER = (
    b"<!DOCTYPE html><html>404</html>",
    b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n",
)
READ: dict[str, tuple[str, bytes]] = {
    "as torch.save writes it": ("a.pth", PTH),
    "as torch.save once wrote it": ("a.pth", LEGACY),
    "safetensors": ("a.safetensors", SAFE),
    "safetensors called .pth": ("a.pth", SAFE),
    "torch.save called .safetensors": ("a.safetensors", PTH),
    "torch.save called .bin": ("a.bin", PTH),
    "of features alone": ("a.pth", saved({"0.weight": WEIGHT, "0.bias": BIAS})),
    "with a classifier": ("a.pth", saved(STATE | {"classifier.0.weight": torch.zeros(2, 2)})),
    "{state_dict: ...}": ("a.pth", saved({"state_dict": STATE, "epoch": 3})),
    "{model: ...}": ("a.pth", saved({"model": STATE, "optimizer": {"lr": 0.1}})),
    "{model_state_dict: ...}": ("a.pth", saved({"model_state_dict": STATE, "loss": 0.1})),
    "{model: {state_dict: ...}}": ("a.pth", saved({"model": {"state_dict": STATE}})),
    "with module.": ("a.pth", saved(named("module."))),
    "with _orig_mod.": ("a.pth", saved(named("_orig_mod."))),
    "with module._orig_mod.": ("a.safetensors", save(named("module._orig_mod."))),
    "all of it": ("a.pth", saved({"state_dict": named("_orig_mod.module.")})),
    "in half precision": ("a.pth", saved({name: value.half() for name, value in STATE.items()})),
    "in bfloat16": ("a.safetensors", save({name: value.bfloat16() for name, value in STATE.items()})),
    "in double precision": ("a.pth", saved({name: value.double() for name, value in STATE.items()})),
    "transposed in memory": (
        "a.pth",
        saved(STATE | {"features.0.weight": WEIGHT.permute(1, 0, 3, 2).contiguous().permute(1, 0, 3, 2)}),
    ),
    "as parameters": ("a.pth", saved({name: nn.Parameter(value) for name, value in STATE.items()})),
}
REFUSED: dict[str, tuple[str, bytes, str]] = {
    "a pointer": ("a.pth", POINTER, "a pointer of Git LFS. Fetch what it points to by `git lfs pull`"),
    "a pointer to safetensors": ("a.safetensors", POINTER, "a pointer of Git LFS"),
    "a page": ("a.pth", PAGE, "is a web page .*, not weights"),
    "a page for safetensors": ("a.safetensors", b"\n" + PAGE, "is a web page"),
    "empty": ("a.pth", b"", "are empty. Copy or download it again"),
    "empty safetensors": ("a.safetensors", b"", "are empty"),
    "cut": ("a.pth", PTH[: len(PTH) // 2], NONE),
    "cut a little": ("a.pth", PTH[:-30], NONE),
    "cut to four bytes": ("a.pth", PTH[:4], NONE),
    "cut, of old": ("a.pth", LEGACY[: len(LEGACY) // 2], NONE),
    "cut safetensors": ("a.safetensors", SAFE[:-8], "is not a readable safetensors file"),
    "cut header of safetensors": ("a.safetensors", SAFE[:30], "is not a readable safetensors file"),
    "the other end first": (
        "a.safetensors",
        struct.pack(">Q", len(header)) + header + bytes(36),
        "not a readable safetensors",
    ),
    "a header too large": ("a.safetensors", struct.pack("<Q", 2**62) + header, "is not a readable safetensors file"),
    "too few bytes for a shape": (
        "a.safetensors",
        struct.pack("<Q", len(header)) + header + bytes(8),
        "not a readable safetensors",
    ),
    "text": ("a.pth", b"weights\n" * 9, NONE),
    "a zip": ("a.pth", b"PK\x05\x06" + bytes(18), NONE),
    "zeros": ("a.pth", bytes(4000), NONE),
    "a tar of old": ("a.pth", tar(), NONE + "|holds more than weights"),
    "a module": ("a.pth", saved(nn.Sequential(nn.Conv2d(1, 3, 2))), "holds more than weights .a whole module"),
    "a module, of old": (
        "a.pth",
        saved(nn.Conv2d(1, 3, 2), _use_new_zipfile_serialization=False),
        "holds more than weights",
    ),
    "code": ("a.pth", saved({"features.0.weight": Evil()}), "opening it would run code of its own"),
    "code beside weights": ("a.pth", saved({"state_dict": STATE, "hook": Evil()}), "opening it would run code"),
    "a pickle": ("a.pth", pickle.dumps(Evil()), "opening it would run code|" + NONE),
    "a tensor": ("a.pth", saved(WEIGHT), "names with their tensors, but it holds a Tensor"),
    "a list": ("a.pth", saved([WEIGHT]), "but it holds a list"),
    "a number": ("a.pth", saved(5), "but it holds a int"),
    "nothing": ("a.pth", saved({}), "but it holds {}"),
    "no tensors": ("a.pth", saved({"epoch": 3}), "but it holds {'epoch': int}"),
    "numbers for names": ("a.pth", saved({0: WEIGHT}), "but it holds {0: Tensor}"),
    "values that are no number": (
        "a.pth",
        saved(STATE | {"features.0.bias": BIAS / 0}),
        "features.0.bias has infinite",
    ),
    "another shape": (
        "a.pth",
        saved({"0.weight": WEIGHT[:2], "0.bias": BIAS}),
        r"expected 0.weight \(3, 1, 2, 2\), got \(2, 1, 2, 2\)",
    ),
    "another name": (
        "a.pth",
        saved({"conv.weight": WEIGHT, "0.bias": BIAS}),
        "expected 0.weight .*, got none; conv.weight absent, got",
    ),
    "a layer too many": ("a.pth", saved(STATE | {"features.2.bias": BIAS}), r"2.bias absent, got \(3,\)"),
    "input that nobody knows": ("a.safetensors", save(STATE, {"input": "BGR"}), "expect input `BGR`, which is none of"),
    "a picture": ("a.pth", b"\x89PNG\r\n\x1a\n" + bytes(99), NONE),
    "text for MATLAB": ("a.mat", b"weights\n" * 30, "is not a readable MATLAB 5 file"),
    "a page for MATLAB": ("a.mat", PAGE, "is a web page"),
    "empty MATLAB": ("a.mat", b"", "are empty"),
    "MATLAB 7.3": (
        "a.mat",
        b"MATLAB 7.3 MAT-file".ljust(124) + b"\0\2IM" + bytes(400),
        "not a readable MATLAB 5 file .*-v7",
    ),
}


def convolution(**changes: Any) -> dict[str, Any]:
    weights = np.empty((1, 2), dtype=object)
    weights[0, 0], weights[0, 1] = WEIGHT.permute(2, 3, 1, 0).numpy(), BIAS.numpy()
    return {"type": "conv", "weights": weights} | changes


def layers(*items: dict[str, Any]) -> dict[str, Any]:
    cells = np.empty((1, len(items)), dtype=object)
    cells[0] = items
    return {"layers": cells}


def first(path: Path) -> np.ndarray:
    return read_matconvnet(path)[0][0][0].numpy()


MATLAB: dict[str, tuple[dict[str, Any], Any]] = {
    "MatConvNet": (layers(convolution(), {"type": "relu"}), WEIGHT.numpy()),
    "MATLAB without a network": ({"x": 1}, r"expected `layers`, found \[.*'x'\]"),
    "MATLAB with a number for a network": ({"net": 5}, "expected `layers`, found"),
    "MATLAB with a number for layers": ({"layers": 5}, "its layers cannot be read"),
    "MATLAB without weights": (layers({"type": "conv"}, {"type": "relu"}), "its layers cannot be read"),
    "MATLAB with text for weights": (
        layers(convolution(weights="none"), {"type": "relu"}),
        "its layers cannot be read",
    ),
    "MATLAB with another mean": (
        layers(convolution(), {"type": "relu"}) | {"normalization": {"averageImage": np.full((1, 1, 3), 9.0)}},
        "has the mean colour .* expected RGB 0..255",
    ),
}


WEIGHTS = [
    *(Malformed(f"weights {name}", file(at, content), trunk, VALUE) for name, (at, content) in READ.items()),
    *(
        Malformed(f"weights: {name}", file(at, content), trunk, message)
        for name, (at, content, message) in REFUSED.items()
    ),
    *(Malformed(f"weights: {name}", mat(content), first, result) for name, (content, result) in MATLAB.items()),
    Malformed("weights: a folder", lambda folder: folder, trunk, "there is no file"),
    Malformed(
        "weights: a pipe", lambda folder: (os.mkfifo(folder / "a.pth"), folder / "a.pth")[1], trunk, "there is no file"
    ),
]
