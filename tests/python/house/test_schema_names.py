"""Schemas and layers come from the project: no code of dpe names one of the repository's own."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

REPOSITORY = Path(__file__).parents[3]
LAYERS = "staging|intermediate|marts|quality"
# A name as a whole string, before a relation, as part of a path, or after the word; not the modules and files of that name.
_NAMED = re.compile(
    rf"^({LAYERS})$|['\"]({LAYERS})['\"]|(?<![\w./]){LAYERS.join('()')}\.(?!sql\b)[\w*<{{]|\b(schema|schemas|in) ({LAYERS})\b(?! table)|\b(intermediate|marts)\b"
)
# The word for what the loader fills, and the schema and folder for the first source of a project, which its author may change.
_PROSE = re.compile(r"\bin staging\b")
_ALLOWED = {("dpe_cli/infer/declared_sources.py", "staging")}


def _strings(path: Path) -> Iterator[str]:
    """Yield the string constants of a module; without docstrings, and with the texts of f-strings."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    docs = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docs:
            yield node.value


def _code(path: Path) -> Iterator[str]:
    """Yield the lines of SQL and of Jinja, without comments and without what they say."""
    text = re.sub(r"\{#.*?#\}", "", path.read_text(encoding="utf-8"), flags=re.DOTALL)
    for line in text.splitlines():
        yield re.sub(r"--.*", "", line)


def _found(folder: str) -> set[tuple[str, str]]:
    found: set[tuple[str, str]] = set()
    for path in (REPOSITORY / folder).rglob("*"):
        if path.suffix in {".py", ".sql"}:
            texts = _strings(path) if path.suffix == ".py" else _code(path)
            found |= {(str(path.relative_to(REPOSITORY)), text) for text in texts if _NAMED.search(_PROSE.sub("", text))}
    return found


def test_no_code_names_a_schema_of_the_project() -> None:
    """A project whose schemas have other names works the same way (tests/python/pipeline/test_schemas.py)."""
    assert _found("dpe_cli") | _found("macros") == _ALLOWED
