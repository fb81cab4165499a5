"""Which numbers runs report: those of the metrics that they recorded, and those that come with every run."""

import logging
from collections.abc import Iterable, Mapping
from typing import Any

from semexplain.metrics.measure import Measure
from semexplain.metrics.verdict import VERDICT
from semexplain.system.config import ConfigError, trusted_target

log = logging.getLogger(__name__)
TRAINING = (
    Measure("bias", "base value b", "score").means("The part of every prediction that belongs to no concept."),
    Measure("distillation", "distillation loss", "score²", "lower").means(
        "Mean squared difference between score and prediction."
    ),
    Measure("prior_loss", unit="loss", better="lower").means(
        "Disagreement 𝓛(α, w) of the weights with what the performer's gradients suggest, averaged over the images."
    ),
    Measure("rival_fit_seconds", "time before the rival can answer", "s", "lower").means(
        "What fitting took, without the time to get the training images."
    ),
    Measure("rival_milliseconds_per_image", "time of the rival for an image", "ms", "lower").means(
        "What its answers took on the device that measured them, for one image."
    ),
)


def measures_of(configs: Iterable[Mapping[str, Any]]) -> list[Measure]:
    """What metrics report, in the order in which they are configured, then what every run has besides.

    A metric that may not be imported now, or is no longer there, is left out: its numbers keep their bare names.

    Args:
        configs: Configurations of metrics by name, as runs record them.
    """
    targets = dict.fromkeys(node["_target_"] for config in configs for node in config.values())
    return [*(measure for target in targets for measure in _reports(target)), *TRAINING, *VERDICT]


def _reports(target: str) -> tuple[Measure, ...]:
    try:
        return getattr(trusted_target(target), "reports", ())
    except ConfigError as error:
        log.warning("Its numbers are shown without a description. %s", error)
        return ()
