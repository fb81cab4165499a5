"""The statements Q1 to Q6, on the paper's numbers and on others that do and do not bear them out."""

from collections.abc import Callable
from pathlib import Path

import pytest
from scipy.stats import rankdata

from semexplain.report.paper import paper_cell
from semexplain.report.tables.counts import series
from semexplain.report.tables.counts import table as counts_table
from semexplain.report.tables.findings import findings
from semexplain.report.tables.groups import grouped
from semexplain.report.tables.statements import STATEMENTS, Outcome, capacity_trend
from semexplain.runs.run import Run
from tests.report.tables.finished import ANIMALS, FACES, NETWORKS, finished, numbers

Change = Callable[[str, str, str, str, float], float]
STATEMENT = {(statement.name, statement.experiment): statement for statement in STATEMENTS}


def changed(change: Change) -> Callable[[str, str, str, str], float | None]:
    """The paper's numbers, some of them others."""

    def numbers_(table: str, network: str, line: str, target: str) -> float | None:
        value = paper_cell(table, network, line, target)
        return None if value is None else change(table, network, line, target, value)

    return numbers_


def test_the_papers_own_numbers_bear_out_every_statement():
    verdicts = {key: statement.evaluate(paper_cell) for key, statement in STATEMENT.items()}
    assert all(verdict.holds for verdict in verdicts.values())
    assert "higher in 24 of 24 cells" in verdicts["Q1", "animals"].numbers
    assert "VGG-16 −1.1; not lower in 16 of 24 cells" in verdicts["Q2", "animals"].numbers
    assert "VGG-16 +0.005; not higher in 19 of 24 cells" in verdicts["Q3", "animals"].numbers
    assert "male +1.0" in verdicts["Q4", "faces"].numbers


def low(*where: str, by: float) -> Change:
    """A change of the cells whose table, network, row and target include these words."""
    return lambda *cell: cell[-1] - by if set(where) <= set(cell[:-1]) else cell[-1]


FAILING = [
    ("Q1", "animals", low("alexnet", "ours", "entropy", by=2.0)),  # one average
    ("Q1", "animals", lambda t, n, r, c, v: v - 3 * (r == "ours" and c in ("cat", "cow"))),  # 8 cells, no average
    ("Q1", "faces", low("male", "ours", "entropy", by=0.2)),
    ("Q2", "animals", low("vgg16", "ours", "accuracy", by=0.5)),  # −1.1 becomes −1.6
    ("Q2", "faces", low("young", "ours", "accuracy", by=0.7)),
    ("Q3", "animals", low("vgg_m", "ours", "relative_deviation", by=0.006)),
    ("Q3", "animals", lambda t, n, r, c, v: v + 0.03 * (n == "alexnet" and t == "relative_deviation")),
    ("Q4", "animals", low("alexnet", "ours", "accuracy", by=2.0)),
    ("Q4", "faces", low("attractive", "ours", "accuracy", by=2.0)),
    ("Q4", "faces", low("male", "ours", "accuracy", by=5.0)),  # within 8, but young is closer
    ("Q5", "animals", low("part_error", "baseline", "torso", by=0.02)),
]


@pytest.mark.parametrize(("name", "experiment", "change"), FAILING)
def test_a_statement_fails_on_other_numbers(name: str, experiment: str, change: Change):
    assert STATEMENT[name, experiment].evaluate(changed(change)).holds is False


@pytest.mark.parametrize("statement", STATEMENTS, ids=lambda statement: f"{statement.name} {statement.experiment}")
def test_without_runs_nothing_is_said(statement: object):
    assert statement.evaluate(lambda *_: None).word == "not enough runs"  # type: ignore[attr-defined]


def test_closest_for_male_needs_male():
    without = changed(lambda t, n, r, c, v: v)
    verdict = STATEMENT["Q4", "faces"].evaluate(lambda *cell: None if cell[-1] == "male" else without(*cell))
    assert verdict.holds is None


def test_capacity_is_a_rank_correlation_and_the_ends():
    falling = {5: 0.3, 10: 0.25, 20: 0.26, 39: 0.1}
    ranks = [rankdata(list(column)) - 2.5 for column in (falling.keys(), falling.values())]
    rho = (ranks[0] * ranks[1]).sum() / (ranks[0] ** 2).sum()  # without ties
    assert capacity_trend({"male": falling}) == Outcome(True, f"male: ρ = −{-rho:.2f}, 0.300 (5) → 0.100 (39)")
    assert capacity_trend({"male": falling, "young": {5: 0.1, 10: 0.2, 39: 0.3}}).holds is False
    assert capacity_trend({"male": {5: 0.2, 10: 0.1, 20: 0.1, 39: 0.2}}).holds is False  # no correlation
    assert capacity_trend({"male": {5: 0.2, 10: 0.2, 39: 0.2}}).holds is False
    assert capacity_trend({"male": {5: 0.2, 39: 0.1}}).holds is None


def test_statements_are_evaluated_on_the_runs_of_each_setting(tmp_path: Path):
    for beta, entropy in ((0, 3.0), (10, 4.0)):
        finished(tmp_path, "dog", beta, network="vgg16", metrics=numbers(entropy))
        other = numbers(-entropy)
        finished(tmp_path, "dog", beta, network="vgg16", metrics=other, options={"explainer": {"depth": 18}})
    groups, _ = grouped(map(Run, sorted(tmp_path.iterdir())))
    table = findings(groups, [])
    said = {(line[0], line[1], line[4]): line[5:] for line in table.rows}
    assert said["Q1", "animals", "here A"] == ["held so far", "VGG-16 3.000 → 4.000; higher in 1 of 1 cells"]
    assert said["Q1", "animals", "here B"][0] == "not held"
    assert said["Q5", "animals", "here A"][0] == "not enough runs"
    assert said["Q1", "animals", "paper"][0] == "held"
    assert said["Q5", "animals", "paper"][1].startswith("eye 0.399 → 0.181, ")
    assert any("VGG-16 (96.7 to 95.6)" in note for note in table.notes)


def test_all_the_papers_cells_as_runs_give_the_papers_verdicts(tmp_path: Path):
    for network, target, beta in [(n, t, b) for n in NETWORKS for t in ANIMALS for b in (0, 10)]:
        finished(tmp_path, target, beta, network=network, metrics=printed(network, target, beta))
    for target, beta in [(target, beta) for target in FACES for beta in (0, 0.2)]:
        finished(tmp_path, target, beta, metrics=printed("attributes", target.lower(), beta))
    groups, _ = grouped(map(Run, sorted(tmp_path.iterdir())))
    rows = findings(groups, []).rows
    for line in [line for line in rows if line[4] == "here" and line[0] not in ("Q5", "Q6")]:
        paper = next(other for other in rows if other[:5] == [*line[:4], "paper"])
        assert line[5:] == paper[5:]


def printed(network: str, target: str, beta: float) -> dict[str, float]:
    line = "ours" if beta else "baseline"
    deviation = paper_cell("relative_deviation", network, line, target)
    return numbers(
        paper_cell("entropy", network, line, target) or 0.0,
        0.05 if deviation is None else deviation,
        (paper_cell("accuracy", network, line, target) or 0.0) / 100,
        performer_accuracy=(paper_cell("accuracy", network, "performer", target) or 0.0) / 100,
    )


def test_lines_of_figure_8_have_all_concepts_as_39(tmp_path: Path):
    for seed in (0, 1):
        for count, deviation in ((5, 0.3), (20, 0.2)):
            measured = numbers(deviation=deviation + seed / 10, accuracy=0.8)
            finished(tmp_path, "Male", 0.2, seed, concepts=f"random {count}", metrics=measured)
        finished(tmp_path, "Male", 0.2, seed, metrics=numbers(deviation=0.1))
    finished(tmp_path, "Male", 0, concepts="named Bald Bangs")
    groups, _ = grouped(map(Run, sorted(tmp_path.iterdir())))
    (line,) = series(groups)
    assert (line.target, line.prior, list(line.counts)) == ("male", "ours", [5, 20, 39])
    assert line.counts[5].deviations == pytest.approx((0.3, 0.4))
    assert line.counts[5].drops == pytest.approx((10, 10))
    rows = counts_table([line], groups).rows
    assert rows[0] == ["faces", "male", "ours", "–", "5", "0.350 ± 0.071 (2)", "10.0 ± 0.0 (2)"]
    said = [row for row in findings(groups, [line]).rows if row[0] == "Q6"][1]
    assert said[5:] == ["held so far", "male: ρ = −1.00, 0.350 (5) → 0.100 (39)"]


def test_one_number_of_concepts_is_no_line(tmp_path: Path):
    finished(tmp_path, "Male", 0.2)
    assert series(grouped(map(Run, sorted(tmp_path.iterdir())))[0]) == []
