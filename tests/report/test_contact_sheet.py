"""Contact sheets: the right images in the right order, with the marks at the right pixels."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from semexplain.concepts.geometry import MapGeometry
from semexplain.report.contact_sheet import (
    CAPTION,
    GAP,
    REGION,
    SIDE,
    WINDOW,
    contact_sheet,
    rows_of,
    write_contact_sheets,
)

GEOMETRY = MapGeometry(stride=16, first=17.0, receptive_field=33)
GREYS = (40, 80, 120, 160)


def images() -> np.ndarray:
    """Four plain images, told apart by their grey, as large as a picture on the sheet."""
    return np.stack([np.full((3, SIDE, SIDE), grey, np.uint8) for grey in GREYS])


def maps() -> np.ndarray:
    """Filter 0 peaks in images 2, 0 and 1, in this order, at known cells; filter 1 is silent."""
    maps = np.zeros((4, 2, 8, 8), np.float32)
    maps[2, 0, 3, 5], maps[0, 0, 0, 0], maps[1, 0, 7, 7] = 9, 5, 1
    return maps


def picture(sheet: Image.Image, row: int, column: int) -> np.ndarray:
    left, upper = CAPTION + column * (SIDE + GAP), GAP + row * (SIDE + GAP)
    return np.array(sheet)[upper : upper + SIDE, left : left + SIDE]


def marked(picture: np.ndarray, colour: tuple[int, int, int]) -> tuple[int, int, int, int]:
    """Left, top, right and bottom (exclusive) of what has a colour."""
    rows, columns = np.nonzero((picture == colour).all(-1))
    return columns.min(), rows.min(), columns.max() + 1, rows.max() + 1


@pytest.mark.parametrize("given", [np.asarray, torch.from_numpy, lambda maps: maps.astype(np.float16)])
def test_a_row_shows_the_strongest_images_first_and_none_in_which_the_filter_is_silent(given):
    sheet = contact_sheet(torch.from_numpy(images()), given(maps()), [0, 1], GEOMETRY, top=4)
    shown = [np.unique(picture(sheet, 0, column)[..., 2]) for column in range(4)]
    assert [GREYS[2] in shown[0], GREYS[0] in shown[1], GREYS[1] in shown[2]] == [True] * 3
    assert (picture(sheet, 0, 3) == 255).all()
    assert (picture(sheet, 1, 0) == 255).all()


def test_only_images_that_are_drawn_are_read():
    asked = []

    class Lazy:
        def __getitem__(self, index: int) -> np.ndarray:
            asked.append(index)
            return images()[index]

    contact_sheet(Lazy(), maps(), [0], GEOMETRY, top=2)
    assert asked == [2, 0]


def test_the_window_is_the_receptive_field_of_the_peak_clipped_to_the_image():
    sheet = contact_sheet(images(), maps(), [0], GEOMETRY)
    assert marked(picture(sheet, 0, 0), WINDOW) == (17 + 80 - 16, 17 + 48 - 16, 17 + 80 + 17, 17 + 48 + 17)
    assert marked(picture(sheet, 0, 1), WINDOW) == (1, 1, 34, 34)
    assert marked(picture(sheet, 0, 2), WINDOW) == (113, 113, 144, 144)


def test_the_outline_encloses_what_exceeds_half_of_the_peak():
    wide = MapGeometry(stride=16, first=17.0, receptive_field=301)  # its window keeps away from the outline
    sheet = contact_sheet(images(), maps(), [0], wide)
    # one cell alone falls linearly to 0 over the stride: more than half within 7 pixels along the axes
    assert marked(picture(sheet, 0, 0), REGION) == (97 - 7, 65 - 7, 97 + 8, 65 + 8)
    assert tuple(picture(sheet, 0, 0)[65, 97]) == (GREYS[2],) * 3  # the inside stays visible


def test_large_images_are_shrunk_with_their_marks():
    large = np.repeat(np.repeat(images(), 2, 2), 2, 3)
    sheet = contact_sheet(large, maps(), [0], MapGeometry(stride=32, first=34.0, receptive_field=66))
    left, top, right, bottom = marked(picture(sheet, 0, 0), WINDOW)
    np.testing.assert_allclose([left, top, right, bottom], [81, 49, 114, 82], atol=1)


def test_captions_tell_filters_and_names_apart():
    plain = contact_sheet(images(), maps(), [0], GEOMETRY)
    captions = [plain, contact_sheet(images(), maps(), [0], GEOMETRY, names=["eye", "leg"])]
    captions.append(contact_sheet(images(), maps(), [0], GEOMETRY, names=["leg", "leg"]))
    drawn = [np.array(sheet)[:, :CAPTION].tobytes() for sheet in captions]
    assert len(set(drawn)) == 3
    assert captions[0].size == captions[1].size


def test_pages_hold_32_filters_each(tmp_path: Path):
    many = np.random.default_rng(0).random((4, 33, 2, 2), dtype=np.float32)
    names = [f"part_{i}" for i in range(33)]
    rows = rows_of(many, range(33), top=1, names=names)
    paths = write_contact_sheets(tmp_path / "sheets", rows, images(), GEOMETRY, top=1)
    assert [path.name for path in paths] == ["page-001.png", "page-002.png"]
    assert sorted(path.name for path in (tmp_path / "sheets").iterdir()) == ["page-001.png", "page-002.png"]
    with Image.open(paths[1]) as page:
        expected = contact_sheet(images(), many, [32], GEOMETRY, top=1, names=names)
        np.testing.assert_array_equal(np.array(page), np.array(expected))
