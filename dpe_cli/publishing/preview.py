"""
Shadow schemas as readers will find them once they are published.

Readers may not use shadow schemas, so what they will see there could only be measured after the publication. For a measurement they get
the right to use those in which they could read afterwards, in a transaction that is rolled back: no other session sees it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from psycopg import sql

from dpe_cli.server.connection import Connection
from dpe_cli.server.relations import NEXT

# The readers of each shadow schema: those that may use the published one, and those for which publishing would open it (dpe.open_schema).
_READERS = """
    select shadows.nspname, readers.role_name
    from unnest(%(schemas)s::text[]) as schemas (name)
    inner join pg_namespace as shadows on shadows.nspname = schemas.name || %(suffix)s
    left join pg_namespace as published on published.nspname = schemas.name
    cross join unnest(array['dpe_reader', 'dpe_tenant']) as readers (role_name)
    where
        has_schema_privilege(readers.role_name, published.oid, 'usage')
        or coalesce(pg_has_role(published.nspowner, 'usage'), true)
        and readers.role_name in (select outside.role_name from dpe.readers_outside(shadows.nspname) as outside (role_name))
"""


@contextmanager
def open_to_readers(connection: Connection, schemas: Sequence[str]) -> Iterator[None]:
    """Let readers use the shadow schemas of published ones for the block, and roll back everything that it does."""
    with connection.transaction(force_rollback=True):
        connection.execute("select set_config('role', 'dpe_transformer', true)")
        for schema, role in connection.execute(_READERS, {"schemas": list(schemas), "suffix": NEXT}).fetchall():
            connection.execute(sql.SQL("grant usage on schema {} to {}").format(sql.Identifier(str(schema)), sql.Identifier(str(role))))
        connection.execute("select set_config('role', 'none', true)")
        yield
