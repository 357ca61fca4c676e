"""Two tables and a view on both, built and published without dbt, which would take seconds each time."""

from __future__ import annotations

from typing import Any

from dpe_cli.publishing import builds, publication, publisher
from dpe_cli.publishing.builds import Publication
from dpe_cli.publishing.publication import ExchangeResult
from dpe_cli.server.contexts import system_context
from dpe_cli.server.server import Server


def rows(server: Server, query: str) -> list[Any]:
    """Query as the transformer, in a context."""
    with server.connect("transformer") as connection, system_context(connection, actor="test"):
        return [row if len(row) > 1 else row[0] for row in connection.execute(query.encode()).fetchall()]


def execute(server: Server, role: str, *statements: str) -> None:
    """Run statements as a role."""
    with server.connect("admin") as connection:
        connection.execute(f"set role {role}".encode())
        for statement in statements:
            connection.execute(statement.encode())


def build(server: Server, number: int) -> Publication:
    """Build the two tables, full of a number, and the view."""
    with publisher.building(server, ["finance"]) as building:
        make(server, number)
        names = [("finance", name) for name in ("left_half", "right_half", "both_halves")]
        return builds.record(building.connection, [], names, [], lock=building.lock)


def make(server: Server, number: int) -> None:
    """Create the relations of a build in a separate session, as dbt does."""
    with server.connect("transformer") as connection, system_context(connection, actor="test"):
        connection.execute("create schema if not exists finance__next")
        for name in ("left_half", "right_half"):
            connection.execute(f"create table finance__next.{name} as select {number} as number from generate_series(1, 50)".encode())
            connection.execute(f"alter table finance__next.{name} enable row level security, force row level security".encode())
            connection.execute(
                f"create policy everybody on finance__next.{name} for select to dpe_reader, dpe_transformer using (true)".encode()
            )
            connection.execute(f"grant select on finance__next.{name} to dpe_reader".encode())
        connection.execute(
            b"create view finance__next.both_halves with (security_invoker = true) as "
            b"select number from finance__next.left_half union all select number from finance__next.right_half"
        )
        connection.execute(b"grant select on finance__next.both_halves to dpe_reader")


def publish(server: Server, made: Publication, **options: Any) -> ExchangeResult:
    """Publish a build."""
    with publisher.connected(server) as connection:
        return publication.publish(connection, made, ["finance"], **options)
