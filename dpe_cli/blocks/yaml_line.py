"""The line of YAML that declares a column, for messages about columns that the contract lacks."""

from __future__ import annotations

import json
import re

_PLAIN = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
# YAML reads them as a truth value, or as nothing (YAML 1.1, which dbt reads).
_YAML_WORDS = frozenset({"y", "n", "yes", "no", "on", "off", "true", "false", "null"})


def is_plain(name: str) -> bool:
    """Return whether YAML reads a name as it is, without quotes."""
    return bool(_PLAIN.fullmatch(name)) and name.lower() not in _YAML_WORDS


def column_line(name: str, data_type: str, *, optional: bool = False) -> str:
    """Return the line that declares a column; `optional`: deliveries may lack it."""
    written = name if is_plain(name) else f"{json.dumps(name, ensure_ascii=False)}, quote: true"
    return f"- {{name: {written}, data_type: {data_type}{', config: {meta: {optional: true}}' if optional else ''}}}"
