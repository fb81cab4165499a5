"""Modules import only what lies below them (see CONTRIBUTING.md)."""

import ast
from pathlib import Path

import pytest
from support import ROOT

LAYERS = [
    {"attributes", "calibration", "devices", "explanation", "files", "geometry", "notices", "processes", "row_store"}
    | {"schedulers", "shapley", "stopwatch", "verdict"},
    {"priors", "losses", "filter_loss", "concepts", "metrics", "parts", "contact_sheet", "figures", "loggers", "paper"}
    | {"performers.base", "performers.preprocessing", "performers.weights", "config"},
    {"performers", "explainers", "data", "grad_cam", "report", "report.page", "report.definitions", "games"}
    | {"controls"},
    {"rivals", "faithfulness", "truth"},
    {"starts"},
    {"modules"},
    {"callbacks", "records", "naming"},
    {"cache"},
    {"performer_store"},
    {"runs"},
    {"comparison", "filter_report", "together", "trained", "trained_controls"},
    {"report.run", "report.comparison", "sweeps", "tables"},
    {"explain"},
    {"__main__", "__init__"},
]


def layer(module: str) -> int:
    """The layer of the longest listed name that a dotted module name starts with."""
    names = {name: level for level, names in enumerate(LAYERS) for name in names}
    fitting = [name for name in names if module == name or module.startswith(f"{name}.")]
    return names[max(fitting, key=len)]


def modules() -> list[Path]:
    return sorted((ROOT / "semexplain").rglob("*.py"))


def imports(path: Path) -> list[str]:
    """Names that a module imports when it is imported; what a function imports later may lie above."""
    nodes = [
        node
        for node in ast.parse(path.read_text()).body
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("semexplain")
    ]
    whole = [f"{node.module}.{alias.name}" for node in nodes for alias in node.names if node.module == "semexplain"]
    return [name.removeprefix("semexplain.") for name in [n.module for n in nodes if n.module != "semexplain"] + whole]


@pytest.mark.parametrize("path", modules(), ids=lambda path: path.stem)
def test_imports_point_down(path: Path):
    name = ".".join(path.relative_to(ROOT / "semexplain").with_suffix("").parts)
    own = layer(name)
    for imported in imports(path):
        same_group = imported.split(".")[0] == name.split(".")[0]
        assert layer(imported) < own or (same_group and layer(imported) <= own), f"{name} imports {imported}"
