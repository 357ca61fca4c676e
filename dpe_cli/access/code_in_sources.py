"""
Sources whose owners have the pipeline run their code.

dbt reads the tables of other tools where they are, as `dpe_transformer`, which sees all rows. If such a table belongs to somebody who is
neither an administrator nor the pipeline, its policies, or a view in its place, would run code of this owner with these rights.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Any

from dpe_cli.access.checks import Finding, RlsCheck
from dpe_cli.project.stored_names import stored_name
from dpe_cli.server.connection import Connection

CHECK = RlsCheck(
    "RLS076",
    "source_with_code_of_others",
    "error",
    "A source that runs code of others when it is read",
    "it runs with the rights of dpe_transformer, which sees the rows of all tenants and owns what is published",
    "",
)
_FIX = "remove this code, or have an administrator own it"


def find(connection: Connection, manifest: Mapping[str, Any], of_nodes: Collection[str] | None = None) -> list[Finding]:
    """
    Return the sources that run code of others, among those that queries of the nodes read, or among all.

    Reads the catalog only, and so runs none of this code.
    """
    sources = manifest["sources"]
    named = [sources[unique_id] for unique_id in (sources if of_nodes is None else _read_by(manifest, of_nodes))]
    if not named:
        return []
    names = [stored_name(node) for node in named]
    with connection.transaction():
        rows = connection.execute(
            "select source, code from dpe.sources_with_code(%s::name[], %s::name[])",
            [[schema for schema, _ in names], [name for _, name in names]],
        ).fetchall()
    return [
        Finding(
            CHECK.check_id,
            CHECK.severity,
            str(source),
            f"reading it would run code of others with the rights of dpe_transformer ({code})",
            _FIX,
        )
        for source, code in rows
    ]


def _read_by(manifest: Mapping[str, Any], unique_ids: Iterable[str]) -> list[str]:
    """Return the sources among these nodes, and those that they read, also through views (macros/rls/sources_read_by.sql)."""
    nodes, left, seen = manifest["nodes"], list(unique_ids), set[str]()
    found = dict.fromkeys(unique_id for unique_id in left if unique_id in manifest["sources"])
    while left:
        unique_id = left.pop()
        if unique_id in seen or unique_id not in nodes:
            continue
        seen.add(unique_id)
        for parent in nodes[unique_id]["depends_on"].get("nodes", []):
            if parent in manifest["sources"]:
                found[parent] = None
            elif parent in nodes and nodes[parent]["config"].get("materialized") in {"view", "ephemeral"}:
                left.append(parent)
    return list(found)
