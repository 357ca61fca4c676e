"""
The schemas of other projects and targets in the database: what they publish is not a stray copy of this project's rows.

dpe records them as the loader. Hooks and Jinja of models act as dpe_transformer, which may read the list, but not add to it.
"""

from __future__ import annotations

from collections.abc import Iterable

from dpe_cli.publishing import old_versions
from dpe_cli.server import contexts
from dpe_cli.server.connection import Connection
from dpe_cli.server.relations import NEXT, PREVIOUS
from dpe_cli.server.server import Server

ACTOR = "dpe run"


def register(server: Server, schemas: Iterable[str]) -> None:
    """Record the schemas of the session's project and target, in place of those that it had."""
    names = sorted(set(schemas))
    with server.connect("loader", application_name=ACTOR) as connection, contexts.system_context(connection, actor=ACTOR):
        known = connection.execute("select schema_name from dpe.project_schemas where project = dpe.project() and target = dpe.target()")
        if names == sorted(str(name) for (name,) in known):
            return
        # The policy leaves those of others alone.
        connection.execute("delete from dpe.project_schemas where schema_name <> all(%s)", [names])
        connection.execute("insert into dpe.project_schemas (schema_name) select unnest(%s::text[]) on conflict do nothing", [names])


def schemas(connection: Connection) -> list[str]:
    """Return the schemas of other projects and targets, with their other versions, in a transaction of its own."""
    with contexts.system_context(connection, actor=ACTOR):
        rows = connection.execute(
            """
            select distinct schema_name
            from dpe.project_schemas
            where (project, target) is distinct from (dpe.project(), dpe.target())
            order by schema_name
            """
        ).fetchall()
        names = [str(name) for (name,) in rows]
        return [schema + suffix for schema in names for suffix in ("", NEXT, PREVIOUS)] + old_versions.old_schemas(connection, names)
