"""Whether predictions need the concepts: what is left of them when each image gets another one's (a control)."""

from typing import Any

import torch
from torch import Tensor

from semexplain.metrics.base import PreciseMetric
from semexplain.metrics.measure import Measure

PAIRS = 2**22  # of images at a time


def swapped_errors(score: Tensor, prediction: Tensor, weights: Tensor, concepts: Tensor) -> Tensor:
    r"""Mean absolute error of each image's prediction when it gets the concepts of every other image in turn.

    .. math:: e_I = \frac{1}{N - 1} \sum_{J \neq I} \Big|\hat y_I - \sum_i \alpha_{I,i} y_{J,i} - b\Big|

    Args:
        score: ``(N,)``, at least two images.
        prediction: ``(N,)``, with the images' own concepts.
        weights: ``(N, n)``.
        concepts: ``(N, n)``.

    Returns:
        ``(N,)``.

    Example:
        >>> score, concepts = torch.tensor([1.0, 2.0, 6.0]), torch.tensor([[1.0], [2.0], [6.0]])
        >>> swapped_errors(score, score, torch.ones(3, 1), concepts)
        tensor([3.0000, 2.5000, 4.5000])
    """
    remainder = score - prediction + (weights * concepts).sum(1)  # what the concepts have to account for
    step = max(1, PAIRS // len(score))
    some = zip(remainder.split(step), weights.split(step), strict=True)
    errors = torch.cat([(rest[:, None] - alpha @ concepts.T).abs().sum(1) for rest, alpha in some])
    return (errors - (score - prediction).abs()) / (len(score) - 1)


class ConceptReliance(PreciseMetric):
    r"""How much worse predictions become when each image keeps its weights but gets another image's concepts.

    .. math:: 1 - \frac{\sum_I |\hat y_I - \sum_i \alpha_{I,i} y_{I,i} - b|}
                       {\sum_I \frac{1}{N-1} \sum_{J \neq I} |\hat y_I - \sum_i \alpha_{I,i} y_{J,i} - b|}

    1: the predictions are exact and need the concepts. 0, or less: the concepts of any other image serve as well, so
    the explanation is not about them, however exact it is: the weights alone have learned the score.

    This needs no training. It is the mean over all pairs of images, so it does not depend on their order or batches;
    time grows with the square of their number (a quarter of a minute for 20,000 images and 39 concepts on one core),
    which is why it is left out in validation.

    ``compute`` returns ``concept_reliance`` and ``swapped_relative_deviation``, the denominator as a share of the range
    of the scores like :class:`~semexplain.metrics.relative_deviation.RelativeDeviation`; nan for fewer than two images.
    An explanation that stays exact with any concepts has reliance 0.

    Example:
        >>> metric = ConceptReliance()
        >>> score, concepts = torch.tensor([1.0, 2.0, 6.0]), torch.tensor([[1.0], [2.0], [6.0]])
        >>> metric.update(score=score, prediction=score + 1, weights=torch.ones(3, 1), concepts=concepts)
        >>> {name: round(value.item(), 4) for name, value in metric.compute().items()}
        {'concept_reliance': 0.7, 'swapped_relative_deviation': 0.6667}
    """

    reports = (
        Measure("concept_reliance", better="higher", column="concept reliance").means(
            "1 minus the ratio of two deviations: with the image's own concepts and with another image's. 1: exact, "
            "and the concepts are needed; 0: any image's concepts would do."
        ),
        Measure("swapped_relative_deviation", "relative deviation with swapped concepts").means(
            "The relative deviation if each image keeps its weights but gets another image's concepts, averaged over "
            "all pairs."
        ),
    )
    in_validation = False

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        for name in ("score", "prediction", "weights", "concepts"):
            self.add_rows(name)

    def update(self, score: Tensor, prediction: Tensor, weights: Tensor, concepts: Tensor) -> None:
        """Add a batch of scores and predictions ``(B,)``, weights and concepts ``(B, n)``."""
        batch = {"score": score, "prediction": prediction, "weights": weights, "concepts": concepts}
        for name, values in batch.items():
            getattr(self, name).append(values.detach().double().flatten())

    def compute(self) -> dict[str, Tensor]:
        """Both numbers over all images."""
        score, prediction = self.rows("score"), self.rows("prediction")
        if len(score) < 2:
            return dict.fromkeys(("concept_reliance", "swapped_relative_deviation"), score.new_full((), torch.nan))
        weights, concepts = (self.rows(name).view(len(score), -1) for name in ("weights", "concepts"))
        error = (score - prediction).abs().mean()
        swapped_error = swapped_errors(score, prediction, weights, concepts).mean()
        extent = score.max() - score.min()
        return {
            "concept_reliance": torch.where(swapped_error == 0, 0, 1 - error / swapped_error),
            "swapped_relative_deviation": torch.where(extent > 0, swapped_error / extent, torch.nan),
        }
