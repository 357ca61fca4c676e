"""
Checks that compare the catalog with the project's files.

What the catalog itself says of a relation's declaration, a hook or Jinja of any model can have written, at any time.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from dpe_cli.access import checks, code_in_sources, declared, strays
from dpe_cli.access.checks import Finding, RlsCheck
from dpe_cli.project.model import models_of
from dpe_cli.server.connection import Connection


def all_checks() -> tuple[RlsCheck, ...]:
    """Return these checks and those that read only the catalog, by id."""
    return (*checks.checks(), strays.CHECK, declared.CHECK, code_in_sources.CHECK)


def find(
    connection: Connection, manifest: Mapping[str, Any], target: str, schemas: Sequence[str], *, waiting: Collection[tuple[str, str]] = ()
) -> list[Finding]:
    """
    Return which relations are not published as the project declares, which others are readable, and which sources run code of others.

    The project is dbt's manifest, for the target. Readable relations are looked for in `schemas`. `waiting` are the published schemas and
    names of relations that were built again but not published.
    """
    published = {model.unique_id: model.schema for model in models_of(manifest).values() if (model.schema, model.alias) not in waiting}
    return [
        *strays.find(connection, manifest, schemas),
        *declared.differences(connection, manifest, target, published),
        *code_in_sources.find(connection, manifest),
    ]
