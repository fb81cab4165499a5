"""How much did each named concept contribute to the score that a trained vision network gave an image?"""

import semexplain.report.page  # noqa: F401  how a notebook shows an explanation
from semexplain.explanation import Explanation, Performance
from semexplain.judgement.network import verdict
from semexplain.performers.base import Performer
from semexplain.performers.network import Network
from semexplain.runs.trained import TrainedExplainer, load
from semexplain.training.distillation import Distillation

__all__ = ["Distillation", "Explanation", "Network", "Performance", "Performer", "TrainedExplainer", "load", "verdict"]
