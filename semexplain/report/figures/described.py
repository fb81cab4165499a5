"""What a page says of a figure; it is written where the figure is defined."""

from collections.abc import Callable
from typing import NamedTuple, TypeVar

from matplotlib.figure import Figure

from semexplain.system.config import ConfigError

Draw = TypeVar("Draw", bound=Callable[..., Figure])


class Description(NamedTuple):
    """Words beside a figure, and what it is drawn of; a decorator of the function that draws it.

    Example:
        >>> @Description("Nothing", "An empty figure.", "There is nothing to see.")
        ... def nothing(explanation: object) -> Figure:
        ...     return Figure()
        >>> description_of(nothing).caption
        'There is nothing to see.'
    """

    title: str
    """Heading; ``{first}`` stands for the name of the first image."""
    alt: str
    """What a blind reader is told."""
    caption: str
    images: int | None = None
    """How many of the gallery's images it shows; None: it is of all that were explained."""
    parts: bool | None = None
    """Whether it is for explanations with object parts, or for those without; None: for both."""

    def __call__(self, draw: Draw) -> Draw:
        """Note the description with a figure."""
        draw.__dict__["description"] = self
        return draw


def description_of(draw: Callable[..., Figure]) -> Description:
    """The description of a figure, also of one with some of its parameters set (a ``functools.partial``).

    Raises:
        ConfigError: If it has none.
    """
    function = getattr(draw, "func", draw)
    if "description" not in vars(function):
        raise ConfigError(
            f"report_figures: {function.__qualname__} says nothing for a page. "
            "Write `@Description(title, alt, caption)` before the function."
        )
    return vars(function)["description"]
