"""The preprocessing that a network was trained with, as torchvision, timm, Hugging Face or a user says it."""

import functools
import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from numbers import Real
from typing import Any, get_args

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torchvision.models import WeightsEnum
from torchvision.transforms import _presets

from semexplain.data.framing import TOPS, Framing, Interpolation, read_image
from semexplain.performers.compositions import composition
from semexplain.performers.preprocessing import Normalisation
from semexplain.system.config import plain, suggest
from semexplain.system.trouble import Trouble

KEYS = ("size", "mean", "std", "scale", "shorter", "interpolation", "dtype", "top")
RESAMPLINGS: dict[int, Interpolation] = {0: "nearest", 1: "lanczos", 2: "bilinear", 3: "bicubic"}  # numbers of PIL's
LEVELS = 3.0  # grey levels by which Hugging Face's resizing, which is of tensors, may differ from that of pictures
FORMS = (
    "`auto`, {size, mean, std, scale}, torchvision's `weights.transforms()`, a Hugging Face image processor, or a "
    "function from a PIL image to a float tensor (C, H, W), in a yaml by its name in the file that builds the network"
)


@dataclass(frozen=True)
class Preset:
    """What is done to a picture before a network sees it: ``(framed / scale - mean) / std``, or a function.

    Attributes:
        framing: Size, crop and stored values.
        scale: What stored values are divided by; 255 brings uint8 to 0..1.
        mean: ``C`` numbers.
        std: ``C`` numbers.
    """

    framing: Framing
    scale: float
    mean: tuple[float, ...]
    std: tuple[float, ...]

    def words(self) -> dict[str, Any]:
        """All of it as plain values, of which a function has its name alone.

        Example:
            >>> preset_of({"size": 8, "mean": 0.5, "std": 0.25}).words()["mean"]
            [0.5, 0.5, 0.5]
        """
        numbers = {"scale": self.scale, "mean": list(self.mean), "std": list(self.std)}
        return {"size": list(self.framing.shape), **self.framing.options, **numbers}

    def normalisation(self) -> Normalisation:
        """The module from stored values to what the network takes; what a callable gives stays as it is.

        Example:
            >>> preset = preset_of({"size": 8, "mean": [0.5], "std": [0.25]})
            >>> preset.normalisation()(torch.full((1, 1, 8, 8), 255, dtype=torch.uint8)).unique()
            tensor([2.])
        """
        return Normalisation(self.scale, self.mean, self.std, self.framing.dtype, self.framing.top)


def preset_of(transform: Any, model: nn.Module | None = None) -> Preset | None:
    """The preset in any form that people have it in.

    Args:
        transform: ``None`` or ``auto``: what a timm or Hugging Face model says itself. A :class:`Preset`. A mapping
            ``{size, mean, std, scale}``: the side, ``[height, width]`` or ``[channels, height, width]``, numbers of
            each channel, and what values are divided by; if wanted with ``shorter``, ``interpolation``, ``dtype`` and
            ``top`` of :class:`~semexplain.data.framing.Framing`. torchvision's weights or their ``transforms()``. A
            ``Compose`` of resizing, crop, conversion and normalisation. An image processor of Hugging Face. Any other
            function.
        model: The network.

    Returns:
        The preset; ``None`` if nothing says it.

    Raises:
        Trouble: If it is none of these, or made for another task than one answer for one picture.

    Example:
        >>> preset = preset_of({"size": [1, 24, 32], "scale": 255, "mean": 0.5, "std": 0.5})
        >>> preset.framing.channels, preset.framing.height, preset.framing.width, preset.mean
        (1, 24, 32, (0.5,))
    """
    transform = plain(transform)
    if isinstance(transform, WeightsEnum):
        transform = transform.transforms()
    if isinstance(transform, functools.partial) and getattr(transform.func, "__module__", "") == _presets.__name__:
        transform = transform()
    if isinstance(transform, Preset):
        return transform
    if transform is None or (isinstance(transform, str) and transform == "auto"):
        return None if model is None else _own(model)
    if isinstance(transform, Mapping):
        return _of_words(transform)
    if type(transform).__module__ == _presets.__name__:
        return _of_torchvision(transform)
    if hasattr(transform, "preprocess") and hasattr(transform, "image_processor_type"):
        return of_processor(transform)
    if hasattr(transform, "preprocess") and hasattr(transform, "rescale_factor"):
        return of_processor(transform)
    if parts := composition(transform):
        return _preset(**parts)
    if not callable(transform) or isinstance(transform, type):
        raise Trouble(f"transform: expected {FORMS}; got {transform!r:.80}.")
    return of_function(transform)


def _preset(
    framing: Framing,
    scale: float | None = None,
    mean: float | Sequence[float] | None = None,
    std: float | Sequence[float] | None = None,
) -> Preset:
    """A preset with a number for each channel, refused where mean and scale can not belong together."""
    top = framing.full
    scale = top if scale is None else float(scale)
    means, stds = (_each(name, value, framing.channels) for name, value in (("mean", mean), ("std", std)))
    if scale < min(1.0, top):
        raise Trouble(
            f"transform: `scale` is what values are divided by, so {top:g} brings 0..{top:g} to 0..1; got {scale:g}."
        )
    if min(stds) <= 0:
        raise Trouble(f"transform: `std` must be above 0, got {', '.join(f'{value:g}' for value in stds)}.")
    if max(map(abs, means)) > 2 * top / scale:
        raise Trouble(
            f"transform: `mean` {max(means):g} is none of values 0..{top / scale:g}, which `scale` {scale:g} makes of "
            f"0..{top:g}. For values 0..{top:g} say scale: 1."
        )
    return Preset(framing, scale, means, stds)


def _each(name: str, value: float | Sequence[float] | None, channels: int) -> tuple[float, ...]:
    if value is None:
        value = 0.0 if name == "mean" else 1.0
    values = [value] * channels if isinstance(value, Real) else list(value)  # type: ignore[arg-type]
    if len(values) == 1:
        values *= channels
    if len(values) != channels or not all(isinstance(number, Real) for number in values):
        raise Trouble(f"transform: expected a number for each of {channels} channels as `{name}`, got {value!r:.80}.")
    return tuple(float(number) for number in values)


def _of_words(words: Mapping[str, Any]) -> Preset:
    """The preset of ``{size, mean, std, scale}``."""
    for key in words:
        if key not in KEYS:
            raise Trouble(f"transform.{key}: unknown key{suggest(key, KEYS)}. There are: {', '.join(KEYS)}.")
    size = words.get("size")
    sides = [size, size] if isinstance(size, int) else list(size or ())
    if len(sides) not in (2, 3) or not all(isinstance(side, int) and side > 0 for side in sides):
        raise Trouble(
            "transform.size: expected the side of a square, [height, width] or [channels, height, width] in pixels, "
            f"got {size!r}."
        )
    numbers = [words[name] for name in ("mean", "std") if isinstance(words.get(name), Sequence)]
    channels = sides.pop(0) if len(sides) == 3 else max([len(value) for value in numbers if len(value) > 1], default=0)
    options: dict[str, Any] = {key: words[key] for key in KEYS[4:] if words.get(key) is not None}
    _require(options, "interpolation", get_args(Interpolation))
    _require(options, "dtype", tuple(TOPS))
    one = any(len(value) == 1 for value in numbers)
    framing = Framing(channels or (1 if one else 3), height=sides[0], width=sides[1], **options)
    return _preset(framing, words.get("scale"), words.get("mean"), words.get("std"))


def _require(options: Mapping[str, Any], key: str, allowed: Sequence[str]) -> None:
    if key in options and options[key] not in allowed:
        raise Trouble(f"transform.{key}: expected one of {', '.join(allowed)}, got {options[key]!r}.")


def _of_torchvision(transform: Any) -> Preset:
    """The preset of torchvision's weights."""
    if not isinstance(transform, _presets.ImageClassification):
        raise Trouble(
            f"transform: torchvision's preset {type(transform).__name__} is not of a network that gives a picture one "
            "answer. Expected that of a classification; or give a function from a PIL image to a tensor."
        )
    (side,), (shorter,) = transform.crop_size, transform.resize_size
    if transform.interpolation.value not in get_args(Interpolation) or shorter < side:
        return of_function(transform)
    framing = Framing(3, side, side, shorter, transform.interpolation.value)
    return _preset(framing, None, transform.mean, transform.std)


def _own(model: nn.Module) -> Preset | None:
    """What a model of timm or Hugging Face says itself."""
    if isinstance(getattr(model, "pretrained_cfg", None), Mapping):
        return of_timm(model)
    name = getattr(getattr(model, "config", None), "_name_or_path", "")
    return of_folder(name) if name else None


def of_timm(model: nn.Module) -> Preset | None:
    """The preset of a timm model, ``timm.data.resolve_model_data_config``; ``None`` if it was built for other channels.

    Where a model was built for another size than its weights, its patches say it.
    """
    from timm.data import create_transform, resolve_model_data_config

    sides = getattr(getattr(model, "patch_embed", None), "img_size", None)
    config = resolve_model_data_config(model)
    if sides is not None:
        config["input_size"] = (config["input_size"][0], *sides)
    first = getattr(model, "pretrained_cfg", {}).get("first_conv")
    layer = dict(model.named_modules()).get(first) if isinstance(first, str) else None
    if isinstance(layer, nn.Conv2d) and layer.in_channels != config["input_size"][0]:
        return None
    channels, height, width = config["input_size"]
    centre, squared = config["crop_mode"] == "center", height == width
    shorter = int(height / config["crop_pct"]) if centre else None
    exact = (centre and squared) or (config["crop_mode"] == "squash" and config["crop_pct"] == 1)
    if not exact or config["interpolation"] not in get_args(Interpolation):
        return of_function(create_transform(**config, is_training=False))
    framing = Framing(channels, height, width, shorter, config["interpolation"])
    return _preset(framing, None, config["mean"][:channels], config["std"][:channels])


def of_folder(name: str) -> Preset | None:
    """The preset that Hugging Face keeps beside a model, in a local folder or its cache; ``None`` if there is none."""
    from transformers import AutoImageProcessor

    try:
        return of_processor(AutoImageProcessor.from_pretrained(name, trust_remote_code=False, local_files_only=True))
    except (OSError, ValueError):  # there is no preprocessor_config.json, or it is of nothing that is known
        return None


def of_processor(processor: Any) -> Preset:
    """The preset of an image processor of Hugging Face; where its options do not say all that it does, a function.

    Whether they do is settled by trial. They resize tensors, and round the corner of a crop down: what they give may
    differ from that of a picture that is read here by two grey levels, and by one pixel in its place.
    """
    function = functools.partial(_processed, processor)
    sizes = _sizes(processor)
    resampling = RESAMPLINGS.get(int(getattr(processor, "resample", None) or 0))
    if sizes is None or resampling is None:
        return of_function(function)
    framing = Framing(3, *sizes, resampling)
    normalises = getattr(processor, "do_normalize", False)
    scale = 1 / processor.rescale_factor if getattr(processor, "do_rescale", False) else 1.0
    mean, std = (getattr(processor, f"image_{name}") if normalises else None for name in ("mean", "std"))
    preset = _preset(framing, round(scale, 6), mean, std)
    for sides in ((150, 201), (201, 150), (83, 61)):
        picture = _trial(*sides)
        ours, theirs = preset.normalisation()(read_image(picture, framing)[None])[0], function(picture)
        if ours.shape != theirs.shape or not _agree(ours, theirs, LEVELS / scale / torch.tensor(preset.std)):
            return of_function(function)
    return preset


def _agree(ours: Tensor, theirs: Tensor, level: Tensor) -> bool:
    """Whether pictures are equal up to a level of each channel, where the crop of one may begin a pixel later."""
    inner = ours[:, 1:-1, 1:-1]
    height, width = inner.shape[1:]
    starts = itertools.product((1, 0, 2), repeat=2)
    parts = (theirs[:, y : y + height, x : x + width] for y, x in starts)
    return any(bool(((inner - part).abs() <= level.view(-1, 1, 1)).all()) for part in parts)


def _sizes(processor: Any) -> tuple[int, int, int | None] | None:
    """Height, width and shorter side before the crop, of the options of an image processor; ``None`` for others."""
    size, crop = dict(getattr(processor, "size", None) or {}), dict(getattr(processor, "crop_size", None) or {})
    cropped = getattr(processor, "do_center_crop", False) and crop
    shorter, portion = size.get("shortest_edge"), getattr(processor, "crop_pct", None)
    if not getattr(processor, "do_resize", False):
        return None
    if shorter and portion:  # ConvNeXt's, which crops small pictures alone
        return (shorter, shorter, int(shorter / portion) if shorter < 384 else None)
    if shorter and cropped:
        return (crop["height"], crop["width"], shorter)
    if size.keys() >= {"height", "width"} and (not cropped or crop == size):
        return (size["height"], size["width"], None)
    return None


def of_function(function: Callable[[Image.Image], Any]) -> Preset:
    """The preset of a function from a PIL image to what a network takes.

    Raises:
        Trouble: If it does not give float tensors of one shape, or gives another one each time.
    """
    results = [_asked(function, _trial(*sides)) for sides in ((150, 201), (150, 201), (180, 150))]
    if not torch.equal(results[0], results[1]):
        raise Trouble("transform: it gives another tensor each time. Give the one of validation, which nothing random.")
    if results[0].shape != results[2].shape:
        raise Trouble(
            f"transform: pictures of other sizes become tensors of other shapes, {tuple(results[0].shape)} and "
            f"{tuple(results[2].shape)}. Let it end with one size, for example by a CenterCrop."
        )
    channels, height, width = results[0].shape
    framing = Framing(channels, height, width, dtype="float32", function=function)
    return Preset(framing, 1.0, (0.0,) * channels, (1.0,) * channels)


def _asked(function: Callable[[Image.Image], Any], picture: Image.Image) -> Tensor:
    try:
        result = function(picture)
    except Exception as error:  # whatever a stranger's function raises
        text = f"{type(error).__name__}: {error}"
        raise Trouble(f"transform: expected {FORMS}; called with a PIL image it raised {text:.200}.") from error
    if not isinstance(result, Tensor) or result.dtype != torch.float32 or result.ndim != 3:
        kind = f"{result.dtype} {tuple(result.shape)}" if isinstance(result, Tensor) else type(result).__name__
        raise Trouble(f"transform: expected a float32 tensor (C, H, W) from a PIL image, got {kind}.")
    return result


def _processed(processor: Any, picture: Image.Image) -> Tensor:
    return torch.as_tensor(processor(picture.convert("RGB"), return_tensors="pt")["pixel_values"][0]).float()


def _trial(height: int, width: int) -> Image.Image:
    """A picture of waves without symmetry, on which another crop, size or order of channels is seen at once."""
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    waves = [np.sin(x / 6) + y / height, np.cos(y / 7) + x / width, np.sin((x + 2 * y) / 13) + 0.5]
    pixels = np.stack([(wave - wave.min()) / np.ptp(wave) * 255 for wave in waves], axis=2)
    return Image.fromarray(pixels.round().astype(np.uint8))
