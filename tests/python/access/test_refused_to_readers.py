"""Statements that PostgreSQL allows to any role with a group's privileges, and with which one reader could harm all others."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import psycopg
import pytest
from conftest import Cluster, numbers
from psycopg import sql
from support.rls_leaks import PROTECTED

from dpe_cli.server.contexts import admin_context
from dpe_cli.server.server import Server

GROUPS = ("dpe_reader", "dpe_masked_reader", "dpe_auditor")


@dataclass(frozen=True)
class Readers:
    """A database with a protected table, of which a reader sees two rows, and a login of each group."""

    server: Server
    login: dict[str, str]

    def orders(self) -> int:
        """Return how many orders the reader sees."""
        with self.server.connect(self.login["dpe_reader"]) as connection:
            [(count,)] = connection.execute("select count(*) from marts.fct_orders").fetchall()
            return int(count)


@pytest.fixture(scope="module")
def readers(any_cluster: Cluster) -> Iterator[Readers]:
    """Give such a database on each version."""
    login = {group: f"of_{group}_{next(numbers)}" for group in GROUPS}
    names = sql.SQL(", ").join(map(sql.Identifier, login.values()))
    with any_cluster.new_database() as server:
        with server.connect("admin") as connection:
            connection.execute(PROTECTED.encode())
            for group, name in login.items():
                connection.execute(sql.SQL("create role {} login in role {}").format(sql.Identifier(name), sql.Identifier(group)))
            connection.commit()
            with admin_context(connection, "test"):
                connection.execute("insert into dpe.tenant_access values (%s, 'UA')", [login["dpe_reader"]])
        yield Readers(server, login)
        with server.connect("admin", autocommit=True) as connection:
            connection.execute(sql.SQL("drop owned by {0}; drop role {0}").format(names))


@pytest.mark.parametrize("group", GROUPS)
@pytest.mark.parametrize("become", ["", "set role {group}; "], ids=["by its privileges", "having become it"])
def test_no_reader_removes_its_group_from_the_policies(readers: Readers, group: str, become: str) -> None:
    """PostgreSQL would remove the role from each policy, on anyone's tables, and no reader would see a row."""
    with (
        readers.server.connect(readers.login[group], autocommit=True) as connection,
        pytest.raises(psycopg.errors.InsufficientPrivilege, match="DROP OWNED: is not allowed for readers"),
    ):
        connection.execute((become + "drop owned by {group}").format(group=group).encode())

    assert 2 == readers.orders()


@pytest.mark.parametrize("relation", ["marts.fct_orders", "pg_catalog.pg_database"])
def test_a_reader_that_creates_a_rule_waits_for_no_lock(readers: Readers, relation: str) -> None:
    """It is refused before PostgreSQL locks the relation exclusively, which would block others."""
    login = readers.login["dpe_reader"]
    connect = partial(readers.server.connect, login, autocommit=True)
    with connect() as other, connect() as connection, other.transaction():
        other.execute(f"select count(*) from {relation}".encode())
        connection.execute("set lock_timeout = '1s'")
        with pytest.raises(psycopg.errors.InsufficientPrivilege, match="CREATE RULE: is not allowed for readers"):
            connection.execute(f"create rule r as on insert to {relation} do nothing".encode())


def test_an_administrator_may_run_these_statements(fresh_server: Server, reader: Callable[..., str]) -> None:
    """It drops what a departing reader owns."""
    name = reader(fresh_server)
    with fresh_server.connect("admin", autocommit=True) as connection:
        connection.execute(sql.SQL("create schema authorization {}").format(sql.Identifier(name)))
        connection.execute(sql.SQL("drop owned by {}").format(sql.Identifier(name)))

        assert None is connection.execute("select to_regnamespace(%s)", [name]).fetchall()[0][0]
