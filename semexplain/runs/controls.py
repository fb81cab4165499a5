"""Train a run's explainer on controls: once for all runs that differ in prior and seed alone."""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import torch
from omegaconf import DictConfig, OmegaConf

from semexplain.metrics.verdict import CONTROL
from semexplain.runs.folder import CHECKPOINTS, LAST, MACHINE, METRICS
from semexplain.runs.records import numbers
from semexplain.runs.run import Run
from semexplain.runs.tasks import train_explainer
from semexplain.system.config import ConfigError, plain
from semexplain.system.files import write_json
from semexplain.system.once import address, once
from semexplain.system.references import as_written
from semexplain.training.checkpoints import to_resume

log = logging.getLogger(__name__)
CONTROLS = {name: f"semexplain.training.controls.{name.capitalize()}" for name in ("constant", "shuffled", "redrawn")}
SEEDS = (0, 1, 2)  # of the explainer's training, and of the permutation or the new weights
MEASURES = ("relative_deviation", "explainer_accuracy_tau_train")
METRICS_NEEDED = {
    "relative_deviation": {"_target_": "semexplain.metrics.relative_deviation.RelativeDeviation"},
    "explainer_accuracy": {"_target_": "semexplain.metrics.accuracy.ExplainerAccuracy"},
}
CALLBACKS = ("best_checkpoint", "last_checkpoint", "early_stopping", "progress")
# What leaves a trained control as it is: it has no prior.
WITHOUT_INFLUENCE = ("prior", "prior_loss", "metrics", "control")
DESCRIPTION = "control.json"


def trained_controls(run: Run, names: Sequence[str]) -> dict[str, float]:
    """Deviation and accuracy that a run's explainer reaches when it is trained on controls, without prior.

    What was trained before, for this run or another one of the same performer, data and explainer, is read from
    ``paths.cache``; an interrupted training goes on.

    Args:
        run: The run.
        names: Which controls: ``constant``, ``shuffled`` or ``redrawn``.

    Returns:
        ``test/control/<name>/<measure>``, the mean over three seeds, and with ``_std`` their standard deviation.

    Raises:
        ConfigError: If there is no such control, or the run cannot be measured.
    """
    unknown = [name for name in names if name not in CONTROLS]
    if unknown:
        raise ConfigError(f"controls: expected some of {', '.join(CONTROLS)}, got {', '.join(unknown)}.")
    if not names:
        return {}
    config = run.config
    run.checkpoint()  # without one there is nothing to judge
    table: dict[str, float] = {}
    for name in names:
        trained = []
        for seed in SEEDS:
            settings = control_config(config, name, seed)
            description = control_description(settings, run.noted("sha256"), run.data.fingerprint())
            trained.append(_trained(settings, name, description))
        for measure in (one for one in MEASURES if f"test/{one}" in trained[0]):  # images may have no labels
            found = [metrics[f"test/{measure}"] for metrics in trained]
            values = torch.tensor([torch.nan if value is None else value for value in found], dtype=torch.float64)
            key = f"{CONTROL}/{name}/{measure}"
            table |= {key: float(values.mean()), f"{key}_std": float(values.std())}
    return table


def control_config(config: DictConfig, name: str, seed: int) -> DictConfig:
    """The configuration of a run, changed to train its explainer on a control: without prior, loggers and figures."""
    options = cast(dict[str, Any], as_written(config))
    control = {"_target_": CONTROLS[name], **({} if name == "constant" else {"seed": seed})}
    options |= {"beta": 0, "seed": seed, "parts": None, "logger": {}, "control": control}
    options["callbacks"] = {name: callback for name, callback in options["callbacks"].items() if name in CALLBACKS}
    options["module"] |= {"control": control, "metrics": METRICS_NEEDED, "measure_prior": False}
    options["trainer"] |= {"devices": 1, "strategy": "auto", "num_nodes": 1}
    return OmegaConf.create(options)


def control_description(config: DictConfig, performer: str, data: str) -> dict[str, Any]:
    """Everything that determines an explainer trained on a control.

    Args:
        config: Of the control.
        performer: Digest of the performer's weights.
        data: Fingerprint of the data.
    """
    tree = cast(dict[str, Any], as_written(config))
    without_files = {key: value for key, value in tree["performer"].items() if key not in ("checkpoint", "weights")}
    starts = tree["module"].get("start") is not None  # and then the prior may shape what it starts from
    extra = ("prior",) if starts else ()
    module = {key: value for key, value in tree["module"].items() if key not in WITHOUT_INFLUENCE or key in extra}
    local = [*(key.removeprefix("trainer.") for key in MACHINE), "enable_progress_bar"]
    return {
        "performer": {**without_files, "sha256": performer},
        "data": {"fingerprint": data, **{key: tree["data"].get(key) for key in ("batch_size", "flip", "cache_dtype")}},
        "module": module,
        "trainer": {key: value for key, value in tree["trainer"].items() if key not in local},
        "stops": tree["callbacks"].get("early_stopping"),
        "control": tree["control"],
        "seed": tree["seed"],
        "measures": MEASURES,
    }


def _trained(config: DictConfig, name: str, description: dict[str, Any]) -> dict[str, float | None]:
    """Numbers of an explainer on a control, trained now if nobody has."""
    folder = Path(config.paths.cache) / "controls" / address(plain(OmegaConf.create(description)))

    def train(partial: Path) -> None:
        log.info("Control %r: training the explainer once, for all runs that differ in prior and seed.", name)
        if not (partial / DESCRIPTION).exists():  # which is written last
            partial.mkdir(exist_ok=True)
            to_resume(partial / CHECKPOINTS, anew=True)
            train_explainer(config, partial)
            write_json(partial / DESCRIPTION, description)
        (partial / LAST).unlink(missing_ok=True)

    once(folder, train, f"the control {folder}", remedy="Set `paths.cache` to a folder that can be written.")
    return numbers(folder / METRICS, [f"test/{measure}" for measure in MEASURES])
