"""A database that was restored from a dump: the ledger knows relations by their oids, which are others there."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from conftest import Cluster, numbers
from psycopg import sql
from support import dbt_projects
from support.shop import WEDNESDAY, Shop

from dpe_cli.errors import PublishError, ServerError
from dpe_cli.pipeline import publish
from dpe_cli.server.bootstrap import bootstrap_server, ensure_bootstrapped
from dpe_cli.server.contexts import admin_context
from dpe_cli.server.server import Server


@pytest.fixture
def restored(cluster_18: Cluster, shop: Shop) -> Iterator[Shop]:
    """Restore a dump of the small pipeline as another database, and give the pipeline there; its project is the same."""
    shop.write(WEDNESDAY)
    shop.run(publishes=False)
    server = replace(shop.server, database=f"restored_{next(numbers)}", is_embedded=False)
    environment = {**os.environ, "PGHOST": server.host, "PGPORT": str(server.port), "PGUSER": "postgres"}
    programs = cluster_18.embedded.bin_dir
    with shop.server.connect("admin", autocommit=True) as connection:
        connection.execute(sql.SQL("create database {} template template0").format(sql.Identifier(server.database)))
        connection.execute(sql.SQL("grant create on database {} to dpe_transformer").format(sql.Identifier(server.database)))
    dump = subprocess.run([programs / "pg_dump", shop.server.database], env=environment, check=True, capture_output=True).stdout
    restore: list[str | Path] = [programs / "psql", "-X", "-q", "-v", "ON_ERROR_STOP=1", "-d", server.database]
    subprocess.run(restore, env=environment, check=True, input=dump, capture_output=True)
    yield replace(shop, server=server)
    with shop.server.connect("admin", autocommit=True) as connection:
        connection.execute(sql.SQL("drop database {} with (force)").format(sql.Identifier(server.database)))


def unknown_relations(server: Server) -> int:
    """Count the protected relations of the ledger that do not exist, or are not dbt's."""
    with server.connect("admin") as connection, admin_context(connection, "test"):
        return connection.execute(
            """
            select
            from dpe.protected_relations
            where not exists (select from pg_class where oid = relation_id and relowner = 'dpe_transformer'::regrole)
            """
        ).rowcount


def test_a_restored_database_has_to_be_bootstrapped_once(restored: Shop) -> None:
    """Until then, commands refuse and say so. Then the ledger knows the relations; what waited cannot be published, nor what was undone."""
    server = restored.server
    with pytest.raises(ServerError, match=f"database {server.database} was restored from a dump; run `dpe bootstrap`"):
        ensure_bootstrapped(server)
    assert 0 < unknown_relations(server)

    assert (True, False) == (bootstrap_server(server).is_restored, bootstrap_server(server).is_restored)

    ensure_bootstrapped(server)
    assert 0 == unknown_relations(server)
    for attempt in (publish.publish, publish.undo):
        with pytest.raises(PublishError, match="was rebuilt since; run `dpe run` to build and publish it"):
            attempt(restored.project, server, ends_sessions=False, progress=dbt_projects.Silence())
    assert [1, 2, 3] == restored.orders()
    restored.run()
    assert [1, 2, 3, 4] == restored.orders()
