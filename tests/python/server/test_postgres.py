from __future__ import annotations

import getpass
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import psycopg
import pytest
from conftest import Cluster
from psycopg import sql

from dpe_cli.errors import ServerError, UsageError
from dpe_cli.server.embedded.server import EmbeddedServer
from dpe_cli.server.server import Server, embedded_server, existing, resolve

NETWORK = Server("db.example.org", 5433, "ware house", "ad:min", is_embedded=False)


@pytest.fixture
def guarded(cluster_18: Cluster, module_server: Server) -> Iterator[Server]:
    """Give a database whose loader needs the password `right`, as on a shared server."""
    rules = cluster_18.embedded.data_directory / "pg_hba.conf"
    before = rules.read_text()
    rules.write_text(f"local {module_server.database} dpe_loader scram-sha-256\n{before}")
    with module_server.connect("admin", autocommit=True) as connection:
        connection.execute("alter role dpe_loader password 'right'")
        connection.execute("select pg_reload_conf()")
        yield module_server
        rules.write_text(before)
        connection.execute("select pg_reload_conf()")
        connection.execute("alter role dpe_loader password null")


def test_without_pghost_a_project_has_its_embedded_server(tmp_path: Path) -> None:
    """Nothing has to be set for the project's own server."""
    server = resolve(tmp_path, start=False)

    assert server.is_embedded
    assert str(EmbeddedServer(tmp_path / ".dpe" / "postgres").socket_dir) == server.host
    assert ("dpe", "postgres") == (server.database, server.admin_user)


def test_the_embedded_server_is_started_when_it_is_needed(scratch: Path) -> None:
    """Resolving the server makes it possible to connect."""
    project = scratch / "project"
    project.mkdir()
    server = resolve(project)

    try:
        with server.connect("admin") as connection:
            assert ("dpe",) == connection.execute("select current_database()").fetchone()
    finally:
        assert embedded_server(project).stop()


def test_an_existing_server_is_found_and_nothing_is_created(scratch: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither a server, nor a database in it; one that is stopped is started."""
    project = scratch / "existing"
    project.mkdir()
    assert existing(project) is None
    assert [] == list(project.iterdir())
    try:
        assert resolve(project) == existing(project)
        assert embedded_server(project).stop()
        found = existing(project)
        assert found is not None
        assert embedded_server(project).is_running()
        monkeypatch.setenv("PGDATABASE", "another")
        assert existing(project) is None
        with found.connect("admin") as connection:
            assert [] == connection.execute("select from pg_database where datname = 'another'").fetchall()
    finally:
        assert embedded_server(project).stop()


def test_pgdatabase_names_the_database_of_the_embedded_server(scratch: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Which is created, in the directory that DPE_STATE names; the project stays as it is."""
    project = scratch / "unchanged"
    project.mkdir()
    monkeypatch.setenv("PGDATABASE", "Ware house")
    monkeypatch.setenv("DPE_STATE", str(scratch / "state"))
    try:
        for _ in range(2):
            with resolve(project).connect("admin") as connection:
                assert ("Ware house",) == connection.execute("select current_database()").fetchone()
        assert [] == list(project.iterdir())
        assert (scratch / "state" / "postgres").is_dir()
    finally:
        assert embedded_server(project).stop()


def test_pghost_names_another_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The variables of libpq decide, as for psql."""
    for name, value in {"PGHOST": "db.example.org", "PGPORT": "5433", "PGDATABASE": "warehouse", "PGUSER": "boss"}.items():
        monkeypatch.setenv(name, value)

    assert Server("db.example.org", 5433, "warehouse", "boss", is_embedded=False) == resolve(tmp_path)


def test_dpe_admin_user_names_the_administrator(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """PGUSER may be dbt's login, as after `dpe env`."""
    monkeypatch.setenv("PGHOST", "db.example.org")
    assert getpass.getuser() == resolve(tmp_path).admin_user

    monkeypatch.setenv("PGUSER", "dpe_transformer")
    monkeypatch.setenv("DPE_ADMIN_USER", "boss")
    assert "boss" == resolve(tmp_path).admin_user


def test_a_shell_that_was_set_up_for_dbt_leads_to_the_same_server(
    module_server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After `eval "$(dpe env)"`, PGHOST names the embedded server, which dpe still starts and stops."""
    server = resolve(tmp_path, start=False)
    for name, value in {**module_server.environment(), "PGHOST": server.host, "PGPORT": str(server.port), "PGDATABASE": "dpe"}.items():
        monkeypatch.setenv(name, value)

    assert server == resolve(tmp_path, start=False)


def test_a_port_that_is_not_a_number_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The message names the variable."""
    monkeypatch.setenv("PGHOST", "db.example.org")
    monkeypatch.setenv("PGPORT", "54x")

    with pytest.raises(UsageError, match="PGPORT: '54x' is not a port"):
        resolve(tmp_path)


def test_another_server_cannot_be_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`dpe db stop` is only for the embedded server."""
    monkeypatch.setenv("PGHOST", "db.example.org")

    with pytest.raises(UsageError, match="which dpe cannot start or stop"):
        embedded_server(tmp_path)


@pytest.mark.parametrize(
    ("role", "login"), [("admin", "postgres"), ("loader", "dpe_loader"), ("transformer", "dpe_transformer"), ("dpe_loader", "dpe_loader")]
)
def test_each_role_has_its_login(module_server: Server, role: str, login: str) -> None:
    """Pipelines do not work as the administrator."""
    with module_server.connect(role) as connection:
        assert (login,) == connection.execute("select session_user::text").fetchone()


def test_a_connection_has_a_name_that_the_server_shows(module_server: Server) -> None:
    """pg_stat_activity shows what the session is for."""
    with module_server.connect("loader", application_name="dpe extract nyc.flights") as connection:
        assert ("dpe extract nyc.flights",) == connection.execute("show application_name").fetchone()


def test_the_context_for_dbt_does_not_leak_into_our_sessions(module_server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """PGOPTIONS of `dpe env` opens a context for dbt only; its other options are kept."""
    monkeypatch.setenv("PGOPTIONS", "-c dpe.actor=dbt -c dpe.tenant_id=UA -c statement_timeout=5s")

    with module_server.connect("transformer") as connection:
        found = connection.execute("select dpe.actor(), dpe.chosen_tenant(), current_setting('statement_timeout')").fetchone()

    assert (None, None, "5s") == found


def test_dbt_gets_a_context(module_server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the exported variables, and nothing else, a client is the transformer in an open context."""
    monkeypatch.setenv("PGOPTIONS", "-c statement_timeout=5s")
    for name, value in module_server.environment().items():
        monkeypatch.setenv(name, value)

    with psycopg.connect() as connection:
        found = connection.execute(
            "select session_user::text, current_database()::text, dpe.actor(), current_setting('statement_timeout')"
        ).fetchone()

    assert ("dpe_transformer", module_server.database, "dbt", "5s") == found


def test_the_project_is_the_servers_whatever_the_shell_was_set_up_for(module_server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """For sessions of dpe and of dbt; a target's name may contain a space."""
    monkeypatch.setenv("PGOPTIONS", r"-c dpe.actor=dbt -c dpe.project=other\ one -c dpe.target=prod")
    server = replace(module_server, project="shops", target="of me")
    works_for = "select dpe.project(), dpe.target()"
    with server.connect("loader") as connection:
        assert ("shops", "of me") == connection.execute(works_for).fetchone()
    with replace(server, project=None, target=None).connect("loader") as connection:
        assert (None, None) == connection.execute(works_for).fetchone()

    for name, value in server.environment().items():
        monkeypatch.setenv(name, value)
    assert 1 == server.environment()["PGOPTIONS"].count("dpe.project=")
    with psycopg.connect() as connection:
        assert ("shops", "of me") == connection.execute(works_for).fetchone()


def test_every_role_connects_from_a_shell_that_was_set_up_for_dbt(module_server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """Although only the transformer may set some of what the shell sets; and settings are not repeated."""
    for name, value in module_server.environment().items():
        monkeypatch.setenv(name, value)

    for role in ("admin", "loader", "transformer"):
        with module_server.connect(role) as connection:
            assert ("1s",) == connection.execute("show deadlock_timeout").fetchone()
    options = module_server.environment()["PGOPTIONS"]
    assert [1, 1] == [options.count(f" {name}=") for name in ("deadlock_timeout", "lock_timeout")]


def test_the_environment_holds_no_password(module_server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is printed by `dpe env`."""
    monkeypatch.setenv("DPE_TRANSFORMER_PASSWORD", "hush")

    assert "hush" not in "".join(module_server.environment().values()) + module_server.url()


def test_the_url_connects(module_server: Server) -> None:
    """As in `psql "$(dpe db url)"`."""
    with psycopg.connect(module_server.url()) as connection:
        assert ("postgres", module_server.database) == connection.execute("select session_user::text, current_database()::text").fetchone()


@pytest.mark.parametrize(
    ("statement", "options", "expected"),
    [
        ("select 1", "", "10min"),
        ("select 1", "-c lock_timeout=5s", "5s"),
        ("alter role dpe_transformer in database {database} set lock_timeout = '7s'", "", "7s"),
        ("alter role dpe_transformer in database {database} set lock_timeout = 0", "", "0"),
    ],
    ids=["by default", "in PGOPTIONS", "for the login", "for the login, none"],
)
def test_dbt_waits_for_locks_no_longer_than_a_publication(
    server: Server, monkeypatch: pytest.MonkeyPatch, statement: str, options: str, expected: str
) -> None:
    """Unless lock_timeout was set."""
    with server.connect("admin", autocommit=True) as connection:
        connection.execute(statement.format(database=server.database).encode())
    monkeypatch.setenv("PGOPTIONS", options)
    for name, value in server.environment().items():
        monkeypatch.setenv(name, value)
    with psycopg.connect() as connection:
        assert (expected,) == connection.execute("show lock_timeout").fetchone()


def test_no_setting_of_the_role_changes_how_statements_are_read(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither of dpe's sessions nor of dbt's: the role that runs models may change its own settings."""
    read = "select current_setting('standard_conforming_strings'), current_setting('quote_all_identifiers'), current_setting('client_encoding')"
    with server.connect("transformer", autocommit=True) as connection:
        for setting in ("standard_conforming_strings = off", "quote_all_identifiers = on", "client_encoding = 'SQL_ASCII'"):
            connection.execute(f'alter role dpe_transformer in database "{server.database}" set {setting}'.encode())

    with server.connect("transformer") as connection:
        assert ("on", "off", "UTF8") == connection.execute(read.encode()).fetchone()
    for _ in range(2):
        for name, value in server.environment().items():
            monkeypatch.setenv(name, value)
    assert 1 == os.environ["PGOPTIONS"].count("client_encoding")
    with psycopg.connect() as connection:
        assert ("on", "off", "UTF8") == connection.execute(read.encode()).fetchone()


def test_the_url_is_quoted() -> None:
    """Names may contain characters with a meaning in a URL."""
    assert "postgresql://ad%3Amin@db.example.org:5433/ware%20house" == NETWORK.url()
    assert "postgresql://ad%3Amin@[::1]:5433/ware%20house" == replace(NETWORK, host="::1").url()


def test_a_server_that_is_not_reachable_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """The message says where and what to do."""
    monkeypatch.setenv("PGCONNECT_TIMEOUT", "2")

    with pytest.raises(ServerError, match=r"server 127.0.0.1:1: is not reachable .*refused.*; start it, or correct PGHOST and PGPORT"):
        Server("127.0.0.1", 1, "dpe", "postgres", is_embedded=False).connect("admin")


def test_an_embedded_server_that_does_not_run_is_not_waited_for(tmp_path: Path) -> None:
    """The message names the command that starts it."""
    with pytest.raises(ServerError, match=r"is not reachable .*; run `dpe db start`, or read .*/log"):
        resolve(tmp_path, start=False).connect("admin")


def test_a_missing_role_leads_to_bootstrap(module_server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that was never bootstrapped has no loader."""
    monkeypatch.setattr("dpe_cli.server.server.LOGINS", {"loader": "dpe_nobody"})

    with pytest.raises(ServerError, match="has no role dpe_nobody; run `dpe bootstrap`"):
        module_server.connect("loader")


def test_a_missing_administrator_does_not_lead_to_bootstrap(module_server: Server) -> None:
    """The message names the variable that names the administrator."""
    with pytest.raises(ServerError, match="has no administrator boss; name an existing one with DPE_ADMIN_USER"):
        replace(module_server, admin_user="boss").connect("admin")


def test_a_missing_database_is_named(module_server: Server) -> None:
    """The message names the variable that names the database."""
    with pytest.raises(ServerError, match="has no database nowhere; create it, or name another with PGDATABASE"):
        replace(module_server, database="nowhere").connect("admin")


@pytest.mark.parametrize("password", [None, "wrong"])
def test_a_missing_or_wrong_password_is_reported_without_showing_it(
    guarded: Server, monkeypatch: pytest.MonkeyPatch, password: str | None
) -> None:
    """The message names the variable for the password, and bootstrap, because a server does not say that a role is missing."""
    if password:
        monkeypatch.setenv("DPE_LOADER_PASSWORD", password)

    with pytest.raises(
        ServerError, match=r"rejected the login of dpe_loader .*DPE_LOADER_PASSWORD, PGPASSWORD or ~/.pgpass.*dpe bootstrap"
    ) as error:
        guarded.connect("loader")
    assert "wrong" not in str(error.value)


def test_passwords_come_from_the_environment(guarded: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each pipeline role has a variable of its own, which overrides PGPASSWORD."""
    monkeypatch.setenv("PGPASSWORD", "the administrator's")
    monkeypatch.setenv("DPE_LOADER_PASSWORD", "right")

    with guarded.connect("loader") as connection:
        assert connection.execute("select 1").fetchone() == (1,)


def test_a_role_that_may_not_connect_is_reported(server: Server) -> None:
    """The message includes the server's reason."""
    with server.connect("admin", autocommit=True) as connection:
        connection.execute(sql.SQL("revoke connect on database {} from public").format(sql.Identifier(server.database)))

    with pytest.raises(
        ServerError, match=r"rejected the login of dpe_loader \(permission denied for database.*\); ask the server's administrator"
    ):
        server.connect("loader")


def test_a_server_that_recovers_is_waited_for(module_server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """After a crash the embedded server refuses sessions for a moment."""
    connect = psycopg.connect
    refusals = iter(["the database system is starting up", "the database system is in recovery mode"])

    def refuse_twice(**parameters: object) -> psycopg.Connection:
        if message := next(refusals, None):
            raise psycopg.OperationalError(f"connection failed: FATAL:  {message}")
        return connect(**parameters)  # type: ignore[arg-type]

    monkeypatch.setattr(psycopg, "connect", refuse_twice)

    with module_server.connect("admin") as connection:
        assert connection.execute("select 1").fetchone() == (1,)


def test_status_describes_the_server(module_server: Server) -> None:
    """Version, size and sessions, without its own."""
    with module_server.connect("loader"):
        status = module_server.status()

    assert status.version.startswith("18.")
    assert status.database_bytes > 1_000_000
    assert 1 == status.session_count
