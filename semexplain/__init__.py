"""How much did each named concept contribute to the score that a trained vision network gave an image?"""

from semexplain.explanation import Explanation, Performance
from semexplain.performers.base import Performer
from semexplain.runs.trained import TrainedExplainer, load
from semexplain.training.distillation import Distillation

__all__ = ["Distillation", "Explanation", "Performance", "Performer", "TrainedExplainer", "load"]


def _cards(explanation: Explanation) -> str:
    """The first images of an explanation as a notebook shows them."""
    from semexplain.report.page import cards_page  # drawing is imported when something is drawn

    return cards_page(explanation[:10])


Explanation._repr_html_ = _cards  # type: ignore[attr-defined]
