"""
Real servers for the tests: PostgreSQL 18 from the wheel and, where Debian has installed it, PostgreSQL 15.

Each server is started once per session and bootstrapped in a template, from which a test gets a database of its own.
Roles belong to the whole server: a test that needs a login uses the fixture `reader`.
"""

from __future__ import annotations

import gc
import itertools
import logging
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import sql
from support import dbt_projects

from dpe_cli import machine
from dpe_cli.safe_text import redaction
from dpe_cli.server.bootstrap import bootstrap_server
from dpe_cli.server.contexts import admin_context
from dpe_cli.server.embedded.server import EmbeddedServer
from dpe_cli.server.server import Server

# Their fixtures, for every test. pytest has to import them itself, to rewrite their asserts.
pytest_plugins = [
    "support.staged_source",
    "support.sftp_server",
    "support.shop",
    "support.databases",
    "support.misbehaving_api",
    "support.api_source",
    "support.misbehaving_tap",
    "support.infer_place",
    "support.webhook",
    "support.recipes",
]

# The directory of each version's programs; none for the wheel's. DPE_TEST_POSTGRESQL adds some: `16=/opt/pg16/bin 17=/opt/pg17/bin`.
VERSIONS: dict[str, Path | None] = {"18": None, "15": Path("/usr/lib/postgresql/15/bin")}
VERSIONS |= {version: Path(place) for version, place in (part.split("=", 1) for part in os.environ.get("DPE_TEST_POSTGRESQL", "").split())}

# What most tests run on; the others are run by fewer tests.
NEWEST = "18"

# Files that show the same on each version of PostgreSQL, most of them by many queries of its catalog: `make test` runs them on the newest one.
OF_NEWEST = (
    "test_rls_outside.py",
    "test_access.py",
    "test_access_roles.py",
    "test_refused_to_readers.py",
    "test_exact_values.py",
    "test_postgres_pages.py",
    "test_foreign_code.py",
    "test_old_versions.py",
)

# The files that take longest. They run first, so that none is left to one process at the end.
LONGEST = (
    "test_demo.py",
    "test_managed.py",
    "test_publishing.py",
    "test_hooks.py",
    "test_rls_matrix.py",
    "test_memory_of_rules.py",
    "test_rls_check.py",
    "test_run.py",
    "test_dbt_suite.py",
    "test_refusals.py",
    "test_pipeline.py",
    "test_quarantine.py",
    "test_masking.py",
    "test_departure_weather.py",
    "test_policies.py",
    "test_dbt_1_12.py",
    "test_infer.py",
)

# Python looks for cycles after each 700 new objects, which takes a fifth of the time of dbt and of the imports.
gc.set_threshold(300_000, 20, 100)

numbers = itertools.count(1)


@dataclass(frozen=True)
class Cluster:
    """A running server, with one bootstrapped database that is copied for each test."""

    embedded: EmbeddedServer
    template: Server

    @contextmanager
    def new_database(self, name: str | None = None) -> Iterator[Server]:
        """Copy the bootstrapped database, and drop the copy at the end; by default, its name is a new one."""
        server = replace(self.template, database=name or f"test_{next(numbers)}")
        database, template = sql.Identifier(server.database), sql.Identifier(self.template.database)
        with self._administration() as connection:
            # Copying its files takes a fourth of the time that copying its blocks through the log does.
            connection.execute(sql.SQL("create database {} template {} strategy file_copy").format(database, template))
            # Privileges on the database itself are not copied.
            connection.execute(sql.SQL("grant create on database {} to dpe_loader, dpe_transformer").format(database))
        try:
            yield server
        finally:
            with self._administration() as connection:
                connection.execute(sql.SQL("drop database {} with (force)").format(database))

    def _administration(self) -> psycopg.Connection[Any]:
        """Open a session outside of the tests' databases, without what makes sessions of dpe safe, which takes half of their time."""
        server = self.template
        return psycopg.connect(host=server.host, port=server.port, user=server.admin_user, dbname="postgres", autocommit=True)


# Creating and dropping a database copies and removes 300 files, which takes a tenth of the time in memory. The tests that need most, three
# files at a time, take less than 2 GB.
MEMORY = Path("/dev/shm")  # noqa: S108 mkdtemp and pytest make directories in it that only this user can enter
MEMORY_NEEDED = 6 * 1024**3


def pytest_configure() -> None:
    """Keep temporary files in memory, if there is enough and TMPDIR names no other place; containers often have 64 MB there."""
    if "TMPDIR" not in os.environ and _has_room(MEMORY):
        os.environ["TMPDIR"] = tempfile.tempdir = str(MEMORY)


def _has_room(directory: Path) -> bool:
    """Return whether temporary files fit into a directory that is kept in memory, and programs may be run from there."""
    if not os.access(directory, os.W_OK) or machine.memory() < 2 * MEMORY_NEEDED:
        return False
    return shutil.disk_usage(directory).free >= MEMORY_NEEDED and not os.statvfs(directory).f_flag & os.ST_NOEXEC


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Leave long tests to `make compatibility`, and run the files that take longest first; the others keep their order."""
    from support.long_tests import LONG  # it needs NEWEST

    for item in items:
        is_older = (
            isinstance(item, pytest.Function) and hasattr(item, "callspec") and item.callspec.params.get("any_cluster", NEWEST) != NEWEST
        )
        if is_older and item.path.name in OF_NEWEST:
            item.add_marker(LONG)
    items.sort(key=lambda item: LONGEST.index(item.path.name) if item.path.name in LONGEST else len(LONGEST))


@pytest.fixture(autouse=True, scope="session")
def _own_environment() -> None:
    """Keep the developer's own server out of the tests."""
    for name in list(os.environ):
        if name.startswith(("PG", "DPE_", "DBT_", "WEATHER_API_")):
            del os.environ[name]
    # Its manifest takes dbt a third of a small run to write, and almost no test reads it.
    os.environ["DBT_WRITE_JSON"] = "false"


@pytest.fixture(autouse=True)
def _as_in_a_new_process(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Forget the secrets and the log settings of other tests."""
    monkeypatch.setattr(redaction, "_known", frozenset())
    monkeypatch.setattr(redaction, "_issued", frozenset())
    log = logging.getLogger("dpe_cli")
    level, handlers = log.level, [*log.handlers]
    yield
    log.setLevel(level)
    log.handlers[:] = handlers


@pytest.fixture(scope="session")
def scratch() -> Iterator[Path]:
    """Make a directory with a short path that the server's user may enter, for sockets and data; pytest's are closed to others."""
    _clear_up()
    directory = Path(tempfile.mkdtemp(prefix=f"dpe-test-{os.getpid()}-"))
    directory.chmod(0o711)
    yield directory
    shutil.rmtree(directory, ignore_errors=True)


def _clear_up() -> None:
    """Stop the servers of sessions that were killed."""
    for directory in Path(tempfile.gettempdir()).glob("dpe-test-*"):
        if directory.stat().st_uid != os.geteuid():
            continue
        try:
            os.kill(int(directory.name.split("-")[2]), 0)
        except ProcessLookupError:
            for version, bin_dir in VERSIONS.items():
                EmbeddedServer(directory / version, bin_dir).stop()
            shutil.rmtree(directory, ignore_errors=True)
        except PermissionError:
            continue


def _cluster(directory: Path, version: str) -> Iterator[Cluster]:
    bin_dir = VERSIONS[version]
    if bin_dir is not None and not bin_dir.is_dir():
        pytest.skip(f"PostgreSQL {version} is not installed in {bin_dir}")
    embedded = EmbeddedServer(directory / version, bin_dir)
    embedded.start()
    template = Server(str(embedded.socket_dir), embedded.port, "dpe", "postgres", is_embedded=True, log=embedded.log)
    # For the projects that the tests write.
    template = replace(template, project=dbt_projects.NAME, target="dev")
    # What is in it ends with the tests: nothing has to outlive a crash of the machine, and dropping a database takes a third of the time.
    with replace(template, database="postgres").connect("admin", autocommit=True) as connection:
        connection.execute("alter system set fsync = off")
        connection.execute("select pg_reload_conf()")
    try:
        bootstrap_server(template)
        yield Cluster(embedded, template)
    finally:
        embedded.stop()


@pytest.fixture(scope="session")
def cluster_of(_own_environment: None, scratch: Path) -> Iterator[Callable[[str], Cluster]]:
    """Run the server of a version once it is asked for; a test is skipped if the version is not installed."""
    with ExitStack() as stack:
        yield cache(lambda version: stack.enter_context(contextmanager(_cluster)(scratch, version)))


@pytest.fixture(scope="session")
def cluster_18(cluster_of: Callable[[str], Cluster]) -> Cluster:
    """Run PostgreSQL 18 from the wheel."""
    return cluster_of(NEWEST)


@pytest.fixture(scope="session", params=list(VERSIONS))
def any_cluster(request: pytest.FixtureRequest, cluster_of: Callable[[str], Cluster]) -> Cluster:
    """Give each version's server in turn."""
    return cluster_of(request.param)


@pytest.fixture
def server(cluster_18: Cluster) -> Iterator[Server]:
    """Give a bootstrapped database of the test's own on PostgreSQL 18."""
    with cluster_18.new_database() as server:
        yield server


@pytest.fixture
def fresh_server(any_cluster: Cluster) -> Iterator[Server]:
    """Give a bootstrapped database of the test's own, on each version in turn."""
    with any_cluster.new_database() as server:
        yield server


@pytest.fixture(scope="module")
def module_server(cluster_18: Cluster) -> Iterator[Server]:
    """Give a bootstrapped database that the tests of one file share, on PostgreSQL 18."""
    with cluster_18.new_database() as server:
        yield server


@pytest.fixture
def reader() -> Iterator[Callable[..., str]]:
    """Create logins that are readers: `reader(server, "UA", "HA")` returns the name of one that may see two tenants."""
    made: list[tuple[Server, str]] = []

    def create(server: Server, *tenants: str) -> str:
        name = f"reader_{next(numbers)}"
        with server.connect("admin") as connection:
            connection.execute(sql.SQL("create role {} login in role dpe_reader").format(sql.Identifier(name)))
            connection.commit()
            made.append((server, name))
            with admin_context(connection, "test"):
                for tenant in tenants:
                    connection.execute("insert into dpe.tenant_access values (%s, %s)", (name, tenant))
        return name

    yield create
    for server, name in reversed(made):
        with server.connect("admin") as connection:
            with admin_context(connection, "test"):
                connection.execute("delete from dpe.tenant_access where role_name = %s::regrole", [name])
            connection.execute(sql.SQL("drop owned by {}").format(sql.Identifier(name)))
            connection.execute(sql.SQL("drop role {}").format(sql.Identifier(name)))
