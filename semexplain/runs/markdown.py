"""A table as Markdown text."""

from collections.abc import Sequence


def markdown_table(rows: Sequence[Sequence[str]]) -> str:
    """Rows as a Markdown table with aligned columns, the first row as its header; what would end a cell is escaped.

    Example:
        >>> print(markdown_table([["run", "x"], ["1", "0.25"]]))
        | run | x    |
        | --- | ---- |
        | 1   | 0.25 |
    """
    header, *body = [[cell.replace("|", "\\|") for cell in row] for row in rows]
    widths = [max(3, *map(len, column)) for column in zip(header, *body, strict=True)]
    lines = [header, ["-" * width for width in widths], *body]
    return "\n".join(f"| {' | '.join(map(str.ljust, line, widths))} |" for line in lines)
