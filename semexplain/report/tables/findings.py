"""Which of the paper's findings hold in the runs that are there, beside what its own numbers say."""

from collections.abc import Sequence

from semexplain.report.paper import ATTRIBUTES, paper_cell
from semexplain.report.tables.counts import Series, means
from semexplain.report.tables.groups import Group, Setting
from semexplain.report.tables.layout import TABLE_3_TARGET, Table, setting_names
from semexplain.report.tables.notes import claims
from semexplain.report.tables.quantities import ACCURACY, DEVIATION, ENTROPY, PART_ERROR, Quantity, select, spread_of
from semexplain.report.tables.statements import STATEMENTS, TARGETS, TREND, UNSTATED, capacity_trend

QUANTITIES: dict[str, Quantity] = {
    "entropy": ENTROPY[0],
    "accuracy": ACCURACY[1],
    "relative_deviation": DEVIATION[0],
    "part_error": PART_ERROR[0],
}
REMARK = (
    "Evaluated on the cells for which the runs of both sides are there; accuracies are those of the paper's protocol "
    "(τ best on test), every cell is a mean over seeds."
)


def findings(groups: Sequence[Group], lines: Sequence[Series]) -> Table:
    """Statements Q1 to Q6, each evaluated for the paper and for every setting of its experiment."""
    names = setting_names(groups)
    header = ["#", "experiment", "statement", "holds if", "from", "verdict", "numbers"]
    rows = []
    for statement in STATEMENTS:
        faces = statement.experiment == "faces"
        words = [statement.name, statement.experiment, statement.text, statement.passes]
        verdict = statement.evaluate(_paper_number)
        rows.append([*words, "paper", verdict.word, verdict.numbers])
        for (experiment, setting), letter in names.items():
            if faces == experiment:
                verdict = statement.evaluate(_RunNumbers(groups, setting))
                rows.append([*words, f"here{letter}", verdict.word, verdict.numbers])
    name, text, passes = TREND
    rows.append([name, "–", text, passes, "paper", "a figure", "a trend without numbers"])
    for (faces, setting), letter in names.items():
        line = [s for s in lines if (s.network == ATTRIBUTES, s.setting, s.prior) == (faces, setting, "ours")]
        if line or faces:
            verdict = capacity_trend(means(line))._replace(complete=not faces or len(line) == TARGETS)
            words = [name, "faces" if faces else "animals", text, passes]
            rows.append([*words, f"here{letter}", verdict.word, verdict.numbers])
    return Table("statements", "Statements", header, rows, [REMARK, *claims()])


def _paper_number(table: str, network: str, row: str, target: str) -> float | None:
    """The paper's numbers; those of Table 3 are of a network that it does not name."""
    return None if (table == "part_error") != (network == UNSTATED) else paper_cell(table, network, row, target)


class _RunNumbers:
    """Numbers of the runs of one setting, asked for like those of the paper."""

    def __init__(self, groups: Sequence[Group], setting: Setting) -> None:
        self.groups = groups
        self.setting = setting

    def __call__(self, table: str, network: str, row: str, target: str) -> float | None:
        quantity = ACCURACY[0] if row == "performer" else QUANTITIES[table]
        members = select(self.groups, network, self.setting, None if row == "performer" else row)
        if table == "part_error":
            members = [group for group in members if group.target == TABLE_3_TARGET]
        cell = spread_of(members, quantity, target)
        return None if cell is None else cell.mean
