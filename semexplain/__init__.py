"""How much did each named concept contribute to the score that a trained vision network gave an image?"""

from semexplain.explanation import Explanation, Performance
from semexplain.modules.distillation import Distillation
from semexplain.performers.base import Performer
from semexplain.trained import TrainedExplainer, load

__all__ = ["Distillation", "Explanation", "Performance", "Performer", "TrainedExplainer", "load"]
