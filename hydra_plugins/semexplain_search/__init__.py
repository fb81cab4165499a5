"""A search in place of a grid: Optuna proposes the options of the next jobs by what the jobs before reached.

Hydra looks for its plug-ins in this folder's name, `hydra_plugins`, wherever it lies on Python's path, and imports all
that it finds at every start: what only a search needs is imported by a search.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import IntervalSweep, Override, Transformer
from hydra.core.plugins import Plugins
from hydra.plugins.launcher import Launcher
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf

if TYPE_CHECKING:
    import optuna
    from optuna.distributions import BaseDistribution

BEST = "optimization_results.yaml"


class Search(Sweeper):
    """Jobs that look for the options with the least, or greatest, number that a job returns; see `docs/sweeps.md`.

    Args:
        params: What to search, in Hydra's words: ``{"optimizer.lr": "tag(log, interval(1e-5, 1e-3))"}``. An interval is
            of numbers, all else that is listed is tried as it stands. The command line goes before.
        direction: ``minimize`` or ``maximize``.
        n_trials: Jobs.
        n_jobs: Jobs that are asked for at a time.
        study_name: Name of the trials in the storage.
        storage: Where the trials are kept, as SQLAlchemy writes it: ``sqlite:///study.db``. None for nowhere.
        seed: Of the proposals. None for others each time.
    """

    config: DictConfig
    hydra_context: HydraContext
    launcher: Launcher

    def __init__(
        self,
        params: Mapping[str, Any] | None,
        direction: Literal["minimize", "maximize"] = "minimize",
        n_trials: int = 20,
        n_jobs: int = 1,
        study_name: str | None = None,
        storage: str | None = None,
        seed: int | None = None,
    ) -> None:
        self.params, self.n_trials, self.n_jobs = params or {}, n_trials, n_jobs
        self.direction, self.study_name, self.storage, self.seed = direction, study_name, storage, seed

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Begin the study, with whatever trials its storage holds.

        Raises:
            Trouble: If Optuna is missing, or refuses the study.
        """
        self.config, self.hydra_context = config, hydra_context
        self.launcher = Plugins.instance().instantiate_launcher(
            config=config, hydra_context=hydra_context, task_function=task_function
        )
        self.study = self._study()

    def sweep(self, arguments: list[str]) -> None:
        """Run the jobs, and leave the best one's options and number in the sweep's folder.

        Raises:
            Trouble: If Optuna refuses what is searched.
        """
        from optuna.trial import TrialState

        from semexplain.system.files import write_text

        words = [*(f"{name}={choice}" for name, choice in self.params.items()), *arguments]
        given = OverridesParser.create(self.hydra_context.config_loader).parse_overrides(words)
        with _refused("hydra.sweeper.params"):
            space, fixed = searched(given)
        for first in range(0, self.n_trials, self.n_jobs):
            with _refused("hydra.sweeper.params"):
                trials = [self.study.ask(space) for _ in range(min(self.n_jobs, self.n_trials - first))]
            jobs = [[*fixed, *(f"{name}={value}" for name, value in trial.params.items())] for trial in trials]
            self.validate_batch_is_legal(jobs)
            for trial, job in zip(trials, self.launcher.launch(jobs, initial_job_idx=first), strict=True):
                value = job.return_value
                reached = value is not None and math.isfinite(value)
                state = TrialState.COMPLETE if reached else TrialState.FAIL
                self.study.tell(trial, value if reached else None, state)
        if self.study.get_trials(states=(TrialState.COMPLETE,)):
            best = {"best_params": self.study.best_params, "best_value": self.study.best_value}
            write_text(Path(self.config.hydra.sweep.dir) / BEST, OmegaConf.to_yaml(best))

    def _study(self) -> optuna.Study:
        from semexplain.system.trouble import Trouble

        for name, count in {"n_trials": self.n_trials, "n_jobs": self.n_jobs}.items():
            if not isinstance(count, int) or count < 1:
                raise Trouble(f"hydra.sweeper.{name}: expected a whole number from 1 on, got {count}.")
        if self.direction not in ("minimize", "maximize"):
            raise Trouble(f"hydra.sweeper.direction: expected minimize or maximize, got {self.direction}.")
        try:
            import optuna
        except ImportError as error:
            raise Trouble(f"A search needs Optuna: pip install -c constraints.txt -e '.[sweep]' ({error}).") from error
        with _refused(f"hydra.sweeper.storage={self.storage}"):
            study = optuna.create_study(
                study_name=self.study_name,
                storage=self.storage,
                sampler=optuna.samplers.TPESampler(seed=self.seed),
                direction=self.direction,
                load_if_exists=True,
            )
        before = study.direction.name.lower()
        if before != self.direction:
            raise Trouble(
                f"hydra.sweeper.direction: the study {self.study_name!r} in {self.storage} was begun with {before}, "
                f"got {self.direction}. Name another one: hydra.sweeper.study_name=<name>."
            )
        return study


def searched(given: Sequence[Override]) -> tuple[dict[str, BaseDistribution], list[str]]:
    """What is searched, and what is the same in all jobs.

    Args:
        given: Options; the last of a name counts.

    Returns:
        Distributions by name, and the other options as they were written.

    Raises:
        ValueError: If a distribution is none, such as an interval that ends before it begins.

    Example:
        >>> lines = ["scale=smoke", "beta=0", "data.batch_size=32,64", "beta=interval(0, 1.5)"]
        >>> space, fixed = searched(OverridesParser.create().parse_overrides(lines))
        >>> space["beta"]
        FloatDistribution(high=1.5, log=False, low=0.0, step=None)
        >>> space["data.batch_size"].choices, fixed
        (('32', '64'), ['scale=smoke'])
    """
    last = {override.get_key_element(): override for override in given}
    space = {name: _distribution(override) for name, override in last.items() if override.is_sweep_override()}
    return space, [str(override.input_line) for name, override in last.items() if name not in space]


def _distribution(override: Override) -> BaseDistribution:
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    value = override.value()
    if isinstance(value, IntervalSweep):
        ends: tuple[Any, Any] = value.start, value.end
        kind = IntDistribution if all(isinstance(end, int) for end in ends) else FloatDistribution
        return kind(*ends, log="log" in value.tags)
    return CategoricalDistribution([str(choice) for choice in override.sweep_iterator(transformer=Transformer.str)])


@contextmanager
def _refused(option: str) -> Iterator[None]:
    """What Optuna or its storage refuses is told by the option that it came from."""
    from optuna.exceptions import OptunaError
    from sqlalchemy.exc import SQLAlchemyError

    from semexplain.system.trouble import Trouble

    try:
        yield
    except (ValueError, RuntimeError, ImportError, OptunaError, SQLAlchemyError) as error:
        raise Trouble(f"{option}: Optuna refuses it. {str(error).splitlines()[0]}") from error
