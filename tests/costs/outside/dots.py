"""A figure from outside the package: a dot for every image."""

from matplotlib.figure import Figure

from semexplain.explanation import Explanation


def dots(explanation: Explanation) -> Figure:
    """Predictions over scores."""
    figure = Figure(figsize=(3, 3))
    figure.subplots().plot(explanation.score.numpy(), explanation.prediction.numpy(), "o")
    return figure
