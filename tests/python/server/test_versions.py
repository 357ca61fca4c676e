"""A command line, a ledger and macros of different versions refuse to work together, and say what to do."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from psycopg import sql
from support import dbt_projects

from dpe_cli import __version__
from dpe_cli.errors import BuildError, ProjectError, ServerError
from dpe_cli.pipeline import macros
from dpe_cli.project.dbt_runner import run_dbt
from dpe_cli.project.project import Project
from dpe_cli.server import versions
from dpe_cli.server.bootstrap import bootstrap_server, ensure_bootstrapped, is_bootstrapped
from dpe_cli.server.server import Server

NEWER, OLDER = "999.0.1", "0.0.9"
MACRO = "macros/ledger/dpe_version.sql"


def _bootstrapped_by(server: Server, version: str) -> Server:
    """Give the ledger another version's comment, and return the server as one that dpe does not bootstrap by itself."""
    with server.connect("admin") as connection:
        comment = versions.seal("0123456789abcdef", versions.tables(connection)).replace(f"dpe {__version__} ", f"dpe {version} ")
        connection.execute(sql.SQL("comment on schema dpe is {}").format(sql.Literal(comment)))
    return replace(server, is_embedded=False)


def test_a_ledger_of_a_newer_version_is_refused(fresh_server: Server) -> None:
    """Also by `dpe bootstrap`, which would replace functions of the newer version, and on dpe's own server."""
    server = _bootstrapped_by(fresh_server, NEWER)
    message = rf"was bootstrapped by dpe {NEWER}, and this is dpe {__version__}; install dpe {NEWER} or later"
    for attempt in (bootstrap_server, ensure_bootstrapped):
        for refusing in (server, fresh_server):
            with pytest.raises(ServerError, match=message):
                attempt(refusing)


def test_a_ledger_of_an_older_version_asks_for_bootstrap(fresh_server: Server) -> None:
    """Which upgrades it."""
    server = _bootstrapped_by(fresh_server, OLDER)
    with pytest.raises(ServerError, match="is not bootstrapped for this version of dpe; run `dpe bootstrap`"):
        ensure_bootstrapped(server)

    bootstrap_server(server)

    with server.connect("loader") as connection:
        assert is_bootstrapped(connection)
        assert __version__ == versions.of_ledger(connection)


@pytest.mark.parametrize(("older", "newer"), [("0.9.0", "0.10.0"), ("0.1.0", "0.1.1"), ("0.1", "0.1.1")])
def test_versions_are_compared_by_their_numbers(monkeypatch: pytest.MonkeyPatch, older: str, newer: str) -> None:
    """Not as text."""
    monkeypatch.setattr(versions, "__version__", older)
    assert versions.is_newer(newer)
    monkeypatch.setattr(versions, "__version__", newer)
    assert not versions.is_newer(older)


@pytest.mark.parametrize(
    ("macro", "says"),
    [
        (None, "has no macros of dpe, or those of a version before"),
        (OLDER, rf"has the macros of dpe {OLDER}, and this is dpe {__version__}; copy macros/ and"),
        (NEWER, rf"has the macros of dpe {NEWER}, and this is dpe {__version__}; install dpe {NEWER}"),
    ],
)
def test_macros_of_another_version_are_refused_before_a_run(tmp_path: Path, macro: str | None, says: str) -> None:
    """Nothing is extracted."""
    text = (dbt_projects.REPOSITORY / MACRO).read_text().replace(f"'{__version__}'", f"'{macro}'")
    project = Project(tmp_path)
    project.__dict__["manifest"] = {"macros": {"macro.dpe.dpe_version": {"name": "dpe_version", "macro_sql": text}} if macro else {}}

    with pytest.raises(ProjectError, match=says):
        macros.check(project)


def test_plain_dbt_refuses_macros_of_another_version_than_the_ledger(server: Server, tmp_path: Path) -> None:
    """Which the project's own macros notice, because plain dbt calls no command line."""
    project = Project(dbt_projects.make(tmp_path / "one", {"models/intermediate/int_one.sql": "select 1 as one"}))
    macros.check(project)
    _bootstrapped_by(server, NEWER)

    with pytest.raises(BuildError, match=rf"was bootstrapped by dpe {NEWER}, and the project's macros are those of dpe {__version__}"):
        run_dbt(project, server, ["build"])


def test_the_versions_of_the_repository_are_one() -> None:
    """Of the command line, the macros and the project."""
    text = (dbt_projects.REPOSITORY / MACRO).read_text()
    assert [__version__] == re.findall(r"return\('([^']+)'\)", text)
    assert __version__ == str(yaml.safe_load((dbt_projects.REPOSITORY / "dbt_project.yml").read_text())["version"])
