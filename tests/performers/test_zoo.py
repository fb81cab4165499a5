"""Architectures of libraries, small and with random weights, against their own forward passes with a hook."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from semexplain.concepts.priors import filter_jacobian
from semexplain.performers.network import Network
from semexplain.system.trouble import Trouble

TORCHVISION = {
    "resnet18": ("layer4", 64),
    "densenet121": ("features", 64),
    "mobilenet_v3_small": ("features", 64),
    "mnasnet0_5": ("layers", 64),
    "shufflenet_v2_x0_5": ("conv5", 64),
    "swin_t": ("features.5", 64),
}
TIMM = {  # layer and options
    "vit_tiny_patch16_224": ("blocks.10", {"img_size": 32}),
    "deit_tiny_distilled_patch16_224": ("blocks.10", {"img_size": 32}),
    "swin_tiny_patch4_window7_224": ("layers.2", {"img_size": 64, "window_size": 2}),
    "convnext_atto": ("stages.3", {}),
    "mixer_s32_224": ("blocks.6", {"img_size": 64}),
}


@torch.no_grad()
def shaken(model: nn.Module) -> nn.Module:
    """Frozen. Last layers that begin as 0 make all answers the same, and norms with fresh statistics do nothing."""
    torch.manual_seed(1)
    for module in model.modules():
        if isinstance(module, nn.Linear) and not bool(module.weight.any()):
            nn.init.normal_(module.weight)
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.uniform_(-0.1, 0.1)
            module.running_var.uniform_(0.5, 1.5)
    return model.eval().requires_grad_(False)


def compared(
    model: nn.Module, layer: str, side: int, logits: Callable[[object], Tensor] = lambda said: said
) -> Network:
    """Score and gradient at the layer, bit for bit; the same without naming the layer but for its place."""
    net = Network(model, layer, output=1, transform={"size": [3, side, side]})
    image = torch.randint(0, 256, (2, 3, side, side), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    leaf = net.feature(net.encode(image)).requires_grad_()
    score, _ = net.head(leaf)
    (found,) = torch.autograd.grad(score.sum(), leaf)
    inner: list[Tensor] = []

    def hook(module: nn.Module, arguments: object, output: object) -> object:
        value = (output[0] if isinstance(output, tuple) else output).detach().clone().requires_grad_()
        inner.append(value)
        return (value.clone(), *output[1:]) if isinstance(output, tuple) else value.clone()

    handle = model.get_submodule(layer).register_forward_hook(hook)
    expected = logits(model(image / 255))[:, 1]
    handle.remove()
    (slope,) = torch.autograd.grad(expected.sum(), inner[0])
    assert torch.equal(score, expected)
    assert torch.equal(found, slope)
    assert bool(found.any())
    _, prior = net.perform(net.encode(image), filter_jacobian)
    assert bool(prior.isfinite().all())
    return net


@pytest.mark.parametrize("name", TORCHVISION)
def test_torchvision(name: str):
    models = pytest.importorskip("torchvision.models")
    layer, side = TORCHVISION[name]
    torch.manual_seed(0)
    net = compared(shaken(getattr(models, name)(num_classes=4)), layer, side)
    assert len(net.map_shape) == 3


def test_torchvision_vit():
    models = pytest.importorskip("torchvision.models")
    torch.manual_seed(0)
    model = shaken(models.VisionTransformer(32, 8, 3, 2, 16, 32, num_classes=4))
    net = compared(model, "encoder.layers.encoder_layer_1", 32)
    assert net.map_shape == (16, 4, 4)
    assert Network(model, output=1, transform={"size": [3, 32, 32]}).layers_read == ("encoder.layers.encoder_layer_1",)
    with pytest.raises(Trouble, match="Choose 'encoder.layers.encoder_layer_1', the nearest"):
        Network(model, "encoder.layers.encoder_layer_1.self_attention", output=1, transform={"size": [3, 32, 32]})


@pytest.mark.parametrize("name", TIMM)
def test_timm(name: str):
    timm = pytest.importorskip("timm")
    layer, options = TIMM[name]
    torch.manual_seed(0)
    model = shaken(timm.create_model(name, num_classes=4, **options))
    net = compared(model, layer, options.get("img_size", 64))
    assert net.map_shape[1] * net.map_shape[2] >= 4
    Network(model, output=1, transform={"size": [3, *[options.get("img_size", 64)] * 2]})


def hugging_face(kind: str) -> nn.Module:
    transformers = pytest.importorskip("transformers")
    small = {"num_labels": 4, "image_size": 32}
    if kind == "ViT":
        config = transformers.ViTConfig(
            hidden_size=16, num_hidden_layers=3, num_attention_heads=2, intermediate_size=32, patch_size=8, **small
        )
        return transformers.ViTForImageClassification(config)
    if kind == "Swin":
        config = transformers.SwinConfig(
            embed_dim=8, depths=[1, 2], num_heads=[1, 2], window_size=2, patch_size=4, **small
        )
        return transformers.SwinForImageClassification(config)
    config = transformers.ResNetConfig(
        embedding_size=8, hidden_sizes=[8, 16], depths=[1, 2], layer_type="basic", num_labels=4
    )
    return transformers.ResNetForImageClassification(config)


@pytest.mark.parametrize("kind", ["ViT", "Swin", "ResNet"])
def test_hugging_face(kind: str):
    torch.manual_seed(0)
    model = shaken(hugging_face(kind))
    names = [name for name, _ in model.named_modules()]
    ends = {"ViT": "1", "Swin": "blocks.0", "ResNet": "stages.1"}[kind]
    layer = next(name for name in names if name.endswith(f".{ends}") and "attention" not in name)
    net = compared(model, layer, 32, lambda said: said.logits)
    assert net.output_names == ("output_0", "output_1", "output_2", "output_3")
    by_itself = Network(model, output=1, transform={"size": [3, 32, 32]})
    assert by_itself.map_shape[0] >= 16  # not what a pooler has left: a square number of channels is no map
