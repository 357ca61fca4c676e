"""The lines of YAML that declare columns, for messages about columns that the contract lacks. Senders choose the names in them."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping

from dpe_cli.safe_text.redaction import excerpt

_PLAIN = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
# dbt would evaluate it, and fail, or read it as something else: the value of a variable with a password, for example.
_JINJA = re.compile(r"\{[{%#]")
# What ends a name in SQL, or a line.
_ENDING = re.compile(r'["\r\n]')
_LONGEST_NAME = 63
_MOST_LINES = 5
# YAML reads them as a truth value, or as nothing (YAML 1.1, which dbt reads).
_YAML_WORDS = frozenset({"y", "n", "yes", "no", "on", "off", "true", "false", "null"})


def is_plain(name: str) -> bool:
    """Return whether YAML reads a name as it is, without quotes."""
    return bool(_PLAIN.fullmatch(name)) and name.lower() not in _YAML_WORDS


def column_line(name: str, data_type: str, *, optional: bool = False) -> str:
    """Return the line that declares a column; `optional`: deliveries may lack it."""
    written = name if is_plain(name) else f"{json.dumps(name, ensure_ascii=False)}, quote: true"
    return f"- {{name: {written}, data_type: {data_type}{', config: {meta: {optional: true}}' if optional else ''}}}"


def has_jinja(text: str) -> bool:
    """Return whether dbt would evaluate a part of a text in its YAML."""
    return _JINJA.search(text) is not None


def is_declarable(name: str) -> bool:
    """
    Return whether a line of dbt's YAML can declare a column of this name: PostgreSQL has room for it, and dbt takes it as it is written.

    dbt writes the name into statements without doubling its quotes (adapter.quote), so that what follows a quote would be SQL; and what
    follows a line end would be YAML, wherever somebody writes the name as it is.
    """
    fits = 0 < len(name.encode(errors="surrogatepass")) <= _LONGEST_NAME
    return fits and not _ENDING.search(name) and not has_jinja(name)


def addable(names: Iterable[str]) -> list[str]:
    """Return the first of the names for which `lines_to_add` proposes a line."""
    return [name for name in names if is_declarable(name)][:_MOST_LINES]


def lines_to_add(columns: Mapping[str, str], *, optional: bool = False) -> str:
    """Return, for a message, the lines that declare columns with these types; `optional`: deliveries may lack them."""
    lines = "".join(f"\n  {column_line(name, data_type, optional=optional)}" for name, data_type in columns.items())
    return f"; to load them, add to the columns:{lines}" if lines else ""


def renames(names: Iterable[str]) -> str:
    """Return, for a message, that the sender has to rename the first column that dbt would evaluate, or whose name it cannot quote."""
    name = next((name for name in names if has_jinja(name) or _ENDING.search(name)), None)
    if name is None:
        return ""
    why = "dbt would evaluate as Jinja" if has_jinja(name) else "dbt cannot quote"
    return f", or ask the sender to rename {excerpt(name)!r}, which {why}"
