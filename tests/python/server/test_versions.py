"""A command line, a ledger and macros of different versions refuse to work together, and say what to do."""

from __future__ import annotations

import re
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from psycopg import sql
from support import dbt_projects

from dpe_cli import __version__
from dpe_cli.errors import BuildError, ProjectError, ServerError
from dpe_cli.pipeline import macros
from dpe_cli.project import package
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


@pytest.mark.parametrize("version", [OLDER, NEWER])
def test_a_package_of_another_version_is_refused_before_a_run(tmp_path: Path, version: str) -> None:
    """Nothing is extracted. dbt copies the package if it cannot link it, and after an upgrade the copy is the earlier one."""
    directory = dbt_projects.make(tmp_path / "copied", {"models/core/int_one.sql": "select 1 as one"})
    installed = directory / "dbt_packages" / package.NAME
    installed.unlink()
    shutil.copytree(package.DIRECTORY, installed)
    macro = installed / MACRO
    macro.write_text(macro.read_text().replace(f"'{__version__}'", f"'{version}'"))

    with pytest.raises(ProjectError, match=rf"has the dbt package of dpe {version}, and this is dpe {__version__}; run `dpe dbt deps`"):
        macros.check(Project(directory))


def test_plain_dbt_refuses_a_package_of_another_version_than_the_ledger(server: Server, tmp_path: Path) -> None:
    """Which the package itself notices, because plain dbt calls no command line."""
    project = Project(dbt_projects.make(tmp_path / "one", {"models/core/int_one.sql": "select 1 as one"}))
    macros.check(project)
    _bootstrapped_by(server, NEWER)

    with pytest.raises(BuildError, match=rf"was bootstrapped by dpe {NEWER}, and this is the dbt package of dpe {__version__}; if"):
        run_dbt(project, server, ["build"])


def test_the_versions_of_the_repository_are_one() -> None:
    """Of the command line, the macros and the demo."""
    text = (dbt_projects.REPOSITORY / MACRO).read_text()
    assert [__version__] == re.findall(r"return\('([^']+)'\)", text)
    assert __version__ == str(yaml.safe_load((dbt_projects.REPOSITORY / "dbt_project.yml").read_text())["version"])
