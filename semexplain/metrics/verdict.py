"""Whether an explanation is about its concepts at all, judged from a run's numbers, and why (not)."""

import math
from collections.abc import Mapping
from typing import NamedTuple

MARGIN = 0.1
RELIANCE, DEVIATION, FAITHFUL = "test/concept_reliance", "test/relative_deviation", "test/faithful"
EXCESS, EXCESS_SHARE, ASKED = "test/excess_over_control", "test/excess_over_control_share", "test/faithful_margin"
CONTROL = "test/control"  # /<name>/<measure>: of an explainer that was trained on a control
MEANINGLESS = ("constant", "shuffled")  # controls whose concepts say nothing about the image


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
    asked = margin if margin is not None else metrics.get(ASKED)
    asked = MARGIN if asked is None else asked
    reliance, deviation = (_number(metrics.get(name)) for name in (RELIANCE, DEVIATION))
    if reliance is None or deviation is None:
        return None
    found = {name: _number(metrics.get(f"{CONTROL}/{name}/relative_deviation")) for name in MEANINGLESS}
    controls = {name: value for name, value in found.items() if value is not None}
    said, failed, numbers = [], [], {}
    told = f"concept reliance {reliance:.3f}, at least {asked:g} is asked"
    if reliance >= asked:
        said.append(f"the predictions need the images' own concepts ({told})")
    else:
        failed.append(f"with the concepts of other images the predictions hardly get worse ({told})")
    if controls:
        name, least = min(controls.items(), key=lambda item: item[1])
        share = (least - deviation) / least if least > 0 else 0.0
        numbers = {EXCESS: least - deviation, EXCESS_SHARE: share}
        told = f"deviation {deviation:.4f}, with {name} concepts {least:.4f}, at least {asked:.0%} less is asked"
        if share >= asked:
            said.append(f"concepts that say nothing explain less ({told})")
        else:
            failed.append(f"concepts that say nothing explain as much ({told})")
    reason = "; ".join(failed or said) + "."
    missing = [
        name for name, value in found.items() if value is None and f"{CONTROL}/{name}/relative_deviation" in metrics
    ]
    if missing:
        reason += f" The deviation on {' and '.join(missing)} concepts is not a number and was not counted."
    if not any(name.startswith(f"{CONTROL}/") for name in metrics):
        reason += " Judged by concept reliance alone: no controls were trained."
    return Verdict(not failed, reason, {**numbers, FAITHFUL: float(not failed), ASKED: asked})


def _number(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None
