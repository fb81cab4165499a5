"""Whether an explanation is about its concepts at all, judged from a run's numbers, and why (not)."""

import math
from collections.abc import Mapping
from typing import NamedTuple

from semexplain.metrics.measure import Measure

MARGIN = 0.1
RELIANCE, DEVIATION, FAITHFUL = "test/concept_reliance", "test/relative_deviation", "test/faithful"
EXCESS, EXCESS_SHARE, ASKED = "test/excess_over_control", "test/excess_over_control_share", "test/faithful_margin"
CONTROL = "test/control"  # /<name>/<measure>: of an explainer that was trained on a control
MEANINGLESS = ("constant", "shuffled")  # controls whose concepts say nothing about the image
_DEVIATION = "Relative deviation of the same explainer, trained {}, without prior: the control."
VERDICT = (
    Measure("faithful", unit="0 or 1", better="higher", column="faithful").means(
        "1 if predictions need the images' own concepts and, where controls were trained, concepts that say nothing "
        "explain less; 0 if not."
    ),
    Measure("faithful_margin", "margin of faithfulness").means(
        "The least concept reliance, and the least excess share, that count as faithful."
    ),
    Measure("excess_over_control", better="higher").means(
        "The smaller relative deviation of the explainers trained on constant and on shuffled concepts, minus the "
        "run's own."
    ),
    Measure("excess_over_control_share", "excess over control, as a share", better="higher").means(
        "The excess over control divided by that control's deviation: 0 if meaningless concepts explain as much, below "
        "0 if they explain more."
    ),
    Measure("control/constant/relative_deviation", "relative deviation with constant concepts").means(
        _DEVIATION.format("with the strength 1 for every concept of every image")
    ),
    Measure("control/shuffled/relative_deviation", "relative deviation with shuffled concepts").means(
        _DEVIATION.format("with the concepts of another image of the batch")
    ),
    Measure("control/redrawn/relative_deviation", "relative deviation of a re-drawn performer").means(
        _DEVIATION.format("on a performer whose layers above the feature map have random weights")
    ),
    Measure("control/*/explainer_accuracy_tau_train", "accuracy of the control ({})").means(
        "Share of images on which the control's prediction > τ agrees with the label, with the τ that is best on the "
        "training images."
    ),
)


class Verdict(NamedTuple):
    """Whether an explanation is faithful, and the numbers that say so.

    Attributes:
        faithful: True or false.
        reason: In words.
        metrics: Excess over the controls, where there are any; the verdict as 1 or 0; the margin that was asked.
    """

    faithful: bool
    reason: str
    metrics: dict[str, float]

    def __str__(self) -> str:
        return f"{'FAITHFUL' if self.faithful else 'NOT FAITHFUL'}: {self.reason}"


def verdict(metrics: Mapping[str, float | None], margin: float | None = None) -> Verdict | None:
    """Judge a run by its numbers.

    An explanation is faithful if its predictions need the concepts: ``concept_reliance`` is at least the margin; and if
    it beats concepts that say nothing: its deviation is below that of the same explainer trained on constant and on
    shuffled concepts, by the margin as a share of theirs. Without trained controls the first condition decides.

    Args:
        metrics: Of ``metrics.json``.
        margin: What both conditions ask for; that of an earlier verdict by default, or else 0.1.

    Returns:
        The verdict; none where there is nothing to judge by: reliance or own deviation were not measured, or are not
        numbers.

    Example:
        >>> print(verdict({"test/relative_deviation": 0.056, "test/concept_reliance": 0.02}))
        ... # doctest: +NORMALIZE_WHITESPACE
        NOT FAITHFUL: with the concepts of other images the predictions hardly get worse (concept reliance 0.020, at
        least 0.1 is asked). Judged by concept reliance alone: no controls were trained.
    """
    threshold = margin if margin is not None else metrics.get(ASKED)
    threshold = MARGIN if threshold is None else threshold
    reliance, deviation = (_number(metrics.get(name)) for name in (RELIANCE, DEVIATION))
    if reliance is None or deviation is None:
        return None
    table = {name: _number(metrics.get(f"{CONTROL}/{name}/relative_deviation")) for name in MEANINGLESS}
    controls = {name: value for name, value in table.items() if value is not None}
    reasons, failures, numbers = [], [], {}
    detail = f"concept reliance {reliance:.3f}, at least {threshold:g} is asked"
    if reliance >= threshold:
        reasons.append(f"the predictions need the images' own concepts ({detail})")
    else:
        failures.append(f"with the concepts of other images the predictions hardly get worse ({detail})")
    if controls:
        name, least = min(controls.items(), key=lambda item: item[1])
        share = (least - deviation) / least if least > 0 else 0.0
        numbers = {EXCESS: least - deviation, EXCESS_SHARE: share}
        detail = f"deviation {deviation:.4f}, with {name} concepts {least:.4f}, at least {threshold:.0%} less is asked"
        if share >= threshold:
            reasons.append(f"concepts that say nothing explain less ({detail})")
        else:
            failures.append(f"concepts that say nothing explain as much ({detail})")
    reason = "; ".join(failures or reasons) + "."
    missing = [
        name for name, value in table.items() if value is None and f"{CONTROL}/{name}/relative_deviation" in metrics
    ]
    if missing:
        reason += f" The deviation on {' and '.join(missing)} concepts is not a number and was not counted."
    if not any(name.startswith(f"{CONTROL}/") for name in metrics):
        reason += " Judged by concept reliance alone: no controls were trained."
    return Verdict(not failures, reason, {**numbers, FAITHFUL: float(not failures), ASKED: threshold})


def no_verdict(metrics: Mapping[str, float | None]) -> str:
    """Why there is no verdict.

    Example:
        >>> no_verdict({"test/relative_deviation": None, "test/concept_reliance": 0.0})
        'No verdict on faithfulness: all scores are equal, so there is nothing to explain.'
    """
    if DEVIATION in metrics and _number(metrics[DEVIATION]) is None:
        return "No verdict on faithfulness: all scores are equal, so there is nothing to explain."
    return "No verdict on faithfulness: concept reliance was not measured, or is not a number."


def _number(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None
