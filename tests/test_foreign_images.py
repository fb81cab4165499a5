"""Images that commands meet: damaged ones in training, pipes, links and names of any bytes among one's own."""

import os
import shutil
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image
from support import ROOT, configured, smoke

from semexplain.__main__ import main
from semexplain.data.framing import read_image
from semexplain.explanation import Explanation, printable
from semexplain.system.image_files import ImageError
from train import train

pytestmark = [
    pytest.mark.filterwarnings("ignore:The performer's convolutions start from random weights"),
    pytest.mark.filterwarnings(r"ignore:All \d+ scores of the performer lie between 0 and 1"),
]


@pytest.mark.parametrize("cache", ["auto", "off"])
def test_a_damaged_image_stops_training_with_one_line(faces: Path, tmp_path: Path, cache: str) -> None:
    """Also when a worker process meets it, whose stack would come first."""
    root = tmp_path / "faces"
    shutil.copytree(faces, root)
    (root / "img_align_celeba/000003.jpg").write_bytes(b"no image")
    overrides = smoke(root, tmp_path, "data.num_workers=1", f"data.cache={cache}", "trainer.max_epochs=1")
    overrides = [*overrides, "data=celeba", f"data.root={root}"]
    with pytest.raises(ImageError) as refusal:
        train(configured(*overrides), tmp_path / "run")
    text = str(refusal.value)
    assert text.startswith("Expected a complete image in ")
    assert text.endswith("copy or download it again, or leave the image out of the data set's list.")
    assert "\n" not in text


def test_own_images_of_every_kind_are_explained_or_told(
    sweep: Path, faces: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    photos = tmp_path / "my [photos] of 'me'"
    photos.mkdir()
    good = sorted((faces / "img_align_celeba").iterdir())[0]
    odd = os.fsdecode(b"caf\xe9 <b>.jpg")
    for name in ("plain.JPG", "ä\n猫.jpg", odd):
        shutil.copy(good, photos / name)
    os.mkfifo(photos / "pipe.jpg")
    (photos / "lost.jpg").symlink_to("gone.jpg")
    (photos / "circle.jpg").symlink_to("circle.jpg")
    out = tmp_path / "out"
    words = ["explain", f"run={sweep / '1'}", f"images={photos}/*", f"out={out}", "device=cpu"]
    assert main(words) == 0
    found = Explanation.load(out / "explanations.parquet")
    assert [Path(name).name for name in found.ids] == [printable(odd), "plain.JPG", "ä\n猫.jpg"]
    assert printable(odd) == r"caf\xe9 <b>.jpg"
    torch.testing.assert_close(found.score, found.score[:1].expand(3))
    page = (out / "report.html").read_text("utf-8")
    for name in ("pipe.jpg", "lost.jpg", "circle.jpg", r"caf\xe9 &lt;b&gt;.jpg"):
        assert name in page
    assert "is a pipe. Remove it from there" in caplog.text
    assert "data set" not in caplog.text + capsys.readouterr().err
    assert len(pq.read_table(out / "explanations.parquet")) == 3


def test_a_picture_means_the_same_in_a_file_and_in_memory(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (8, 8, 4), dtype=np.uint8)
    tags = Image.Exif()
    tags[0x0112] = 6
    pictures = {
        "alpha.png": Image.fromarray(noise),
        "deep.png": Image.fromarray(noise[:, :, 0].astype(np.uint16) * 257),
        "grey.png": Image.fromarray(noise).convert("LA"),
        "fractions.tif": Image.fromarray((noise[:, :, 0] / 255).astype(np.float32)),
    }
    for name, picture in pictures.items():
        picture.save(tmp_path / name)
        assert torch.equal(read_image(tmp_path / name, 8), read_image(picture, 8)), name
    Image.fromarray(noise).save(tmp_path / "turned.png", exif=tags)
    with Image.open(tmp_path / "turned.png") as opened:
        assert torch.equal(read_image(opened, 8), read_image(tmp_path / "turned.png", 8))
    assert torch.equal(read_image(noise, 8), read_image(tmp_path / "alpha.png", 8))
    with pytest.raises(ImageError, match="A picture cannot be read: expected 8 or 16 bits"):
        read_image(Image.fromarray(np.full((8, 8), 300, dtype=np.int32)), 8)


def test_one_place_opens_image_files() -> None:
    """But for pages, which open the picture that they have drawn."""
    places = [path for path in (ROOT / "semexplain").rglob("*.py") if "Image.open(" in path.read_text("utf-8")]
    named = {path.relative_to(ROOT / "semexplain").as_posix() for path in places}
    assert named <= {"system/image_files.py", "system/damage.py", "report/page.py"}


def test_names_that_are_no_text_do_not_lose_a_table(tmp_path: Path) -> None:
    one = Explanation(*(torch.ones(shape) for shape in ((1,), (1, 1), (1, 1), ())), ("A",), ids=(os.fsdecode(b"\xff"),))
    one.save(tmp_path / "a.parquet")
    assert Explanation.load(tmp_path / "a.parquet").ids == (r"\xff",)
