"""What `dpe db dump-options` prints, and when it refuses. test_backup.py dumps and restores with these options."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable
from dataclasses import replace

import pytest
from conftest import Cluster
from psycopg import sql

from dpe_cli.errors import ServerError
from dpe_cli.server.dump_options import DumpOptions, dump_options
from dpe_cli.server.server import Server

# One schema of each of dpe's roles, with a name that pg_dump would take for a pattern; and schemas of others.
SCHEMAS = """
    create schema "fin*|a?nce" authorization dpe_transformer;
    create table "fin*|a?nce".orders (i integer);
    alter table "fin*|a?nce".orders owner to dpe_transformer;
    create schema crm;
    create table crm.customers (i integer);
    create schema finance_of_others;
    create table finance_of_others.t (i integer);
"""


def options(server: Server, statements: str = "", *named: str) -> DumpOptions:
    """Run statements as the administrator, then return the options."""
    with server.connect("admin", autocommit=True) as connection:
        connection.execute((SCHEMAS + statements).encode())
        return dump_options(connection, named)


def test_only_the_schemas_of_the_pipeline_are_dumped(server: Server) -> None:
    """And those that the administrator names; all others are left out."""
    found = options(server)
    assert (["dpe", "dpe_locks", "fin*|a?nce"], ["crm", "finance_of_others", "public"]) == (found.schemas, found.left_out)
    with server.connect("admin") as connection:
        assert ["crm", "dpe", "dpe_locks", "fin*|a?nce"] == dump_options(connection, ["crm"]).schemas
        with pytest.raises(ServerError, match=f"^--schema cmr: database {server.database} has no schema of this name"):
            dump_options(connection, ["cmr"])


def test_pg_dump_takes_each_name_as_it_is(server: Server, cluster_18: Cluster) -> None:
    """Whatever is in it; a pattern would dump schemas of others, too."""
    found = options(server, 'alter schema "fin*|a?nce" rename to "fin*|.a$""?nce"')
    arguments: list[str] = ["--host", server.host, "--port", str(server.port), "--username", "postgres", "--schema-only", server.database]
    done = subprocess.run(
        [str(cluster_18.embedded.bin_dir / "pg_dump"), *found.options, *arguments], check=True, capture_output=True, text=True
    )
    assert 'CREATE TABLE "fin*|.a$""?nce".orders' in done.stdout
    assert "crm" not in done.stdout
    assert "finance_of_others" not in done.stdout


def test_what_the_dump_needs_is_named(server: Server) -> None:
    """A view, a default, a policy, an index, a domain or a column's type that uses what is left out could not be restored."""
    with server.connect("admin", autocommit=True) as connection:
        connection.execute(
            (
                SCHEMAS + "create function crm.f() returns boolean language sql immutable as 'select true';"
                " create function crm.f(integer[]) returns boolean language sql as 'select true'"
            ).encode()
        )
        for statement in (
            'create view "fin*|a?nce".used as select * from crm.customers',
            'create table "fin*|a?nce".used (b boolean default crm.f())',
            'create policy used on "fin*|a?nce".orders using (crm.f())',
            'create index used on "fin*|a?nce".orders (crm.f())',
            'create domain "fin*|a?nce".used as integer[] check (crm.f(value))',
            'create domain "fin*|a?nce".used as integer default crm.f()::integer',
            'create statistics "fin*|a?nce".used on (crm.f()), i from "fin*|a?nce".orders',
            "create function \"fin*|a?nce\".used(crm.customers) returns boolean language sql as 'select true'",
        ):
            with connection.transaction(force_rollback=True):
                connection.execute(statement.encode())
                with pytest.raises(ServerError, match=r"uses .*, in the schema crm; the dump could not be restored .* add --schema crm$"):
                    dump_options(connection)
                assert "crm" in dump_options(connection, ["crm"]).schemas


def test_extensions_of_administrators_are_dumped(server: Server) -> None:
    """In the schemas that the new database has; a model may use one in another schema, which has to be named."""
    with server.connect("admin", autocommit=True) as connection:
        if not connection.execute("select from pg_available_extensions where name = 'citext'").rowcount:
            pytest.skip("citext is not installed")
    assert ["citext"] == options(server, "create extension citext schema public").extensions
    with server.connect("admin", autocommit=True) as connection:
        connection.execute('alter extension citext set schema crm; alter table "fin*|a?nce".orders add c crm.citext')
        with pytest.raises(ServerError, match=r"uses type crm.citext, in the schema crm; .* add --schema crm$"):
            dump_options(connection)
        assert ["citext"] == dump_options(connection, ["crm"]).extensions


def test_objects_of_others_in_a_dumped_schema_are_refused(server: Server, reader: Callable[..., str]) -> None:
    """Their code would run as the administrator; even in a schema that the administrator names, unless they own it."""
    name = reader(server)
    with server.connect("admin", autocommit=True) as connection:
        connection.execute(SCHEMAS.encode())
        for schema in ("fin*|a?nce", "crm"):
            connection.execute(sql.SQL("grant usage, create on schema {} to {}").format(sql.Identifier(schema), sql.Identifier(name)))
    with server.connect(name, autocommit=True) as connection:
        connection.execute('create table crm.theirs (i integer); create domain "fin*|a?nce".theirs as integer')
    with server.connect("admin", autocommit=True) as connection:
        with pytest.raises(
            ServerError, match=rf'^fin\*\|a\?nce: holds 1 of {name}, such as type "fin\*\|a\?nce".theirs; a dump would call'
        ):
            dump_options(connection)
        connection.execute('drop domain "fin*|a?nce".theirs')
        assert "crm" in dump_options(connection).left_out
        with pytest.raises(ServerError, match=rf"^crm: holds 1 of {name}, such as table crm.theirs; a dump would call"):
            dump_options(connection, ["crm"])
        connection.execute(sql.SQL("alter schema crm owner to {}").format(sql.Identifier(name)))
        assert "crm" in dump_options(connection, ["crm"]).schemas
        connection.execute("alter schema crm owner to current_user")


# What a dump contains of a schema. Tables, views, sequences and composite types are relations.
OBJECTS = {
    "domain over an array": "create domain crm.theirs as integer[] check (array_ndims(value) = 1)",
    "domain over a domain over an array": "create domain crm.theirs as desk.codes",
    "composite type": "create type crm.theirs as (i integer)",
    "enum": "create type crm.theirs as enum ('a')",
    "range": "create type crm.theirs as range (subtype = integer)",
    "view": "create view crm.theirs as select 1 as one",
    "sequence": "create sequence crm.theirs",
    "function": "create function crm.theirs() returns integer language sql as 'select 1'",
    "aggregate": "create aggregate crm.theirs(integer) (sfunc = int4pl, stype = integer)",
    "operator": "create operator crm.=== (leftarg = integer, rightarg = integer, function = int4eq)",
    "conversion": "create conversion crm.theirs for 'LATIN1' to 'UTF8' from iso8859_1_to_utf8",
    "collation": 'create collation crm.theirs from pg_catalog."C"',
    "statistics": "create statistics crm.theirs on i, j from desk.counted",
    "configuration": "create text search configuration crm.theirs (copy = pg_catalog.simple)",
    "dictionary": "create text search dictionary crm.theirs (template = simple)",
}


def test_each_kind_of_object_of_others_is_refused(server: Server, reader: Callable[..., str]) -> None:
    """Whoever of others made it, also if the schema belongs to one of them."""
    owner, name = reader(server), reader(server)
    with server.connect("admin", autocommit=True) as connection:
        connection.execute(SCHEMAS.encode())
        with connection.transaction(force_rollback=True):
            connection.execute(
                f"alter schema crm owner to {owner}; grant usage, create on schema crm to {name}; create schema desk authorization {name};"
                f" set local role {name}; create domain desk.codes as integer[]; create table desk.counted (i integer, j integer)".encode()
            )
            for kind, statement in OBJECTS.items():
                with connection.transaction(force_rollback=True):
                    connection.execute(f"{statement}; reset role".encode())
                    try:
                        found: object = dump_options(connection, ["crm"])
                    except ServerError as error:
                        found = error
                    assert re.match(rf"crm: holds \d of {name}, such as .*; a dump would call", str(found)), (kind, found)


def test_relations_of_the_pipeline_are_not_left_out(server: Server) -> None:
    """In a schema that others own, which `dpe rls check` reports too, a backup would lack them."""
    with pytest.raises(ServerError, match=r"^crm.customers belongs to dpe_transformer, but its schema crm does not; .* --schema crm$"):
        options(server, "alter table crm.customers owner to dpe_transformer")


def test_a_database_without_dpe_is_refused(cluster_18: Cluster) -> None:
    """There is nothing to dump."""
    server = replace(cluster_18.template, database="postgres")
    with (
        server.connect("admin") as connection,
        pytest.raises(ServerError, match="^database postgres: has no schemas of dpe; run `dpe bootstrap`$"),
    ):
        dump_options(connection)
