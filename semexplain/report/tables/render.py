"""Tables as text of three kinds: Markdown to read, LaTeX to print, CSV to compute with."""

import csv
import io
from collections.abc import Mapping, Sequence
from itertools import groupby, islice, pairwise
from operator import itemgetter

from semexplain.report.tables.layout import Table
from semexplain.runs.markdown import markdown_table

MOST_ROWS = 44  # of a page of LaTeX
SYMBOLS = {
    "\\": r"\textbackslash{}",
    "–": "--",
    "−": "$-$",
    "±": r"$\pm$",
    "×": r"$\times$",
    "→": r"$\to$",
    "≥": r"$\geq$",
    "≤": r"$\leq$",
    "<": r"$<$",
    ">": r"$>$",
    "β": r"$\beta$",
    "τ": r"$\tau$",
    "ρ": r"$\rho$",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    **{sign: f"\\{sign}" for sign in "&%$#_{}"},
}


def markdown(table: Table) -> str:
    """A table with its title and footnotes."""
    notes = ["", *(f"* {note}" for note in table.notes)] if table.notes else []
    return "\n".join([f"## {table.title}", "", markdown_table([table.header, *table.rows]), *notes])


def latex(table: Table) -> str:
    r"""``table`` environments to ``\input``; the document loads ``booktabs`` and ``graphicx``, nothing else is needed.

    A line separates what differs in the first column. A table that is wider than the page is made smaller, one that is
    longer goes on in another environment.
    """
    pages = _pages(table.rows)
    last = len(pages) - 1
    parts = [
        _environment(table, rows, " (continued)" if number else "", table.notes if number == last else [])
        for number, rows in enumerate(pages)
    ]
    return "\n".join([f"% {table.name}: needs \\usepackage{{booktabs,graphicx}}", *parts, ""])


def _environment(table: Table, rows: Sequence[Sequence[str]], continued: str, notes: Sequence[str]) -> str:
    lines = [" & ".join(map(escaped, row)) + r" \\" for row in rows]
    body = [line + ("\n\\midrule" if one[0] != next_[0] else "") for line, (one, next_) in _followed(lines, rows)]
    return "\n".join(
        [
            r"\begin{table}",
            r"\centering\scriptsize\setlength{\tabcolsep}{3pt}",
            f"\\caption{{{escaped(table.title + continued)}}}",
            r"\resizebox{\ifdim\width>\linewidth\linewidth\else\width\fi}{!}{%",
            f"\\begin{{tabular}}{{{_columns(table)}}}",
            r"\toprule",
            " & ".join(map(escaped, table.header)) + r" \\",
            r"\midrule",
            *body,
            r"\bottomrule",
            r"\end{tabular}}",
            *(f"\\par {escaped(note)}" for note in notes),
            r"\end{table}",
        ]
    )


def escaped(text: str) -> str:
    r"""Text as LaTeX prints it, whatever signs it has.

    Example:
        >>> print(escaped("95 % of {a_b} ± τ – c"))
        95 \% of \{a\_b\} $\pm$ $\tau$ -- c
    """
    result = "".join(SYMBOLS.get(sign, sign) for sign in text)
    # A bracket after the end of a line would be read as that command's option.
    return f"{{}}{result}" if result.startswith("[") else result


def comma_separated(records: Sequence[Mapping[str, object]]) -> str:
    """Records with the same keys, one a line below their names; nothing stands for none."""
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, list(records[0]) if records else [], lineterminator="\n")
    writer.writeheader()
    writer.writerows(records)
    return buffer.getvalue()


def _pages(rows: Sequence[Sequence[str]]) -> list[list[Sequence[str]]]:
    """Rows by page: a page begins with another first cell where it can."""
    pages: list[list[Sequence[str]]] = [[]]
    for _, group in groupby(rows, key=itemgetter(0)):
        while some := list(islice(group, MOST_ROWS)):
            if len(pages[-1]) + len(some) > MOST_ROWS:
                pages.append([])
            pages[-1] += some
    return pages


def _columns(table: Table) -> str:
    """Left-aligned columns; those of sentences are broken into lines, wider ones where sentences are long."""
    lengths = [max(map(len, column)) for column in zip(table.header, *table.rows, strict=True)]
    return "".join("l" if n <= 24 else r"p{0.2\linewidth}" if n <= 60 else r"p{0.6\linewidth}" for n in lengths)


def _followed(lines: Sequence[str], rows: Sequence[Sequence[str]]) -> list[tuple[str, tuple[Sequence[str], ...]]]:
    """Each line with its row and the next one; the last is followed by itself."""
    return list(zip(lines, [*pairwise(rows), (rows[-1], rows[-1])] if rows else [], strict=True))
