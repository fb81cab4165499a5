"""The folder of an explainer's run, each part of which is read once and kept."""

import copy
import logging
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from semexplain.concepts.parts import Parts, read_parts
from semexplain.data.module import ImageDataModule, ready_data
from semexplain.explanation import Explanation
from semexplain.metrics.verdict import CONTROL, FAITHFUL, PREFIX
from semexplain.performers.base import Performer
from semexplain.performers.network import Network
from semexplain.runs import records
from semexplain.runs.folder import BEST, CONFIG, EVALUATIONS, EXPLANATIONS, METRICS, PARTS, PERFORMER, VERDICT
from semexplain.runs.foreign import confined, read_config, require_data, require_sections, within
from semexplain.runs.naming import named_performer
from semexplain.runs.origin import require_same_source
from semexplain.system.config import ConfigError, instantiate, trusted_target
from semexplain.system.reading import require_file
from semexplain.system.references import is_reference
from semexplain.system.trouble import DamagedFileError
from semexplain.training.distillation import Distillation

log = logging.getLogger(__name__)
RIVAL = "test/rival_fit_seconds"  # is measured of rivals alone


class Run:
    """An explainer's run; nothing is read before it is asked for, and nothing twice.

    Args:
        path: The run's folder.
        overrides: Values to use in place of the run's own, by dotted key: where data or performer are now.
        trust: Treat the folder as one's own, though it was made on another machine or changed since.
        given: Its network, if that was given in Python.
        data: Its data, if they were, after their setup.

    Raises:
        ConfigError: By what is asked for, if the folder does not have it.
    """

    def __init__(
        self,
        path: Path | str,
        overrides: Mapping[str, Any] = {},
        *,
        trust: bool = False,
        given: Performer | None = None,
        data: ImageDataModule | None = None,
    ) -> None:
        self.path = Path(path)
        self.given = given
        self._data = data
        self.overrides = dict(overrides)
        self.trust = trust

    # -- what the run wrote ------------------------------------------------------------------------------------------

    @cached_property
    def written(self) -> DictConfig:
        """The configuration as the run wrote it, whatever has become of its performer."""
        if not (self.path / CONFIG).exists():
            raise ConfigError(f"run: {self.path.absolute()} is not a run folder, it has no {CONFIG}.")
        config = read_config(self.path / CONFIG, trust=self.trust)
        records.require_configuration(config, self.path / CONFIG)
        return config

    @property
    def target(self) -> str:
        """What the score of a finished run stands for; a difference of outputs in words."""
        target = self.written.performer.target
        return target if isinstance(target, str) else self.explanation.target

    @cached_property
    def recorded(self) -> dict[str, Any]:
        """What the run wrote about its performer and data; nothing if it ended before."""
        return records.facts(self.path / PERFORMER) if (self.path / PERFORMER).exists() else {}

    def noted(self, name: str) -> Any:
        """One of the facts that were recorded.

        Raises:
            DamagedFileError: If it was not; only the path may be none, of a performer that has its weights by itself.
        """
        value = self.recorded.get(name)
        if (not isinstance(value, str) or is_reference(value)) and not (name == "path" and value is None):
            raise DamagedFileError(f"{self.path / PERFORMER} has no {name!r} as runs write it. Restore it from a copy.")
        return value

    @cached_property
    def metrics(self) -> dict[str, float | None]:
        """The numbers of a finished run."""
        return records.numbers(self.path / METRICS)

    @cached_property
    def judgement(self) -> records.Judgement | None:
        """What the newest evaluation says of faithfulness; none before there was one."""
        path = self._judging_evaluation
        return None if path is None else records.judgement(path / VERDICT)

    @cached_property
    def judged_metrics(self) -> dict[str, float | None]:
        """These numbers, with those of the verdict and of trained controls in the newest evaluation that judged."""
        path = self._judging_evaluation
        if path is None:
            return self.metrics
        again = records.numbers(path / METRICS)
        judging = (FAITHFUL, f"{PREFIX}/", f"{CONTROL}/")
        return self.metrics | {name: value for name, value in again.items() if name.startswith(judging)}

    @cached_property
    def _judging_evaluation(self) -> Path | None:
        """The newest evaluation of the explainer itself, not of a rival, that has a verdict."""
        for path in sorted((self.path / EVALUATIONS).glob(f"*/{VERDICT}"), reverse=True):
            if (path.parent / METRICS).exists() and RIVAL not in records.numbers(path.parent / METRICS):
                return path.parent
        return None

    @cached_property
    def explanation(self) -> Explanation:
        """The explanations of all test images of a finished run."""
        if not (self.path / METRICS).exists() or not (self.path / EXPLANATIONS).exists():
            raise ConfigError(
                f"run: {self.path} has no {METRICS} or no {EXPLANATIONS}: it is not finished. `resume` it."
            )
        explanation = records.explanations(require_file(self.path / EXPLANATIONS))
        if self.written.get("module", {}).get("centre") and explanation.strengths is None:
            log.warning(
                "%s was written when y was centred as well, so that words go by means: a concept that is there may be "
                "called absent. `python evaluate.py run=%s` writes a table with right words.",
                self.path / EXPLANATIONS,
                self.path,
            )
        return explanation

    # -- what it is rebuilt from -------------------------------------------------------------------------------------

    @cached_property
    def config(self) -> DictConfig:
        """The configuration, with the performer that the run explains and the overrides."""
        config = copy.deepcopy(self.written)
        require_sections(config, self.path / CONFIG)
        if config.task == "performer":
            raise ConfigError(
                f"run: {self.path} trained a performer, its numbers are in {METRICS}; give an explainer's run."
            )
        if not self.recorded:
            raise ConfigError(
                f"run: {self.path} has no {PERFORMER}: the run ended before it had a performer. `resume` it."
            )
        require_same_source(config, self.path / CONFIG, self.overrides, trust=self.trust)
        if not self.trust:
            config = confined(config, self.path / CONFIG, self.overrides)
        if (place := self.noted("path")) is not None:
            config.performer.checkpoint = place
        for key, value in self.overrides.items():
            OmegaConf.update(config, key, value, force_add=True)
        for file in (config.performer.get(name) for name in ("checkpoint", "weights")):
            if isinstance(file, str) and Path(file).exists():
                require_file(Path(file))
        checkpoint = config.performer.get("checkpoint")
        if checkpoint is not None and not Path(checkpoint).exists():
            raise ConfigError(
                f"performer: the run explains the performer with SHA-256 {self.noted('sha256')}, which is no "
                f"longer at {checkpoint}. Say where it is: `performer.checkpoint=<performer.safetensors>`."
            )
        if config.get("parts") is not None and "_target_" not in config.parts:
            raise ConfigError(f"parts.file: the run {self.path} has no named filters (it explains by other concepts).")
        return config

    def checkpoint(self) -> Path:
        """The weights of the explainer's best epoch."""
        if not (self.path / BEST).exists():
            raise ConfigError(
                f"run: {self.path} has no {BEST}: the run ended before its first validation. `resume` it."
            )
        return require_file(self.path / BEST)

    def place(self, *names: str) -> Path:
        """A place in the folder to write at, which no link leads out of it."""
        return within(self.path, *names, trust=self.trust)

    @cached_property
    def data(self) -> ImageDataModule:
        """The data, after their setup; refused if images, labels or splits are not those of the run."""
        if self._data is not None:
            return self._data
        if not self.trust:
            require_data(self.config, self.path / CONFIG, self.overrides)
        datamodule = ready_data(self.config.data)
        if datamodule.fingerprint() != self.noted("data_sha256"):
            raise ConfigError(
                f"data: images or labels in {self.config.data.root} are not those of the run (other files, labels or "
                "splits). Say where those are: `data.root=<folder>`."
            )
        if datamodule.framing.function is not None:  # which the network has
            datamodule.framing = self.performer.framing
        return datamodule

    @cached_property
    def performer(self) -> Performer:
        """The performer that was trained, frozen.

        Raises:
            ConfigError: If it was given in Python and is not given now, or is another one.
        """
        if self.given is not None:
            if self.given.digest() != self.noted("sha256"):
                raise ConfigError(
                    f"network: {self.path} explains a network with other weights: SHA-256 {self.noted('sha256'):.12}, "
                    f"got {self.given.digest():.12}. Give the network of that run."
                )
            return self.given.freeze()
        if trusted_target(self.config.performer._target_) is Network:
            raise ConfigError(
                f"network: that of {self.path} was given in Python and is in no file: give it again, "
                f"`semexplain.load({str(self.path)!r}, network=...)`."
            )
        return instantiate(self.config.performer).freeze()

    @cached_property
    def parts(self) -> Parts | None:
        """The names that the run gave to the performer's filters, if it did."""
        if not (self.path / PARTS).exists():
            return None
        try:
            return read_parts(self.path / PARTS, performer=named_performer(self.performer))
        except ValueError as error:
            raise ConfigError(f"run: {error}") from error

    @cached_property
    def module(self) -> Distillation:
        """Performer and explainer at the explainer's best epoch, on the CPU at first."""
        config, checkpoint = self.config, self.checkpoint()
        module: Distillation = instantiate(config.module)(performer=self.performer, parts=self.parts)
        module.restore(checkpoint)
        return module
