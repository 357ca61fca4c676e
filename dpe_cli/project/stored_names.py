"""Names of relations as PostgreSQL stores them, which differ from those in the files where the project does not quote names."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

_PART = re.compile(r'"((?:[^"]|"")*)"|([^".]+)')


def is_folded(node: Mapping[str, Any]) -> bool:
    """Return whether PostgreSQL stores the relation of a model, seed or snapshot under another name than the project has for it."""
    return stored_name(node) != (node["schema"], node["alias"])


def stored_name(node: Mapping[str, Any]) -> tuple[str, str]:
    """
    Return the schema and name by which PostgreSQL knows the relation of a node of dbt's manifest: those of the query that dbt writes.

    Where quoting is off (`quoting:` of a source or of the project), PostgreSQL folds the letters of ASCII to lower case, like lower() of
    bytes. As macros/rls/stored_name.sql.
    """
    parts = [
        plain.encode().lower().decode() if plain else quoted.replace('""', '"')
        for quoted, plain in _PART.findall(node.get("relation_name") or "")
    ]
    if len(parts) < 2:
        # What has no relation, such as an ephemeral model.
        return str(node["schema"]), str(node.get("identifier") or node.get("alias"))
    return parts[-2], parts[-1]
