"""What became of the prior: do the explainer's weights point where it points, and what does it ask for (Eq. (4))."""

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from semexplain.metrics.base import PreciseMetric
from semexplain.metrics.contribution_entropy import contribution_entropy
from semexplain.metrics.measure import Measure

NO_PRIOR = 1e-12
DEAD = 1e-4


class PriorAgreement(PreciseMetric):
    """Agreement of weights and prior, with the quantities that tell whether the prior can help.

    A strong prior pulls the entropy of the contributions towards ``prior_contribution_entropy``. Where that is lower
    than the entropy reached without a prior, the prior cannot make explanations more even.

    All are means over images. An image whose prior has a norm below 1e-12 has none and no cosine; a weight is dead if
    its size is at most 1e-4 of the image's mean size. Entropies are of shares, in nats; images whose shares do not
    exist, because all their numbers are 0, are left out of the respective entropy.

    Example:
        >>> metric = PriorAgreement()
        >>> metric.update(
        ...     weights=torch.tensor([[3.0, 0.0], [0.0, 5.0]]),
        ...     concepts=torch.tensor([[1.0, -1.0], [2.0, 0.0]]),
        ...     prior=torch.tensor([[1.0, 1.0], [0.0, 0.0]]),
        ... )
        >>> {name: round(value.item(), 4) for name, value in metric.compute().items()}  # doctest: +NORMALIZE_WHITESPACE
        {'prior_cosine': 0.7071, 'prior_entropy': 0.6931, 'prior_contribution_entropy': 0.6931,
         'concept_entropy': 0.3466, 'prior_degenerate_fraction': 0.5, 'weights_norm': 4.0, 'dead_fraction': 0.5}
    """

    reports = (
        Measure("prior_cosine", "agreement with the prior", "cosine", "higher").means(
            "Mean cosine between the weights α and the prior weights w."
        ),
        Measure("prior_entropy", "entropy of the prior", "nats").means(
            "Entropy of the prior weights |w|, mean over the images."
        ),
        Measure("prior_contribution_entropy", "entropy of w·y", "nats").means(
            "Entropy of the contributions that the prior weights would give."
        ),
        Measure("concept_entropy", "entropy of y", "nats").means("Entropy of the absolute concept strengths."),
        Measure("prior_degenerate_fraction", "images without prior").means(
            "Share of images whose prior weights are all 0."
        ),
        Measure("weights_norm", "norm of the weights", "weight").means("Mean Euclidean norm of α."),
        Measure("dead_fraction", "dead weights", better="lower").means(
            "Share of weights that are next to 0 compared with the image's mean."
        ),
    )

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        for measure in self.reports:
            self.add_mean(measure.key)

    def update(self, weights: Tensor, concepts: Tensor, prior: Tensor) -> None:
        """Add a batch of explainer weights, concepts and prior weights, all ``(B, n)``."""
        weights, concepts, prior = (tensor.detach().double() for tensor in (weights, concepts, prior))
        degenerate = torch.linalg.vector_norm(prior, dim=1) < NO_PRIOR
        size = weights.abs()
        agreement = functional.cosine_similarity(weights, prior, dim=1, eps=NO_PRIOR)
        batch = {
            "prior_cosine": agreement[~degenerate],
            "prior_entropy": _entropies(prior[~degenerate]),
            "prior_contribution_entropy": _entropies(prior * concepts),
            "concept_entropy": _entropies(concepts),
            "prior_degenerate_fraction": degenerate.double(),
            "weights_norm": torch.linalg.vector_norm(weights, dim=1),
            "dead_fraction": (size <= DEAD * size.mean(1, keepdim=True)).double().mean(1),
        }
        for quantity, values in batch.items():
            self.add_to_mean(quantity, values)

    def compute(self) -> dict[str, Tensor]:
        """All means; nan where there is no image."""
        return {quantity: self.mean(quantity) for quantity in self.metric_state}


def _entropies(values: Tensor) -> Tensor:
    return contribution_entropy(values[values.abs().sum(1) != 0])
