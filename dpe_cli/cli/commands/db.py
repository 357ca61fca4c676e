"""`dpe db`: the embedded PostgreSQL."""

from __future__ import annotations

import os
import shlex
from collections.abc import Sequence
from typing import NoReturn

import click

from dpe_cli.cli.app import App
from dpe_cli.cli.options import Commands
from dpe_cli.cli.report import Facts, Lines, Report
from dpe_cli.server import programs
from dpe_cli.server.dump_options import dump_options as find_dump_options
from dpe_cli.server.server import Server, ServerStatus, embedded_server
from dpe_cli.words import size


@click.group(cls=Commands)
def db() -> None:
    """Start, stop and inspect the embedded PostgreSQL."""


@db.command()
@click.pass_obj
def start(app: App) -> Report:
    """
    Start the embedded PostgreSQL.

    Bootstraps its database if that is needed.
    """
    was_running = embedded_server(app.project_dir).is_running()
    server = app.server
    headline = "The embedded PostgreSQL was already running." if was_running else "The embedded PostgreSQL was started."
    return _report(server, server.status(), headline=headline)


@db.command()
@click.pass_obj
def stop(app: App) -> Report:
    """Stop the embedded PostgreSQL and end its sessions."""
    stopped = embedded_server(app.project_dir).stop()
    return Report(
        data={"stopped": stopped},
        headline="The embedded PostgreSQL was stopped." if stopped else "The embedded PostgreSQL was not running.",
    )


@db.command()
@click.pass_obj
def status(app: App) -> Report:
    """
    Show which server dpe uses.

    Exit status 1 if it is not running.
    """
    server = app.resolve_server(start=False)
    if server.is_embedded and not embedded_server(app.project_dir).is_running():
        return Report(
            data={"is_running": False, "is_embedded": True},
            headline="The embedded PostgreSQL is not running; `dpe db start` and any command that needs it start it.",
            exit_status=1,
        )
    return _report(
        server, server.status(), headline="The embedded PostgreSQL is running." if server.is_embedded else f"{server} is running."
    )


@db.command()
@click.pass_obj
def url(app: App) -> Report:
    """Print the administrator's connection URL; use it as in: psql "$(dpe db url)"."""
    address = app.resolve_server().url()
    return Report(data={"url": address}, sections=[Lines([address])])


@db.command("dump-options")
@click.option("--schema", "schemas", multiple=True, help="A schema of other tools to dump as well, which the models read; can be repeated.")
@click.pass_obj
def dump_options(app: App, schemas: Sequence[str]) -> Report:
    """
    Print the options with which pg_dump dumps the pipeline.

    Use it as in: dpe db dump-options > options && xargs pg_dump --format=custom --create --file=warehouse.dump < options

    They name the schemas that belong to dpe's roles, and the extensions of administrators. Other schemas, such as those of readers, are
    left out (--output json names them), because pg_dump and pg_restore would call functions of their owners as the administrator who
    runs them. Fails if what is dumped could not be restored without another schema.
    """
    with app.resolve_server().connect("admin") as connection:
        found = find_dump_options(connection, schemas)
    data = {**vars(found), "options": found.options}
    return Report(data=data, sections=[Lines([shlex.quote(option) for option in found.options])])


@db.command(
    context_settings={"ignore_unknown_options": True, "help_option_names": []},
    add_help_option=False,
)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
@click.pass_obj
def psql(app: App, arguments: tuple[str, ...]) -> NoReturn:
    """
    Open psql as the administrator.

    Use it as in: dpe db psql -c 'select 1'.
    Runs the psql of the embedded PostgreSQL or, if that is not installed, the one on PATH. Everything after `dpe db psql` goes to
    psql, including --help.
    """
    program = str(programs.psql())
    os.execv(program, [program, app.server.url(), *arguments])  # noqa: S606 no shell involved


def _report(server: Server, status: ServerStatus, *, headline: str) -> Report:
    facts = {
        "version": f"PostgreSQL {status.version}",
        "database": f"{server.database}, {size(status.database_bytes)}",
        "sessions": status.session_count,
        "URL": server.url(),
    }
    if server.log:
        facts["log"] = server.log
    data = {"is_running": True, "is_embedded": server.is_embedded, "url": server.url(), **vars(status)}
    return Report(data=data, headline=headline, sections=[Facts(facts)])
