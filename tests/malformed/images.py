"""Image files of every kind that can be written, and damaged ones."""

import io
import os
import socket
import struct
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from malformed.case import Malformed
from semexplain.data.framing import read_image
from semexplain.system.image_files import photo_size

GREY = np.array([[0, 60, 120], [180, 240, 255]], dtype=np.uint8)
COLOURED = np.random.default_rng(0).integers(0, 256, (4, 6, 3), dtype=np.uint8)
BLOCKS = np.kron(np.array([[10, 90, 170], [250, 40, 130]], dtype=np.uint8), np.ones((16, 16), dtype=np.uint8))
NOISE = np.random.default_rng(1).integers(0, 256, (64, 64, 3), dtype=np.uint8)
TURNS: dict[int, Callable[[np.ndarray], np.ndarray]] = {
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.T,
    6: lambda a: a[::-1].T,
    7: lambda a: a[::-1, ::-1].T,
    8: lambda a: a[:, ::-1].T,
}


def rgb(grey: np.ndarray) -> np.ndarray:
    return np.repeat(grey[:, :, None], 3, 2)


def encoded(image: Image.Image | np.ndarray, kind: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    (image if isinstance(image, Image.Image) else Image.fromarray(image)).save(buffer, kind, **options)
    return buffer.getvalue()


def file(name: str, content: bytes) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        path = folder / name
        path.write_bytes(content)
        return path

    return make


def pixels(path: Path) -> np.ndarray:
    """All pixels, not resized."""
    return read_image(path, (3, *photo_size(path))).permute(1, 2, 0).numpy()


def small(path: Path) -> np.ndarray:
    return read_image(path, 8).numpy()


def png(header: bytes, rows: bytes, *chunks: tuple[bytes, bytes]) -> bytes:
    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    parts = [(b"IHDR", header), *chunks, (b"IDAT", zlib.compress(rows)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*part) for part in parts)


def exif(turn: int) -> Image.Exif:
    tags = Image.Exif()
    tags[0x0112] = turn
    return tags


# -- what is read, and how -------------------------------------------------------------------------------------------


def odd() -> Iterator[tuple[str, str, bytes, np.ndarray]]:
    """Name, name of the file, content, and the pixels."""
    yield "a coloured PNG", "a.png", encoded(COLOURED, "PNG"), COLOURED
    yield "a grey PNG", "a.png", encoded(GREY, "PNG"), rgb(GREY)
    yield "black and white", "a.png", encoded(Image.fromarray(GREY > 100), "PNG"), rgb((GREY > 100) * np.uint8(255))
    palette = Image.fromarray(GREY).convert("P")
    yield "a palette", "a.png", encoded(palette, "PNG"), rgb(GREY)
    white = GREY.copy()
    white[0, 1] = 255
    index = int(np.asarray(palette)[0, 1])
    yield "a palette with a transparent colour", "a.png", encoded(palette, "PNG", transparency=index), rgb(white)
    alphas = bytes(0 if number == index else 255 for number in range(256))
    yield "a palette with an alpha for each colour", "a.png", encoded(palette, "PNG", transparency=alphas), rgb(white)
    yield "a grey value that is transparent", "a.png", encoded(GREY, "PNG", transparency=60), rgb(white)
    key = tuple(COLOURED[0, 0].tolist())
    shown = COLOURED.copy()
    shown[0, 0] = 255
    yield "a colour that is transparent", "a.png", encoded(COLOURED, "PNG", transparency=key), shown
    hidden = np.dstack([COLOURED, np.zeros((4, 6), dtype=np.uint8)])
    yield "hidden colours", "a.png", encoded(hidden, "PNG"), np.full((4, 6, 3), 255, dtype=np.uint8)
    yield (
        "hidden colours in WebP",
        "a.webp",
        encoded(hidden, "WEBP", lossless=True, exact=True),
        np.full_like(COLOURED, 255),
    )
    opaque = np.dstack([COLOURED, np.full((4, 6), 255, dtype=np.uint8)])
    yield "an alpha that hides nothing", "a.png", encoded(opaque, "PNG"), COLOURED
    half = np.dstack([np.zeros((4, 6, 3), dtype=np.uint8), np.full((4, 6), 51, dtype=np.uint8)])
    yield "a fifth of black", "a.png", encoded(half, "PNG"), np.full_like(COLOURED, 204)
    grey_alpha = Image.merge("LA", [Image.fromarray(GREY), Image.fromarray((GREY != 60) * np.uint8(255))])
    yield "grey with alpha", "a.png", encoded(grey_alpha, "PNG"), rgb(white)
    deep = GREY.astype(np.uint16) * 257
    yield "16 bits of grey", "a.png", encoded(deep, "PNG"), rgb(GREY)
    yield "16 bits of grey in TIFF", "a.tif", encoded(deep, "TIFF"), rgb(GREY)
    big = Image.frombytes("I;16B", (3, 2), deep.astype(">u2").tobytes())
    yield "16 bits of grey, the other end first", "a.tif", encoded(big, "TIFF"), rgb(GREY)
    yield "16 bits of which 12 are used stay dark", "a.png", encoded(np.uint16([[4095]]), "PNG"), rgb(np.uint8([[16]]))
    header = struct.pack(">IIBBBBB", 6, 4, 16, 2, 0, 0, 0)
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in COLOURED.astype(np.uint16) * 257)
    yield "16 bits a colour", "a.png", png(header, rows), COLOURED
    pairs = np.stack([deep, np.where(GREY == 60, 0, 65535)], 2).astype(">u2")
    rows = b"".join(b"\0" + row.tobytes() for row in pairs)
    yield "16 bits with alpha", "a.png", png(struct.pack(">IIBBBBB", 3, 2, 16, 4, 0, 0, 0), rows), rgb(white)
    yield "fractions", "a.tif", encoded((GREY / 255).astype(np.float32), "TIFF"), rgb(GREY)
    cmyk = Image.new("CMYK", (2, 2), (255, 0, 0, 0))
    yield "CMYK", "a.tif", encoded(cmyk, "TIFF"), np.tile(np.uint8([0, 255, 255]), (2, 2, 1))
    yield "CMYK of Adobe", "a.jpg", encoded(Image.new("CMYK", (8, 8)), "JPEG"), np.full((8, 8, 3), 255, dtype=np.uint8)
    yield "GIF", "a.gif", encoded(GREY, "GIF"), rgb(GREY)
    frames = [Image.fromarray(GREY), Image.fromarray(255 - GREY)]
    yield (
        "the first of a GIF's pictures",
        "a.gif",
        encoded(frames[0], "GIF", save_all=True, append_images=frames[1:]),
        rgb(GREY),
    )
    yield "a GIF with a transparent colour", "a.gif", encoded(palette, "GIF", transparency=index), rgb(white)
    yield (
        "the first page of a TIFF",
        "a.tif",
        encoded(frames[0], "TIFF", save_all=True, append_images=frames[1:]),
        rgb(GREY),
    )
    for name in ("tiff_lzw", "tiff_adobe_deflate", "packbits"):
        yield f"TIFF, {name}", "a.tiff", encoded(COLOURED, "TIFF", compression=name), COLOURED
    yield "BMP", "a.bmp", encoded(COLOURED, "BMP"), COLOURED
    yield "WebP", "a.webp", encoded(COLOURED, "WEBP", lossless=True), COLOURED
    yield "PPM", "a.ppm", encoded(COLOURED, "PPM"), COLOURED
    yield "PGM of 16 bits", "a.pgm", b"P5 3 2 65535\n" + deep.astype(">u2").tobytes(), rgb(GREY)
    yield "JPEG 2000", "a.jp2", encoded(COLOURED, "JPEG2000"), COLOURED
    for turn, turned in TURNS.items():
        yield f"PNG, turned by tag {turn}", "a.png", encoded(GREY, "PNG", exif=exif(turn)), rgb(turned(GREY))
        yield (
            f"JPEG, turned by tag {turn}",
            "a.jpg",
            encoded(BLOCKS, "JPEG", quality=100, exif=exif(turn)),
            rgb(turned(BLOCKS)),
        )
        tagged = encoded(GREY, "TIFF", tiffinfo={0x0112: turn})
        yield f"TIFF, turned by tag {turn}", "a.tif", tagged, rgb(turned(GREY))
    for turn in (1, 0, 9, 77):
        yield f"tag {turn} turns nothing", "a.jpg", encoded(BLOCKS, "JPEG", quality=100, exif=exif(turn)), rgb(BLOCKS)
    jpeg = encoded(BLOCKS, "JPEG", quality=100)
    tags = b"Exif\0\0" + b"MM\0*" + bytes(range(40))
    yield "tags that nobody can read", "a.jpg", encoded(BLOCKS, "JPEG", quality=100, exif=tags), rgb(BLOCKS)
    yield "bytes behind a JPEG", "a.jpg", jpeg + b"trailing" * 9, rgb(BLOCKS)
    yield "a scan that is filled up", "a.jpg", jpeg[:-2] + bytes(20) + jpeg[-2:], rgb(BLOCKS)
    yield "a progressive JPEG", "a.jpg", encoded(BLOCKS, "JPEG", quality=100, progressive=True), rgb(BLOCKS)
    restarts = encoded(BLOCKS, "JPEG", quality=100, restart_marker_blocks=1)
    yield "restart markers", "a.jpg", restarts, rgb(BLOCKS)
    two = encoded(
        Image.fromarray(BLOCKS), "MPO", save_all=True, append_images=[Image.fromarray(255 - BLOCKS)], quality=100
    )
    yield "the first of two pictures in a JPEG", "a.jpg", two, rgb(BLOCKS)
    yield "one pixel", "a.png", encoded(GREY[1:, 1:2], "PNG"), rgb(GREY[1:, 1:2])
    for width in (1, 2, 7):
        yield (
            f"a JPEG of {width} pixels",
            "a.jpg",
            encoded(BLOCKS[:1, :width], "JPEG", quality=100),
            rgb(BLOCKS[:1, :width]),
        )
    yield "a PNG called .jpg", "a.jpg", encoded(COLOURED, "PNG"), COLOURED
    for name in ("A.PNG", "a b.png", "a'b\".png", "a\nb.png", "a[1].png", "ä→猫.png", "~.png", "-a.png", "%d{}.png"):
        yield f"a file called {name!r}", name, encoded(COLOURED, "PNG"), COLOURED
    yield "a name that is not UTF-8", os.fsdecode(b"caf\xe9.png"), encoded(COLOURED, "PNG"), COLOURED


# -- what is refused -------------------------------------------------------------------------------------------------

JPEG = encoded(NOISE, "JPEG", quality=90)
SCAN = JPEG.index(b"\xff\xda") + 14
MIDDLE = (SCAN + len(JPEG)) // 2


def changed(content: bytes, at: int, new: bytes, old: int | None = None) -> bytes:
    return content[:at] + new + content[at + (len(new) if old is None else old) :]


def damaged() -> Iterator[tuple[str, bytes, str]]:
    """Name of the file, content and message."""
    kinds = {"jpg": "JPEG", "png": "PNG", "bmp": "BMP", "tif": "TIFF", "webp": "WEBP", "ppm": "PPM", "jp2": "JPEG2000"}
    for ending, kind in kinds.items():
        whole = encoded(NOISE, kind)
        for share in (0.3, 0.6, 0.95):
            yield f"{share:.0%} of a.{ending}", whole[: int(share * len(whole))], "Expected a complete image .* again"
        yield f"start of a.{ending}", whole[:12], "Expected a complete image in"
    yield "cut.gif", encoded(NOISE, "GIF")[:700], "Expected a complete image in"
    for ending in ("jpg", "png", "gif", "webp"):
        yield f"empty.{ending}", b"", "it is empty"
    others = {
        "page.jpg": b"<!DOCTYPE html><html>quota exceeded</html>",
        "pointer.png": b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 3\n",
        "text.jpg": b"ein Text\n" * 40,
        "postscript.jpg": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n(%pipe%touch pwned) (w) file\n",
        "document.jpg": b"%PDF-1.7\n" + bytes(90),
        "drawing.png": b'<svg xmlns="http://www.w3.org/2000/svg"/>',
        "archive.jpg": b"PK\x03\x04" + bytes(200),
        "pickle.png": b"\x80\x04cposix\nsystem\n.",
        "zeros.jpg": bytes(1000),
        "random.jpg": np.random.default_rng(3).bytes(3000),
        "icon.png": b"\0\0\1\0\1\0" + bytes(60),
        "cursor.png": b"\0\0\2\0\1\0" + bytes(60),
        "photoshop.jpg": b"8BPS\0\1" + bytes(60),
        "fits.jpg": b"SIMPLE  =                    T" + bytes(80),
        "metafile.jpg": b"\xd7\xcd\xc6\x9a" + bytes(60),
        "xbitmap.png": b"#define im_width 8\n#define im_height 8\nstatic char im_bits[] = {0};\n",
    }
    for name, content in others.items():
        yield name, content, "none of JPEG, .*it begins with"
    yield "scan with bytes too many.jpg", changed(JPEG, MIDDLE, b"", 500), "scan has fewer bytes than its pixels need"
    twice = JPEG[:-2] + JPEG[MIDDLE:]
    yield "scan with bytes too few.jpg", twice, "scan has more bytes than its pixels need"
    yield "no end.jpg", JPEG[:-2], "image file is truncated"
    yield "hole in a scan.jpg", changed(JPEG, MIDDLE, bytes(300)), "scan has (more|fewer) bytes"
    yield "start in a scan.jpg", changed(JPEG, MIDDLE, b"\xff\xd8"), "Expected a complete image"
    yield "end in a scan.jpg", changed(JPEG, MIDDLE, b"\xff\xd9"), "Expected a complete image"
    restarts = encoded(NOISE, "JPEG", restart_marker_blocks=1)
    yield "restart missing.jpg", changed(restarts, restarts.index(b"\xff\xd1"), b"\xff\xd5"), "restart marker 5 .* of 1"
    whole = encoded(NOISE, "PNG")
    for name, at in {"header": 20, "pixels": len(whole) // 2, "sum": len(whole) - 2}.items():
        yield f"{name} changed.png", changed(whole, at, bytes([whole[at] ^ 16])), "checksum of its chunk"
    row = b"\0" + bytes(10)
    yield "no pixels.png", png(struct.pack(">IIBBBBB", 0, 4, 8, 0, 0, 0, 0), row), "Expected a complete image"
    yield "bomb.png", png(struct.pack(">IIBBBBB", 30000, 30000, 8, 0, 0, 0, 0), row), "is too large: .*Make it smaller"
    yield "half a bomb.png", png(struct.pack(">IIBBBBB", 10000, 9000, 8, 0, 0, 0, 0), row), "is too large"
    yield "bomb.bmp", encoded(GREY, "BMP")[:18] + struct.pack("<ii", 2**30, 2**30) + encoded(GREY, "BMP")[26:], "image"
    yield (
        "floats.tif",
        encoded(GREY.astype(np.float32), "TIFF"),
        "expected 8 or 16 bits .* float32 numbers from 0 to 255",
    )
    yield (
        "negative.tif",
        encoded(-(GREY / 255).astype(np.float32), "TIFF"),
        "numbers from -1 to -?0: save it with 8 bits",
    )
    yield "not numbers.tif", encoded(np.full((2, 2), np.nan, dtype=np.float32), "TIFF"), "numbers from nan to nan"
    yield "integers.tif", encoded(GREY.astype(np.int32), "TIFF"), "int32 numbers from 0 to 255: save it with 8 bits"
    deep = png(struct.pack(">IIBBBBB", 1, 1, 16, 0, 0, 0, 0), b"\0\0\5", (b"tRNS", b"\0\5"))
    yield "deep and transparent.png", deep, "16 bits a pixel and a colour that is transparent"


def pipe(folder: Path) -> Path:
    os.mkfifo(folder / "a.jpg")
    return folder / "a.jpg"


def plug(folder: Path) -> Path:
    here = os.open(".", os.O_RDONLY)
    try:
        os.chdir(folder)  # the name of a socket must be short
        with socket.socket(socket.AF_UNIX) as end:
            end.bind("a.jpg")
    finally:
        os.fchdir(here)
        os.close(here)
    return folder / "a.jpg"


def link(target: str) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        (folder / "a.jpg").symlink_to(target)
        return folder / "a.jpg"

    return make


def made_folder(folder: Path) -> Path:
    (folder / "a.jpg").mkdir()
    return folder / "a.jpg"


def sparse(folder: Path) -> Path:
    with (folder / "a.jpg").open("wb") as content:
        content.truncate(2**31)
    return folder / "a.jpg"


def boxed(*box: int) -> Callable[[Path], Any]:
    return lambda path: read_image(path, 8, box)


PLACES: dict[str, tuple[Callable[[Path], Path], str]] = {
    "a pipe": (pipe, "it is a pipe. Remove it"),
    "a socket": (plug, "it is a socket"),
    "a device": (link("/dev/zero"), "it is a device"),
    "a folder": (made_folder, "it is a folder"),
    "a link to itself": (link("a.jpg"), "cannot be opened: .*symbolic links"),
    "a link to nothing": (link("gone.jpg"), "No such file"),
    "a file of 2 GB": (sparse, "has 2.0 GB; at most 1 GB is read"),
    "no file": (lambda folder: folder / "a.jpg", "No such file"),
    "a name with a null byte": (lambda folder: folder / "a\0.jpg", "cannot be opened: embedded null byte"),
}
WHOLE = file("a.png", encoded(COLOURED, "PNG"))
IMAGES = [
    *(Malformed(name, file(called, content), pixels, expected) for name, called, content, expected in odd()),
    *(Malformed(name, file(name, content), small, message) for name, content, message in damaged()),
    *(Malformed(name, make, small, message) for name, (make, message) in PLACES.items()),
    Malformed(
        "a box beside the image", WHOLE, boxed(6, 0, 9, 4), "box 6, 0, 9, 4 .* holds nothing of .* 6 wide and 4 high"
    ),
    Malformed("a reversed box", WHOLE, boxed(4, 0, 2, 4), "holds nothing of"),
    Malformed("a box above the image", WHOLE, boxed(0, -9, 6, 0), "holds nothing of"),
]
