"""Databases to extract from, for the tests: a second PostgreSQL database, SQLite, and MariaDB if Debian's package is installed."""

from __future__ import annotations

import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
import sqlalchemy
from conftest import Cluster

KINDS = ("postgresql", "sqlite", "mariadb")
_TYPES = {"postgresql": "timestamptz", "sqlite": "text", "mariadb": "datetime(6)"}


@dataclass(frozen=True)
class Crm:
    """A database with a table of orders: id, customer, amount, changed_at. `url` is what a source names."""

    kind: str
    url: str
    engine: sqlalchemy.Engine

    def write(self, statement: str, *rows: dict[str, object]) -> None:
        """Run a statement that changes data."""
        with self.engine.begin() as connection:
            connection.execute(sqlalchemy.text(statement), list(rows) or None)

    def add(self, *orders: tuple[int, str | None, str | None, str | None]) -> None:
        """Add orders, or change existing ones."""
        for order in orders:
            row: dict[str, object] = dict(zip(("id", "customer", "amount", "changed_at"), order, strict=True))
            self.write("delete from orders where id = :id", {"id": order[0]})
            self.write("insert into orders values (:id, :customer, :amount, :changed_at)", row)

    def goes_away(self, monkeypatch: pytest.MonkeyPatch, reader: type) -> None:
        """End the reader's session once its `blocks` has yielded one."""
        read = reader.blocks  # type: ignore[attr-defined]

        def cut_off(*arguments: Any) -> Iterator[Any]:
            for number, block in enumerate(read(*arguments)):
                if number == 1:
                    self.write("select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'psql'")
                yield block

        monkeypatch.setattr(reader, "blocks", cut_off)


@contextmanager
def _mariadb(scratch: Path) -> Iterator[str]:
    """Run MariaDB on a socket."""
    program = shutil.which("mariadbd")
    install = shutil.which("mariadb-install-db")
    if program is None or install is None:
        pytest.skip("MariaDB is not installed; on Debian: apt-get install mariadb-server")
    directory = scratch / "mariadb"
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir()
    subprocess.run(
        [install, "--no-defaults", f"--datadir={directory}", "--auth-root-authentication-method=normal", "--skip-test-db"],
        check=True,
        capture_output=True,
    )
    socket = directory / "socket"
    options = [f"--datadir={directory}", f"--socket={socket}", "--skip-networking", "--user=root", "--innodb-buffer-pool-size=16M"]
    with (directory / "log").open("wb") as log:
        server = subprocess.Popen([program, "--no-defaults", *options], stdout=log, stderr=log)
    try:
        for _ in range(300):
            if socket.exists():
                break
            time.sleep(0.1)
        yield f"mysql+pymysql://root@/crm?unix_socket={quote(str(socket), safe='')}"
    finally:
        server.kill()
        server.wait()


@pytest.fixture(scope="session")
def mariadb(scratch: Path) -> Iterator[str]:
    """Run MariaDB, and give its URL."""
    with _mariadb(scratch) as url:
        yield url


@pytest.fixture(params=KINDS)
def crm(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Crm]:
    """Give a database of each kind in turn, with an empty table of orders."""
    kind = str(request.param)
    if kind == "postgresql":
        cluster: Cluster = request.getfixturevalue("cluster_18")
        with cluster.new_database() as server:
            url = f"postgresql://postgres@/{server.database}?host={quote(server.host, safe='')}&port={server.port}"
            engine = sqlalchemy.create_engine(url.replace("postgresql:", "postgresql+psycopg:"), poolclass=sqlalchemy.NullPool)
            yield _with_orders(Crm(kind, url, engine))
    elif kind == "sqlite":
        url = f"sqlite:///{tmp_path}/crm.sqlite"
        yield _with_orders(Crm(kind, url, sqlalchemy.create_engine(url, poolclass=sqlalchemy.NullPool)))
    else:
        url = str(request.getfixturevalue("mariadb"))
        engine = sqlalchemy.create_engine(url, poolclass=sqlalchemy.NullPool)
        administration = sqlalchemy.create_engine(url.replace("/crm?", "/mysql?"), poolclass=sqlalchemy.NullPool)
        with administration.begin() as connection:
            connection.execute(sqlalchemy.text("drop database if exists crm"))
            connection.execute(sqlalchemy.text("create database crm character set utf8mb4"))
        yield _with_orders(Crm(kind, url, engine))


def _with_orders(crm: Crm) -> Crm:
    crm.write(f"create table orders (id bigint primary key, customer varchar(100), amount varchar(30), changed_at {_TYPES[crm.kind]})")
    return crm
