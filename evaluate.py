"""Measure a run again, from its folder alone: ``python evaluate.py run=outputs/celeba_attractive/...``."""

import os
import signal
import sys
from pathlib import Path

if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl+C while modules are imported needs no stack

import hydra
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from semexplain.metrics.catalogue import measures_of
from semexplain.metrics.verdict import FAITHFUL
from semexplain.runs.comparison import beside_controls
from semexplain.runs.controls import trained_controls
from semexplain.runs.evaluations import evaluation_in
from semexplain.runs.folder import METRICS, VERDICT, FolderInUseError, discard, require_one_folder
from semexplain.runs.markdown import markdown_table
from semexplain.runs.options import renamed
from semexplain.runs.records import Judgement, judgement
from semexplain.runs.run import Run
from semexplain.runs.tasks import JUDGED_BY, WRITES, evaluate_run
from semexplain.runs.verdicts import Asked
from semexplain.system.config import ConfigError
from semexplain.system.devices import require_devices
from semexplain.system.processes import forget_stray_launcher, is_first
from semexplain.system.quiet import hush
from semexplain.system.reading import read_json
from semexplain.system.trouble import REFUSED, Trouble, told
from semexplain.system.words import shown


def evaluate(config: DictConfig, folder: Path) -> dict[str, float]:
    """Measure ``config.run`` on its test split again, beside controls, and print what comes out."""
    hush()
    if config.run is None:
        raise ConfigError("run: name the folder of the run to measure, `python evaluate.py run=outputs/...`.")
    places = {
        f"{group}.{key}": config[group][key]
        for group in ("data", "performer", "trainer", "parts", "paths")
        for key in config.get(group) or ()
    }
    here = {key: value for key, value in places.items() if value is not None}
    run = Run(config.run, here, trust=config.get("trust", False))
    require_devices(run.config.trainer)
    said = [group for group in WRITES if group in config]
    writes = {**WRITES, **{group: OmegaConf.to_container(config[group]) for group in said}}  # of the run's options
    rival, images = config.get("rival"), config.images
    asked = Asked.of(config.verdict, run, rival=rival is not None)
    plain = rival is None and images is None  # controls are of the explainer, and measured on all test images
    names = list(config.controls or ()) if plain else []
    metrics = evaluate_run(
        run,
        folder,
        controls=trained_controls(run, names),
        asked=asked,
        rival=rival,
        images=images,
        metrics=config.get("metrics"),  # none with `metrics=[]`
        writes=writes,
    )
    if is_first():
        report(run, folder, metrics, config)
    return metrics


def report(run: Run, folder: Path, metrics: dict[str, float], config: DictConfig) -> None:
    """Print the metrics, what controls reach, the verdict, and whether the metrics are the run's own."""
    if "rival" in config:
        name = config.rival._target_.split(".")[-2]
        seconds, milliseconds = (metrics[f"test/rival_{key}"] for key in ("fit_seconds", "milliseconds_per_image"))
        print(f"rival: {name}, fitted in {seconds:.1f} s, {milliseconds:.3g} ms an image")
    measures = measures_of([run.config.metrics, JUDGED_BY, config.get("metrics") or {}])
    columns = {f"test/{measure.key}": measure.column for measure in measures if measure.column}
    columns.pop(FAITHFUL)  # said in words below
    print("\n".join(f"{name:20} {metrics[key]:.4f}" for key, name in columns.items() if key in metrics))
    print(f"\n{markdown_table(beside_controls(metrics))}\n")
    if (folder / VERDICT).exists():
        print(verdict_in_words(judgement(folder / VERDICT)))
    if "rival" in config or config.images is not None:
        print(f"measured on {config.images or 'all'} test images; the run's own numbers: {run.path / METRICS}")
    elif (run.path / METRICS).exists():
        again = read_json(folder / METRICS)
        differences = [name for name, value in run.metrics.items() if value != again.get(name)]
        equal = f"{len(run.metrics) - len(differences)} of {len(run.metrics)} numbers equal the run's own"
        print(f"{equal}; different: {differences or 'none'}")
    else:
        print(
            f"The run is not finished ({shown('train.py', {'resume': run.path})}); measured at its best epoch so far."
        )
    print(f"evaluation: {folder}")


def verdict_in_words(found: Judgement) -> str:
    """The verdict, then a line for each of its statements."""
    words = {True: "yes", False: "NO", None: "not sure"}
    lines = [f"  {s.name.replace('_', ' '):13} {words[s.holds]:8} {s.reason}" for s in found.statements]
    return "\n".join([found.said, *lines])


@hydra.main(version_base="1.3", config_path="conf", config_name="evaluate")
def main(config: DictConfig) -> None:
    """The command."""
    job = HydraConfig.get()
    folder = Path(job.runtime.output_dir)
    with told():
        try:
            require_one_folder(config, job.overrides.hydra)
            with evaluation_in(folder):
                evaluate(config, folder)
        except FolderInUseError:
            raise
        except Trouble:
            discard(folder)
            raise
        except (SystemExit, KeyboardInterrupt) as interruption:  # Lightning turns both signals into an exit
            discard(folder)
            again = "Interrupted. Give the same command again: what controls have learned until now is kept."
            raise KeyboardInterrupt(again) from interruption


if __name__ == "__main__":
    forget_stray_launcher()
    if message := renamed(sys.argv[1:]):
        print(message, file=sys.stderr)
        sys.exit(REFUSED)
    os.environ["HYDRA_FULL_ERROR"] = "1"  # what Hydra refuses is told like all other trouble
    with told():
        main()
