"""A control from outside the package: every concept is told twice as strong as it is."""

from torch import Tensor

from semexplain.training.controls import Control


class Doubled(Control):
    """Twice the strengths."""

    def concepts(self, concepts: Tensor) -> Tensor:
        return 2 * concepts
