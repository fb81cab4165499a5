"""Image files as 8-bit pixels: opened as data, decoded whole, and all kinds of pixels read the same way everywhere."""

import io
import stat
from collections.abc import Callable
from pathlib import Path
from typing import IO, Literal, TypeVar

import numpy as np
from PIL import Image

from semexplain.system.damage import PNG, JpegFeed, check_png
from semexplain.system.reading import kind_of
from semexplain.system.trouble import Trouble

Image.init()
# Decoders that only decode: none starts another program, as that of PostScript does, or opens another file.
FORMATS: tuple[str, ...] = tuple(
    name
    for name in ("JPEG", "MPO", "PNG", "GIF", "BMP", "TIFF", "WEBP", "PPM", "JPEG2000", "AVIF")
    if name in Image.OPEN
)
ENDINGS = frozenset(ending for ending, name in Image.registered_extensions().items() if name in FORMATS)
BACKGROUND = 255  # what is transparent shows white
MOST_BYTES = 2**30
ORIENTATION = 0x0112  # the tag of EXIF
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_ON_THEIR_SIDE = (5, 6, 7, 8)
Mode = Literal["L", "RGB"]
Source = Path | IO[bytes]
T = TypeVar("T")


class ImageError(Trouble):
    """A file is not an image that can be read, and read rightly."""


class PixelError(ValueError):
    """The numbers of a picture cannot be told in 8 bits."""


def decoded(source: Source, mode: Mode) -> Image.Image:
    """The pixels of an image file with 8 bits a colour, upright; of several pictures the first.

    Args:
        source: The file, or one that is open.
        mode: Grey (``L``) or coloured (``RGB``), see :func:`eight_bits`.

    Raises:
        FileNotFoundError: If there is no such file.
        ImageError: If it is no regular file, damaged, not an image of :data:`FORMATS`, too large, or has pixels that
            cannot be told in 8 bits.

    Example:
        >>> buffer = io.BytesIO()
        >>> Image.new("L", (2, 1), 7).save(buffer, "PNG")
        >>> decoded(io.BytesIO(buffer.getvalue()), "RGB").getpixel((0, 0))
        (7, 7, 7)
    """
    return _taken(source, lambda image: eight_bits(upright(image), mode))


def file_planes(source: Source, channels: int) -> tuple[list[np.ndarray], float]:
    """The channels of an image file in the numbers that it holds, see :func:`planes`.

    Raises:
        FileNotFoundError: If there is no such file.
        ImageError: As :func:`decoded` does, and for 16 bits a colour in one picture, which Pillow reads with 8.
    """
    return _taken(source, lambda image: planes(image, channels), whole_numbers=True)


def planes(image: Image.Image, channels: int) -> tuple[list[np.ndarray], float]:
    """The channels of a picture in its own numbers, and the number of full brightness: 255, 65535 or 1.

    Of a picture with 8 bits a colour, one channel is grey and three are colours, as :func:`eight_bits` gives them; four
    are its own four. Other channels are the pictures of a TIFF file that has one for each.

    Args:
        image: Upright or not.
        channels: How many are wanted; of one with more than 8 bits also a single one in place of three.

    Raises:
        PixelError: If it has others.

    Example:
        >>> found, full = planes(Image.fromarray(np.array([[0, 514]], dtype=np.uint16)), 1)
        >>> found[0].tolist(), full
        ([[0, 514]], 65535)
    """
    count = getattr(image, "n_frames", 1)
    if image.format == "TIFF" and count == channels > 1 and len(image.getbands()) == 1:
        found = [_plane(image, number) for number in range(count)]
        image.seek(0)
        if len({(one.dtype, one.shape) for one in found}) > 1:
            raise PixelError("its pictures differ in size or in kind: save one channel in each, or a .npy file")
    elif _is_deep(image):
        found = [_plane(image)]
    elif channels in (1, 3):
        found = _bands(eight_bits(upright(image), "L" if channels == 1 else "RGB"))
    else:
        found = _bands(upright(image))
    if len(found) != channels and not (len(found) == 1 and channels == 3):
        raise PixelError(
            f"expected {channels} channels, but it has {len(found)}: save it as an array (H, W, {channels}) in a .npy "
            f"file, or as a TIFF file of {channels} grey pictures"
        )
    return found, {np.dtype(np.uint8): 255, np.dtype(np.uint16): 65535}.get(found[0].dtype, 1)


def read_array(path: Path) -> np.ndarray:
    """The array in a ``.npy`` file; nothing in it is executed.

    Raises:
        FileNotFoundError: If there is no such file.
        ImageError: If it holds something else.
    """
    require_regular(path)
    try:
        return np.array(np.lib.format.open_memmap(path, mode="r"))
    except FileNotFoundError:
        raise
    except Exception as error:  # a damaged header can be anything
        reason = str(error).strip().rstrip(".") or type(error).__name__
        raise ImageError(
            f"Expected an array of numbers in {path}, but it cannot be read: {reason}. Save it by `numpy.save`."
        ) from error


def _taken(source: Source, take: Callable[[Image.Image], T], *, whole_numbers: bool = False) -> T:
    """Something of an image file that has been decoded whole."""
    data = _bytes(source)
    try:
        if data.startswith(PNG):
            check_png(data)
        feed = JpegFeed(data) if data.startswith(b"\xff\xd8") else io.BytesIO(data)
        with Image.open(feed, formats=FORMATS) as image:
            _require_moderate(image)
            if whole_numbers and len(image.getbands()) > 1 and ";16" in str(getattr(image, "tile", "")):
                raise PixelError("it has several channels of 16 bits, which are read with 8: save it as a .npy file")
            if isinstance(feed, JpegFeed):
                feed.begin()
            image.load()
            if isinstance(feed, JpegFeed):
                feed.check()
            return take(image)
    except Exception as error:  # a damaged file can lead a decoder into any of them
        raise _refused(_name(source), data, error) from error


def eight_bits(image: Image.Image, mode: Mode) -> Image.Image:
    r"""A picture with 8 bits a colour, grey or coloured.

    What is transparent shows white, the colours hidden there never. 16 bits are scaled by 257, whether or not all are
    used; numbers with a fraction from 0..1. CMYK is taken without a colour profile, as Pillow does.

    Raises:
        PixelError: If its numbers have another range.

    Example:
        >>> eight_bits(Image.fromarray(np.array([[0, 514, 65535]], dtype=np.uint16)), "L").tobytes()
        b'\x00\x02\xff'
    """
    if _is_deep(image):
        image = _scaled(image)
    if image.has_transparency_data:
        image = image.convert("RGBA")
        background = Image.new("RGBA", image.size, (BACKGROUND,) * 3 + (255,))
        image = Image.alpha_composite(background, image).convert("RGB")
    return image if image.mode == mode else image.convert(mode)


def upright(image: Image.Image) -> Image.Image:
    """The picture as a viewer shows it: turned as its orientation tag says."""
    turn = _TURNS.get(_orientation(image))
    return image if turn is None else image.transpose(turn)


def photo_size(path: Path) -> tuple[int, int]:
    """Height and width of an image file, upright, from its header.

    Raises:
        FileNotFoundError: If there is no such file.
        ImageError: If it is not an image.
    """
    (width, height), orientation = _header(path)
    return (width, height) if orientation in _ON_THEIR_SIDE else (height, width)


def is_turned(path: Path) -> bool:
    """Whether a tag turns or mirrors the picture, so that places in the file are not places in the picture.

    Raises:
        FileNotFoundError: If there is no such file.
        ImageError: If it is not an image.
    """
    return _header(path)[1] != 1


def _header(path: Path) -> tuple[tuple[int, int], int]:
    require_regular(path)
    try:
        with Image.open(path, formats=FORMATS) as image:
            # Pillow turns TIFF itself, and says the size that this gives
            return image.size, 1 if image.format == "TIFF" else _orientation(image)
    except Exception as error:
        raise _refused(str(path), b"", error) from error


def require_regular(path: Path) -> None:
    """Refuse what is no file: a pipe, over which reading would wait for ever, a device, a socket, a folder.

    Raises:
        FileNotFoundError: If there is nothing.
        ImageError: If it is something else, or larger than any image.
    """
    try:
        status = path.stat()
    except FileNotFoundError:
        raise
    except (OSError, ValueError) as error:  # a circle of links; a name with a null byte
        raise ImageError(f"Expected an image in {path}, but it cannot be opened: {error}.") from error
    if not stat.S_ISREG(status.st_mode):
        raise ImageError(f"Expected an image in {path}, but it is {kind_of(status.st_mode)}. Remove it from there.")
    if status.st_size > MOST_BYTES:
        raise ImageError(
            f"Expected an image in {path}, but it has {status.st_size / 2**30:.1f} GB; at most 1 GB is read."
        )


def _bytes(source: Source) -> bytes:
    if not isinstance(source, Path):
        return source.read()
    require_regular(source)
    try:
        return source.read_bytes()
    except FileNotFoundError:
        raise
    except OSError as error:
        raise ImageError(f"Expected an image in {source}, but it cannot be opened: {error}.") from error


def _require_moderate(image: Image.Image) -> None:
    limit = Image.MAX_IMAGE_PIXELS
    if limit is not None and image.width * image.height > limit:
        raise Image.DecompressionBombError(f"{image.width} x {image.height} pixels exceed limit of {limit} pixels")


def _orientation(image: Image.Image) -> int:
    try:
        value = image.getexif().get(ORIENTATION, 1)
    except Exception:  # tags that nobody can read say nothing
        return 1
    return value if value in _TURNS else 1


def _is_deep(image: Image.Image) -> bool:
    return image.mode.startswith("I") or image.mode == "F"


def _plane(image: Image.Image, number: int = 0) -> np.ndarray:
    """One of the grey pictures of a file in its own numbers: uint8, uint16 or float32."""
    if number:
        image.seek(number)
    if len(image.getbands()) > 1:
        raise PixelError("its pictures have several channels each: save one channel in each, or a .npy file")
    if _is_deep(image) and "transparency" in image.info:
        raise PixelError("it has 16 bits a pixel and a colour that is transparent: save it without")
    numbers = np.array(upright(image if _is_deep(image) else image.convert("L")))
    if numbers.dtype.kind in "iu" and numbers.itemsize > 1 and numbers.min() >= 0 and numbers.max() <= 65535:
        numbers = numbers.astype(np.uint16)
    if numbers.dtype not in (np.uint8, np.uint16, np.float32):
        raise PixelError(f"expected 8 or 16 bits a channel, or fractions, but it has {numbers.dtype} numbers")
    return numbers


def _bands(image: Image.Image) -> list[np.ndarray]:
    return [np.array(band) for band in image.split()]


def _scaled(image: Image.Image) -> Image.Image:
    numbers = np.asarray(image)
    if image.mode.startswith("I;16") or (image.mode == "I" and image.format in ("PNG", "PPM")):
        if "transparency" in image.info:
            raise PixelError("it has 16 bits a pixel and a colour that is transparent: save it with 8 bits")
        return Image.fromarray(((numbers.astype(np.uint32) + 128) // 257).astype(np.uint8))
    low, high = numbers.min(), numbers.max()
    if image.mode == "F" and low >= 0 and high <= 1:
        return Image.fromarray(np.rint(numbers * 255).astype(np.uint8))
    raise PixelError(
        f"expected 8 or 16 bits a colour, or fractions from 0 to 1, but it has {numbers.dtype} numbers from {low:g} "
        f"to {high:g}: save it with 8 bits"
    )


def _name(source: Source) -> str:
    return str(source) if isinstance(source, Path) else "an open file"


def _refused(name: str, data: bytes, error: Exception) -> ImageError:
    """Why a file is no image, and what to do about it."""
    if isinstance(error, Image.DecompressionBombError | Image.DecompressionBombWarning):
        return ImageError(f"The image {name} is too large: {error}. Make it smaller.")
    if isinstance(error, PixelError):
        return ImageError(f"The image {name} cannot be read rightly: {error}.")
    reason = str(error) or type(error).__name__
    if isinstance(error, Image.UnidentifiedImageError):
        reason = "it is empty" if data == b"" else f"it is none of {', '.join(FORMATS)}"
        reason += f"; it begins with {data[:16]!r}" if data else ""
    return ImageError(
        f"Expected a complete image in {name}, but it cannot be decoded: {reason.strip().rstrip('.')}. Delete the file "
        "and copy or download it again."
    )
