"""A Weights & Biases run that can be compared with the others of its sweep."""

from typing import Any

from pytorch_lightning.loggers import WandbLogger
from pytorch_lightning.utilities import rank_zero_only

from semexplain.metrics.catalogue import measures_of
from semexplain.metrics.verdict import FAITHFUL_AS

GOALS = {"higher": "max", "lower": "min"}


class WeightsAndBiases(WandbLogger):
    """Lightning's logger, with the epoch as the axis of every curve and the right end of each as its best.

    Jobs of a sweep share the sweep's name as their group. The test numbers are in the summary under their plain names,
    beside all options in the configuration, so that one parallel-coordinates panel compares a sweep.

    Args:
        **kwargs: What :class:`pytorch_lightning.loggers.WandbLogger` takes.
    """

    def __init__(self, *, save_dir: str, project: str = "semexplain", offline: bool = True, **kwargs: Any) -> None:
        super().__init__(save_dir=save_dir, project=project, offline=offline, **kwargs)
        self._defined = False

    @rank_zero_only
    def describe(self, options: dict[str, Any]) -> None:
        """Note a run's options, flat, and how its metrics are to be read."""
        self.experiment.config.update(flat(options), allow_val_change=True)
        self.experiment.define_metric("epoch", summary="none")
        self.experiment.define_metric("*", step_metric="epoch")
        for measure in measures_of([options.get("metrics") or {}]):
            if measure.better and "*" not in measure.key:
                summary = f"{GOALS[measure.better]},last"
                self.experiment.define_metric(f"val/{measure.key}", step_metric="epoch", summary=summary)

    @rank_zero_only
    def judge(self, word: str, reason: str, said: str) -> None:
        """Put the verdict into the summary, and tag and note a run whose explanations are not shown to be faithful.

        Args:
            word: ``FAITHFUL``, ``NOT FAITHFUL`` or ``NOT SHOWN``.
            reason: In one sentence.
            said: All that is said of it.
        """
        self.experiment.summary.update({"verdict": word, "verdict_reason": reason})
        if FAITHFUL_AS[word] < 1:
            self.experiment.tags = (*(self.experiment.tags or ()), word.lower())
            self.experiment.notes = said


def flat(options: Any, path: str = "") -> dict[str, Any]:
    """Nested options by dotted key.

    Example:
        >>> flat({"beta": 0.2, "explainer": {"depth": 18}})
        {'beta': 0.2, 'explainer.depth': 18}
    """
    if not isinstance(options, dict) or not options:
        return {path: options}
    return {
        name: value
        for key, item in options.items()
        for name, value in flat(item, f"{path}.{key}" if path else str(key)).items()
    }
