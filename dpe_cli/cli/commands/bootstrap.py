"""`dpe bootstrap`."""

from __future__ import annotations

import click

from dpe_cli.cli.app import App
from dpe_cli.cli.report import Facts, Lines, Report, Table
from dpe_cli.quality import former_ids
from dpe_cli.server.bootstrap import bootstrap_server
from dpe_cli.words import plural

_MOST_NAMED = 5


@click.command()
@click.option("--verbose", is_flag=True, help="Name what was created, instead of counting it.")
@click.pass_obj
def bootstrap(app: App, *, verbose: bool) -> Report:
    """
    Create dpe's roles, and the ledger with its functions, on the server.

    Runs as the administrator (DPE_ADMIN_USER): a superuser, or the database's owner with CREATEROLE. Keeps what already
    exists, so it can be run again: after an upgrade of dpe, and after a dump was restored. DPE_LOADER_PASSWORD and
    DPE_TRANSFORMER_PASSWORD set the passwords of the two roles that log in.

    A ledger that an earlier version of dpe wrote for one project becomes that of the project in this directory, and of its target.
    """
    server = app.identified_server()
    done = bootstrap_server(server)
    renamed = former_ids.rename(server, lambda: app.project.manifest)
    sections: list[Facts | Lines | Table] = []
    if done.created:
        shown = {kind: ", ".join(names) if verbose else len(names) for kind, names in _by_kind(done.created).items()}
        sections.append(Facts(shown, title="Created"))
    if done.present:
        sections.append(Facts({kind: len(names) for kind, names in _by_kind(done.present).items()}, title="Already there"))
    if done.passwords:
        sections.append(Facts({"role": ", ".join(done.passwords)}, title="Passwords set"))
    if done.is_restored:
        sections.append(
            Lines(
                [
                    "The database was restored from a dump. Earlier builds can be neither published nor undone; `dpe run` builds again.",
                    "Check how the restored relations are protected: dpe rls check",
                ]
            )
        )
    if renamed:
        sections.append(Lines([f"Results of rules that continue under the present names of their tests: {renamed:,}"]))
    if done.open_databases:
        named = ", ".join(done.open_databases[:_MOST_NAMED]) + (", …" if len(done.open_databases) > _MOST_NAMED else "")
        sections.append(
            Lines(
                [
                    f"Every login may connect to other databases of this server ({named}), and could block this one from there.",
                    "Unless other applications need that, run for each: revoke connect on database … from public",
                ]
            )
        )
    if done.kept:
        sections.append(
            Lines(
                [
                    "Kept from an earlier version of dpe, because objects of other roles use it:",
                    *(f"- {line}" for line in done.kept),
                    "These objects no longer work. Once they are dropped, the next `dpe bootstrap` drops the rest.",
                ]
            )
        )
    created = plural(len(done.created), "thing") if done.created else "nothing"
    return Report(
        data={"server": server.host, "port": server.port, "database": server.database, **vars(done)},
        headline=f"{server}, database {server.database}: {created} created, {len(done.present)} already there",
        sections=sections,
    )


def _by_kind(things: list[str]) -> dict[str, list[str]]:
    kinds: dict[str, list[str]] = {}
    for kind, _, name in (thing.partition(" ") for thing in sorted(things)):
        kinds.setdefault(kind, []).append(name)
    return kinds
