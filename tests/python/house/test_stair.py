"""Imports lead downwards: between the packages of dpe_cli, and within those that have layers of their own. No folder has a cycle."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path

import pytest
from support.long_tests import LONG

PACKAGE = Path(__file__).parents[3] / "dpe_cli"

# Each line may import those below it; packages on one line do not import each other. CONTRIBUTING.md and docs/background/architecture.md print the same list.
STAIR = (
    "__main__",
    "cli",
    "outputs",
    "pipeline",
    "site",
    "publishing",
    "quality",
    "init",
    "access ingest specs",
    "infer project",
    "load sources",
    "blocks optional_packages server",
    "problems",
    "errors",
    "ending_signals environment machine progress safe_text state words yaml_insertion",
)
# The same within a package: its modules and subpackages.
WITHIN = {
    "cli": ("commands main", "app options report variables", "tables"),
    "infer": (
        "yaml_file",
        "declared_sources request yaml_text",
        "inference",
        "naming",
        "readers",
        "column_types sample",
        "plain_csv survey value_kinds",
    ),
    "server": (
        "bootstrap",
        "lock_rows patience watching",
        "ending",
        "leftovers reserving sessions",
        "server",
        "embedded",
        "contexts dump_options programs relations temporary versions",
        "connection",
    ),
    "specs": (
        "approval escalation",
        "gate",
        "checks",
        "names source_data spec template",
        "findings patterns reading",
        "vocabulary",
        "requirement",
        "phrases text",
    ),
    "sources": ("api databases files singer", "http query_inputs", "options", "rejects", "json", "read secrets"),
}


def _modules(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*.py") if path.name != "__init__.py")


def _part(path: Path, folder: Path) -> str:
    """Return the module or subpackage of a folder that a file belongs to."""
    return path.relative_to(folder).parts[0].removesuffix(".py")


@cache
def _imported(path: Path) -> tuple[str, ...]:
    """Return what a module imports from dpe_cli, anywhere in it and also for types: `load.staging.Slice`."""
    found: list[str] = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            found += [f"{node.module}.{alias.name}" for alias in node.names]
    return tuple(name.removeprefix("dpe_cli.") for name in found if name.startswith("dpe_cli.") and name != "dpe_cli.__version__")


def _parts_imported(path: Path, folder: Path) -> Iterator[str]:
    """Yield the modules and subpackages of a folder that a module imports."""
    prefix = "".join(f"{part}." for part in folder.relative_to(PACKAGE).parts)
    for name in _imported(path):
        if name.startswith(prefix):
            yield name.removeprefix(prefix).partition(".")[0]


def _floors(stair: Sequence[str]) -> dict[str, int]:
    return {part: number for number, line in enumerate(stair) for part in line.split()}


STAIRS = {"": STAIR, **WITHIN}


@pytest.mark.parametrize("name", STAIRS)
def test_every_module_has_its_place(name: str) -> None:
    """A new one has to be added to the list."""
    folder = PACKAGE / name

    assert set(_floors(STAIRS[name])) == {_part(path, folder) for path in _modules(folder)}


@pytest.mark.parametrize("name", STAIRS)
def test_imports_lead_downwards(name: str) -> None:
    """No package imports from its own layer, or from above."""
    folder, floors = PACKAGE / name, _floors(STAIRS[name])
    upwards = {
        f"{path.relative_to(PACKAGE)} imports {imported}"
        for path in _modules(folder)
        for imported in _parts_imported(path, folder)
        if imported != _part(path, folder) and floors[imported] <= floors[_part(path, folder)]
    }

    assert set() == upwards


FOLDERS = sorted({path.parent for path in _modules(PACKAGE)})


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: str(folder.relative_to(PACKAGE.parent)))
def test_no_folder_has_a_cycle(folder: Path) -> None:
    """Its modules and subpackages import each other in one direction."""
    imports: dict[str, set[str]] = {}
    for path in _modules(folder):
        part = _part(path, folder)
        imports.setdefault(part, set()).update(name for name in _parts_imported(path, folder) if name != part)
    while leaves := [name for name, wanted in imports.items() if not wanted & imports.keys()]:
        for name in leaves:
            del imports[name]

    assert {} == imports


# Prints the modules that cannot be imported before any other one of dpe. Their libraries are loaded once.
IMPORT_EACH_FIRST = """
import importlib, sys
names = sys.argv[1:]
for name in names:
    importlib.import_module(name)
for name in names:
    for loaded in [module for module in sys.modules if module.partition(".")[0] == "dpe_cli"]:
        del sys.modules[loaded]
    try:
        importlib.import_module(name)
    except ImportError as error:
        print(name, error)
"""


@LONG
def test_every_module_can_be_imported_first() -> None:
    """Without other modules of dpe, in an interpreter of its own: this one has loaded much else, which would take time."""
    names = [".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts) for path in _modules(PACKAGE) if path.name != "__main__.py"]

    done = subprocess.run([sys.executable, "-c", IMPORT_EACH_FIRST, *names], cwd=PACKAGE.parent, capture_output=True, text=True, check=True)

    assert "" == done.stdout


@pytest.mark.parametrize("page", ["CONTRIBUTING.md", "docs/background/architecture.md"])
def test_the_documentation_prints_the_stair(page: str) -> None:
    """As it is tested."""
    text = (PACKAGE.parent / page).read_text(encoding="utf-8")

    assert "\n".join(f"    {line.replace(' ', ', ')}" for line in STAIR[1:]) in text


def test_the_architecture_says_what_each_package_does() -> None:
    """Modules say it themselves, in their first line."""
    text = (PACKAGE.parent / "docs" / "background" / "architecture.md").read_text(encoding="utf-8")
    packages = {path.parent.name for path in PACKAGE.glob("*/__init__.py")}

    assert set() == {name for name in packages if f"| `{name}` |" not in text}
