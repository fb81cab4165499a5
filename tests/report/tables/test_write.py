"""The folder that ``semexplain tables`` writes, its three kinds of text, and what it says when it cannot."""

import csv
import re
from pathlib import Path

import pytest
from PIL import Image

from semexplain.__main__ import main
from semexplain.report.tables.layout import Table
from semexplain.report.tables.render import comma_separated, escaped, latex, markdown
from tests.report.tables.finished import FACES, finished, numbers

TABLE = Table("t", "50 % of A&B_C", ["a|b", "τ"], [["x|y", "[1.0, 2.0]"], ["[3, 4]", "–"]], ["[1] {#}"])


def test_markdown_cells_cannot_break_the_table():
    lines = markdown(TABLE).splitlines()
    assert lines[2] == r"| a\|b   | τ          |"
    assert {len(re.findall(r"(?<!\\)\|", line)) for line in lines[2:6]} == {3}
    assert lines[-1] == "* [1] {#}"


def test_latex_is_escaped_and_balanced():
    text = latex(TABLE)
    assert r"\caption{50 \% of A\&B\_C}" in text
    assert r"x|y & {}[1.0, 2.0] \\" in text
    assert "\n{}[3, 4] & -- " in text  # a bracket after \\ would be its option
    assert r"{}[1] \{\#\}" in text
    assert text.isascii()
    assert len(re.findall(r"(?<!\\){", text)) == len(re.findall(r"(?<!\\)}", text))
    rules = ("toprule", "midrule", "bottomrule")
    assert [text.count(f"\\{rule}") for rule in rules] == [1, 2, 1]


def test_a_long_latex_table_goes_on_where_the_first_column_changes():
    rows = [[network, str(number)] for network in ("a", "b") for number in range(30)]
    text = latex(Table("t", "Title", ["network", "x"], rows, ["note"]))
    first, second = text.split(r"\end{table}")[:2]
    assert [part.count(" \\\\\n") for part in (first, second)] == [31, 31]  # a header each
    assert (r"\caption{Title}" in first, r"\caption{Title (continued)}" in second) == (True, True)
    assert ("note" in first, "note" in second) == (False, True)
    one = latex(Table("t", "Title", ["network", "x"], [["a", str(number)] for number in range(100)], []))
    assert one.count(r"\begin{table}") == 3
    assert all(f"a & {number} " in one for number in range(100))


@pytest.mark.parametrize("sign", "\\&%$#_{}~^<>±–−τβρ×→≤≥")
def test_every_sign_is_printable(sign: str):
    assert escaped(sign).isascii()
    assert escaped(sign) != sign


def test_comma_separated_text_is_read_back():
    text = comma_separated([{"a": 'x, "y"', "b": None}, {"a": 1.5, "b": "–"}])
    assert list(csv.DictReader(text.splitlines())) == [{"a": 'x, "y"', "b": ""}, {"a": "1.5", "b": "–"}]
    assert comma_separated([]).strip() == ""


def test_the_command_writes_all_files_and_prints_the_markdown(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    runs = tmp_path / "runs"
    for target in FACES[:2]:
        for seed in (0, 1):
            for beta, entropy in ((0, 3.0), (0.2, 3.2)):
                finished(runs, target, beta, seed, metrics=numbers(entropy + seed / 10))
            finished(runs, target, 0.2, seed, concepts="random 5", metrics=numbers(deviation=0.3))
    assert main(["tables", str(runs)]) == 0
    printed = capsys.readouterr().out
    folder = runs / "tables"
    page = (folder / "tables.md").read_text("utf-8")
    assert page in printed
    names = {path.name for path in folder.iterdir()}
    assert names == {
        *("tables.md", "tables.csv", "fig8.png", "frontier_faces_attractive.png", "frontier_faces_heavy_makeup.png"),
        *("table1_faces.tex", "table2_faces.tex", "figure8.tex", "statements.tex", "runs.tex"),
    }
    assert all(f"file: {folder / name}" in printed for name in names)
    assert "3.250 ± 0.071 (2)" in page
    assert "## Settings" not in page
    assert "Experiment 1" not in page
    assert "![fig8](fig8.png)" in page
    assert all((folder / name).read_text("utf-8").isascii() for name in names if name.endswith(".tex"))
    with Image.open(folder / "fig8.png") as picture:
        assert picture.width > picture.height
    rows = list(csv.DictReader((folder / "tables.csv").read_text("utf-8").splitlines()))
    assert {row["network"] for row in rows} == {"attributes"}
    assert main(["tables", str(runs)]) == 0  # its own files are no runs


def test_settings_are_told_apart_in_words(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    for depth in (18, 152):
        finished(tmp_path, "Male", 0.2, options={"explainer": {"depth": depth}})
    assert main(["tables", str(tmp_path), "--out", str(tmp_path / "out")]) == 0
    page = (tmp_path / "out" / "tables.md").read_text("utf-8")
    assert "They are not averaged" in page
    assert "* Experiment 2, setting A: `explainer.depth=18`" in page
    assert "* Experiment 2, setting B: `explainer.depth=152`" in page


def test_all_lists_what_other_tables_need(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    finished(tmp_path, "Male", 0.2)
    assert main(["tables", str(tmp_path), "--all", "--seeds", "1"]) == 0
    printed = capsys.readouterr().out
    assert "Experiment 1: 48 of 48 runs are missing." in printed
    assert "Experiment 2: 7 of 8 runs are missing." in printed


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["{}/nowhere"], "There is no folder {}/nowhere."),
        (["{}"], "There are no finished explainer runs here: no folder holds config.yaml and metrics.json."),
        (["{}", "--seeds", "0"], "--seeds: expected a whole number above 0, got '0'."),
    ],
)
def test_what_cannot_be_done_is_said(
    arguments: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    assert main(["tables", *(word.format(tmp_path) for word in arguments)]) == 2
    assert message.format(tmp_path) in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_runs_of_other_targets_make_no_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    run = finished(tmp_path / "runs", "Smiling", 0.2)
    assert main(["tables", str(tmp_path)]) == 2
    error = capsys.readouterr().err
    assert "None of these runs belongs into the paper's tables:" in error
    assert f"{run}: the paper has no numbers for attributes, smiling." in error
