from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[2] / "dpe_cli"

# Each layer may import those below it, and modules of its own.
LAYERS = (
    ("__main__",),
    ("main",),
    ("commands",),
    ("app",),
    ("junit", "notify"),
    ("pipeline", "history", "replay", "access", "sarif"),
    ("extracts",),
    ("diff", "judging"),
    ("publication", "rls_matrix", "rls_declared", "rls_strays"),
    ("watching", "declared_policies"),
    ("waiting", "quarantine"),
    ("swap",),
    ("old_versions",),
    ("dependents",),
    ("site",),
    ("docs_page",),
    ("rule_memory",),
    ("rules",),
    ("validation",),
    ("reconciliation", "freshness"),
    ("hops",),
    ("dbt_runner",),
    ("spec",),
    ("project",),
    ("declarations", "manifest"),
    ("dbt", "read_manifest"),
    ("sources",),
    ("load",),
    ("lock_rows",),
    ("rls",),
    ("rls_check", "tenants"),
    ("bootstrap",),
    ("guarded", "sessions"),
    ("postgres",),
    ("embedded",),
    ("embedded_settings", "system_user"),
    ("machine",),
    ("webhook",),
    ("environment",),
    ("extras",),
    ("errors", "versions"),
    ("log",),
    ("redaction",),
    ("secret_forms",),
    # Shows what commands return, and knows none of them.
    ("report",),
    # What is shown is safe to look at, from the ground up.
    ("visible_text",),
)
LAYER_OF = {name: number for number, names in enumerate(LAYERS) for name in names}


def _modules() -> list[Path]:
    return sorted(path for path in PACKAGE.rglob("*.py") if path.name != "__init__.py")


def _part(path: Path) -> str:
    """Return the module within dpe_cli, or its subpackage."""
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def _imported(path: Path) -> Iterator[str]:
    """Yield the parts of dpe_cli that a module imports, wherever in it; and for types as well."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        for name in names:
            package, _, rest = name.partition(".")
            if package == PACKAGE.name and rest.partition(".")[0] != "__version__":
                yield rest.partition(".")[0]


def test_every_module_has_its_layer() -> None:
    """A new one is put where it belongs, here too."""
    assert set(LAYER_OF) == {_part(path) for path in _modules()}


@pytest.mark.parametrize("path", _modules(), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_lead_downwards(path: Path) -> None:
    """No module knows what stands above it, and there is no cycle."""
    part = _part(path)

    assert [] == [name for name in _imported(path) if name != part and LAYER_OF[name] <= LAYER_OF[part]]


@pytest.mark.parametrize("part", ["load", "sources"])
def test_a_subpackage_has_no_cycle(part: str) -> None:
    """Its modules import each other in one direction as well."""
    imports = {path.stem: _siblings(path) for path in (PACKAGE / part).glob("*.py") if path.name != "__init__.py"}
    while leaves := [name for name, wanted in imports.items() if not wanted & imports.keys()]:
        for name in leaves:
            del imports[name]

    assert {} == imports


def _siblings(path: Path) -> set[str]:
    package = f"{PACKAGE.name}.{path.parent.name}"
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module == package:
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and node.module.startswith(f"{package}."):
            found.add(node.module.removeprefix(f"{package}.").partition(".")[0])
    return found
