"""Sweeps: jobs that are found again, resumed, told apart and told of; and one GPU for each."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace

import pytest
from hydra import compose, initialize_config_dir
from hydra.core.utils import JobReturn, JobStatus
from omegaconf import DictConfig, OmegaConf
from support import ROOT, configured, smoke

from semexplain.concepts.selection import random_concepts
from semexplain.runs import sweeps
from semexplain.runs.folder import settled
from semexplain.runs.options import check
from semexplain.runs.sweeps import JobError, SweepSummary, job_name, run_job
from semexplain.system import devices, once
from semexplain.system.config import ConfigError
from semexplain.system.devices import free_gpus
from semexplain.system.trouble import Trouble

SCRIPT = """\
import json, os, pathlib, sys
options = dict(word.split("=", 1) for word in sys.argv[1:])
folder = pathlib.Path(options["hydra.run.dir"].strip("'"))
(folder / "started.json").write_text(json.dumps({"words": sys.argv[1:], "environment": dict(os.environ)}))
if options.get("beta") == "7":
    sys.stderr.write("epoch 1\\repoch 2\\r\\nValueError: seven\\n")
    sys.exit(3)
(folder / "metrics.json").write_text('{"test/relative_deviation": 0.5}')
(folder / "validation.json").write_text('{"val/loss": 2.0, "val/relative_deviation": 0.25}')
"""


def hydra_job(folder: Path, *overrides: str, sweeper: str = "basic") -> SimpleNamespace:
    folder.mkdir(parents=True, exist_ok=True)
    runtime = SimpleNamespace(output_dir=str(folder), cwd=str(folder), choices={"hydra/sweeper": sweeper})
    return SimpleNamespace(runtime=runtime, overrides=SimpleNamespace(task=overrides))


@pytest.fixture
def script(tmp_path: Path) -> Path:
    """Instead of a training: writes down how it was started."""
    (tmp_path / "script.py").write_text(SCRIPT)
    return tmp_path / "script.py"


def test_a_job_is_named_by_what_decides_its_result():
    name = job_name(configured("experiment=celeba_male", "beta=0.2"))
    assert name == job_name(configured("beta=0.20", "experiment=celeba_male", "seed=0", "paths.outputs=elsewhere"))
    assert name.startswith("Male_beta0.2_seed0_")
    others = ["beta=2", "seed=1", "optimizer.lr=1e-3", "data.root=/other/faces", "scale=laptop", "trainer.devices=2"]
    assert len({job_name(configured("experiment=celeba_male", other)) for other in others} | {name}) == 7


@pytest.mark.parametrize(
    ("overrides", "name"),
    [
        (["experiment=celeba_young", "concepts=random", "concepts.count=5", "seed=3"], "Young_random5_beta0.2_seed3_"),
        (["experiment=pascal_part_dog"], "dog_vgg16_beta10_seed0_"),
        (["experiment=pascal_part_dog", "performer=interpretable_vgg_m", "beta=0"], "dog_vgg_m_beta0_seed0_"),
        (["beta=strong"], "refused_"),  # the job itself will say why
        (["seed=${nowhere}"], "refused_"),
    ],
)
def test_a_name_tells_jobs_apart_at_a_glance(overrides: list[str], name: str):
    assert job_name(configured(*overrides)).startswith(name)


def test_equal_numbers_are_equal_however_they_are_written():
    assert job_name(configured("beta=1")) == job_name(configured("beta=1.0"))


def test_a_job_is_run_once(script: Path, tmp_path: Path):
    config, folder = configured("beta=2", f"paths.multirun={tmp_path}"), tmp_path / "sweep/job"
    assert run_job(hydra_job(folder, "beta=2"), config, script) is None
    assert json.loads((folder / "metrics.json").read_text()) == {"test/relative_deviation": 0.5}
    started = json.loads((folder / "started.json").read_text())
    assert started["words"] == ["beta=2", f"hydra.run.dir={folder}", "hydra.mode=RUN"]
    assert started["environment"]["WANDB_RUN_GROUP"] == "sweep"
    (folder / "started.json").unlink()
    (folder / "config.yaml").write_text(OmegaConf.to_yaml(settled(config)))  # as train.py does
    assert run_job(hydra_job(folder, "beta=2"), config, script) is None
    assert not (folder / "started.json").exists()


def test_a_search_gets_a_number_of_the_validation_split_also_of_a_job_that_had_finished(script: Path, tmp_path: Path):
    job = hydra_job(tmp_path / "job", sweeper="search")
    assert run_job(job, configured(), script) == 0.25
    (tmp_path / "job/config.yaml").write_text(OmegaConf.to_yaml(settled(configured())))
    (tmp_path / "job/started.json").unlink()
    assert run_job(job, configured("objective=val/loss"), script) == 2.0  # what is asked for does not change the job
    assert not (tmp_path / "job/started.json").exists()
    with pytest.raises(
        ConfigError, match=r"no number 'val/los' \(did you mean 'val/loss'\?\)\. It has: val/loss, val/rel"
    ):
        run_job(job, configured("objective=val/los"), script)
    with pytest.raises(ConfigError, match=r"no number 'test/relative_deviation'"):
        run_job(job, configured("objective=test/relative_deviation"), script)


def test_an_interrupted_job_is_resumed(script: Path, tmp_path: Path):
    config, folder = configured("beta=2"), tmp_path / "job"
    job = hydra_job(folder, "beta=2")
    (folder / "config.yaml").write_text(OmegaConf.to_yaml(settled(config)))
    run_job(job, config, script)
    words = json.loads((folder / "started.json").read_text())["words"]
    assert words == [f"resume={folder}", f"hydra.run.dir={folder}", "hydra.mode=RUN"]


def test_a_run_with_other_options_is_never_taken_for_the_job(script: Path, tmp_path: Path):
    job = hydra_job(tmp_path / "0", "beta=2")
    (tmp_path / "0/config.yaml").write_text(OmegaConf.to_yaml(settled(configured("beta=3"))))
    (tmp_path / "0/metrics.json").write_text("{}")
    with pytest.raises(ConfigError, match=r"0 holds a run with other options.*\n  beta: 3 then, 2 now"):
        run_job(job, configured("beta=2"), script)


def test_a_failed_job_gives_its_last_lines(script: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]):
    with pytest.raises(JobError, match=r"^epoch 2\nValueError: seven\nExit status 3\.$"):
        run_job(hydra_job(tmp_path / "job", "beta=7"), configured("beta=7"), script)
    assert "ValueError: seven" in capfd.readouterr().err  # and has said it at once


def test_a_job_does_not_inherit_a_launcher(script: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    for name in ("LOCAL_RANK", "WORLD_SIZE", "SLURM_NTASKS", "PL_GLOBAL_SEED"):
        monkeypatch.setenv(name, "1")
    monkeypatch.setenv("WANDB_RUN_GROUP", "mine")
    run_job(hydra_job(tmp_path / "job"), configured(), script)
    environment = json.loads((tmp_path / "job/started.json").read_text())["environment"]
    assert not {"LOCAL_RANK", "WORLD_SIZE", "SLURM_NTASKS", "PL_GLOBAL_SEED"} & environment.keys()
    assert environment["WANDB_RUN_GROUP"] == "mine"


def test_every_job_at_a_time_has_its_own_gpus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(devices, "gettempdir", lambda: str(tmp_path))
    monkeypatch.setattr(once, "SECONDS", 0.0)
    with free_gpus() as own:
        assert own == {}  # not asked for
    monkeypatch.setenv("SEMEXPLAIN_GPUS", "0,1 3 3")
    with free_gpus() as first, free_gpus() as second:
        with free_gpus() as third:
            assert [own["CUDA_VISIBLE_DEVICES"] for own in (first, second, third)] == ["0,1", "3", "3"]
            monkeypatch.setattr(once.time, "sleep", lambda _: (_ for _ in ()).throw(InterruptedError))
            with pytest.raises(InterruptedError), free_gpus():
                pass  # a fourth one waits
        with free_gpus() as again:
            assert again == third


def test_a_wait_for_a_gpu_is_told_and_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    monkeypatch.setattr(devices, "gettempdir", lambda: str(tmp_path))
    monkeypatch.setattr(once, "SECONDS", 0.0)
    monkeypatch.setenv("SEMEXPLAIN_GPUS", "0")
    monkeypatch.setenv("SEMEXPLAIN_PATIENCE_S", "0.01")
    caplog.set_level("INFO")
    message = (
        r"^Waiting for a GPU that no other job holds\. In vain for 0 s: other jobs hold 0\. .*SEMEXPLAIN_PATIENCE_S"
    )
    with free_gpus(), pytest.raises(Trouble, match=message), free_gpus():
        pytest.fail("it has a GPU that another job holds")
    assert "Waiting for a GPU that no other job holds." in caplog.messages


def sweep_config(folder: Path, number: int = 0, *overrides: str, sweeper: str = "basic") -> DictConfig:
    hydra = {
        "sweep": {"dir": str(folder)},
        "runtime": {"choices": {"sweep": "beta", "hydra/sweeper": sweeper}, "output_dir": str(folder / f"job{number}")},
        "job": {"num": number},
        "overrides": {"task": list(overrides), "hydra": []},
    }
    return OmegaConf.create({"hydra": hydra})


def test_a_failed_job_does_not_end_the_sweep_and_is_told_of_at_its_end(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    summary = SweepSummary()
    summary.on_multirun_start(sweep_config(tmp_path))
    failed, done = JobReturn(status=JobStatus.FAILED), JobReturn(status=JobStatus.COMPLETED)
    failed.return_value, done.return_value = JobError("Traceback\nValueError: seven"), 0.5
    summary.on_job_end(sweep_config(tmp_path, 10, "beta=7", "seed=1"), failed)
    summary.on_job_end(sweep_config(tmp_path, 9, "beta=0"), done)
    assert (failed.return_value, done.return_value) == (None, 0.5)  # a sweeper would raise the failure
    with pytest.raises(SystemExit) as end:
        summary.on_multirun_end(sweep_config(tmp_path))
    told = str(end.value)
    assert "1 job failed. To run what is not finished: the same command" in told
    assert f"job 10: beta=7 seed=1\n  folder: {tmp_path}/job10\n  Traceback\n  ValueError: seven" in told
    assert f"1 of 2 jobs finished. Sweep folder: {tmp_path}" in capsys.readouterr().out


def test_a_sweep_under_torchrun_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "none")
    with pytest.raises(SystemExit, match="2"):
        SweepSummary().on_multirun_start(sweep_config(tmp_path))
    assert "start it without torchrun" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("overrides", "example"),
    [
        (["objective=test/relative_deviation"], "val/relative_deviation"),
        (["objective=relative_deviation"], "val/relative_deviation"),
        (["experiment=celeba_performer", "objective=test/accuracy"], "val/loss"),
        (["task=performer"], "val/loss"),
    ],
)
def test_a_search_does_not_tune_on_the_test_split(
    overrides: list[str], example: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    config = configured(*overrides)
    SweepSummary().on_multirun_start(OmegaConf.merge(sweep_config(tmp_path), config))  # a grid has no use for it
    with pytest.raises(SystemExit, match="2"):
        SweepSummary().on_multirun_start(OmegaConf.merge(sweep_config(tmp_path, sweeper="search"), config))
    assert re.match(f"objective: .*`objective={example}`, got '{config.objective}'.$", capsys.readouterr().err)


@pytest.mark.parametrize("overrides", [[], ["experiment=celeba_performer"], ["experiment=pascal_part_performer"]])
def test_by_default_a_search_chooses_on_the_validation_split(overrides: list[str], tmp_path: Path):
    config = OmegaConf.merge(sweep_config(tmp_path, sweeper="search"), configured(*overrides))
    SweepSummary().on_multirun_start(config)
    assert config.objective == ("val/loss" if overrides else "val/relative_deviation")


PRESETS = {
    "beta": ("beta/celeba_male/laptop", [5]),
    "seeds": ("seeds/celeba_male/laptop", [5]),
    "concept_count": ("concept_count/celeba_male/laptop", [8, 5]),
    "figure8": ("figure8/laptop", [4, 8, 5]),
    "table1_celeba": ("table1_celeba/laptop", [4, 2, 3]),
    "table1_pascal_part": ("table1_pascal_part/laptop", [4, 6, 2]),
}


@pytest.mark.parametrize("preset", sorted(path.stem for path in (ROOT / "conf/sweep").glob("[!_]*.yaml")))
def test_a_preset_is_one_command_with_a_folder_that_stays(preset: str):
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        overrides = [f"sweep={preset}", "experiment=celeba_male", "scale=laptop"]
        hydra = compose("train", overrides=overrides, return_hydra_config=True).hydra
    folder, sizes = PRESETS[preset]
    assert hydra.mode.name == "MULTIRUN"
    assert hydra.sweep.dir == f"multirun/{folder}"
    values = {key: str(value).split(",") for key, value in hydra.sweeper.params.items()}
    assert [len(value) for value in values.values()] == sizes
    for number in range(max(sizes)):  # every value fits the code
        job = [f"{key}={value[number % len(value)]}" for key, value in values.items()]
        own = [] if "experiment" in values else ["experiment=celeba_male"]
        check(configured(f"sweep={preset}", *own, *job))


def test_fewer_concepts_are_always_among_more():
    params = OmegaConf.load(ROOT / "conf/sweep/concept_count.yaml").hydra.sweeper.params
    counts = [int(count) for count in params["concepts.count"].split(",")]
    names = [f"concept {number}" for number in range(39)]
    assert counts == [5, 10, 15, 20, 25, 30, 35, 39]
    for seed in map(int, params.seed.split(",")):
        chosen = [set(random_concepts(names, count=count, seed=seed)) for count in counts]
        assert all(less < more for less, more in pairwise(chosen))
        assert chosen[-1] == set(range(39))
        assert configured("sweep=concept_count", "concepts.count=5", f"seed={seed}").concepts.seed == seed


@pytest.mark.slow
def test_a_preset_narrowed_by_the_user_trains_one_performer(faces: Path, tmp_path: Path):
    words = smoke(faces, tmp_path, "trainer.max_epochs=1", "sweep=concept_count", "concepts.count=5,39", "seed=0")
    done = train(*words)
    assert done.returncode == 0, done.stderr
    assert len(list((tmp_path / "performers").glob("*/performer.safetensors"))) == 1
    sweep = tmp_path / "multirun/concept_count/celeba_attractive/smoke"
    jobs = sorted(path.parent for path in sweep.glob("*/metrics.json"))
    assert [job.name.rpartition("_")[0] for job in jobs] == [
        "Attractive_random39_beta0.2_seed0",
        "Attractive_random5_beta0.2_seed0",
    ]
    assert all((job / ".hydra/config.yaml").exists() and (job / "explanations.parquet").exists() for job in jobs)
    summary = done.stdout[done.stdout.rindex("| #") :]
    assert summary.count("| Attractive ") == 2
    assert summary.index("| random 5 ") < summary.index("| random 39 ")
    assert f"2 of 2 jobs finished. Sweep folder: {sweep}" in summary


@pytest.mark.slow
def test_a_failed_job_is_listed_and_does_not_stop_the_others(faces: Path, tmp_path: Path):
    words = smoke(faces, tmp_path, "trainer.max_epochs=1", "concepts=random", "concepts.count=99,5")
    done = train("-m", *words, f"hydra.sweep.dir={tmp_path / 'sweep'}")
    assert done.returncode == 1
    assert len(list((tmp_path / "sweep").rglob("metrics.json"))) == 1
    told = done.stderr[done.stderr.index("1 job failed.") :]
    assert "job 0: " in told
    assert "`count` must be between 1 and the 39 concepts" in told
    assert "1 of 2 jobs finished." in done.stdout


@pytest.mark.slow
def test_a_killed_sweep_goes_on_where_it_stopped(faces: Path, tmp_path: Path):
    words = [
        "-m",
        *smoke(faces, tmp_path, "trainer.max_epochs=30", "seed=0,1"),
        f"hydra.sweep.dir={tmp_path / 'sweep'}",
    ]
    process = subprocess.Popen(
        [sys.executable, str(ROOT / "train.py"), *words],
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    deadline = time.monotonic() + 120
    while not list((tmp_path / "sweep").glob("*/checkpoints/last.ckpt")) and time.monotonic() < deadline:
        time.sleep(0.1)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert not list((tmp_path / "sweep").glob("*/metrics.json"))
    done = train(*words)
    assert done.returncode == 0, done.stderr
    first, second = sorted((tmp_path / "sweep").glob("Attractive_*"))
    assert len(list(first.glob("metrics.until-*.csv"))) == 1  # what it had logged before
    assert not list(second.glob("metrics.until-*.csv"))
    again = train(*words)
    assert again.stdout.count("Finished before: ") == 2
    assert again.stdout.count("| Attractive ") == 2


def train(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(ROOT / "train.py"), *words], cwd=ROOT, capture_output=True, text=True, check=False
    )


def test_the_names_of_jobs_are_known_to_hydra():
    """The resolver that train.yaml uses gives what the function gives."""
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        config = compose("train", overrides=["experiment=celeba_male"], return_hydra_config=True)
    assert config.hydra.sweep.subdir == sweeps.job_name(configured("experiment=celeba_male"))


def test_what_is_kept_and_who_reads_does_not_name_a_job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    given = ["data.cache=kept", "data.cache_gb=1", "data.num_workers=0"]
    before = job_name(configured("experiment=celeba_male", *given))
    (tmp_path / "kept").mkdir()
    assert (
        before
        == job_name(configured("experiment=celeba_male", *given))
        == job_name(configured("experiment=celeba_male"))
    )
    assert before != job_name(configured("experiment=celeba_male", "data.cache_dtype=float32"))
