"""A folder of the paper's tables: Markdown, LaTeX, CSV and figures."""

from collections.abc import Sequence
from pathlib import Path

from semexplain.report.paper import paper_source
from semexplain.report.tables.counts import series
from semexplain.report.tables.counts import table as counts_table
from semexplain.report.tables.findings import findings
from semexplain.report.tables.groups import Group, grouped
from semexplain.report.tables.layout import setting_names, tables
from semexplain.report.tables.missing import missing
from semexplain.report.tables.pictures import pictures
from semexplain.report.tables.records import behind, records
from semexplain.report.tables.render import comma_separated, latex, markdown
from semexplain.runs.run import Run
from semexplain.system.config import ConfigError
from semexplain.system.files import write_text
from semexplain.system.places import require_writable

SEEDS = 3
INTRODUCTION = """\
Below each line of the paper's printed numbers stands what finished runs give: mean ± sample standard deviation over
seeds, in brackets how many seeds; an average says over how many of the paper's columns it is. An en dash: there is no
number. Accuracies are in percent; τ best on test is the paper's protocol, τ best on train and τ = 0 the honest ones.
The 95 % interval (Wilson) counts the different objects in the test images as trials. Performer, linear map (one
least-squares map from the concepts to the score, the control) and gradient × activation do not vary with the seed."""


def write_tables(
    runs: Sequence[Run], folder: Path, *, seeds: int = SEEDS, everything: bool = False
) -> tuple[str, list[Path]]:
    """Write the tables of finished runs: ``tables.md``, ``tables.csv``, a ``.tex`` of each table, and figures.

    Args:
        runs: Finished explainer runs.
        folder: Where to write.
        seeds: How many seeds each cell should have; what is missing is listed.
        everything: List also the runs of tables of which none is there.

    Returns:
        The Markdown, and all files.

    Raises:
        ConfigError: If no run belongs into a table, or nothing can be written there.
    """
    require_writable("--out", folder / "tables.md", folder / "tables.csv")
    groups, omissions = grouped(runs)
    if not groups:
        raise ConfigError("\n".join(["None of these runs belongs into the paper's tables:", *omissions]))
    lines = series(groups)
    pages = [
        *tables(groups),
        *([counts_table(lines, groups)] if lines else []),
        findings(groups, lines),
        behind(groups),
    ]
    paths = pictures(folder, groups, lines)
    text = [
        f"# Tables of the paper and of {sum(len(group.runs) for group in groups)} runs",
        paper_source(),
        INTRODUCTION,
        *_settings(groups),
        *map(markdown, pages),
        *(f"![{path.stem}]({path.name})" for path in paths),
        *_missing(groups, seeds, everything),
        *(["## Left out\n", "\n".join(f"* {line}" for line in omissions)] if omissions else []),
    ]
    page = "\n\n".join(text) + "\n"
    contents = {"tables.md": page, "tables.csv": comma_separated(records(groups))}
    contents |= {f"{table.name}.tex": latex(table) for table in pages}
    for name, content in contents.items():
        write_text(folder / name, content)
    return page, [*(folder / name for name in contents), *paths]


def _settings(groups: Sequence[Group]) -> list[str]:
    """What the letters of settings mean, where runs that would share a cell differ in more than the seed."""
    names = setting_names(groups)
    if not any(names.values()):
        return []
    lines = [
        f"* Experiment {2 if faces else 1}, setting{name}: " + ", ".join(f"`{key}={value}`" for key, value in setting)
        for (faces, setting), name in names.items()
        if name
    ]
    text = (
        "Runs of the same cell differ in more than the seed. They are not averaged; each setting has lines of its own:"
    )
    return ["## Settings", text, "\n".join(lines)]


def _missing(groups: Sequence[Group], seeds: int, everything: bool) -> list[str]:
    sections = missing(groups, seeds, everything)
    if not sections:
        return []
    text = ["## Missing runs"]
    for heading, commands in sections:
        text += [f"{heading}.", "```\n" + "\n".join(commands) + "\n```"]
    return text
