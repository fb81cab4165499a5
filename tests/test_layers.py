"""Rooms of the house lie on floors, and modules import only what lies below them (see CONTRIBUTING.md)."""

import ast
import re
from pathlib import Path

import pytest
from support import ROOT

FLOORS = [
    {"system", "explainers"},
    {"explanation", "metrics", "data"},
    {"concepts"},
    {"performers", "attributions"},
    {"training", "judgement"},
    {"runs"},
    {"report"},
    {"__main__", "__init__"},
]
MOST_ROOMS = 16
MOST_LINES, MOST_LINES_OF_A_FUNCTION = 400, 60


def modules() -> dict[str, Path]:
    """Dotted names below the package, such as ``runs.folder``."""
    package = ROOT / "semexplain"
    return {
        ".".join(path.relative_to(package).with_suffix("").parts).removesuffix(".__init__"): path
        for path in sorted(package.rglob("*.py"))
    }


MODULES = modules()


def imports(path: Path) -> set[str]:
    """Modules of the package that a module imports, wherever in its text."""
    imported = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("semexplain"):
            module = node.module.removeprefix("semexplain").lstrip(".")
            names = [f"{module}.{alias.name}".lstrip(".") for alias in node.names]
            imported |= {name if name in MODULES else module for name in names}
        elif isinstance(node, ast.Import):
            imported |= {alias.name.removeprefix("semexplain.") for alias in node.names if "semexplain." in alias.name}
    return imported


def room(module: str) -> str:
    return module.split(".")[0]


def floor(module: str) -> int:
    return next(level for level, rooms in enumerate(FLOORS) if room(module) in rooms)


def test_there_are_few_rooms():
    rooms = {room(module) for module in MODULES} - {"__init__"}
    assert rooms == set().union(*FLOORS) - {"__init__"}
    assert len(rooms | {"train", "evaluate", "benchmarks"}) <= MOST_ROOMS


@pytest.mark.parametrize("module", MODULES)
def test_imports_point_down(module: str):
    for imported in imports(MODULES[module]):
        assert room(imported) == room(module) or floor(imported) < floor(module), f"{module} imports {imported}"


def test_no_modules_import_one_another_in_a_circle():
    below = {module: imports(path) for module, path in MODULES.items()}
    while free := [module for module, imported in below.items() if not imported & below.keys() - {module}]:
        for module in free:
            del below[module]
    assert not below, f"a circle among {', '.join(below)}"


def test_the_chart_of_the_house_is_the_code():
    """Rooms, floors and arrows of the table in CONTRIBUTING.md."""
    rows = re.findall(r"^\| (\d) \| `(\w+)` \| .+ \| (.+) \|$", (ROOT / "CONTRIBUTING.md").read_text(), re.MULTILINE)
    chart = {name: (int(level), set(re.findall(r"\w+", arrows))) for level, name, arrows in rows}
    assert len(chart) == len(rows)
    code: dict[str, tuple[int, set[str]]] = {}
    for module, path in MODULES.items():
        _, below = code.setdefault(room(module), (floor(module) + 1, set()))
        below.update({room(imported) for imported in imports(path)} - {room(module)})
    assert chart == code


@pytest.mark.parametrize("module", MODULES)
def test_files_and_functions_can_be_read_in_one_sitting(module: str):
    text = MODULES[module].read_text()
    assert text.count("\n") <= MOST_LINES
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef):
            assert node.end_lineno - node.lineno < MOST_LINES_OF_A_FUNCTION, f"{module}.{node.name} is too long"
