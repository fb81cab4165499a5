"""A damaged file in a finished run folder: every command names it in a line, and does the rest."""

import shutil
import warnings
from pathlib import Path

import pytest
from damaged import DAMAGED_FILES, DAMAGES, VERBS, damaged_run
from support import configured, smoke

from semexplain.__main__ import main
from semexplain.runs import folder
from train import train

FAST = [  # of each file and each damage one, and of each command some; `make soak` tries all
    *(("compare", name, "half") for name in ("config.yaml", "metrics.json", "evaluations/1/metrics.json")),
    *(("compare", "metrics.json", damage) for damage in DAMAGES),
    *(("compare", "config.yaml", damage) for damage in DAMAGES),
    *(("tables", "performer.json", damage) for damage in DAMAGES),
    *(("tables", "explanations.parquet", damage) for damage in ("empty", "half", "garbage", "folder", "doubled")),
    *(("report", name, "half") for name in ("config.yaml", "performer.json", "explanations.parquet")),
    *(("explain", name, "half") for name in ("config.yaml", "performer.json", "checkpoints/best.ckpt")),
    *(("evaluate", name, "garbage") for name in ("config.yaml", "performer.json", "checkpoints/best.ckpt")),
    *(("resume", name, "half") for name in ("config.yaml", "checkpoints/last.ckpt")),
    *(("parts", name, "list") for name in ("config.yaml", "performer.json")),
]


@pytest.fixture(scope="module")
def finished(faces: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run whose files are small."""
    place = tmp_path_factory.mktemp("finished")
    options = [
        "trainer.max_epochs=1",
        "explainer=linear",
        "start=none",
        "callbacks=[prior_weight,best_checkpoint,last_checkpoint,write_explanations]",
    ]
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The performer's convolutions start from random weights")
        warnings.filterwarnings("ignore", r"All \d+ scores of the performer lie between 0 and 1")
        train(configured(*smoke(faces, place, *options)), place / "run")
    return place / "run"


@pytest.mark.parametrize(("verb", "name", "damage"), FAST)
def test_a_damaged_file_is_named(
    verb: str, name: str, damage: str, finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    run = damaged_run(finished, tmp_path, name, damage)
    status = VERBS[verb](run, tmp_path / "out")
    told = capsys.readouterr().err
    assert "Traceback" not in told
    assert status in (0, 2)
    assert status == 0 or Path(name).name in told or ("has no parts.yaml" in told and verb == "parts")


@pytest.mark.parametrize("verb", ["compare", "tables", "report"])
@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("metrics.json", "metrics.json is not JSON: "),
        ("config.yaml", "config.yaml is damaged: expected a run's configuration ("),
    ],
)
def test_the_other_runs_are_done(
    verb: str, name: str, reason: str, finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    run = damaged_run(finished, tmp_path, name, "half")
    whole = Path(shutil.copytree(finished, run.parent / "whole"))
    assert VERBS[verb](run, tmp_path / "out") == 2
    printed = capsys.readouterr()
    (line,) = [line for line in printed.err.splitlines() if line.startswith("left out: ")]
    assert line.startswith(f"left out: {run}: {run / reason}")
    assert {
        "compare": f"run folder 1: {whole}" in printed.out,
        "tables": "Tables of the paper and of 1 runs" in printed.out,
        "report": (whole / "report.html").exists(),
    }[verb]


def test_numbers_have_their_range(finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    for number, (text, reason) in enumerate(
        [
            ('{"test/relative_deviation": NaN}', "test/relative_deviation is nan, which is written as null"),
            ('{"test/relative_deviation": true}', "test/relative_deviation: Input should be a valid number"),
            ('{"test/relative_deviation": 1, "test/faithful": 0.3}', "test/faithful is 0.3, none of 0, 0.5 and 1"),
        ]
    ):
        run = damaged_run(finished, tmp_path / str(number), "metrics.json", "absent")
        (run / "metrics.json").write_text(text)
        assert main(["compare", str(run)]) == 2
        assert reason in capsys.readouterr().err


def test_every_part_of_the_table_is_tried():
    tried = {name for _, name, _ in FAST}
    assert {damage for _, _, damage in FAST} == set(DAMAGES)
    assert tried >= set(DAMAGED_FILES) - {"validation.json", "metrics.csv"}  # which no command reads
    assert {verb for verb, _, _ in FAST} == set(VERBS)


def test_what_is_resumed_is_checked(
    finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    run = damaged_run(finished, tmp_path, "metrics.json", "absent")
    text = (run / "config.yaml").read_text()
    (run / "config.yaml").write_text(text.replace("max_epochs: 1", "max_epochs: {a: 1}", 1))
    monkeypatch.setattr(folder, "_was_given", lambda key: False)  # the command line says `resume` alone
    assert VERBS["resume"](run, tmp_path / "out") == 2
    assert "trainer.max_epochs: expected" in capsys.readouterr().err
