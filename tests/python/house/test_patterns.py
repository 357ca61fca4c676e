"""Regular expressions work in every Python that dpe runs on."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from re import _parser as parser  # type: ignore[attr-defined]
from typing import Any

import pytest

from dpe_cli.blocks.csv_grammar import Dialect, Grammar
from dpe_cli.blocks.patterns import repeated

PACKAGE = Path(__file__).parents[3] / "dpe_cli"
# A quantifier that a plus makes possessive: not escaped, not in a set, and after something to repeat.
_POSSESSIVE = re.compile(r"(?<![\\(])(?:[*+?]|\{\d*,?\d*\})\+")


def _texts(path: Path) -> Iterator[tuple[int, str]]:
    """Yield the string constants of a module, with their lines; without docstrings."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    docs = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, (str, bytes)) and id(node) not in docs:
            value = node.value
            yield node.lineno, value if isinstance(value, str) else value.decode("latin-1")


def _outside_sets(text: str) -> str:
    """Return a pattern without its sets, in which a plus is a character."""
    return re.sub(r"(?<!\\)\[\^?\]?(?:\\.|[^\]\\])*\]", "x", text, flags=re.DOTALL)


def test_no_expression_has_a_possessive_quantifier() -> None:
    """CPython 3.11.0 to 3.11.4 evaluate them wrongly (gh-106052), and Debian 12 ships 3.11.2."""
    found = {
        f"{path.relative_to(PACKAGE.parent)}:{line}: {text}"
        for path in PACKAGE.rglob("*.py")
        for line, text in _texts(path)
        if _POSSESSIVE.search(_outside_sets(text))
    }

    assert set() == found


def _operations(parsed: Any) -> Iterator[str]:
    """Yield the operations of a parsed pattern, at any depth."""
    for part in parsed if isinstance(parsed, (list, tuple, parser.SubPattern)) else ():
        if isinstance(part, type(parser.POSSESSIVE_REPEAT)):
            yield str(part)
        yield from _operations(part)


@pytest.mark.parametrize("dialect", [Dialect(), Dialect(escape="\\"), Dialect(delimiter=";", quote="'")])
def test_the_grammar_compiles_to_none_either(dialect: Dialect) -> None:
    """Its expressions are put together from parts."""
    patterns = [value.pattern for value in vars(Grammar(dialect)).values() if isinstance(value, re.Pattern)]

    assert patterns
    assert not [name for pattern in patterns for name in _operations(parser.parse(pattern)) if name.startswith("POSSESSIVE")]


def test_a_repeated_part_gives_nothing_up() -> None:
    """As with a possessive quantifier, across the groups that it is repeated in."""
    assert re.fullmatch(repeated(rb"ab?c"), b"abcac" * 1000)
    assert not re.fullmatch(repeated(rb"a") + rb"a", b"a" * 1000)
    assert not re.fullmatch(repeated(rb"ab?c"), b"a")
