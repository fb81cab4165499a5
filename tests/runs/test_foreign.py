"""A run folder that was made elsewhere, or changed since, decides nothing; what trust lifts; where secrets are."""

import json
import os
import shutil
import stat
from pathlib import Path

import pytest
import yaml
from hostile import SECRET, changed, leaks
from omegaconf import OmegaConf
from support import configured, smoke

from evaluate import evaluate
from semexplain.runs.folder import open_run, settled
from semexplain.runs.foreign import own_paths, read_config, require_no_links_out, within
from semexplain.runs.options import check
from semexplain.runs.performer_store import performer_description
from semexplain.runs.run import Run
from semexplain.system import ownership
from semexplain.system.config import ConfigError
from semexplain.system.ownership import is_own, sign
from semexplain.system.references import as_written
from semexplain.system.trouble import DamagedFileError
from train import train

pytestmark = [
    pytest.mark.filterwarnings("ignore:The performer's convolutions start from random weights"),
    pytest.mark.filterwarnings(r"ignore:All \d+ scores of the performer lie between 0 and 1"),
]
FOREIGN = "was made on another machine or changed since: "
REMEDY = r"\. If you trust who made it: `trust=true`, for report and parts `--trust`\.$"


@pytest.fixture
def copy(sweep: Path, tmp_path: Path) -> Path:
    """A run's configuration and facts, without its weights."""
    shutil.copytree(sweep / "1", tmp_path / "run", ignore=shutil.ignore_patterns("checkpoints", "figures"))
    return tmp_path / "run"


def test_a_run_is_ones_own_until_it_is_changed(copy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    assert is_own(copy / "config.yaml")
    key = Path(os.environ["XDG_CONFIG_HOME"]) / "semexplain/key"
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    with monkeypatch.context() as patch:  # on another machine
        patch.setenv("XDG_CONFIG_HOME", str(tmp_path / "other"))
        assert not is_own(copy / "config.yaml")
    changed(copy, "beta", 3)
    assert not is_own(copy / "config.yaml")
    (copy / ".own").unlink()
    assert not is_own(copy / "config.yaml")


def test_without_a_key_a_run_counts_as_foreign_and_the_log_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    (tmp_path / "file").touch()
    (tmp_path / "config.yaml").write_text("beta: 1")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "file"))
    monkeypatch.setattr(ownership._tell, "__defaults__", ([],))
    caplog.set_level("INFO")
    sign(tmp_path / "config.yaml")
    sign(tmp_path / "config.yaml")
    assert not is_own(tmp_path / "config.yaml")
    assert [m.split(", as")[0] for m in caplog.messages] == ["This run folder will count as foreign later"]


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("logger.csv.prefix", "${oc.env:SECRET}", "logger.csv.prefix would be read from your environment"),
        ("beta", "${first:1,2}", "beta would be read from your environment"),
        ("callbacks.best_checkpoint.dirpath", "there", r"callbacks.best_checkpoint.dirpath says where to write"),
        ("callbacks.last_checkpoint.filename", "../../x", "callbacks.last_checkpoint.filename says where to write"),
        ("logger.csv.save_dir", "/there", "logger.csv.save_dir says where to write"),
        ("logger.csv.version", "~/there", "logger.csv.version says where to write"),
        ("trainer.default_root_dir", "s3://there", "trainer.default_root_dir says where to write"),
    ],
)
def test_a_foreign_folder_is_refused_in_a_sentence(key: str, value: str, message: str, copy: Path):
    changed(copy, key, value)
    with pytest.raises(ConfigError, match=f"^run: {copy} {FOREIGN}{message}.*{REMEDY}"):
        _ = Run(copy).config
    assert OmegaConf.is_config(Run(copy, trust=True).written)


def test_places_of_a_foreign_folder_are_those_of_the_command(copy: Path, tmp_path: Path, monkeypatch):
    monkeypatch.setenv("SEMEXPLAIN_CACHE", str(tmp_path / "mine"))
    own = Run(copy).config
    for key in ("paths.cache", "paths.performers", "data.cache"):
        changed(copy, key, "/there")
    config = Run(copy, {"paths.outputs": "/given"}).config
    assert (config.paths.cache, config.paths.outputs, config.data.cache) == (str(tmp_path / "mine"), "/given", "auto")
    assert config.paths.performers == str(Path("performers").absolute())
    assert Run(copy, trust=True).config.paths.cache == "/there"
    assert own.paths.cache not in ("/there", str(tmp_path / "mine"))  # one's own folder decides for itself


def test_own_paths_are_those_of_the_configuration(monkeypatch: pytest.MonkeyPatch):
    for variables in ({}, {"SEMEXPLAIN_DATA": "/d", "SEMEXPLAIN_PERFORMERS": "p", "SEMEXPLAIN_CACHE": "/c"}):
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        assert own_paths() == OmegaConf.to_container(settled(configured()).paths)


def test_a_foreign_folder_has_nothing_drawn(copy: Path, tmp_path: Path):
    changed(copy, "data.root", str(tmp_path / "empty"))
    (tmp_path / "empty").mkdir()
    with pytest.raises(ConfigError, match=f"{FOREIGN}it would have data drawn or fetched into .*empty.*`data.root="):
        _ = Run(copy).data


def test_a_foreign_run_is_resumed_without_its_loggers(
    copy: Path, faces: Path, caplog: pytest.LogCaptureFixture, sweep: Path
):
    (copy / "metrics.json").unlink()
    node = {"_target_": "semexplain.training.weights_and_biases.WeightsAndBiases", "_partial_": True}
    changed(copy, "logger.wandb", node)
    config = configured(*smoke(faces, sweep.parents[1], "trainer.max_epochs=1", "beta=0.2", f"resume={copy}"))
    caplog.set_level("INFO")
    record = open_run(config, copy)
    assert list(record.logger) == ["csv"]
    assert f"{FOREIGN}its logger 'wandb' is left out" in caplog.text


def test_links_that_lead_out_are_not_written_through(tmp_path: Path):
    run, out = tmp_path / "run", tmp_path / "out"
    run.mkdir()
    out.mkdir()
    (run / "inside").symlink_to("evaluations")
    require_no_links_out(run)
    assert within(run, "evaluations") == run / "evaluations"
    (run / "inside").unlink()
    (run / "evaluations").symlink_to(out)
    for refuse in (lambda: within(run, "evaluations"), lambda: require_no_links_out(run)):
        with pytest.raises(ConfigError, match="evaluations is a link that leads out of the run folder"):
            refuse()
    assert within(run, "evaluations", trust=True)
    require_no_links_out(run, trust=True)


@pytest.mark.parametrize("name", ["../x", "a/b", "~x", ".."])
def test_names_that_lead_elsewhere_are_refused_everywhere(name: str, copy: Path):
    config = configured("experiment=celeba_attractive")
    OmegaConf.set_struct(config, False)
    config.figures[name] = config.figures.bars
    with pytest.raises(ConfigError, match=r"figures\..*: expected a plain name, without / and \.\., got"):
        check(config)
    changed(copy, "callbacks.log_explanations.figures", {name: None})
    for trust in (False, True):
        with pytest.raises(DamagedFileError, match=r"callbacks\.log_explanations\.figures.*expected a plain name"):
            read_config(copy / "config.yaml", trust=trust)


def test_a_performer_is_not_imported_before_it_is_trusted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "stranger.py").write_text(f"import os\nos.mkdir({str(tmp_path / 'canary')!r})\nclass P: pass\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    config = configured("experiment=celeba_attractive")
    config.performer._target_ = "stranger.P"
    with pytest.raises(ConfigError, match="'stranger.P' is not in a trusted package"):
        performer_description(config, None)  # type: ignore[arg-type]
    assert not (tmp_path / "canary").exists()


@pytest.mark.parametrize("fact", ["path", "sha256", "data_sha256"])
def test_facts_of_a_run_are_plain(fact: str, copy: Path):
    facts = json.loads((copy / "performer.json").read_text())
    told = {7: rf"performer.json is damaged: .* \({fact}: ", "${oc.env:SECRET}": f"no '{fact}' as runs write it"}
    for value, message in told.items():
        (copy / "performer.json").write_text(json.dumps({**facts, fact: value}))
        with pytest.raises(DamagedFileError, match=message):
            Run(copy).noted(fact)


def test_a_secret_is_in_no_file_and_the_run_gets_it(
    faces: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    (tmp_path / "code").mkdir()
    (tmp_path / "code/telling.py").write_text(
        "import pytorch_lightning as pl\nheard = []\n\nclass Telling(pl.Callback):\n"
        "    def __init__(self, token: str):\n        heard.append(token)\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path / "code"))
    monkeypatch.setenv("SEMEXPLAIN_TRUSTED", "telling")
    monkeypatch.setenv("SECRET", SECRET)
    words = ["+callbacks.tell._target_=telling.Telling", "+callbacks.tell.token='a ${oc.env:SECRET}'"]
    small = ["trainer.max_epochs=1", "explainer=linear", "logger=[csv,wandb]"]
    pytest.importorskip("wandb")
    train(configured(*smoke(faces, tmp_path, *small, *words)), tmp_path / "run")
    import telling
    import wandb

    wandb.finish()
    assert telling.heard == [f"a {SECRET}"]
    assert leaks(tmp_path) == []
    assert yaml.safe_load((tmp_path / "run/config.yaml").read_text())["callbacks"]["tell"]["token"] == (
        "a ${oc.env:SECRET}"
    )
    evaluate(configured(f"run={tmp_path / 'run'}", "controls=[constant]", name="evaluate"), tmp_path / "again")
    assert leaks(tmp_path) == []
    assert telling.heard == [f"a {SECRET}"]  # an evaluation builds its own callbacks
    assert not (tmp_path / "again/wandb").exists()  # and loggers


def test_a_message_does_not_tell_a_secret(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("SECRET", SECRET)
    with pytest.raises(ConfigError, match=r"seed: .*got '\$\{oc.env:SECRET\}'") as error:
        check(configured("experiment=celeba_attractive", "seed=${oc.env:SECRET}"))
    assert SECRET not in str(error.value)


def test_references_mean_the_same_when_they_are_read_again(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("SECRET", "5")
    monkeypatch.setenv("SEMEXPLAIN_DATA", "/d")
    config = OmegaConf.create(
        {
            "a": "${oc.env:SECRET}",
            "b": "x ${a} ${oc.env:SEMEXPLAIN_DATA}",
            "c": '${oc.env:NOTHING,"it\'s \\\\ a, b"}',
            "d": "${oc.env:NOTHING,null}",
            "e": "${oc.decode:${a}}",
            "f": "${oc.env:NOTHING,${a}}",
            "g": ["${e}", {"h": "${oc.env:NOTHING,7}"}],
        }
    )
    written = as_written(config)
    assert written["b"] == "x ${oc.env:SECRET} /d"
    assert OmegaConf.to_container(OmegaConf.create(written), resolve=True) == OmegaConf.to_container(
        config, resolve=True
    )


def test_places_with_references_become_absolute(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("MINE", "/faces")
    monkeypatch.setenv("PART", "faces")
    absolute = settled(configured("data.root=${oc.env:MINE}/x", "paths.cache=${oc.env:PART}"))
    plain = OmegaConf.to_container(absolute)
    assert plain["data"]["root"] == "${oc.env:MINE}/x"
    assert plain["paths"]["cache"] == f"{Path.cwd()}/${{oc.env:PART}}"
    assert (absolute.data.root, absolute.paths.cache) == ("/faces/x", f"{Path.cwd()}/faces")
