"""Pictures are framed as torchvision, timm and Hugging Face frame them, and numbers mean what was stated."""

import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms import CenterCrop, InterpolationMode, Resize
from torchvision.transforms.functional import pil_to_tensor

from semexplain.data.framing import Framing, WithNumbers, read_image
from semexplain.system.image_files import ImageError

MODES = {name: InterpolationMode[name.upper()] for name in ("bilinear", "bicubic", "nearest", "lanczos")}
SIZES = [(40, 61), (61, 40), (48, 48), (33, 90), (91, 37), (24, 24)]  # width, height


def photo(width: int, height: int, mode: str = "RGB") -> Image.Image:
    shape = (height, width) if mode == "L" else (height, width, len(mode))
    return Image.fromarray(np.random.default_rng(width).integers(0, 256, shape, dtype=np.uint8))


@pytest.mark.parametrize("mode", ["RGB", "L"])
@pytest.mark.parametrize("interpolation", MODES)
@pytest.mark.parametrize("size", SIZES)
def test_the_middle_is_that_of_torchvision(size: tuple[int, int], interpolation: str, mode: str):
    for shorter, height, width in ((36, 32, 32), (37, 32, 25), (24, 24, 24), (35, 30, 33)):
        resize = Resize(shorter, MODES[interpolation], antialias=True)
        expected = pil_to_tensor(CenterCrop((height, width))(resize(photo(*size, mode))))
        framing = Framing(len(mode), height, width, shorter, interpolation)
        assert torch.equal(read_image(photo(*size, mode), framing), expected)


@pytest.mark.parametrize("interpolation", MODES)
@pytest.mark.parametrize("size", SIZES)
def test_stretched_pictures_are_those_of_torchvision(size: tuple[int, int], interpolation: str):
    expected = pil_to_tensor(Resize((24, 31), MODES[interpolation])(photo(*size)))
    assert torch.equal(read_image(photo(*size), Framing(3, 24, 31, interpolation=interpolation)), expected)


def test_a_preset_of_torchvision_gives_the_same_numbers():
    from torchvision.models import ResNet18_Weights

    preset = ResNet18_Weights.IMAGENET1K_V1.transforms()
    framing = Framing(3, preset.crop_size[0], preset.crop_size[0], preset.resize_size[0], "bilinear")
    picture = photo(300, 413)
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (preset.mean, preset.std))
    found = (read_image(picture, framing).float() / 255 - mean) / std
    torch.testing.assert_close(found, preset(picture), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(("crop", "interpolation"), [(0.875, "bicubic"), (0.9, "bilinear"), (1.0, "bicubic")])
def test_evaluation_of_timm_gives_the_same_pixels(crop: float, interpolation: str):
    data = pytest.importorskip("timm.data")
    transform = data.create_transform(
        (3, 48, 48), crop_pct=crop, interpolation=interpolation, mean=(0, 0, 0), std=(1, 1, 1)
    )
    framing = Framing(3, 48, 48, int(48 / crop), interpolation)
    for size in SIZES:
        expected = (transform(photo(*size)) * 255).round().to(torch.uint8)
        assert torch.equal(read_image(photo(*size), framing), expected)


def test_processors_of_hugging_face_give_the_same_pixels():
    """Of an odd margin they leave the smaller half above and to the left, torchvision the even one: one pixel apart."""
    transformers = pytest.importorskip("transformers", minversion="5")
    same = {"do_rescale": False, "do_normalize": False, "return_tensors": "np"}
    stretched = transformers.ViTImageProcessorPil(size={"height": 40, "width": 40})
    cut = transformers.CLIPImageProcessorPil(size={"shortest_edge": 44}, crop_size={"height": 40, "width": 40})
    framings = {stretched: Framing(3, 40, 40), cut: Framing(3, 40, 40, 44, "bicubic")}
    for size in ((40, 60), (48, 48), (33, 90), (91, 37), (24, 24)):
        for processor, framing in framings.items():
            (expected,) = processor(photo(*size), **same)["pixel_values"]
            np.testing.assert_array_equal(read_image(photo(*size), framing).numpy(), expected)


def test_boxes_are_cut_out_before_anything_else():
    picture = photo(60, 50)
    framing = Framing(3, 16, 16, 18, "bicubic")
    assert torch.equal(read_image(picture, framing, (5, 7, 44, 39)), read_image(picture.crop((5, 7, 44, 39)), framing))


# -- numbers of other kinds ----------------------------------------------------------------------------------------


def resized(plane: np.ndarray, width: int, height: int) -> np.ndarray:
    """Numbers of a channel by Pillow in double the steps: as fractions, one channel at a time."""
    return np.array(Image.fromarray(plane.astype(np.float32)).resize((width, height), Image.Resampling.BICUBIC))


def test_sixteen_bits_are_kept(tmp_path: Path):
    deep = np.random.default_rng(0).integers(0, 65536, (20, 30), dtype=np.uint16)
    deep[0, :2] = 0, 65535
    Image.fromarray(deep).save(tmp_path / "a.png")
    Image.fromarray(deep).save(tmp_path / "a.tif")
    np.save(tmp_path / "a.npy", deep)
    whole, small = Framing(1, 20, 30, dtype="uint16"), Framing(1, 9, 14, None, "bicubic", "uint16")
    expected = resized(deep, 14, 9).clip(0, 65535).round()
    for source in (tmp_path / "a.png", tmp_path / "a.tif", tmp_path / "a.npy", deep, torch.from_numpy(deep)[None]):
        found = read_image(source, whole)
        assert found.dtype == torch.uint16
        np.testing.assert_array_equal(found.numpy()[0], deep)
        np.testing.assert_array_equal(read_image(source, small).numpy()[0].astype(float), expected)
    assert read_image(deep, Framing(3, 20, 30, dtype="uint16")).shape == (3, 20, 30)
    # 8 bits and fractions fill the same range
    np.testing.assert_array_equal(
        read_image(photo(9, 8, "L"), Framing(1, 8, 9, dtype="uint16")).numpy()[0], np.asarray(photo(9, 8, "L")) * 257.0
    )


def test_twelve_bits_are_a_range_of_sixteen():
    camera = np.full((8, 8), 4095, dtype=np.uint16)
    framing = Framing(1, 8, 8, dtype="uint16", top=4095)
    assert int(read_image(camera, framing).float().max()) == 4095
    assert int(framing.shown(read_image(camera, framing)).min()) == 255
    with pytest.raises(ValueError, match=r"from 0 to 4095, got 4096 to 4096. State their range by `top`"):
        read_image(camera + np.uint16(1), framing)


def test_fractions_are_kept_and_files_of_whole_numbers_fill_their_range(tmp_path: Path):
    numbers = np.random.default_rng(1).random((12, 10, 3)).astype(np.float32)
    framing = Framing(3, 12, 10, dtype="float32")
    np.save(tmp_path / "a.npy", numbers)
    for source in (numbers, numbers.astype(np.float64), torch.from_numpy(numbers).permute(2, 0, 1), tmp_path / "a.npy"):
        assert torch.equal(read_image(source, framing), torch.from_numpy(numbers).permute(2, 0, 1))
    photo(10, 12).save(tmp_path / "a.png")
    expected = pil_to_tensor(photo(10, 12)).float() / 255
    torch.testing.assert_close(read_image(tmp_path / "a.png", framing), expected, rtol=1e-6, atol=1e-6)
    Image.fromarray(numbers[:, :, 0]).save(tmp_path / "a.tif")
    grey = read_image(tmp_path / "a.tif", Framing(1, 12, 10, dtype="float32"))
    assert torch.equal(grey[0], torch.from_numpy(numbers[:, :, 0]))
    sharp = read_image(np.eye(12, dtype=np.float32), Framing(1, 7, 7, None, "bicubic", "float32"))
    assert float(sharp.min()) >= 0  # a cubic shoots below black
    assert float(sharp.max()) <= 1


def test_up_to_sixteen_channels(tmp_path: Path):
    for dtype, channels in (("uint8", 11), ("uint16", 5), ("float32", 16), ("uint8", 2), ("uint8", 4)):
        array = np.random.default_rng(2).integers(0, 2, (9, 8, channels)).astype(dtype)
        np.save(tmp_path / "a.npy", array)
        pages = [Image.fromarray(array[:, :, channel]) for channel in range(channels)]
        pages[0].save(tmp_path / "a.tif", save_all=True, append_images=pages[1:])
        framing = Framing(channels, 9, 8, dtype=dtype)
        expected = torch.from_numpy(array).permute(2, 0, 1)
        for source in (array, expected, tmp_path / "a.npy", tmp_path / "a.tif"):
            assert torch.equal(read_image(source, framing), expected), source
        small = read_image(tmp_path / "a.tif", Framing(channels, 5, 4, dtype=dtype)).numpy().astype(float)
        for channel in range(channels):
            one = Image.fromarray(array[:, :, channel].astype(np.uint8 if dtype == "uint8" else np.float32))
            alone = np.asarray(one.resize((4, 5), Image.Resampling.BILINEAR), dtype=float)
            np.testing.assert_array_equal(small[channel], alone if dtype != "uint16" else alone.round())
    four = Image.fromarray(np.random.default_rng(3).integers(0, 256, (8, 9, 4), dtype=np.uint8))
    four.save(tmp_path / "a.png")
    assert torch.equal(read_image(tmp_path / "a.png", Framing(4, 8, 9)), pil_to_tensor(four))


def deep_colours() -> bytes:
    """A PNG file with 16 bits a colour, which Pillow cannot write."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    rows = b"".join(b"\0" + bytes(24) for _ in range(4))
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 4, 4, 16, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def test_what_pillow_would_read_with_fewer_bits_is_refused(tmp_path: Path):
    (tmp_path / "a.png").write_bytes(deep_colours())
    assert read_image(tmp_path / "a.png", 8).dtype == torch.uint8
    with pytest.raises(ImageError, match=r"a.png cannot be read rightly: .* 16 bits, .* save it as a .npy file"):
        read_image(tmp_path / "a.png", Framing(3, 8, 8, dtype="uint16"))
    with pytest.raises(ImageError, match="16 bits"):
        read_image(io.BytesIO(deep_colours()), Framing(3, 8, 8, dtype="float32"))


FLOAT, MANY = Framing(3, 8, 8, dtype="float32"), Framing(5, 8, 8)


@pytest.mark.parametrize(
    ("array", "framing", "error", "text"),
    [
        (
            np.full((8, 8, 3), 255.0),
            FLOAT,
            ValueError,
            "from 0 to 1, got 255 to 255. Divide them by 255, or .*`top=255`",
        ),
        (np.full((8, 8, 3), -0.1), FLOAT, ValueError, "from 0 to 1, got -0.1 to -0.1. State their range by `top`"),
        (np.full((8, 8, 3), np.nan), FLOAT, ValueError, "from 0 to 1, got nan to nan"),
        (np.zeros((8, 8, 3), np.uint8), FLOAT, TypeError, r"float32 RGB 0..1, got uint8"),
        (np.zeros((8, 8, 3)), Framing(3, 8, 8), TypeError, "uint8 RGB 0..255, got float64"),
        (np.zeros((8, 8), np.uint8), Framing(1, 8, 8, dtype="uint16"), TypeError, "uint16 0..65535, got uint8"),
        (np.zeros((8, 8, 4), np.uint8), MANY, ValueError, r"\(H, W, 5\), got the shape \(8, 8, 4\)"),
        (np.zeros((8, 8), np.uint8), MANY, ValueError, r"\(H, W, 5\), got the shape \(8, 8\)"),
        (torch.zeros(3, 8, 8, dtype=torch.uint8), MANY, ValueError, r"\(H, W, 5\), got the shape \(8, 8, 3\)"),
        (np.zeros((0, 8)), FLOAT, ValueError, r"or \(H, W\), got the shape \(0, 8\)"),
    ],
)
def test_arrays_out_of_range_or_shape_are_refused(
    tmp_path: Path, array: object, framing: Framing, error: type, text: str
):
    with pytest.raises(error, match=text):
        read_image(array, framing)
    if isinstance(array, np.ndarray):
        np.save(tmp_path / "a.npy", array)
        with pytest.raises(ImageError, match=rf"a.npy cannot be read rightly: .*{text}"):
            read_image(tmp_path / "a.npy", framing)


def test_files_that_hold_no_such_picture_are_refused(tmp_path: Path):
    np.save(tmp_path / "code.npy", np.array([{}], dtype=object), allow_pickle=True)
    np.save(tmp_path / "cut.npy", np.zeros((8, 8, 5), np.uint8))
    (tmp_path / "cut.npy").write_bytes((tmp_path / "cut.npy").read_bytes()[:-9])
    (tmp_path / "text.npy").write_text("no array")
    for name in ("code", "cut", "text"):
        with pytest.raises(ImageError, match=rf"Expected an array of numbers in .*{name}.npy"):
            read_image(tmp_path / f"{name}.npy", MANY)
    with pytest.raises(FileNotFoundError):
        read_image(tmp_path / "gone.npy", MANY)
    photo(8, 8).save(tmp_path / "a.png")
    with pytest.raises(
        ImageError, match=r"expected 5 channels, but it has 3: save it as an array \(H, W, 5\) in a .npy"
    ):
        read_image(tmp_path / "a.png", MANY)
    (tmp_path / "b.png").write_bytes(b"no image")
    with pytest.raises(ImageError, match="Expected a complete image"):
        read_image(tmp_path / "b.png", MANY)


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"channels": 17}, "1 to 16 channels, not 17"),
        ({"channels": 0}, "1 to 16 channels, not 0"),
        ({"shorter": 7}, "shorter: expected at least 8"),
        ({"interpolation": "bicubik"}, r"expected one of bilinear, .* \(did you mean 'bicubic'\?\)"),
        ({"dtype": "int32"}, "dtype: expected one of uint8, uint16, float32, got 'int32'"),
        ({"top": 300}, "top: expected above 0 and at most 255, got 300"),
        ({"top": 0, "dtype": "float32"}, "top: expected above 0"),
    ],
)
def test_impossible_framings_are_refused(options: dict[str, object], text: str):
    with pytest.raises(ValueError, match=text):
        Framing(**{"channels": 3, "height": 8, "width": 8, **options})
    with pytest.raises(ValueError, match="framing: expected some of shorter, .*got 'crop'"):
        Framing.of(8, {"crop": 3})


def test_what_is_kept_can_be_looked_at():
    image = torch.arange(2 * 5 * 3 * 3, dtype=torch.uint8).view(2, 5, 3, 3)
    assert torch.equal(Framing(5, 3, 3).shown(image), image[:, :3])
    assert torch.equal(Framing(2, 3, 3).shown(image[:, :2]), image[:, :1].expand(-1, 3, -1, -1))
    deep = torch.tensor([0, 128, 257, 65535], dtype=torch.uint16).view(1, 2, 2)
    assert Framing(1, 2, 2, dtype="uint16").shown(deep)[2].flatten().tolist() == [0, 0, 1, 255]
    fractions = torch.linspace(0, 2, 4).view(1, 1, 2, 2)
    shown = Framing(1, 2, 2, dtype="float32", top=2.0).shown(fractions)
    assert shown[0, 1].flatten().tolist() == [0, 85, 170, 255]
    assert Framing(1, 2, 2, dtype="uint16").empty().dtype == torch.uint16


def test_options_give_the_framing_back():
    for framing in (Framing(3, 8, 9), Framing(1, 8, 8, 12, "bicubic"), Framing(2, 8, 8, dtype="uint16", top=4095)):
        assert Framing.of(framing.shape, framing.options) == framing
    assert Framing(3, 8, 8, dtype="float32").options == {"dtype": "float32"}


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
def test_numbers_beside_a_picture_are_channels_of_their_own(dtype: str, tmp_path: Path):
    photo = np.random.default_rng(0).integers(0, 256, (9, 7, 3), dtype=np.uint8)
    Image.fromarray(photo).save(tmp_path / "a.png")
    framing = Framing(5, 9, 7, dtype=dtype)
    read = read_image(WithNumbers(tmp_path / "a.png", [31, 7]), framing)
    assert read.dtype == getattr(torch, dtype)
    assert torch.equal(read[:3], read_image(tmp_path / "a.png", Framing(3, 9, 7, dtype=dtype)))
    assert torch.equal(read[3:].float(), torch.tensor([31.0, 7.0]).view(2, 1, 1).expand(2, 9, 7))
    if dtype == "float32":
        assert float(read_image(WithNumbers(photo / 255, [31, -0.5]), framing)[4, 0, 0]) == -0.5
        return
    for wrong in ([31, 0.5], [-1, 0], [1, 70000], [1, float("nan")]):
        with pytest.raises(
            ValueError, match=r"Expected whole numbers from 0 to \d+ beside .*a.png, got .*Scale them, or"
        ):
            read_image(WithNumbers(tmp_path / "a.png", wrong), framing)


def test_numbers_need_channels():
    photo = np.zeros((4, 4, 3), np.uint8)
    with pytest.raises(ValueError, match=r"3 numbers of a picture need as many channels, .* such as \[6, 4, 4\]"):
        read_image(WithNumbers(photo, [1, 2, 3]), 4)
    with pytest.raises(ValueError, match="Expected a"):
        read_image(WithNumbers(photo, [1]), Framing(5, 4, 4))
