"""How a picture is brought to a network: its size, how it is cut and resized, and in which numbers it is kept."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import IO, Any, Literal, get_args

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from semexplain.system.config import suggest
from semexplain.system.image_files import (
    ENDINGS,
    ImageError,
    Mode,
    decoded,
    eight_bits,
    file_planes,
    photo_size,
    planes,
    read_array,
    upright,
)

ImageSize = int | Sequence[int]  # side of a square RGB image, or channels, height and width
Plain = Path | str | IO[bytes] | Image.Image | np.ndarray | Tensor


@dataclass(frozen=True)
class WithNumbers:
    """A picture, and numbers that belong to it and are in no pixel, such as an age.

    Each is a further channel, the same everywhere: whole numbers in the range of the framing, or any in float32.

    Attributes:
        picture: The picture.
        numbers: In the order of the channels.

    Example:
        >>> read_image(WithNumbers(np.zeros((2, 2, 3), np.uint8), (31,)), Framing(4, 1, 1)).flatten()
        tensor([ 0,  0,  0, 31], dtype=torch.uint8)
    """

    picture: Plain
    numbers: Sequence[float]

    def __str__(self) -> str:
        """As its picture is called."""
        return _name(self.picture)


Picture = Plain | WithNumbers
Held = Picture | Callable[[], Picture]  # a picture, or a function that gets it when it is wanted
Interpolation = Literal["bilinear", "bicubic", "nearest", "lanczos"]
Stored = Literal["uint8", "uint16", "float32"]
MOST_CHANNELS = 16
TOPS: dict[str, float] = {"uint8": 255.0, "uint16": 65535.0, "float32": 1.0}
DTYPES = {"uint8": torch.uint8, "uint16": torch.uint16, "float32": torch.float32}
MODES: dict[int, Mode] = {1: "L", 3: "RGB"}  # of Pillow, by channels
ARRAY = ".npy"
READABLE = ENDINGS | {ARRAY}  # endings of files that can be read


@dataclass(frozen=True)
class Framing:
    """How a picture becomes ``(C, H, W)``.

    Stretched: resized to height and width, the aspect ratio not kept. With ``shorter``: resized so that the shorter
    side has so many pixels, the aspect ratio kept, and cut out of the middle, pixel by pixel as torchvision's
    ``Resize(shorter)`` and ``CenterCrop((height, width))`` do with a PIL image.

    Attributes:
        channels: 1 to 16; one is grey, three are red, green and blue.
        height: In pixels.
        width: In pixels.
        shorter: Shorter side before the middle is cut out; None: stretched.
        interpolation: Of Pillow, which averages where it makes an image smaller.
        dtype: In which numbers pixels are kept.
        top: Number of full brightness, black is 0; by default 255, 65535 or 1.0. Of 12 bits in uint16 it is 4095.
        function: In place of all this, from an RGB picture of Pillow's to the float32 tensor ``(C, H, W)`` that the
            network takes; its name, where the function itself is not known.

    Raises:
        ValueError: If one of them cannot be.

    Example:
        >>> Framing(3, 224, 224, shorter=256, interpolation="bicubic").shape
        (3, 224, 224)
        >>> Framing(1, 32, 32, dtype="uint16").top
        65535.0
        >>> Framing(3, 224, 224, shorter=200)
        Traceback (most recent call last):
        ValueError: shorter: expected at least 224, since 224 x 224 pixels are cut out of the middle, got 200.
    """

    channels: int
    height: int
    width: int
    shorter: int | None = None
    interpolation: Interpolation = "bilinear"
    dtype: Stored = "uint8"
    top: float | None = None
    function: Callable[[Image.Image], Tensor] | str | None = None

    def __post_init__(self) -> None:
        if not 1 <= self.channels <= MOST_CHANNELS:
            raise ValueError(f"Images are read with 1 to {MOST_CHANNELS} channels, not {self.channels}.")
        if self.height < 1 or self.width < 1:
            raise ValueError(f"Expected an image of at least one pixel, got {self.height} x {self.width}.")
        for name, options in (("interpolation", get_args(Interpolation)), ("dtype", get_args(Stored))):
            value = getattr(self, name)
            if value not in options:
                raise ValueError(
                    f"{name}: expected one of {', '.join(options)}, got {value!r}{suggest(value, options)}."
                )
        if self.shorter is not None and self.shorter < max(self.height, self.width):
            raise ValueError(
                f"shorter: expected at least {max(self.height, self.width)}, since {self.height} x {self.width} pixels "
                f"are cut out of the middle, got {self.shorter}."
            )
        most = TOPS[self.dtype]
        top = most if self.top is None else float(self.top)
        if not 0 < top <= (np.inf if self.dtype == "float32" else most):
            raise ValueError(f"top: expected above 0 and at most {most:g}, got {self.top}.")
        object.__setattr__(self, "top", top)

    @classmethod
    def of(cls, size: "ImageSize | Framing", options: Mapping[str, Any] | None = None) -> "Framing":
        """The framing to a size, stretched and uint8 unless options say otherwise.

        Args:
            size: Side of a square RGB image, or channels, height and width; a framing stays as it is.
            options: ``shorter``, ``interpolation``, ``dtype``, ``top``; the name of a ``function``.

        Example:
            >>> Framing.of(32).shape, Framing.of((1, 24, 40), {"dtype": "float32"}).shape
            ((3, 32, 32), (1, 24, 40))
        """
        if isinstance(size, Framing):
            return size
        if not isinstance(size, int) and len(size) != 3:
            raise ValueError(f"Expected the side of an image, or its channels, height and width, got {size}.")
        unknown = [name for name in options or {} if name not in OPTIONS]
        if unknown:
            hint = suggest(unknown[0], OPTIONS)
            raise ValueError(f"framing: expected some of {', '.join(OPTIONS)}, got {unknown[0]!r}{hint}.")
        channels, height, width = (3, size, size) if isinstance(size, int) else size
        return cls(channels, height, width, **(options or {}))

    @property
    def shape(self) -> tuple[int, int, int]:
        """Channels, height and width."""
        return self.channels, self.height, self.width

    @property
    def options(self) -> dict[str, Any]:
        """What is not as by default, beside the shape; nothing for stretched uint8.

        Example:
            >>> Framing(3, 8, 8).options, Framing(3, 8, 8, shorter=9, top=255).options
            ({}, {'shorter': 9})
        """
        plain = Framing(*self.shape, dtype=self.dtype)
        own = {name: getattr(self, name) for name in OPTIONS if getattr(self, name) != getattr(plain, name)}
        if callable(self.function):
            own["function"] = getattr(self.function, "__qualname__", type(self.function).__qualname__)
        return own | ({"dtype": self.dtype} if self.dtype != "uint8" else {})

    @property
    def full(self) -> float:
        """``top`` as a number."""
        assert self.top is not None
        return self.top

    def empty(self, device: torch.device | None = None) -> Tensor:
        """One black image ``(1, C, H, W)``."""
        return torch.zeros(1, *self.shape, dtype=DTYPES[self.dtype], device=device)

    def shown(self, images: Tensor) -> Tensor:
        """Images ``(..., C, H, W)`` as they are kept, to be looked at: uint8 ``(..., 3, H, W)`` on the CPU.

        Grey is repeated, of more than three channels the first three are red, green and blue, of two the first is grey.
        What a function made has the brightness that its own range leaves.

        Example:
            >>> Framing(1, 1, 2, dtype="float32").shown(torch.tensor([[[0.0, 0.5]]])).flatten()
            tensor([  0, 128,   0, 128,   0, 128], dtype=torch.uint8)
        """
        some = (images[..., :3, :, :] if images.shape[-3] >= 3 else images[..., :1, :, :]).cpu()
        if self.function is not None:
            low, high = some.amin((-3, -2, -1), keepdim=True), some.amax((-3, -2, -1), keepdim=True)
            some = (some - low) / (high - low).clamp_min(1e-12)
        if self.dtype != "uint8" or self.full != TOPS["uint8"]:
            some = (some.float() * (255 / self.full) + 0.5).clamp(0, 255).to(torch.uint8)
        return some.expand(*some.shape[:-3], 3, *some.shape[-2:])


OPTIONS = tuple(field.name for field in fields(Framing))[3:]


def read_image(picture: Picture, size: ImageSize | Framing, box: Sequence[int] | np.ndarray | None = None) -> Tensor:
    """A picture as a network takes it, ``(C, H, W)``: the one way in which pictures are read.

    Transparency, orientation, and 16 bits mean the same in a file and in a PIL image, see
    :func:`semexplain.system.image_files.eight_bits`. Arrays must have the framing's type and range. In files, numbers
    of that kind are taken as they are, others scaled so that full brightness stays full brightness.

    Args:
        picture: A file, also ``.npy``, or one that is open; a PIL image; an array ``(H, W)``, ``(H, W, C)`` (uint8
            ``(H, W, 4)`` with transparency); a tensor ``(C, H, W)``; one of these :class:`WithNumbers`.
        size: A framing, or the side of a square RGB image, or channels, height and width.
        box: Left, top, right and bottom (exclusive) of the part to take, clipped to the picture; the whole by default.

    Raises:
        FileNotFoundError: If there is no such file.
        ImageError: If a file is damaged or not an image, a picture cannot be told in these numbers, or the box lies
            outside it.
        TypeError: If an array has another type: what is fed 0..1 in place of 0..255 fails silently.
        ValueError: If an array is not an image, or its numbers are out of range.

    Example:
        >>> read_image(np.zeros((20, 30), dtype=np.uint8), 8).shape
        torch.Size([3, 8, 8])
        >>> read_image(np.full((4, 4), 200.0), Framing(1, 4, 4, dtype="float32"))
        Traceback (most recent call last):
        ValueError: Expected numbers from 0 to 1, got 200 to 200. Divide them by 255, or state their range: `top=255`.
    """
    framing = Framing.of(size)
    if isinstance(picture, WithNumbers):
        return _numbered(picture, framing, box)
    if framing.function is not None:
        return _made(picture, framing, box)
    channels = [_cut(one, box, picture) for one in _channels(picture, framing)]
    framed = [np.asarray(_placed(one, framing)).reshape(framing.height, framing.width, -1) for one in channels]
    pixels = np.array(framed[0]) if len(framed) == 1 else np.concatenate(framed, 2)
    if framing.dtype != "uint8":
        pixels = pixels.clip(0, framing.full)  # beyond which a cubic can shoot
        pixels = np.rint(pixels).astype(np.uint16) if framing.dtype == "uint16" else pixels
    return torch.from_numpy(pixels).permute(2, 0, 1).contiguous()


def _numbered(picture: WithNumbers, framing: Framing, box: Sequence[int] | np.ndarray | None) -> Tensor:
    """A picture with a further channel for each of its numbers."""
    numbers, channels = np.asarray(picture.numbers, dtype=np.float64), framing.channels - len(picture.numbers)
    if framing.function is not None or channels < 1:
        raise ValueError(
            f"{len(numbers)} numbers of {picture} need as many channels, besides those of pixels: say in `transform`'s "
            f"size how many there are with them, such as [{3 + len(numbers)}, {framing.height}, {framing.width}]."
        )
    whole = framing.dtype != "float32"
    if not np.isfinite(numbers).all() or (
        whole and ((numbers != np.rint(numbers)) | (numbers < 0) | (numbers > framing.full)).any()
    ):
        wanted = f"whole numbers from 0 to {framing.full:g}" if whole else "numbers"
        mend = ", or images of the `dtype` float32" if whole else ""
        raise ValueError(f"Expected {wanted} beside {picture}, got {numbers.tolist()}. Scale them{mend}.")
    pixels = read_image(picture.picture, replace(framing, channels=channels), box)
    planes = torch.from_numpy(numbers.astype(framing.dtype))[:, None, None].expand(-1, *pixels.shape[1:])
    return torch.cat([pixels, planes])


def picture_size(picture: Picture, framing: Framing) -> tuple[int, int]:
    """Height and width of a picture, upright, before it is framed; of an image file from its header."""
    if isinstance(picture, WithNumbers):
        return picture_size(picture.picture, replace(framing, channels=framing.channels - len(picture.numbers)))
    if isinstance(picture, str | Path) and Path(picture).suffix.lower() != ARRAY:
        return photo_size(Path(picture))
    return _channels(picture, framing)[0].size[::-1]


def _made(picture: Plain, framing: Framing, box: Sequence[int] | np.ndarray | None) -> Tensor:
    """A picture as the framing's own function makes it."""
    if not callable(framing.function):
        raise ValueError(
            f"Pictures of this network are made by a function, {framing.function}, which is in no file: give the "
            "network that has it."
        )
    (image,) = _channels(picture, Framing(3, *framing.shape[1:]))
    made = framing.function(_cut(image, box, picture))
    if not isinstance(made, Tensor) or tuple(made.shape) != framing.shape or made.dtype != torch.float32:
        found = f"{made.dtype} {tuple(made.shape)}" if isinstance(made, Tensor) else type(made).__name__
        raise ValueError(f"Expected float32 {framing.shape} of the function that makes pictures, got {found}.")
    return made


def _channels(picture: Plain, framing: Framing) -> list[Image.Image]:
    """A picture as Pillow resizes it: one image of all channels with 8 bits each, or one for each channel."""
    mode = MODES.get(framing.channels) if framing.dtype == "uint8" and framing.full == TOPS["uint8"] else None
    picture = Path(picture) if isinstance(picture, str) else picture
    if isinstance(picture, np.ndarray | Tensor):
        return _of_array(_channels_last(picture, framing, mode), framing, mode)
    if isinstance(picture, Image.Image):
        try:
            if mode:
                return [eight_bits(upright(picture), mode)]
            return _in_range(*planes(picture, framing.channels), framing)
        except (OSError, ValueError) as error:
            raise ImageError(f"A picture cannot be read: {str(error).rstrip('.')}.") from error
    try:
        if isinstance(picture, Path) and picture.suffix.lower() == ARRAY:
            return _of_array(read_array(picture), framing, mode)
        return [decoded(picture, mode)] if mode else _in_range(*file_planes(picture, framing.channels), framing)
    except (ImageError, FileNotFoundError):
        raise
    except (TypeError, ValueError) as error:
        raise ImageError(f"The image {_name(picture)} cannot be read rightly: {str(error).rstrip('.')}.") from error


def _channels_last(picture: np.ndarray | Tensor, framing: Framing, mode: Mode | None) -> np.ndarray:
    """An array or tensor as an array ``(H, W, C)``, or ``(H, W)`` of a tensor with one channel."""
    if isinstance(picture, np.ndarray):
        return picture
    if picture.ndim != 3 or (mode and len(picture) not in MODES):
        channels = 3 if mode else framing.channels
        raise ValueError(f"Expected a tensor ({channels}, H, W), got the shape {tuple(picture.shape)}.")
    array: np.ndarray = picture.permute(1, 2, 0).cpu().numpy()
    return array[:, :, 0] if array.shape[2] == 1 else array


def _of_array(array: np.ndarray, framing: Framing, mode: Mode | None) -> list[Image.Image]:
    """The channels of an array, whose type and range have to be those of the framing."""
    floats = framing.dtype == "float32" and np.issubdtype(array.dtype, np.floating)
    if not floats and array.dtype != framing.dtype:
        colours = "RGB " if framing.channels == 3 else ""
        wanted = f"{framing.dtype} {colours}0..{framing.full:g}"
        raise TypeError(f"Expected images as {wanted}, got {array.dtype}. Convert them first.")
    if mode is not None:
        if array.ndim not in (2, 3) or (array.ndim == 3 and array.shape[2] not in (3, 4)):
            raise ValueError(f"Expected an array (H, W, 3) or (H, W), got the shape {array.shape}.")
        try:
            return [eight_bits(Image.fromarray(array), mode)]
        except (OSError, ValueError) as error:
            raise ImageError(f"A picture cannot be read: {error}.") from error
    grey = array.ndim == 2 and framing.channels in MODES
    if 0 in array.shape or not (grey or (array.ndim == 3 and array.shape[2] == framing.channels)):
        shapes = f"(H, W, {framing.channels})" + (" or (H, W)" if framing.channels in MODES else "")
        raise ValueError(f"Expected an array {shapes}, got the shape {array.shape}.")
    array = array.astype(framing.dtype)
    return _in_range([array] if grey else list(np.moveaxis(array, 2, 0)), framing.full, framing)


def _in_range(planes: list[np.ndarray], full: float, framing: Framing) -> list[Image.Image]:
    """Channels in the numbers of the framing, grey in place of each colour.

    Args:
        planes: Each ``(H, W)``.
        full: What stands for full brightness in numbers of another type than the framing's.
        framing: Where they are to go.
    """
    images = []
    for plane in planes:
        numbers = plane.astype(np.float32)
        if plane.dtype != framing.dtype:
            numbers = numbers * (framing.full / full)
        low, high = float(numbers.min()), float(numbers.max())
        if not (low >= 0 and high <= framing.full):  # also of what is not a number
            divided = low >= 0 and 1 == framing.full < high <= TOPS["uint8"]
            mend = "Divide them by 255, or state their range: `top=255`" if divided else "State their range by `top`"
            raise ValueError(f"Expected numbers from 0 to {framing.full:g}, got {low:g} to {high:g}. {mend}.")
        images.append(Image.fromarray(np.rint(numbers).astype(np.uint8) if framing.dtype == "uint8" else numbers))
    return images * 3 if len(images) == 1 and framing.channels == 3 else images


def _cut(image: Image.Image, box: Sequence[int] | np.ndarray | None, picture: Plain) -> Image.Image:
    """The part of a picture in a box."""
    if box is None:
        return image
    left, top, right, bottom = (int(edge) for edge in box)
    edges = (max(left, 0), max(top, 0), min(right, image.width), min(bottom, image.height))
    if edges[0] >= edges[2] or edges[1] >= edges[3]:
        raise ImageError(
            f"The box {left}, {top}, {right}, {bottom} (left, top, right, bottom) holds nothing of {_name(picture)}, "
            f"which is {image.width} wide and {image.height} high. Mend the box."
        )
    return image.crop(edges)


def _placed(image: Image.Image, framing: Framing) -> Image.Image:
    """A picture resized, and its middle cut out if the framing keeps the aspect ratio."""
    size = (framing.width, framing.height)
    if framing.shorter is not None:
        longer = int(framing.shorter * max(image.size) / min(image.size))
        size = (framing.shorter, longer) if image.width <= image.height else (longer, framing.shorter)
    if image.size != size:
        image = image.resize(size, Image.Resampling[framing.interpolation.upper()])
    if framing.shorter is None:
        return image
    left, top = round((size[0] - framing.width) / 2), round((size[1] - framing.height) / 2)
    return image.crop((left, top, left + framing.width, top + framing.height))


def _name(picture: Plain) -> str:
    return str(picture) if isinstance(picture, Path | str) else "a picture"
