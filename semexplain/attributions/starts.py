"""The default start of an explainer for each kind of concept."""

from semexplain.attributions.base import Start
from semexplain.attributions.gradient_times_activation import GradientTimesActivation
from semexplain.attributions.prior import PriorAndMap
from semexplain.concepts.base import ConceptKind


def start_of(kind: ConceptKind) -> type[Start]:
    """The start that suits a kind of concept.

    A concept that is taken away for good contributes what the score loses, to first order, at its own image: gradient
    times activation. One that falls back to its mean, beside others that go together with it, is weighed better by
    gradients and all images together.
    """
    return PriorAndMap if kind.needs_means else GradientTimesActivation
