"""Weights from files: what a performer starts from, and performers that were trained before. Executes nothing."""

import warnings
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

from torch import Tensor, nn
from torchvision.models import get_model_weights

from semexplain.performers.base import Performer
from semexplain.performers.preprocessing import RECIPES
from semexplain.performers.weight_files import read_matconvnet, read_weights
from semexplain.system.trouble import Trouble

# torchvision's names of weights whose input is its usual one; IMAGENET1K_FEATURES expects another
DOWNLOADS = ("IMAGENET1K_V1",)


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
    if fault := differences(trunk, state):
        layers = [key.removesuffix(".weight") for key in trunk.state_dict() if key.endswith("weight")]
        raise Trouble(
            f"The weights {weights} are not those of {network}: expected the convolutions {', '.join(layers)} of "
            f"`features`; {fault}."
        )
    trunk.load_state_dict(state)
    if preprocessing == "auto" and recipe is None:
        raise Trouble(
            f"The weights {weights} do not say which input they expect (metadata `input`). Say it: "
            f"`performer.preprocessing={'|'.join(RECIPES)}`."
        )
    if preprocessing not in ("auto", recipe or preprocessing):
        raise Trouble(
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
    if fault := differences(performer, state):
        raise Trouble(f"The trained performer {path} does not fit `performer` in the configuration: {fault}.")
    performer.load_state_dict(versioned(state, performer))


def _initial_state(
    trunk: nn.Sequential, weights: str, network: str, download: str
) -> tuple[dict[str, Tensor], str | None]:
    """State dict for a trunk from a name or a file, and the recorded preprocessing."""
    if weights in DOWNLOADS and not download:
        raise Trouble(
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


def versioned(state: Mapping[str, Tensor], module: nn.Module) -> Any:
    """A state dict with the versions of a module's own formats, without which some modules refuse to load.

    ``state_dict()`` has them beside its tensors; they are lost in a file of tensors, or when some tensors are left out.

    Example:
        >>> state = dict(nn.BatchNorm2d(1).state_dict())
        >>> dict(versioned(state, nn.BatchNorm2d(1))._metadata)
        {'': {'version': 2}}
    """
    found = OrderedDict(state)
    vars(found)["_metadata"] = vars(module.state_dict())["_metadata"]
    return found


def differences(module: nn.Module, state: Mapping[str, Tensor]) -> str | None:
    """The first names whose shapes are not the module's: what was expected, and what came; None if all are."""
    expected, found = (
        {key: tuple(value.shape) for key, value in tensors.items()} for tensors in (module.state_dict(), state)
    )
    names = [name for name in (*expected, *found) if expected.get(name) != found.get(name)]
    pairs = [f"{name} {expected.get(name, 'absent')}, got {found.get(name, 'none')}" for name in dict.fromkeys(names)]
    return f"first differences: expected {'; '.join(pairs[:4])}" if pairs else None


def _download(network: str, weights: str) -> dict[str, Tensor]:
    try:
        return dict(get_model_weights(network)[weights].get_state_dict(progress=True, check_hash=True))
    except OSError as error:
        raise OSError(
            f"The weights {weights} could not be downloaded ({error}). Give a local state dict of the network by "
            "`performer.weights=<file>`, or `performer.weights=null` for random ones (with drawn data)."
        ) from error
