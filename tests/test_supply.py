"""What is installed: every package that is imported is asked for and no other, within bounds, and nothing outdated."""

import ast
import re
import sys
import tomllib
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, requires
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version
from support import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
EXTRAS = PROJECT["project"]["optional-dependencies"]
DEFAULT = [Requirement(text) for text in PROJECT["project"]["dependencies"]]
NAMES = {
    "hydra": "hydra-core",
    "PIL": "pillow",
    "sklearn": "scikit-learn",
    "yaml": "pyyaml",
}  # imported by another name
UNBOUNDED = {"pyarrow"}  # see pyproject.toml
OUTDATED = {"optuna": "3", "sqlalchemy": "2"}


def wanted(extra: str) -> list[Requirement]:
    """What an extra brings, with the extras that it names."""
    found = []
    for requirement in map(Requirement, EXTRAS[extra]):
        own = requirement.name == "semexplain"
        found += [r for other in requirement.extras for r in wanted(other)] if own else [requirement]
    return found


ALL = {str(r): r for r in [*DEFAULT, *(r for extra in EXTRAS for r in wanted(extra))]}


def pins() -> dict[str, Version]:
    lines = [line.split("==") for line in (ROOT / "constraints.txt").read_text().splitlines() if "==" in line]
    return {canonicalize_name(name): Version(version) for name, version in lines}


def sources() -> list[Path]:
    return [path for room in ("semexplain", "hydra_plugins") for path in sorted((ROOT / room).rglob("*.py"))]


def imported(path: Path, *, at_once: bool) -> Iterator[str]:
    """Packages of others that a module imports: as it is imported itself, or anywhere in its text."""
    tree = ast.parse(path.read_text())
    for node in tree.body if at_once else ast.walk(tree):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        if isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            names = [node.module]
        for name in {name.split(".")[0] for name in names} - sys.stdlib_module_names - {"semexplain"}:
            yield canonicalize_name(NAMES.get(name, name))


def test_what_the_package_imports_is_what_it_asks_for():
    at_once = {name for path in sources() for name in imported(path, at_once=True)}
    anywhere = {name for path in sources() for name in imported(path, at_once=False)}
    default = {canonicalize_name(requirement.name) for requirement in DEFAULT}
    optional = {canonicalize_name(r.name) for extra in set(EXTRAS) - {"dev"} for r in wanted(extra)}
    assert at_once <= default
    assert default <= anywhere
    assert anywhere - default <= optional


@pytest.mark.parametrize("requirement", ALL.values(), ids=ALL)
def test_every_requirement_has_bounds_and_the_version_that_was_tried_lies_between(requirement: Requirement):
    operators = {specifier.operator for specifier in requirement.specifier}
    assert operators == ({">="} if requirement.name in UNBOUNDED else {">=", "<"})
    assert pins()[canonicalize_name(requirement.name)] in requirement.specifier


def test_one_package_has_the_same_bounds_wherever_it_is_asked_for():
    assert len({canonicalize_name(requirement.name) for requirement in ALL.values()}) == len(ALL)


@pytest.mark.parametrize("extra", EXTRAS)
def test_no_extra_brings_anything_outdated(extra: str):
    for requirement in wanted(extra):
        if least := OUTDATED.get(canonicalize_name(requirement.name)):
            assert not any(requirement.specifier.contains(f"{major}.99") for major in range(int(least)))


@pytest.mark.parametrize("package", OUTDATED)
def test_no_outdated_package_is_pinned(package: str):
    assert pins()[package] >= Version(OUTDATED[package])


def brought(requirements: list[Requirement]) -> set[str]:
    """Names of all that comes with requirements, as far as it is installed here."""
    found: set[str] = set()
    waiting = list(requirements)
    while waiting:
        requirement = waiting.pop()
        name = canonicalize_name(requirement.name)
        if name in found:
            continue
        found.add(name)
        try:
            texts = requires(name) or []
        except PackageNotFoundError:
            continue
        extras = requirement.extras or {""}
        inner = [Requirement(text) for text in texts]
        waiting += [r for r in inner if not r.marker or any(r.marker.evaluate({"extra": extra}) for extra in extras)]
    return found


def test_a_plain_install_brings_neither_a_search_nor_its_database():
    found = brought(DEFAULT)
    assert {"torch", "lightning-utilities", "antlr4-python3-runtime"} <= found
    assert not found & {"optuna", "sqlalchemy", "alembic"}


def test_what_is_no_python_travels_with_the_package():
    patterns = PROJECT["tool"]["setuptools"]["package-data"]
    taken = {
        path
        for package, texts in patterns.items()
        for text in texts
        for path in (ROOT / package.replace(".", "/")).glob(text)
    }
    there = {path for path in (ROOT / "semexplain").rglob("*") if path.is_file() and "__pycache__" not in path.parts}
    assert {path for path in there if path.suffix != ".py"} == taken


def test_hydra_has_the_list_of_targets_that_no_configuration_may_call():
    from hydra.errors import InstantiationException
    from hydra.utils import instantiate

    with pytest.raises(InstantiationException, match="os.system"):
        instantiate({"_target_": "os.system", "command": "true"})


def test_the_readme_and_this_file_agree_on_python():
    least = re.search(r">=(\d+\.\d+)", PROJECT["project"]["requires-python"])
    assert least
    assert f"Python {least[1]}" in (ROOT / "README.md").read_text()
