"""The reference of every number that a run reports, ``docs/metrics.md``.

``PYTHONPATH=. python tests/metrics/reference.py`` writes it.
"""

import importlib
import pkgutil
from collections.abc import Iterable
from pathlib import Path

from semexplain import metrics
from semexplain.metrics.catalogue import TRAINING
from semexplain.metrics.measure import Measure, describe
from semexplain.metrics.verdict import VERDICT

PAGE = Path(__file__).parents[2] / "docs/metrics.md"
HEAD = """\
# Every number that a run reports

Made from the metrics' `reports` by `PYTHONPATH=. python tests/metrics/reference.py`. In `metrics.json` every name
starts with `test/`; `*` stands for what depends on the data, such as the name of a part.
"""


def reference() -> str:
    """A table for every metric: key, label, meaning, unit and direction of its numbers."""
    tables = [HEAD]
    for module in pkgutil.iter_modules(metrics.__path__):
        for name, value in vars(importlib.import_module(f"semexplain.metrics.{module.name}")).items():
            if getattr(value, "reports", ()) and value.__module__.endswith(f".{module.name}"):
                tables.append(f"## {name} (`metrics/{module.name}.py`)\n\n{_table(value.reports)}")
    tables.append(f"## Of every run\n\n{_table(TRAINING)}")
    tables.append(f"## The verdict (`metrics/verdict.py`)\n\n{_table(VERDICT)}")
    return "\n".join(tables)


def _table(measures: Iterable[Measure]) -> str:
    rows = ["| name | label | meaning | unit | better |", "|---|---|---|---|---|"]
    for measure in measures:
        title = describe(measure.key, [measure]).title
        cells = f"`{measure.key}`", title, measure.meaning, measure.unit, measure.better or "–"
        rows.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(rows) + "\n"


if __name__ == "__main__":
    PAGE.write_text(reference(), encoding="utf-8")
