"""
The schemas in which versions of what is published are, besides the published ones.

    marts__next        what `dpe run` builds
    marts__previous    what the last publication replaced
    marts__old_1, …    earlier versions of relations that something still uses
"""

from __future__ import annotations

import re

NEXT = "__next"
PREVIOUS = "__previous"
OLD = "__old_"

# As in sql/rls_checks.
_SHADOW = re.compile("__(next|previous|old_[0-9]+)$")
_OLD = re.compile("__old_[0-9]+$")


def is_shadow(schema: str) -> bool:
    """Return whether a schema is one in which readers have no rights: it holds another version than the published one."""
    return _SHADOW.search(schema) is not None


def is_old(schema: str) -> bool:
    """Return whether a schema is one of versions that nothing brings back."""
    return _OLD.search(schema) is not None


def published_schema(schema: str) -> str:
    """Return the schema in which the relations of a schema are, or were, published."""
    return _SHADOW.sub("", schema)
