"""Schemas as dbt and publications create them, for tests that create relations without dbt."""

from __future__ import annotations

from psycopg import sql

from dpe_cli.server.server import Server

READERS = ("dpe_reader", "dpe_tenant", "dpe_masked_reader")


def create(server: Server, *names: str, opened: bool = False) -> None:
    """Create missing schemas as the transformer; if they are `opened`, readers may use them, as if they could read something there."""
    with server.connect("transformer", autocommit=True) as connection:
        for name in map(sql.Identifier, names):
            connection.execute(sql.SQL("create schema if not exists {0}; grant usage on schema {0} to dpe_owner").format(name))
            if opened:
                readers = sql.SQL(", ").join(map(sql.Identifier, READERS))
                connection.execute(sql.SQL("grant usage on schema {} to {}").format(name, readers))


def create_as_earlier_versions(server: Server) -> None:
    """Create the schemas of the tests' projects as `dpe bootstrap` used to create them, with their owner and privileges."""
    with server.connect("admin", autocommit=True) as connection:
        connection.execute(
            """
            create schema raw authorization dpe_owner;
            create schema core authorization dpe_owner;
            create schema finance authorization dpe_owner;
            create schema quality authorization dpe_owner;
            grant usage, create on schema raw to dpe_loader, dpe_transformer;
            grant usage, create on schema core, finance, quality to dpe_transformer;
            grant usage on schema finance to dpe_reader, dpe_tenant, dpe_masked_reader
            """
        )
