r"""
Names and values in a script for psql, written so that psql can take none of their characters for a command.

psql decides by the encoding that the server reports where a quoted text ends, and executes what begins with a backslash after it: `\!` runs
a shell. So nothing but letters, digits, underscores and exclamation marks is within these quotes, and characters that are not ASCII;
any other is written as its number (PostgreSQL documentation, "Identifiers and Key Words", `U&`).
"""

from __future__ import annotations

import re

from psycopg import sql

_NOT_PLAIN = re.compile(r"[^0-9A-Za-z_\x80-\U0010ffff]")


def identifier(*names: str) -> sql.Composable:
    """Return a name, with its schema before it."""
    return sql.SQL(".").join(sql.SQL("U&\"{}\" uescape '!'" if _NOT_PLAIN.search(name) else '"{}"').format(_plain(name)) for name in names)


def literal(value: str) -> sql.Composable:
    """Return a value whose type PostgreSQL determines; it has to read standard strings (`standard_conforming_strings`)."""
    return sql.SQL("U&'{}' uescape '!'" if _NOT_PLAIN.search(value) else "'{}'").format(_plain(value))


def _plain(text: str) -> sql.SQL:
    return sql.SQL(_NOT_PLAIN.sub(lambda found: f"!{ord(found[0]):04X}", text))
