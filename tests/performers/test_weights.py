"""Weights from files: conversion, what they expect of an image, and refusals by their text."""

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from scipy.io import savemat
from torch import nn

from semexplain.performers.architectures import ARCHITECTURES, trunk_layers
from semexplain.performers.preprocessing import RECIPES
from semexplain.performers.weight_files import read_matconvnet
from semexplain.performers.weights import load_trunk, randomise

MEAN = np.array([122.7, 116.7, 104.0], dtype=np.float32)  # of the images that AlexNet was trained on


def trunk(architecture: str = "alexnet", seed: int = 0) -> nn.Sequential:
    torch.manual_seed(seed)
    layers = trunk_layers(ARCHITECTURES[architecture].trunk, 4)
    randomise(layers)
    for layer in layers:
        if isinstance(layer, nn.Conv2d):
            nn.init.normal_(layer.bias)
    return layers


def matconvnet_file(path: Path, layers: nn.Sequential, mean: np.ndarray | None, old: bool = False) -> Path:
    """A file of the genuine layout: a row of structs, convolutions (h, w, in, out), the last one fully connected."""
    structs: list[dict] = []
    for layer in [*layers, nn.Conv2d(layers[-2].out_channels, 7, 6)]:
        if isinstance(layer, nn.Conv2d):
            weight, bias = layer.weight.detach().permute(2, 3, 1, 0).numpy(), layer.bias.detach().numpy()[None]
            weights = np.empty((1, 2), dtype=object)
            weights[0, 0], weights[0, 1] = weight, bias
            values = {"filters": weight, "biases": bias} if old else {"weights": weights}
            structs.append({"type": "conv", "name": f"conv{len(structs)}", **values})
        else:
            structs.append({"type": type(layer).__name__.lower(), "name": "other"})
    cells = np.empty((1, len(structs)), dtype=object)
    cells[0] = structs
    normalization = {"imageSize": np.array([227.0, 227.0, 3.0, 10.0])}
    if mean is not None:
        rise = np.linspace(-2, 2, 9, dtype=np.float32).reshape(3, 3, 1)
        normalization["averageImage"] = mean + rise if not old else mean
    content = {"layers": cells}
    savemat(
        path,
        {**content, "normalization": normalization} if old else {**content, "meta": {"normalization": normalization}},
    )
    return path


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("old", [True, False])
def test_matconvnet_files_are_the_same_network(tmp_path: Path, architecture: str, old: bool):
    """Height, width, in, out becomes out, in, height, width; a group's half of the inputs stays half."""
    genuine, mine = trunk(architecture), trunk(architecture, seed=1)
    path = matconvnet_file(tmp_path / "net.mat", genuine, MEAN, old)
    assert load_trunk(mine, str(path), "auto", network="it") == "caffe_rgb255"
    image = torch.randn(1, 3, 67, 67)
    torch.testing.assert_close(mine(image), genuine(image))
    assert all(value.dtype == torch.float32 for value in mine.state_dict().values())


def test_matconvnet_files_inside_a_variable_net_and_with_one_output(tmp_path: Path):
    weights = np.empty((1, 2), dtype=object)
    weights[0, 0], weights[0, 1] = np.ones((3, 3, 2, 1), np.float32), np.zeros((1, 1), np.float32)
    cells = np.empty((1, 2), dtype=object)
    cells[0] = [{"type": "conv", "weights": weights}, {"type": "relu"}]
    savemat(tmp_path / "net.mat", {"net": {"layers": cells}})
    ((weight, bias),), recorded = read_matconvnet(tmp_path / "net.mat")
    assert (tuple(weight.shape), tuple(bias.shape), recorded) == ((1, 2, 3, 3), (1,), None)


def test_a_matconvnet_file_without_a_mean_does_not_say_what_it_expects(tmp_path: Path):
    path = matconvnet_file(tmp_path / "net.mat", trunk(), None)
    with pytest.raises(ValueError, match=r"do not say which input.*performer.preprocessing=torchvision\|caffe_rgb255"):
        load_trunk(trunk(), str(path), "auto", network="it")
    assert load_trunk(trunk(), str(path), "caffe_rgb255", network="it") == "caffe_rgb255"


def test_a_mean_in_another_order_of_channels_is_refused(tmp_path: Path):
    path = matconvnet_file(tmp_path / "net.mat", trunk(), MEAN[::-1])
    with pytest.raises(ValueError, match=r"mean colour \[104.0, 116.7, 122.7\]; expected RGB 0..255"):
        load_trunk(trunk(), str(path), "auto", network="it")


def test_files_that_are_no_matconvnet_network_are_named(tmp_path: Path):
    (tmp_path / "text.mat").write_text("not a matrix, but long enough to be mistaken for the header of one " * 4)
    with pytest.raises(ValueError, match=r"text.mat is not a readable MATLAB 5 file"):
        read_matconvnet(tmp_path / "text.mat")
    savemat(tmp_path / "other.mat", {"anno": {"objects": 1}})
    with pytest.raises(ValueError, match=r"other.mat holds no MatConvNet network: expected `layers`, found .*'anno'"):
        read_matconvnet(tmp_path / "other.mat")


def test_weights_of_another_network_are_refused(tmp_path: Path):
    path = matconvnet_file(tmp_path / "net.mat", trunk("vgg_s"), MEAN)
    with pytest.raises(ValueError, match=r"not those of Caffe's AlexNet: expected the convolutions 0, 4, 8, 10, 12 of"):
        load_trunk(trunk(), str(path), "auto", network="Caffe's AlexNet")


def test_torchvisions_name_is_refused_where_it_has_no_such_network():
    with pytest.raises(ValueError, match=r"torchvision's, which does not have Caffe's AlexNet .*no groups"):
        load_trunk(trunk(), "IMAGENET1K_V1", "auto", network="Caffe's AlexNet")


@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
def test_state_dicts_of_features(tmp_path: Path, suffix: str):
    """Of the whole network, in half precision, with or without a record of what they expect."""
    genuine, mine = trunk("vgg_m"), trunk("vgg_m", seed=1)
    state = {f"features.{key}": value.half() for key, value in genuine.state_dict().items()}
    state["classifier.0.weight"] = torch.zeros(2, 2)
    path = tmp_path / f"w{suffix}"
    if suffix == ".pth":
        torch.save(state, path)
    else:
        save_file(state, path, {"input": RECIPES["caffe_rgb255"].description})
    asked = "caffe_rgb255" if suffix == ".pth" else "auto"
    assert load_trunk(mine, str(path), asked, network="it") == "caffe_rgb255"
    torch.testing.assert_close(mine[0].weight, genuine[0].weight.half().float())


def test_weights_whose_description_nobody_knows_are_refused(tmp_path: Path):
    save_file(trunk().state_dict(), tmp_path / "w.safetensors", {"input": "BGR"})
    with pytest.raises(ValueError, match=f"expect input `BGR`, which is none of: {re.escape('RGB 0-1 minus')}"):
        load_trunk(trunk(), str(tmp_path / "w.safetensors"), "auto", network="it")


def test_random_weights_warn_and_stay():
    layers, same = trunk(), trunk()
    with pytest.warns(UserWarning, match="start from random weights"):
        assert load_trunk(layers, None, "auto", network="it") == "torchvision"
    assert all(torch.equal(a, b) for a, b in zip(layers.parameters(), same.parameters(), strict=True))
