"""
Run queries as a role, without letting the code that they call leave that role.

A policy, a view, a cast or a trigger may call another role's function, and `reset role` in it would restore the rights of the login,
perhaps a superuser's. So a session runs its queries through functions that belong to the role (SECURITY DEFINER), in which PostgreSQL
refuses to change the role. Whatever such code wrote, created or set is rolled back after each query.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
from psycopg import sql

from dpe_cli.errors import ContextError
from dpe_cli.server.connection import Connection

_GUARDS = """
    create function pg_temp.{rows}(query text) returns setof jsonb
    language plpgsql security {security} set search_path = pg_catalog, pg_temp as $$
    begin
        return query execute format('select to_jsonb(answered) from (%s) as answered', query);
    end $$;
    create function pg_temp.{affected}(statement text) returns bigint
    language plpgsql security {security} set search_path = pg_catalog, pg_temp as $$
    declare
        affected bigint;
    begin
        execute statement;
        get diagnostics affected = row_count;
        return affected;
    end $$;
    grant execute on function pg_temp.{rows}(text), pg_temp.{affected}(text) to public;
"""
_OWN_GUARDS = """
    alter function pg_temp.{rows}(text) owner to {role};
    alter function pg_temp.{affected}(text) owner to {role};
"""


@contextmanager
def acting_as(connection: Connection, roles: Collection[str], *, strictly: bool = True) -> Iterator[None]:
    """
    Create the functions that queries as these roles go through, for the block; everything that the block does is rolled back.

    Unless the session is a superuser's, the roles have to be allowed to create temporary objects. If one is not, fail if `strictly`;
    otherwise run its queries without confining code to the role.

    Raises:
        ContextError: a role does not exist, or it may not create temporary objects.
    """
    with connection.transaction(force_rollback=True):
        for role in sorted(roles):
            _make(connection, role, strictly=strictly)
        yield


def rows(connection: Connection, role: str, query: sql.Composable) -> list[dict[str, Any]]:
    """
    Return the rows of a query that runs as a role; the code that it calls can neither leave the role nor keep settings.

    The query is a parameter, so that roles that see the texts of running queries do not see its values.
    """
    call = sql.SQL("select {}(%s)").format(sql.Identifier("pg_temp", _named_for("rows of", role)))
    with connection.transaction(force_rollback=True):
        return [dict(row) for (row,) in connection.execute(call, [query.as_string(connection)])]


def affected(connection: Connection, role: str, statement: sql.Composable) -> int:
    """Return how many rows a statement writes. Otherwise like `rows`."""
    call = sql.SQL("select {}(%s)").format(sql.Identifier("pg_temp", _named_for("affected by", role)))
    with connection.transaction(force_rollback=True):
        [(count,)] = connection.execute(call, [statement.as_string(connection)]).fetchall()
        return int(count)


def _make(connection: Connection, role: str, *, strictly: bool) -> None:
    names = {"rows": sql.Identifier(_named_for("rows of", role)), "affected": sql.Identifier(_named_for("affected by", role))}
    definers = sql.SQL(_GUARDS).format(**names, security=sql.SQL("definer"))
    [(acting, is_superusers)] = connection.execute(
        "select current_setting('role'), rolsuper from pg_roles where rolname = session_user"
    ).fetchall()
    try:
        with connection.transaction():
            _set_role(connection, "none" if is_superusers else role)
            connection.execute(definers)
            if is_superusers:
                connection.execute(sql.SQL(_OWN_GUARDS).format(**names, role=sql.Identifier(role)))
            _set_role(connection, acting)
    except psycopg.errors.UndefinedObject as error:
        raise ContextError(f"{role}: the role does not exist; correct --login") from error
    except (psycopg.errors.InsufficientPrivilege, psycopg.errors.InvalidParameterValue) as error:
        if strictly:
            database = sql.Identifier(connection.info.dbname).as_string(connection)
            raise ContextError(
                f"{connection.info.user}: may not run queries as {role} ({error.diag.message_primary}); connect as a superuser, "
                f"or run `grant temporary on database {database} to {role}`"
            ) from error
        connection.execute(sql.SQL(_GUARDS).format(**names, security=sql.SQL("invoker")))


def _set_role(connection: Connection, role: str) -> None:
    connection.execute("select set_config('role', %s, true)", [role])


def _named_for(what: str, role: str) -> str:
    # PostgreSQL truncates longer names.
    return f"{what} {hashlib.blake2b(role.encode(), digest_size=8).hexdigest()}"
