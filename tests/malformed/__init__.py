"""A gallery of malformed, damaged and odd inputs, all made by code, and what has to become of each."""

from malformed.annotations import PASCAL
from malformed.case import Malformed, fault
from malformed.explanations import EXPLANATIONS
from malformed.images import IMAGES
from malformed.tables import TABLES
from malformed.weights import WEIGHTS

__all__ = ["MALFORMED", "Malformed", "fault"]

MALFORMED: list[Malformed] = [*IMAGES, *TABLES, *PASCAL, *WEIGHTS, *EXPLANATIONS]
