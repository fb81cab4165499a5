"""The command semexplain: wrong words, places where nothing can be written, and interruptions."""

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from support import ROOT, configured, smoke

import train as training
from semexplain import __main__ as command
from semexplain.__main__ import main
from semexplain.runs.run import Run
from semexplain.runs.trained import TrainedExplainer, load
from semexplain.system.config import ConfigError
from semexplain.system.places import require_writable
from semexplain.system.trouble import told


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["explain", "run=", "images=x"], "run: nothing is given for it; expected `run=<value>`, or leave it out."),
        (["explain", "run=x", "images=a", "images=b"], "images: given twice, as 'a' and as 'b'."),
        (["explain", "run=x", "photo.jpg"], "photo.jpg: expected `<option>=<value>`, of run, images, out, "),
        (["explain", "run=x", "image=a"], "image: unknown (did you mean 'images'?). There are: run, images, out, "),
        (["explain", "run=x", "images=RUN", "most=-3"], "most: expected a whole number above 0, got '-3'."),
        (["explain", "run=x", "images=RUN", "batch_size=²"], "batch_size: expected a whole number above 0, got '²'."),
        (["explain", "run=RUN", "images=RUN/config.yaml", "device=mps"], "device: Apple's GPU (mps) has no float64"),
        (["explain", "run=RUN", "images=RUN/config.yaml", "device=meta"], "device: expected auto, cpu, cuda or cuda:<"),
        (["explain", "run=~nobody-here/x", "images=a"], "run: ~nobody-here/x: there is no such user here"),
        (["explain"], "the following arguments are required: option. `semexplain explain --help` says what there is."),
        (["parts", "run=RUN"], "the folder comes first, without a name: `parts <folder>`."),
        (
            ["parts", "RUN", "data.root"],
            "data.root: expected `<option>=<value>`, of data.root, data.parts, performer.checkpoint, ",
        ),
        (["parts", "RUN", "data.rot=x"], "data.rot: unknown (did you mean 'data.root'?)."),
        (["report", "RUN", "--most", "-3"], "argument --most: expected a whole number above 0, got '-3'. `semexplain "),
        (["report", "RUN", "--most", "3", "--most", "4"], "argument --most: given twice. `semexplain report --help`"),
        (["report", "RUN", "--mist", "3"], "unrecognized arguments: --mist 3. `semexplain --help` says what there is."),
        (["tables", "RUN", "--seeds", "x"], "argument --seeds: expected a whole number above 0, got 'x'."),
        (
            ["tables", "RUN", "--out", "RUN/config.yaml"],
            "--out: RUN/config.yaml cannot be a folder, RUN/config.yaml is a",
        ),
        (
            ["tables", "RUN", "--out", "RUN/config.yaml/x"],
            "--out: RUN/config.yaml/x cannot be a folder, RUN/config.yaml",
        ),
        (["report", "RUN", "--out", "RUN/config.yaml"], "--out: RUN/config.yaml cannot be a folder"),
        (
            ["explain", "run=RUN", "images=RUN/config.yaml", "out=RUN/config.yaml"],
            "out: RUN/config.yaml cannot be a fol",
        ),
        (["compare"], "the following arguments are required: folder."),
        ([], "the following arguments are required: verb. `semexplain --help` says what there is."),
    ],
)
def test_wrong_words_are_refused_in_one_line(
    words: list[str], message: str, sweep: Path, capsys: pytest.CaptureFixture[str]
):
    run = str(sweep / "0")
    assert main([word.replace("RUN", run) for word in words]) == 2
    told_of = capsys.readouterr().err
    assert message.replace("RUN", run) in told_of
    assert len(told_of.splitlines()) == 1


@pytest.fixture
def copy(sweep: Path, tmp_path: Path) -> Path:
    """A finished run of one's own; the large files are links."""
    without = shutil.ignore_patterns("checkpoints", "report.html")
    folder = Path(shutil.copytree(sweep / "1", tmp_path / "runs/1", ignore=without))
    (folder / "checkpoints").symlink_to(sweep / "1/checkpoints")
    return folder


def never(*_: object, **__: object) -> None:
    pytest.fail("the work has begun")


def test_what_cannot_be_written_is_refused_before_the_work(
    copy: Path, faces: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setattr(Run, "performer", property(never))
    (copy / "out/report.html").mkdir(parents=True)
    assert main(["explain", f"run={copy}", f"images={faces}", f"out={copy / 'out'}"]) == 2
    assert f"out: {copy / 'out/report.html'} should be written, but it is a folder" in capsys.readouterr().err
    (copy / "report.html").mkdir()
    assert main(["report", str(copy)]) == 2
    assert f"left out: {copy}: report: {copy / 'report.html'} should be written, but" in capsys.readouterr().err
    (copy / "filters").write_text("")
    assert main(["parts", str(copy)]) == 2
    assert f"out: {copy / 'filters'} cannot be a folder, {copy / 'filters'} is a file" in capsys.readouterr().err


@pytest.mark.parametrize("reason", ["No space left on device", "Read-only file system"])
def test_a_place_is_tried_and_nothing_is_left_of_it(reason: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    require_writable("out", tmp_path / "a/b/page.html")
    assert list(tmp_path.iterdir()) == []

    def refused(*_: object) -> None:
        raise OSError(28, reason)

    monkeypatch.setattr(os, "fsync", refused)
    with pytest.raises(
        ConfigError, match=rf"^out: nothing can be written into {tmp_path} \({reason}\): choose another"
    ):
        require_writable("out", tmp_path / "a/b/page.html")
    assert list(tmp_path.iterdir()) == []


def test_home_is_where_it_is(sweep: Path, faces: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    photo = next((faces / "img_align_celeba").iterdir())
    assert main(["explain", f"run={sweep / '1'}", f"images={photo}", "out=~/x", "device=cpu"]) == 0
    assert {path.name for path in (tmp_path / "x").iterdir()} == {"explanations.parquet", "report.html"}
    assert not (tmp_path / "~").exists()


def test_the_comparison_is_a_page_of_its_own(copy: Path, monkeypatch: pytest.MonkeyPatch):
    """Of runs that are given one by one it lies in the folder that they have in common."""
    other = Path(shutil.copytree(copy, copy.with_name("2"), symlinks=True))
    assert main(["report", str(copy), str(other), "--most", "1"]) == 0
    assert "explainers compared" not in (copy / "report.html").read_text("utf-8")
    assert "2 explainers compared" in (copy.parent / "comparison.html").read_text("utf-8")


def test_from_python_device_and_precision_are_checked_first(sweep: Path):
    with pytest.raises(ConfigError, match="^device: expected auto, cpu, cuda or cuda:<number>, got 'nonsense'.$"):
        load(sweep / "1", device="nonsense")
    with pytest.raises(ConfigError, match="^precision: expected one of float32, bfloat16, got 'half'.$"):
        load(sweep / "1", precision="half")  # type: ignore[arg-type]


def interrupting(number: signal.Signals) -> Callable[..., None]:
    """Instead of some work: the user's Ctrl+C, or an administrator's SIGTERM."""
    return lambda *_, **__: os.kill(os.getpid(), number)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize(
    ("verb", "owner", "work"),
    [
        ("compare", command, "listing"),
        ("tables", command, "write_tables"),
        ("report", command, "run_report"),
        ("parts", command, "report_filters"),
        ("explain", TrainedExplainer, "pictured"),
    ],
)
def test_an_interruption_has_no_stack_and_leaves_nothing_half_written(
    verb: str,
    owner: object,
    work: str,
    number: signal.Signals,
    copy: Path,
    faces: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
):
    monkeypatch.setattr(owner, work, interrupting(number))
    photo = next((faces / "img_align_celeba").iterdir())
    words = [f"run={copy}", f"images={photo}", f"out={copy / 'out'}"] if verb == "explain" else [str(copy)]
    assert main([verb, *words]) == 130
    told_of = capsys.readouterr().err
    assert told_of.endswith("\nInterrupted.\n")
    assert "Traceback" not in told_of
    assert not [path for path in copy.rglob("*") if "partial" in path.name or path.name == "report.html"]


@pytest.mark.parametrize("name", ["performers", "cache", "data"])
def test_a_place_that_is_a_file_is_refused_before_the_work(name: str, faces: Path, tmp_path: Path):
    (tmp_path / "file").write_text("")
    config = configured(*smoke(faces, tmp_path), f"paths.{name}={tmp_path}/file/x")
    with pytest.raises(ConfigError, match=f"^paths.{name}: {tmp_path}/file/x cannot be a folder, {tmp_path}/file is a"):
        training.train(config, tmp_path / "run")
    assert not (tmp_path / "performers").exists()


def end_of(act: Callable[[], object], capsys: pytest.CaptureFixture[str]) -> tuple[int | str | None, str]:
    with pytest.raises(SystemExit) as end, told():
        act()
    return end.value.code, capsys.readouterr().err


def test_an_interruption_before_training_says_how_to_go_on(
    faces: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setattr(training, "train_explainer", interrupting(signal.SIGTERM))
    folder = tmp_path / "it's here"
    status, told_of = end_of(lambda: training.train(configured(*smoke(faces, tmp_path)), folder), capsys)
    again = f"""python train.py 'resume='"'"'{tmp_path}/it\\'"'"'s here'"'"''"""
    assert (status, told_of) == (130, f"\nInterrupted. To go on: {again}\n")


def test_what_a_library_makes_of_a_signal_is_an_interruption(capsys: pytest.CaptureFixture[str]):
    """Lightning exits with status 1; a worker that was ended raises an error in the process that waits for it."""

    def exits() -> None:
        try:
            os.kill(os.getpid(), signal.SIGINT)
        except KeyboardInterrupt:
            sys.exit(1)

    def raises() -> None:
        try:
            os.kill(os.getpid(), signal.SIGTERM)
        except KeyboardInterrupt as interruption:
            raise RuntimeError("DataLoader worker exited unexpectedly") from interruption

    for act in (exits, raises):
        assert end_of(act, capsys) == (130, "\nInterrupted.\n")
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    with told():
        assert signal.getsignal(signal.SIGTERM) != before[1]
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before


def test_a_reader_that_has_gone_is_no_bug():
    script = "from semexplain.system.trouble import told\nwith told():\n    print('line\\n' * 100000)"
    piped = f'{sys.executable} -c "$0" | head -1; exit ${{PIPESTATUS[0]}}'
    done = subprocess.run(["bash", "-c", piped, script], capture_output=True, text=True, cwd=ROOT, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (141, "line\n", "")


@pytest.mark.parametrize("entry", ["train", "evaluate"])
def test_no_stack_while_modules_are_imported(entry: str):
    lines = (ROOT / f"{entry}.py").read_text().splitlines()
    handler = next(n for n, line in enumerate(lines) if "signal.signal(signal.SIGINT, signal.SIG_DFL)" in line)
    assert all(not line.startswith(("import hydra", "from semexplain")) for line in lines[:handler])


@pytest.mark.parametrize("script", sorted(ROOT.glob("benchmarks/**/*.py")), ids=lambda path: path.stem)
def test_every_entry_point_tells_of_trouble(script: Path):
    text = script.read_text()
    if 'if __name__ == "__main__":' in text:
        assert "    with told():\n" in text.partition('if __name__ == "__main__":')[2]


@pytest.mark.parametrize(
    ("ending", "status"), [("", 0), ("sys.exit(2)", 2), ("1 / 0", 1), ("os.kill(os.getpid(), 9)", -9)]
)
def test_a_script_that_a_verb_starts_ends_as_in_an_interpreter_of_its_own(ending: str, status: int, tmp_path: Path):
    script = tmp_path / "script.py"
    script.write_text(
        "import atexit, os, sys\nassert __name__ == '__main__'\nassert sys.path[0] == os.path.dirname(__file__)\n"
        f"atexit.register(lambda: print('at its end'))\nprint(sys.argv[1:], 'torch' in sys.modules)\n{ending}\n"
    )
    code = f"from semexplain.__main__ import *; print(run_script(Path({str(script)!r}), ['a=1', 'b c']), sys.argv)"
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    *before, last = told.stdout.splitlines()
    assert last == f"{status} ['-c']"
    assert status < 0 or before == ["['a=1', 'b c'] True", "at its end"]
    assert ("ZeroDivisionError" in told.stderr) == (status == 1)
