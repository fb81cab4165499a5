"""Pages that open from a disk without a network: a template, its style and script, and all pictures in one file."""

import base64
import io
from collections.abc import Sequence
from importlib.resources import files
from typing import Any, NamedTuple

import torch
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from matplotlib.figure import Figure
from PIL import Image

from semexplain.explanation import Explanation
from semexplain.report.figures.described import Description
from semexplain.report.figures.distribution import contribution_shares
from semexplain.report.figures.style import BASE, UNEXPLAINED, display_name, new_figure, terms
from semexplain.report.figures.style import draw_image as draw

THUMBNAIL = 160
TOP = 8


class Bar(NamedTuple):
    """A bar of an image's score: label, value, and where it is drawn, in percent of the width."""

    name: str
    value: float
    left: float
    width: float
    kind: str


class Card(NamedTuple):
    """An image in the gallery."""

    name: str
    explanation: dict[str, Any]
    bars: list[Bar]
    reasons: list[str]
    image: str
    heat: str


class Picture(NamedTuple):
    """A figure in a page: heading, the picture as a data address, what a blind reader is told, a caption."""

    title: str
    address: str
    alt: str
    caption: str


def render(template: str, **values: Any) -> str:
    """A page from a template; text is escaped."""
    environment = Environment(
        loader=PackageLoader("semexplain.report"), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    environment.filters["number"] = number
    folder = files("semexplain.report") / "templates"
    style, script = ((folder / name).read_text(encoding="utf-8") for name in ("style.css", "gallery.js"))
    return environment.get_template(template).render(style=Markup(style), script=Markup(script), **values)


def number(value: float | None) -> str:
    """A number with as many digits as can be read.

    Example:
        >>> number(0.02834), number(1234.5), number(None), number(512.0)
        ('0.0283', '1234', '–', '512')
    """
    if value is None:
        return "–"
    if float(value).is_integer():
        return f"{value:.0f}"
    return f"{value:.4f}" if abs(value) < 10 else f"{value:.4g}"


def picture(figure: Figure, description: Description, first: str = "") -> Picture:
    """A figure as it stands in a page, with the name of its first image in the heading that asks for it."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="svg")
    title = description.title.format(first=first)
    return Picture(title, _address(buffer.getvalue(), "svg+xml"), description.alt, description.caption)


def cards(explanation: Explanation) -> list[Card]:
    """The images of an explanation for a gallery."""
    entropies = torch.special.entr(torch.from_numpy(contribution_shares(explanation))).sum(1).tolist()
    reasons = explanation.reasons(3)
    table = explanation.shown[1]
    gallery = []
    for row, name in enumerate(explanation.ids):
        score, prediction = float(explanation.score[row]), float(explanation.prediction[row])
        label = None if explanation.label is None else bool(explanation.label[row])
        data = {
            "id": name,
            "score": score,
            "prediction": prediction,
            "residual": abs(score - prediction),
            "entropy": entropies[row],
            "label": label,
            "wrong": label is not None and label != (score > 0),
            "disagrees": (score > 0) != (prediction > 0),
            "contributions": [float(f"{value:.5g}") for value in table[row].tolist()],
        }
        gallery.append(
            Card(
                name,
                data,
                _bars(explanation, row),
                reasons[row],
                _thumbnail(explanation, row),
                _overlay(explanation, row),
            )
        )
    return gallery


def names_shown(explanation: Explanation) -> list[str]:
    """Labels of the concepts or parts that a gallery can be sorted by."""
    return [display_name(name) for name in explanation.shown[0]]


def _bars(explanation: Explanation, row: int) -> list[Bar]:
    items = terms(explanation, row, TOP)
    reach = max((abs(value) for _, value in items), default=0.0) or 1.0
    bars = []
    for name, value in items:
        width = 50 * abs(value) / reach
        kind = "neither" if name in (BASE, UNEXPLAINED) else "for" if value >= 0 else "against"
        bars.append(Bar(name, value, 50.0 if value >= 0 else 50 - width, width, kind))
    return bars


def _thumbnail(explanation: Explanation, row: int) -> str:
    if explanation.image is None:
        return ""
    return _jpeg(Image.fromarray(explanation.image[row].permute(1, 2, 0).numpy()))


def _overlay(explanation: Explanation, row: int) -> str:
    if explanation.image is None or explanation.heat is None:
        return ""
    figure = new_figure(THUMBNAIL / 100, THUMBNAIL / 100)
    figure.set_layout_engine("none")
    draw(figure.add_axes((0, 0, 1, 1)), explanation, row, heat=True)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=100)
    with Image.open(buffer) as file:
        return _jpeg(file.convert("RGB"))


def _jpeg(image: Image.Image) -> str:
    if max(image.size) > THUMBNAIL:
        image.thumbnail((THUMBNAIL, THUMBNAIL))
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=82)
    return _address(buffer.getvalue(), "jpeg")


def _address(content: bytes, kind: str) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(content).decode()}"


def chosen_rows(explanation: Explanation, most: int) -> Sequence[int]:
    """Which images a gallery shows when there are too many: a fifth of each extreme, the rest evenly from all.

    The extremes are the largest residuals, wrong decisions with the largest scores, and the lowest entropies.
    """
    if len(explanation) <= most:
        return range(len(explanation))
    share = most // 5
    entropies = torch.special.entr(torch.from_numpy(contribution_shares(explanation))).sum(1)
    rows = explanation.residual.abs().argsort(descending=True)[:share].tolist() + entropies.argsort()[:share].tolist()
    if explanation.label is not None:
        errors = (explanation.label != (explanation.score > 0)) * explanation.score.abs()
        order = errors.argsort(descending=True)[:share]
        rows += [row for row in order.tolist() if errors[row] > 0]
    rest = torch.linspace(0, len(explanation) - 1, most).round().long().tolist()
    choice = list(dict.fromkeys(rows))
    choice += [row for row in dict.fromkeys(rest) if row not in set(choice)][: most - len(choice)]
    return sorted(choice)


def cards_page(explanation: Explanation) -> str:
    """The cards of a few images alone, for a notebook."""
    return render("cards.html.j2", cards=cards(explanation), target=display_name(explanation.target))


def _in_a_notebook(explanation: Explanation) -> str:
    """The first images of an explanation."""
    return cards_page(explanation[:10])


Explanation._repr_html_ = _in_a_notebook  # type: ignore[attr-defined]
