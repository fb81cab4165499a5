"""How soon the score goes as the most important concepts are taken away, and comes as they are put back."""

from typing import Any

import torch
from torch import Tensor

from semexplain.metrics.base import PreciseMetric
from semexplain.metrics.measure import Measure


class ConceptCurves(PreciseMetric):
    r"""Areas under the deletion and the insertion curve of the score (RISE, arXiv:1806.07421, on concepts).

    The concepts of an image are taken away, or put back, in T steps and in the order of their contributions, see
    :func:`semexplain.attributions.faithfulness.concept_curves`. With :math:`v_t` the score after t steps, both ends
    included, and the trapezoid rule for the mean of a curve

    .. math:: \bar v = \frac1T \sum_{t=1}^T \frac{v_{t-1} + v_t}{2}, \qquad
              \mathrm{area} = \frac{\sum_I s_I\, (\bar v_I - v_I(\mathrm{none}))}
                                   {\sum_I |v_I(\mathrm{all}) - v_I(\mathrm{none})|}, \qquad
              s_I = \mathrm{sign}\,(v_I(\mathrm{all}) - v_I(\mathrm{none}))

    So the areas are in units in which the score is 1 with all concepts and 0 with none, whatever the scale of the
    scores, and every image counts as much as its concepts change its score: a mean of the images' own ratios would be
    that of the few images whose concepts happen to cancel. Where the order says nothing both areas are 1/2 for scores
    that are additive in the concepts. A good order has a small ``deletion_area`` and a large ``insertion_area``.

    Deletion alone does not measure faithfulness: what leaves the performer's usual inputs lowers the score too.

    Example:
        >>> metric = ConceptCurves()
        >>> metric.update(deletion=torch.tensor([[4.0, 1.0, 0.0]]), insertion=torch.tensor([[0.0, 3.0, 4.0]]))
        >>> {name: value.item() for name, value in metric.compute().items()}
        {'deletion_area': 0.375, 'insertion_area': 0.625}
    """

    reports = (
        Measure("deletion_area", "area under the deletion curve", better="lower").means(
            "Mean score while concepts are taken away, largest contributions first, scaled to 1 with all concepts and "
            "0 with none. Small if the order is right."
        ),
        Measure("insertion_area", "area under the insertion curve", better="higher").means(
            "The same while concepts are put back, largest contributions first. Large if the order is right."
        ),
    )
    in_validation = False  # it needs a pass through the head for every step; reported once, on test
    deletion: Tensor
    insertion: Tensor
    change: Tensor

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        for name in ("deletion", "insertion", "change"):
            self.add_sum(name)

    def update(self, deletion: Tensor, insertion: Tensor) -> None:
        """Add a batch.

        Args:
            deletion: ``(B, T + 1)``. Scores from all concepts to none.
            insertion: ``(B, T + 1)``. Scores from no concept to all.
        """
        deletion, insertion = deletion.detach().double(), insertion.detach().double()
        without = deletion[:, -1]
        change = deletion[:, 0] - without

        def above(curve: Tensor) -> Tensor:
            mean = torch.trapezoid(curve, dim=1) / (curve.shape[1] - 1)
            return (change.sign() * (mean - without)).sum()

        self.deletion = self.deletion + above(deletion)
        self.insertion = self.insertion + above(insertion)
        self.change = self.change + change.abs().sum()

    def compute(self) -> dict[str, Tensor]:
        """Both areas; nan without an image."""
        return {"deletion_area": self.deletion / self.change, "insertion_area": self.insertion / self.change}
