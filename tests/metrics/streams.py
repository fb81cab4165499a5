"""One small data set and a way to feed it to any metric, shared by the tests of all metrics."""

from collections.abc import Iterable

import torch
from torch import Tensor
from torchmetrics import Metric

from semexplain.explanation import Explanation
from semexplain.metrics.accuracy import ExplainerAccuracy
from semexplain.metrics.completeness_gap import CompletenessGap
from semexplain.metrics.concept_count import ConceptCount
from semexplain.metrics.concept_curves import ConceptCurves
from semexplain.metrics.concept_reliance import ConceptReliance
from semexplain.metrics.contribution_entropy import ContributionEntropy
from semexplain.metrics.faithfulness_correlation import FaithfulnessCorrelation
from semexplain.metrics.linear_map import LinearMap
from semexplain.metrics.part_error import PartError
from semexplain.metrics.part_ranks import PartRanks
from semexplain.metrics.prior_agreement import PriorAgreement
from semexplain.metrics.randomisation_similarity import RandomisationSimilarity
from semexplain.metrics.relative_deviation import RelativeDeviation
from semexplain.metrics.stability import Stability
from semexplain.metrics.truth_agreement import TruthAgreement


class ThreePartError(PartError):
    """Built without arguments, as the others are."""

    def __init__(self) -> None:
        super().__init__(("eye", "leg", "other"))


class ThreePartRanks(PartRanks):
    """Likewise."""

    def __init__(self) -> None:
        super().__init__(("eye", "leg", "other"))


METRICS: list[type[Metric]] = [
    CompletenessGap,
    ConceptCount,
    ConceptCurves,
    ConceptReliance,
    ContributionEntropy,
    ExplainerAccuracy,
    FaithfulnessCorrelation,
    LinearMap,
    PriorAgreement,
    RandomisationSimilarity,
    RelativeDeviation,
    Stability,
    ThreePartError,
    ThreePartRanks,
    TruthAgreement,
]
PART_FIELDS = ("part_effects", "part_contributions", "part_attributions")

FIELDS = {
    CompletenessGap: (("contributions", "score_with_all", "score_with_none"), ()),
    ConceptCount: (("contributions",), ()),
    ConceptCurves: (("deletion", "insertion"), ()),
    ConceptReliance: (("score", "prediction", "weights", "concepts"), ()),
    ContributionEntropy: (("contributions", "label"), ()),
    ExplainerAccuracy: (("score", "prediction", "label", "object_id"), ("prediction", "label")),
    FaithfulnessCorrelation: (("subset_contributions", "subset_drops"), ()),
    LinearMap: (("concepts", "score", "label"), ("concepts", "score")),
    PriorAgreement: (("weights", "concepts", "prior"), ()),
    RandomisationSimilarity: (("contributions", "randomised_contributions"), ()),
    RelativeDeviation: (("score", "prediction"), ()),
    Stability: (("contributions", "noisy_contributions"), ()),
    ThreePartError: (("score", "label", *PART_FIELDS), ()),
    ThreePartRanks: (("label", *PART_FIELDS), ()),
    TruthAgreement: (("contributions", "truth"), ()),
}


def dataset(size: int = 103, n: int = 6, seed: int = 0) -> dict[str, Tensor]:
    """Random explanations that are partly right; some images without contributions, prior, truth or an effect."""
    generator = torch.Generator().manual_seed(seed)

    def randn(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator)

    concepts, weights, prior, noise = randn(size, n), randn(size, n) + 1, randn(size, n) + 1, randn(size)
    concepts[size // 2] = 0
    prior[size // 3] = 0
    score, names = (concepts * weights).sum(1) + noise, tuple(f"concept {i}" for i in range(n))
    explanation = Explanation(score, concepts, weights, torch.tensor(0.3), names)
    data = {
        "score": explanation.score,
        "prediction": explanation.prediction,
        "contributions": explanation.contributions,
        "weights": weights,
        "concepts": concepts,
        "prior": prior,
        "label": explanation.score + randn(size) > 0,
        "object_id": torch.arange(size) // 2,
        **{name: randn(size, 3) + 1 for name in PART_FIELDS},
        "deletion": randn(size, 5),
        "insertion": randn(size, 5),
        "subset_contributions": randn(size, 8),
        "subset_drops": randn(size, 8),
        "score_with_all": explanation.score,
        "score_with_none": randn(size),
        "noisy_contributions": explanation.contributions[:, None] + randn(size, 2, n),
        "randomised_contributions": randn(size, n),
        "truth": explanation.contributions + randn(size, n),
    }
    data["subset_drops"][size // 4] = 0
    data["truth"][size // 5], data["truth"][size // 6 :, 2] = torch.nan, torch.nan
    return data


def feed(metric: Metric, data: dict[str, Tensor], sizes: Iterable[int], *, observe: bool = False) -> Metric:
    """Give the metric the data in batches of these sizes."""
    fields = FIELDS[type(metric)][observe]
    if not fields:
        return metric
    for batch in zip(*(data[name].split(list(sizes)) for name in fields), strict=True):
        (metric.observe if observe else metric.update)(**dict(zip(fields, batch, strict=True)))
    return metric


def compute(metric: Metric) -> dict[str, Tensor]:
    """The metric's results, always by name."""
    result = metric.compute()
    return result if isinstance(result, dict) else {"value": result}
