"""
Rename tests in the memory of rules, so that their history and the first-seen dates of failing rows go on.

dpe's own dbt project used to be called `dpe`, and so did copies of it; its generic tests had no namespace. Now `dpe` is a package: the
project has a name of its own, and its tests read `dpe.accepted_range`. Both are parts of a test's unique id
(dbt/parser/generic_test_builders.py, synthesize_generic_test_names; dbt/parser/schema_generic_tests.py, create_test_node).
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from dpe_cli.server import contexts
from dpe_cli.server.connection import Connection
from dpe_cli.server.server import Server

ACTOR = "dpe rules"
FORMER_PROJECT = "dpe"
# dbt's length of the digest at the end of a generic test's id.
_DIGITS = 10

_IS_NEEDED = f"select exists (select from dpe.rule_results where test_id like 'test.{FORMER_PROJECT}.%%')"  # noqa: S608
# As an administrator, who sees every project's rows.
_RESULTS = """
    update dpe.rule_results
    set
        test_id = renamed.present_id,
        test = renamed.name
    from unnest(%(former)s::text[], %(present)s::text[], %(names)s::text[]) as renamed (former_id, present_id, name)
    where project = dpe.project() and target = dpe.target() and test_id = renamed.former_id
"""
# A row that failed again under the present id keeps the earlier date.
_SEEN_BEFORE = """
    with

    earlier as (

        delete from dpe.rule_failures as former
        using
            unnest(%(former)s::text[], %(present)s::text[]) as renamed (former_id, present_id),
            dpe.rule_failures as present
        where former.project = dpe.project()
            and former.target = dpe.target()
            and former.test_id = renamed.former_id
            and (present.project, present.target, present.test_id, present.row_hash)
            = (former.project, former.target, renamed.present_id, former.row_hash)
        returning renamed.present_id, former.row_hash, former.first_seen_at, former.first_invocation_id

    )

    update dpe.rule_failures
    set
        first_seen_at = earlier.first_seen_at,
        first_invocation_id = earlier.first_invocation_id
    from earlier
    where project = dpe.project()
        and target = dpe.target()
        and test_id = earlier.present_id
        and rule_failures.row_hash = earlier.row_hash
        and rule_failures.first_seen_at > earlier.first_seen_at
"""
_FAILURES = _RESULTS.replace("rule_results", "rule_failures")


@dataclass(frozen=True)
class Renamed:
    """A test that has another id than before; `name` is its present name."""

    former_id: str
    present_id: str
    name: str


def rename(server: Server, manifest: Callable[[], Mapping[str, Any]]) -> int:
    """
    Rename the tests of the server's project that the memory of rules knows by their former ids; return how many results were.

    Reads dbt's manifest only if there are such ids. Only an administrator may change what was remembered.
    """
    if server.project in (None, FORMER_PROJECT):
        return 0
    with server.connect("transformer") as connection, contexts.system_context(connection, actor=ACTOR):
        if connection.execute(_IS_NEEDED).fetchone() != (True,):
            return 0
    renamed = [found for node in manifest()["nodes"].values() if (found := former(node))]
    with server.connect("admin") as connection, contexts.admin_context(connection, ACTOR):
        return _rename(connection, renamed)


def _rename(connection: Connection, renamed: list[Renamed]) -> int:
    values = {
        "former": [test.former_id for test in renamed],
        "present": [test.present_id for test in renamed],
        "names": [test.name for test in renamed],
    }
    connection.execute(_SEEN_BEFORE, values)
    connection.execute(_FAILURES, values)
    return connection.execute(_RESULTS, values).rowcount


def former(node: Mapping[str, Any]) -> Renamed | None:
    """Return the id that a node of dbt's manifest had, if it is a test whose id is as dbt makes it."""
    if node["resource_type"] != "test" or node["package_name"] == FORMER_PROJECT:
        return None
    name, metadata = node["name"], node.get("test_metadata")
    if not metadata:
        return Renamed(f"test.{FORMER_PROJECT}.{name}", node["unique_id"], name)
    if node["unique_id"] != _unique_id(node["package_name"], name, metadata):
        return None
    former_name, former_metadata = name, metadata
    if metadata.get("namespace") == FORMER_PROJECT:
        former_metadata = {**metadata, "namespace": None}
        former_name = name.removeprefix(f"{FORMER_PROJECT}_") if _is_made_by_dbt(name, metadata) else name
    return Renamed(_unique_id(FORMER_PROJECT, former_name, former_metadata), node["unique_id"], name)


def _is_made_by_dbt(name: str, metadata: Mapping[str, Any]) -> bool:
    """Return whether dbt made a test's name from its namespace, kind and arguments, because the project gave it none."""
    begins = tuple(f"{metadata['namespace']}_{kind}{metadata['name']}_" for kind in ("", "source_"))
    arguments = [_parts(value) for argument, value in sorted(metadata["kwargs"].items()) if argument != "model"]
    end = "__".join(re.sub("[^0-9a-zA-Z_]+", "_", str(part)) for parts in arguments for part in parts)
    return name.startswith(begins) and name.endswith(f"_{end}")


def _parts(value: Any) -> list[Any]:
    """Return the parts of an argument that a test's name shows."""
    if isinstance(value, dict):
        return list(value.values())
    return value if isinstance(value, list) else [value]


def _unique_id(package: str, name: str, metadata: Mapping[str, Any]) -> str:
    """Return a generic test's unique id, as dbt makes it."""
    known = {part: metadata.get(part) for part in ("namespace", "name", "kwargs")}
    digest = hashlib.md5(f"{name}{_hashable(known)!r}".encode(), usedforsecurity=False).hexdigest()
    return f"test.{package}.{name}.{digest[-_DIGITS:]}"


def _hashable(value: Any) -> Any:
    """Return a value as dbt writes it before it computes the digest."""
    if isinstance(value, dict):
        return {key: _hashable(value[key]) for key in sorted(value)}
    if isinstance(value, list):
        return [_hashable(item) for item in value]
    return str(value)
