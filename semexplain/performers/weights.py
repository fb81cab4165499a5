"""Weights from files: what a performer starts from, and performers that were trained before. Executes nothing."""

import warnings
from pathlib import Path
from typing import Any, cast

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from scipy.io import loadmat
from scipy.io.matlab import MatReadError
from torch import Tensor, nn
from torchvision.models import get_model_weights

from semexplain.performers.base import Performer
from semexplain.performers.preprocessing import RECIPES

# torchvision's names of weights whose input is its usual one; IMAGENET1K_FEATURES expects another
DOWNLOADS = ("IMAGENET1K_V1",)
# How far a file's mean colour may be from a recipe's to be its mean: sets of images differ by less, BGR by more
MEAN_TOLERANCE = 5.0


def randomise(trunk: nn.Sequential) -> None:
    """Give the convolutions of a trunk random weights that keep the size of gradients through ReLUs."""
    for layer in trunk:
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
            nn.init.constant_(cast(Tensor, layer.bias), 0.0)


def load_trunk(
    trunk: nn.Sequential, weights: str | None, preprocessing: str, *, network: str, download: str = ""
) -> str:
    """Give a trunk its initial weights, or warn that it keeps its random ones.

    Args:
        trunk: Numbered layers, the convolutions among them.
        weights: ``IMAGENET1K_V1`` (torchvision's, downloaded), the path of a local ``.safetensors`` or ``.pth`` state
            dict (of the network or of its ``features``) or of a MatConvNet ``.mat``, or ``None``.
        preprocessing: What the weights expect, a key of ``RECIPES``; ``auto`` takes it from the weights.
        network: What the trunk belongs to, for messages.
        download: torchvision's name of the same network, where it has it.

    Returns:
        The key of ``RECIPES`` that the weights expect.

    Raises:
        ValueError: If the weights do not fit, or do not say which preprocessing they need, or contradict it.
        FileNotFoundError: If there is no such file.
        OSError: If a download fails.
    """
    if weights is None:
        warnings.warn(
            "The performer's convolutions start from random weights: name pretrained ones by `performer.weights` "
            "(a torchvision name or a file) unless the data are synthetic.",
            stacklevel=3,
        )
        return "torchvision" if preprocessing == "auto" else preprocessing
    state, recipe = _initial_state(trunk, weights, network, download)
    expected = {key: tuple(value.shape) for key, value in trunk.state_dict().items()}
    shapes = {key: tuple(value.shape) for key, value in state.items()}
    if shapes != expected:
        raise ValueError(
            f"The weights {weights} are not those of {network}: expected the convolutions "
            f"{', '.join(key.removesuffix('.weight') for key in expected if key.endswith('weight'))} of `features`; "
            f"first differences: {sorted(expected.items() ^ shapes.items())[:4]}."
        )
    trunk.load_state_dict(state)
    if preprocessing == "auto" and recipe is None:
        raise ValueError(
            f"The weights {weights} do not say which input they expect (metadata `input`). Say it: "
            f"`performer.preprocessing={'|'.join(RECIPES)}`."
        )
    if preprocessing not in ("auto", recipe or preprocessing):
        raise ValueError(
            f"The weights {weights} expect `{recipe}` input, but `performer.preprocessing` is `{preprocessing}`."
        )
    return recipe if recipe is not None else preprocessing


def load_performer(performer: Performer, path: Path) -> None:
    """Fill a performer with a trained one's weights.

    Raises:
        FileNotFoundError: If the file is not there.
        ValueError: If it was made by a performer of another shape.
    """
    if not path.is_file():
        raise FileNotFoundError(
            f"There is no trained performer at {path.absolute()}. Give a `performer.safetensors`, or "
            "`performer.checkpoint=auto` to train one when it is missing."
        )
    state, _ = read_weights(path)
    try:
        performer.load_state_dict(state)
    except RuntimeError as error:
        raise ValueError(
            f"The trained performer {path} does not fit `performer` in the configuration: {error}"
        ) from error


def read_weights(path: Path) -> tuple[dict[str, Tensor], str | None]:
    """State dict of a local file, and the preprocessing that its metadata records, if any."""
    if path.suffix != ".safetensors":
        return torch.load(path, map_location="cpu", weights_only=True), None
    try:
        with safe_open(path, "pt") as file:
            description = (file.metadata() or {}).get("input")
        names = {recipe.description: name for name, recipe in RECIPES.items()}
        if description is not None and description not in names:
            raise ValueError(f"The weights {path} expect input `{description}`, which is none of: {'; '.join(names)}.")
        return load_file(path), names.get(description or "")
    except SafetensorError as error:
        raise ValueError(f"{path} is not a readable safetensors file ({error}). Copy or convert it again.") from error


def read_matconvnet(path: Path) -> tuple[list[tuple[Tensor, Tensor]], str | None]:
    """Weight and bias of every convolution of a MatConvNet file, and the preprocessing that its mean image tells.

    MatConvNet keeps a convolution as (height, width, in, out), PyTorch as (out, in, height, width); with groups both
    keep the inputs of one group. The networks subtract a mean image from RGB values 0..255; it is reduced to its mean
    colour here, which then is ``caffe_rgb255``. Fully-connected layers are convolutions as well and follow at the end.

    Raises:
        ValueError: If the file is none that MATLAB wrote, has no layers, or its mean is not one of RGB values 0..255.
    """
    try:
        content = loadmat(path, squeeze_me=True, struct_as_record=False)
    except (ValueError, TypeError, OSError, NotImplementedError, MatReadError) as error:
        raise ValueError(
            f"{path} is not a readable MATLAB 5 file ({error}). Copy it again, or save it by `save(..., '-v7')`."
        ) from error
    net: Any = content.get("net")
    fields = content if net is None else {name: getattr(net, name) for name in net._fieldnames}
    if "layers" not in fields:
        raise ValueError(f"{path} holds no MatConvNet network: expected `layers`, found {sorted(fields)}.")
    convolutions = []
    for layer in (layer for layer in fields["layers"] if layer.type == "conv"):
        weight, bias = layer.weights if hasattr(layer, "weights") else (layer.filters, layer.biases)
        while weight.ndim < 4:  # squeezed: the outputs are one
            weight = weight[..., None]
        convolutions.append((torch.tensor(weight).permute(3, 2, 0, 1).contiguous(), torch.tensor(bias).reshape(-1)))
    normalization = getattr(fields.get("meta"), "normalization", fields.get("normalization"))
    mean = getattr(normalization, "averageImage", None)
    return convolutions, None if mean is None else _recipe_of(path, torch.tensor(mean).float().reshape(-1, 3).mean(0))


def _recipe_of(path: Path, mean: Tensor) -> str:
    recipe = RECIPES["caffe_rgb255"]
    if (mean - torch.tensor(recipe.mean)).abs().max() > MEAN_TOLERANCE:
        raise ValueError(
            f"The mean image of {path} has the mean colour {[round(value, 1) for value in mean.tolist()]}; expected "
            f"RGB 0..255, about {recipe.mean}. Convert the weights to a `.safetensors` state dict of `features`."
        )
    return "caffe_rgb255"


def _initial_state(
    trunk: nn.Sequential, weights: str, network: str, download: str
) -> tuple[dict[str, Tensor], str | None]:
    """State dict for a trunk from a name or a file, and the recorded preprocessing."""
    if weights in DOWNLOADS and not download:
        raise ValueError(
            f"{weights} is a name of torchvision's, which does not have {network} (what it calls AlexNet is another "
            "network: other channels, no groups, no normalisation). Give the path of a MatConvNet `.mat` or of a state "
            "dict by `performer.weights=<file>`, or `performer.weights=null` for random ones."
        )
    if weights in DOWNLOADS:
        state, recipe = _download(download, weights), cast(str | None, "torchvision")
    elif not Path(weights).is_file():
        raise FileNotFoundError(
            f"`performer.weights` must be null, one of {', '.join(DOWNLOADS)} (downloaded), or the path of a local "
            f"state dict; there is no file {Path(weights).absolute()}."
        )
    elif Path(weights).suffix == ".mat":
        convolutions, recipe = read_matconvnet(Path(weights))
        numbers = [number for number, layer in enumerate(trunk) if isinstance(layer, nn.Conv2d)]
        state = {}
        for number, (weight, bias) in zip(numbers, convolutions, strict=False):  # fully-connected layers follow
            state |= {f"{number}.weight": weight, f"{number}.bias": bias}
    else:
        state, recipe = read_weights(Path(weights))
    convolutional = {key: value.float() for key, value in state.items() if "classifier" not in key}
    return {key.removeprefix("features."): value for key, value in convolutional.items()}, recipe


def _download(network: str, weights: str) -> dict[str, Tensor]:
    try:
        return dict(get_model_weights(network)[weights].get_state_dict(progress=True, check_hash=True))
    except OSError as error:
        raise OSError(
            f"The weights {weights} could not be downloaded ({error}). Give a local state dict of the network by "
            "`performer.weights=<file>`, or `performer.weights=null` for random ones (with drawn data)."
        ) from error
