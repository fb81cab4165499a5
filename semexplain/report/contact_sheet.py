"""Contact sheets: what each filter fires at, so that a person can name filters in minutes."""

import textwrap
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Annotated, Any, NamedTuple, Protocol

import numpy as np
import torch
from annotated_types import Ge
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from semexplain.concepts.geometry import MapGeometry
from semexplain.system.files import whole_file

ROWS = 32  # filters on a page
TOP = 8  # images of a filter
SIDE = 144  # of a picture, in pixels of the sheet
GAP = 4
CAPTION = 120  # width of a filter's number and name
LINE = 14  # characters that fit into it
REGION, WINDOW = (255, 0, 255), (255, 220, 0)


class Images(Protocol):
    """Images by position, uint8 RGB ``(3, H, W)``: an array, or anything that reads them when asked."""

    def __getitem__(self, index: int, /) -> Any:
        """The image at a position."""


class Row(NamedTuple):
    """One filter on a sheet."""

    label: str
    """Its number and what else there is to say, in lines."""
    peaks: Sequence[tuple[int, np.ndarray]]
    """Position of an image and the filter's map ``(h, w)`` there, strongest first."""


def contact_sheet(
    images: Images,
    maps: Tensor | np.ndarray,
    filters: Sequence[int],
    geometry: MapGeometry,
    top: Annotated[int, Ge(1)] = TOP,
    names: Sequence[str] | None = None,
) -> Image.Image:
    """A row for each filter: its number and name, and the images with its strongest peaks, strongest first.

    The receptive field of the peak's cell is drawn in yellow, clipped to the image. Magenta encloses where the map,
    brought to the image's resolution, exceeds half of its peak. Images in which a filter is silent are left out.

    Args:
        images: ``N`` images, uint8 RGB ``(3, H, W)``; only those that are drawn are asked for.
        maps: ``(N, n, h, w)``, not negative.
        filters: Which of the ``n`` filters to draw.
        geometry: Where the cells look.
        top: Images for each filter.
        names: Part of each of the ``n`` filters; left out by default.

    Example:
        >>> images, maps = np.zeros((5, 3, 32, 32), np.uint8), np.ones((5, 6, 2, 2))
        >>> contact_sheet(images, maps, [0, 5], MapGeometry(16, 7.5, 31), top=3).size
        (568, 300)
    """
    return sheet_of(list(rows_of(maps, filters, top, names)), images, geometry, top)


def rows_of(
    maps: Tensor | np.ndarray, filters: Sequence[int], top: int = TOP, names: Sequence[str] | None = None
) -> Iterator[Row]:
    """The rows of :func:`contact_sheet`, from the maps of all images."""
    arrays = maps.numpy(force=True) if isinstance(maps, Tensor) else maps
    for i in filters:
        stack = np.array(arrays[:, i], dtype=np.float32)
        strongest = strongest_first(stack)[:top]
        label = f"{i}" if names is None else f"{i}\n{names[i].replace('_', chr(10))}"
        yield Row(label, [(int(image), stack[image]) for image in strongest])


def strongest_first(maps: np.ndarray) -> np.ndarray:
    """Order of a filter's maps ``(N, h, w)`` by their peaks; where these are equal, as in a ReLU6, by their sums.

    Example:
        >>> strongest_first(np.array([[[6.0, 0.0]], [[7.0, 0.0]], [[6.0, 6.0]]]))
        array([1, 2, 0])
    """
    return np.lexsort((-maps.sum((1, 2)), -maps.max((1, 2))))


def sheet_of(rows: Sequence[Row], images: Images, geometry: MapGeometry, top: int = TOP) -> Image.Image:
    """A sheet of rows, see :func:`contact_sheet`."""
    sheet = Image.new("RGB", (CAPTION + top * (SIDE + GAP) + GAP, len(rows) * (SIDE + GAP) + GAP), "white")
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(size=16)
    for number, row in enumerate(rows):
        upper = GAP + number * (SIDE + GAP)
        label = "\n".join(part for line in row.label.split("\n") for part in textwrap.wrap(line, LINE))
        draw.multiline_text((GAP, upper), label, fill="black", font=font)
        for column, (image, heat) in enumerate(row.peaks):
            if heat.max() > 0:
                picture = _picture(np.asarray(images[image]), heat, geometry)
                sheet.paste(picture, (CAPTION + column * (SIDE + GAP), upper))
    return sheet


def write_contact_sheets(
    folder: Path, rows: Iterable[Row], images: Images, geometry: MapGeometry, top: Annotated[int, Ge(1)] = TOP
) -> list[Path]:
    """Draw filters, 32 on a page, as ``page-001.png``, ``page-002.png`` and so on; returns the files."""
    folder.mkdir(parents=True, exist_ok=True)
    left, paths = iter(rows), list[Path]()
    while page := list(islice(left, ROWS)):
        path = folder / f"page-{len(paths) + 1:03}.png"
        save_sheet(sheet_of(page, images, geometry, top), path)
        paths.append(path)
    return paths


def save_sheet(sheet: Image.Image, path: Path) -> None:
    """Write a sheet as PNG, whole or not at all."""
    with whole_file(path) as partial:
        sheet.save(partial, format="png")


def _picture(image: np.ndarray, heat: np.ndarray, geometry: MapGeometry) -> Image.Image:
    """An image with the receptive field of the peak and the outline of the region above half of it, as it is shaped."""
    size = image.shape[1:]
    width, height = (max(round(side * SIDE / max(size)), 1) for side in size[::-1])
    colours = np.broadcast_to(image, (3, *size)).transpose(1, 2, 0)
    picture = Image.fromarray(np.ascontiguousarray(colours)).resize((width, height), Image.Resampling.BILINEAR)
    heat_map = geometry.upsample(torch.from_numpy(heat), size)
    pixels = np.array(picture)
    region = Image.fromarray((heat_map > heat.max() / 2).numpy()).resize((width, height), Image.Resampling.NEAREST)
    pixels[_outline(np.array(region))] = REGION
    picture = Image.fromarray(pixels)
    row, column = np.unravel_index(heat.argmax(), heat.shape)
    edges = geometry.window(int(row), int(column), size)
    left, top, right, bottom = (edge * SIDE / max(size) for edge in edges)
    ImageDraw.Draw(picture).rectangle((left, top, right - 1, bottom - 1), outline=WINDOW, width=2)
    return picture


def _outline(region: np.ndarray) -> np.ndarray:
    """The two outermost pixels of a region, bool ``(H, W)``; the picture's edge is no outline."""
    inside = np.pad(region, 2, mode="edge")
    height, width = region.shape
    neighbours = [inside[2 + y : 2 + y + height, 2 + x : 2 + x + width] for y, x in ((-2, 0), (2, 0), (0, -2), (0, 2))]
    return region & ~np.logical_and.reduce(neighbours)
