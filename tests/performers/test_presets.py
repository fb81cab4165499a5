"""Presets give what the libraries' own transforms give, on pictures; what is none of theirs stays, or is refused."""

import json
import random
from pathlib import Path

import numpy as np
import pytest
import torch
import torchvision
from PIL import Image
from torch import Tensor, nn
from torchvision.transforms import InterpolationMode, v2
from torchvision.transforms import transforms as v1

from semexplain.data.framing import Framing
from semexplain.performers.class_names import class_names, own_class_names
from semexplain.performers.preprocessing import RECIPES, Normalisation, Preprocessing
from semexplain.performers.presets import Preset, preset_of
from semexplain.system.trouble import Trouble

MEAN, STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]


def picture(height: int = 61, width: int = 83, seed: int = 0) -> Image.Image:
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


def framed(image: Image.Image, framing: Framing) -> Tensor:
    """Resized and cropped by Pillow alone, uint8 ``(C, H, W)``."""
    image = image.convert("L" if framing.channels == 1 else "RGB")
    size = (framing.width, framing.height)
    if framing.shorter is not None:
        short, long = sorted(image.size)
        sides = {short: framing.shorter, long: int(framing.shorter * long / short)}
        size = (sides[image.width], sides[image.height])
    image = image.resize(size, Image.Resampling[framing.interpolation.upper()])
    left, top = round((size[0] - framing.width) / 2), round((size[1] - framing.height) / 2)
    image = image.crop((left, top, left + framing.width, top + framing.height))
    pixels = np.array(image).reshape(framing.height, framing.width, -1)
    return torch.from_numpy(pixels).permute(2, 0, 1)


def seen(preset: Preset, image: Image.Image) -> Tensor:
    """What a network sees of a picture."""
    if preset.framing.function is not None:
        return preset.normalisation()(preset.framing.function(image)[None])[0]
    return preset.normalisation()(framed(image, preset.framing)[None])[0]


@pytest.mark.parametrize("shape", [(61, 83), (90, 40), (64, 64)])
@pytest.mark.parametrize(
    "name", ["ResNet18_Weights.IMAGENET1K_V1", "ConvNeXt_Tiny_Weights.DEFAULT", "Swin_T_Weights.DEFAULT"]
)
def test_torchvisions_weights_to_the_bit(name: str, shape: tuple[int, int]):
    transforms = torchvision.models.get_weight(name).transforms()
    preset = preset_of(torchvision.models.get_weight(name))
    assert preset is not None
    assert preset.framing.function is None
    assert torch.equal(seen(preset, picture(*shape)), transforms(picture(*shape)))
    assert preset_of(transforms) == preset_of(torchvision.models.get_weight(name).transforms) == preset


COMPOSITIONS = {
    "cropped": v1.Compose([v1.Resize(40), v1.CenterCrop(32), v1.ToTensor(), v1.Normalize(MEAN, STD)]),
    "stretched": v1.Compose([v1.Resize((24, 40), InterpolationMode.BICUBIC), v1.ToTensor()]),
    "Lanczos": v1.Compose([v1.Resize((24, 24), InterpolationMode.LANCZOS), v1.ToTensor()]),
    "rectangular": v1.Compose(
        [v1.Resize([40]), v1.CenterCrop((32, 24)), v1.PILToTensor(), v1.ConvertImageDtype(torch.float32)]
    ),
    "grey": v1.Compose([v1.Grayscale(), v1.Resize((16, 16)), v1.ToTensor(), v1.Normalize([0.5], [0.25])]),
    "0 to 255": v2.Compose(
        [v2.Resize((16, 16)), v2.PILToTensor(), v2.ToDtype(torch.float32), v2.Normalize([123.0] * 3, [58.0] * 3)]
    ),
}


@pytest.mark.parametrize("name", COMPOSITIONS)
def test_compositions_to_the_bit(name: str):
    preset = preset_of(COMPOSITIONS[name])
    assert preset is not None
    assert preset.framing.function is None
    assert torch.equal(seen(preset, picture()), torch.Tensor(COMPOSITIONS[name](picture())))


def test_the_second_versions_scaling_to_rounding():
    """Torchvision's ToDtype multiplies by 1/255 where ToTensor divides by 255: a rounding of 0..1, over ``std``."""
    steps = [v2.Resize(40), v2.CenterCrop(32), v2.ToImage(), v2.ToDtype(torch.float32, scale=True)]
    for compose in (v2.Compose, lambda parts: nn.Sequential(*parts)):
        preset = preset_of(compose([*steps, v2.Normalize(MEAN, STD), v2.ToPureTensor()]))
        assert preset is not None
        assert preset.framing.function is None
        expected = v2.Compose([*steps, v2.Normalize(MEAN, STD)])(picture())
        assert (seen(preset, picture()) - expected).abs().max() <= 2 * torch.finfo(torch.float32).eps / min(STD)


@pytest.mark.parametrize(
    "transform",
    [
        v1.Compose([v1.ToTensor(), v1.Resize((24, 24), antialias=True)]),  # tensors are resized otherwise
        v1.Compose([v1.Resize((24, 24)), v1.ToTensor(), v1.Lambda(lambda x: x * 2 - 1)]),
        v1.Compose([v1.Resize((40, 40)), v1.CenterCrop(24), v1.ToTensor()]),
        v1.Compose([v1.CenterCrop(24), v1.ToTensor()]),
        v1.Compose([v1.Resize(20), v1.CenterCrop(24), v1.ToTensor()]),
        lambda image: torch.from_numpy(np.array(image.resize((24, 24)))).permute(2, 0, 1).float(),
    ],
)
def test_anything_else_stays_a_function(transform):
    preset = preset_of(transform)
    assert preset is not None
    assert preset.framing.function is transform
    assert preset.framing == Framing(3, 24, 24, dtype="float32", function=transform)
    assert torch.equal(seen(preset, picture()), transform(picture()))
    assert preset.words()["function"]


@pytest.mark.parametrize(
    ("transform", "message"),
    [
        (lambda image: np.zeros((3, 8, 8)), r"expected a float32 tensor \(C, H, W\) from a PIL image, got ndarray"),
        (lambda image: torch.zeros(3, 8, 8).double(), r"expected a float32 tensor .* got torch.float64 \(3, 8, 8\)"),
        (lambda image: torch.zeros(1, 3, 8, 8), r"got torch.float32 \(1, 3, 8, 8\)"),
        (lambda image: 1 / 0, "called with a PIL image it raised ZeroDivisionError"),
        (lambda image: torch.full((1, 2, 2), random.random()), "gives another tensor each time"),
        (v1.Compose([v1.Resize(20), v1.ToTensor()]), r"other shapes, \(3, 20, 26\) and \(3, 24, 20\).*CenterCrop"),
        (3, "transform: expected `auto`, .* got 3"),
        ("imagenet", "transform: expected `auto`, .* got 'imagenet'"),
        ({"size": 8, "men": 0.5}, r"transform.men: unknown key \(did you mean 'mean'\?\)"),
        ({"mean": 0.5}, r"transform.size: expected the side of a square, .* got None"),
        ({"size": [3, 8, 8, 8]}, r"transform.size: .* got \[3, 8, 8, 8\]"),
        ({"size": 8, "mean": [0.5, 0.5]}, None),
        ({"size": [3, 8, 8], "mean": [0.5, 0.5]}, r"a number for each of 3 channels as `mean`, got \[0.5, 0.5\]"),
        ({"size": 8, "mean": "x"}, "transform: expected a number for each of . channels as `mean`, got 'x'"),
        ({"size": 8, "std": 0}, "`std` must be above 0, got 0, 0, 0"),
        ({"size": 8, "scale": 1 / 255}, "`scale` is what values are divided by, so 255 brings 0..255 to 0..1"),
        ({"size": 8, "mean": [123.7, 116.8, 103.9]}, "`mean` 123.7 is none of values 0..1, .* say scale: 1"),
        ({"size": 8, "dtype": "int8"}, "transform.dtype: expected one of uint8, uint16, float32, got 'int8'"),
        ({"size": 8, "interpolation": "cubic"}, "transform.interpolation: expected one of bilinear"),
        (torchvision.models.segmentation.FCN_ResNet50_Weights.DEFAULT, "preset SemanticSegmentation is not of"),
        (torchvision.models.video.R3D_18_Weights.DEFAULT, "preset VideoClassification is not of a network"),
        (torchvision.models.detection.SSD300_VGG16_Weights.DEFAULT, "preset ObjectDetection is not of a network"),
    ],
)
def test_what_is_no_preset_is_refused(transform, message: str | None):
    if message is None:  # two channels
        preset = preset_of(transform)
        assert preset is not None
        assert preset.framing.channels == 2
        return
    with pytest.raises(Trouble, match=message):
        preset_of(transform)


def test_words_of_a_preset():
    """Grey of 16 bits with a range of 12, RGB of floats, and the caffe way."""
    grey = preset_of({"size": [1, 8, 12], "dtype": "uint16", "top": 4095, "mean": 0.5, "std": [0.25]})
    assert grey is not None
    stored = torch.tensor([0, 4095], dtype=torch.uint16).view(2, 1, 1, 1).expand(2, 1, 8, 12)
    assert torch.equal(grey.normalisation()(stored).flatten(1)[:, 0], torch.tensor([-2.0, 2.0]))
    caffe = preset_of({"size": 8, "scale": 1, "mean": list(RECIPES["caffe_rgb255"].mean)})
    assert caffe is not None
    image = torch.randint(0, 256, (2, 3, 8, 8), dtype=torch.uint8)
    assert torch.equal(caffe.normalisation()(image), Preprocessing("caffe_rgb255")(image))
    floats = preset_of({"size": 8, "dtype": "float32", "mean": MEAN, "std": STD})
    assert floats is not None
    by_hand = (image.double() / 255 - torch.tensor(MEAN).view(3, 1, 1)) / torch.tensor(STD).view(3, 1, 1)
    assert torch.allclose(floats.normalisation()(image.float() / 255).double(), by_hand, atol=1e-6)
    assert preset_of(caffe) is caffe
    assert preset_of(None) is None
    assert preset_of("auto", nn.Linear(1, 1)) is None


def test_a_normalisation_is_the_preprocessing_it_was_to_the_bit_and_names_its_constants_alike():
    image = torch.randint(0, 256, (2, 3, 5, 7), dtype=torch.uint8)
    for name, recipe in RECIPES.items():
        preprocessing = Preprocessing(name)
        mean, std = (torch.tensor(value).view(3, 1, 1) for value in (recipe.mean, recipe.std))
        assert torch.equal(preprocessing(image), (image / torch.tensor(recipe.divisor) - mean) / std)
        assert {key: tuple(value.shape) for key, value in preprocessing.state_dict().items()} == {
            "divisor": (),
            "mean": (3, 1, 1),
            "std": (3, 1, 1),
        }
        with pytest.raises(TypeError, match="Expected images as uint8 RGB 0..255 of shape"):
            preprocessing(image.float())
    with pytest.raises(TypeError, match=r"Expected images as uint16 0..65535 of shape \(B, 1, H, W\), got torch.uint8"):
        Normalisation(1.0, [0.0], [1.0], "uint16")(image)


# -- timm and Hugging Face -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "options", "exact"),
    [
        ("resnet10t", {}, True),
        ("test_vit.r160_in1k", {}, True),
        ("vit_tiny_patch16_224", {"img_size": 64}, True),
        ("resnet10t", {"pretrained_cfg_overlay": {"crop_mode": "squash", "crop_pct": 1.0}}, True),
        ("resnet10t", {"pretrained_cfg_overlay": {"crop_mode": "border"}}, False),
        ("resnet10t", {"pretrained_cfg_overlay": {"input_size": (3, 64, 96)}}, False),
    ],
)
def test_timms_own_transform_to_the_bit(name: str, options: dict, exact: bool):
    timm = pytest.importorskip("timm")
    model = timm.create_model(name, **options)
    config = timm.data.resolve_model_data_config(model)
    if "img_size" in options:
        config["input_size"] = (3, 64, 64)
    transform = timm.data.create_transform(**config, is_training=False)
    preset = preset_of("auto", model)
    assert preset is not None
    assert (preset.framing.function is None) == exact
    assert preset.framing.height == config["input_size"][1]
    assert torch.equal(seen(preset, picture()), transform(picture()))


def test_timm_says_nothing_of_other_channels():
    timm = pytest.importorskip("timm")
    assert preset_of(None, timm.create_model("resnet10t", in_chans=5)) is None


PROCESSORS = {
    "ViTImageProcessor": {"size": {"height": 32, "width": 48}},
    "CLIPImageProcessor": {"size": {"shortest_edge": 40}, "crop_size": {"height": 32, "width": 32}},
    "ConvNextImageProcessor": {"size": {"shortest_edge": 28}, "crop_pct": 0.875},
    "BitImageProcessor": {"size": {"shortest_edge": 40}, "crop_size": {"height": 32, "width": 32}, "resample": 2},
    "DeiTImageProcessor": {"size": {"height": 40, "width": 40}, "crop_size": {"height": 32, "width": 32}},
    "LevitImageProcessor": {"size": {"shortest_edge": 32}, "crop_size": {"height": 32, "width": 32}},
    "EfficientNetImageProcessor": {"size": {"height": 32, "width": 32}},
}


@pytest.mark.parametrize("name", PROCESSORS)
def test_hugging_faces_processors(name: str):
    """Where a framing says it, within the levels by which its resizing of tensors differs; else as a function."""
    transformers = pytest.importorskip("transformers")
    processor = getattr(transformers, name)(**PROCESSORS[name])
    preset = preset_of(processor)
    assert preset is not None
    smooth = picture(7, 9).resize((83, 61), Image.Resampling.BICUBIC)
    theirs = torch.as_tensor(np.asarray(processor(smooth, return_tensors="pt")["pixel_values"]))[0]
    if preset.framing.function is not None:
        assert torch.equal(seen(preset, smooth), theirs)
    else:
        ours = seen(preset, smooth)[:, 1:-1, 1:-1]
        least = []
        for y in range(3):  # its crop may begin a pixel earlier
            for x in range(3):
                difference = ours - theirs[:, y : y + ours.shape[1], x : x + ours.shape[2]]
                least.append(float((difference.abs() * preset.scale * torch.tensor(preset.std).view(3, 1, 1)).max()))
        assert min(least) <= 3
    assert (preset.framing.function is None) == (name in list(PROCESSORS)[:4])


def test_hugging_face_models_find_their_preset_and_their_names(tmp_path: Path):
    transformers = pytest.importorskip("transformers")
    config = transformers.ResNetConfig(
        embedding_size=4, hidden_sizes=[4, 8], depths=[1, 1], id2label={0: "cat", 1: "dog"}, label2id={"cat": 0}
    )
    transformers.ResNetForImageClassification(config).save_pretrained(tmp_path)
    model = transformers.ResNetForImageClassification.from_pretrained(tmp_path)
    assert preset_of(None, model) is None
    transformers.ViTImageProcessor(size={"height": 24, "width": 24}).save_pretrained(tmp_path)
    preset = preset_of("auto", model)
    assert preset is not None
    assert (preset.framing.height, preset.mean) == (24, (0.5, 0.5, 0.5))
    assert own_class_names(model) == ("cat", "dog")
    config.id2label = {0: "LABEL_0", 1: "LABEL_1"}
    assert own_class_names(transformers.ResNetForImageClassification(config)) is None


# -- names of classes ------------------------------------------------------------------------------------------------


def test_class_names(tmp_path: Path):
    (tmp_path / "names.txt").write_text("cat\ngolden retriever \r\ncat\n\n")
    assert class_names(str(tmp_path / "names.txt")) == ("cat 0", "golden retriever", "cat 2")
    assert class_names({1: "b", 0: "a"}) == class_names(["a", "b"]) == ("a", "b")
    categories = torchvision.models.ResNet18_Weights.DEFAULT.meta["categories"]
    assert len(set(class_names(categories))) == 1000


@pytest.mark.parametrize(
    ("classes", "message"),
    [
        ("/nowhere.txt", "classes: there is no file /nowhere.txt. Expected one name per line"),
        (["a", ""], "classes: a name is empty"),
        ({0: "a", 2: "b"}, r"a name for every index from 0 on, got the indices \[0, 2\]"),
        (["a", "a", "a 0"], "two outputs would be called 'a 0'"),
    ],
)
def test_what_names_no_classes_is_refused(classes, message: str):
    with pytest.raises(Trouble, match=message):
        class_names(classes)


def test_an_empty_file_names_no_classes(tmp_path: Path):
    (tmp_path / "names.txt").write_text("\n")
    with pytest.raises(Trouble, match="names.txt is empty. Expected one name per line"):
        class_names(tmp_path / "names.txt")


@pytest.mark.parametrize(
    ("names", "doubt"),
    [
        (["1", "10", "2"], "trained in the order 1, 2, 10, as it is with folders sorted as numbers"),
        (["1", "2", "10"], "trained in the order 1, 10, 2, as it is with folders sorted as text"),
        (["1", "2", "3"], None),
        (["10", "1", "2"], None),
        (["1", "10", "two"], None),
    ],
)
def test_numbers_as_names_are_doubted(names: list[str], doubt: str | None, caplog: pytest.LogCaptureFixture):
    assert class_names(names) == tuple(names)
    assert (doubt in caplog.text) if doubt else not caplog.text


def test_timm_knows_imagenets_names():
    timm = pytest.importorskip("timm")
    names = own_class_names(timm.create_model("resnet10t"))
    assert names is not None
    assert {"crane 134", "crane 517"} < set(names)
    assert own_class_names(timm.create_model("resnet10t", num_classes=7)) is None


def test_a_processor_from_a_file_is_plain_data(tmp_path: Path):
    """Options that ask for code of their own find none here."""
    transformers = pytest.importorskip("transformers")
    from semexplain.performers.presets import of_folder

    canary = tmp_path / "canary"
    (tmp_path / "evil.py").write_text(f"import os\nos.mkdir({str(canary)!r})\n\nclass P:\n    pass\n")
    said = {"image_processor_type": "Evil", "auto_map": {"AutoImageProcessor": "evil.P"}}
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(said))
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "resnet"}))
    assert transformers
    assert of_folder(str(tmp_path)) is None
    assert not canary.exists()
