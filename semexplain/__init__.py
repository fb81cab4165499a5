"""How much did each named concept contribute to the score that a trained vision network gave an image?"""

import semexplain.report.page  # noqa: F401  how a notebook shows an explanation
from semexplain.concepts.filters import Filters
from semexplain.concepts.outputs import Outputs
from semexplain.data.framing import WithNumbers
from semexplain.explanation import Explanation, Performance
from semexplain.judgement.network import verdict
from semexplain.performers.base import Performer
from semexplain.performers.network import Network
from semexplain.runs.explainer import Explainer, Explainers
from semexplain.runs.trained import TrainedExplainer, load
from semexplain.training.distillation import Distillation

__all__ = [
    "Distillation",
    "Explainer",
    "Explainers",
    "Explanation",
    "Filters",
    "Network",
    "Outputs",
    "Performance",
    "Performer",
    "TrainedExplainer",
    "WithNumbers",
    "load",
    "verdict",
]
