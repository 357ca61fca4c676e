"""`dpe access`."""

from __future__ import annotations

import getpass
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from datetime import UTC, datetime

import click

from dpe_cli.access import grants as access_list
from dpe_cli.access.actors import MASKED_READER, READER
from dpe_cli.access.earlier import EarlierSession
from dpe_cli.access.grants import EVERY_TENANT, Entry
from dpe_cli.cli.app import App
from dpe_cli.cli.options import Commands
from dpe_cli.cli.report import Lines, ProgressDisplay, Report, Table
from dpe_cli.server.ending import Ender
from dpe_cli.server.patience import Waiting
from dpe_cli.words import plural

_MOST_NAMED = 5
_end_sessions_option = click.option("--end-sessions", is_flag=True, help="End sessions that keep this waiting for more than 5 seconds.")


@click.group(cls=Commands)
def access() -> None:
    """Manage which roles may see which tenants."""


@access.command()
@click.argument("role")
@click.argument("tenants", metavar="[TENANT]...", nargs=-1)
@click.option("--all-tenants", is_flag=True, help="Every tenant, one at a time, for an application that sets dpe.tenant_id.")
@click.option("--until", type=click.DateTime(["%Y-%m-%d", "%Y-%m-%dT%H:%M:%S"]), help="When the access ends, in UTC; by default never.")
@click.option("--masked", is_flag=True, help="Hide the columns that models mask (meta.masked).")
@click.option("--future", is_flag=True, help="Allow tenants that have no row in any published relation yet.")
@_end_sessions_option
@click.pass_obj
def grant(
    app: App,
    role: str,
    tenants: Sequence[str],
    *,
    all_tenants: bool,
    until: datetime | None,
    masked: bool,
    future: bool,
    end_sessions: bool,
) -> Report:
    """
    Let a role see the rows of tenants, and make it a reader.

    Refuses roles that would see more than the access list says: superusers, dpe's own roles, and roles that may become one of
    those or read all data or files of the server. Refuses tenants that no published relation has, unless --future is given.

    If the access ended later before, the sessions with a transaction that began before are named, as by `dpe access revoke`.
    """
    wanted = _wanted(tenants, all_tenants=all_tenants)
    if until is not None:
        until = until.replace(tzinfo=UTC)
        if until <= datetime.now(UTC):
            raise click.UsageError(f"--until {until:%Y-%m-%d %H:%M:%S} is in the past; give a future time, or use `dpe access revoke`")
    with _waiting(app, ends_sessions=end_sessions) as waiting:
        done = access_list.grant(app.server, role, wanted, until=until, actor=_actor(), masked=masked, future=future, waiting=waiting)
    headline = f"{role} may see {_named(wanted)}" + (f" until {until:%Y-%m-%d %H:%M} UTC" if until else "")
    kind, group = ("masked reader", MASKED_READER) if masked else ("reader", READER)
    lines = [f"It is now a {kind} (member of {group}), and sees shared tables too."] if done.became_reader else []
    if not done.is_compared:
        lines.append("Nothing with tenants is published yet, so the names could not be checked; check their spelling yourself.")
    data = {
        "role": role,
        "became_reader": done.became_reader,
        "compared": done.is_compared,
        "entries": [asdict(entry) for entry in done.entries],
        "removed": [asdict(entry) for entry in done.removed],
        "shortened": done.shortened,
        **_sessions(done.earlier, waiting.ender),
    }
    if done.earlier:
        headline += f"; {plural(len(done.earlier), 'session')} may show it longer"
    lines += [*_removed(done.removed), *_earlier(role, done.earlier, waiting.ender, f"{_named(done.shortened)} without the new end")]
    return Report(data=data, headline=headline, sections=[*_lines(lines), _entries_table(done.entries)])


@access.command()
@click.argument("role")
@click.argument("tenants", metavar="[TENANT]...", nargs=-1)
@click.option("--all", "everything", is_flag=True, help="Every tenant that the role may see.")
@_end_sessions_option
@click.pass_obj
def revoke(app: App, role: str, tenants: Sequence[str], *, everything: bool, end_sessions: bool) -> Report:
    """
    Revoke a role's access to tenants; its next query no longer sees their rows.

    A transaction of any role that began before sees the access list as it was, and other sessions can import its snapshot. The sessions
    that have such a transaction are named; --end-sessions ends those that still have it after 5 seconds.
    """
    if everything == bool(tenants):
        raise click.UsageError("name the tenants to revoke, or use --all")
    with _waiting(app, ends_sessions=end_sessions) as waiting:
        done = access_list.revoke(app.server, role, None if everything else tenants, actor=_actor(), waiting=waiting)
    is_left_without = not done.kept and role not in {entry.role_name for entry in done.removed}
    nothing = ["It has no tenant left; as a reader it still sees shared tables."] if is_left_without else []
    earlier = _earlier(role, done.earlier, waiting.ender, "what was revoked", is_left_without=is_left_without)
    return Report(
        data={
            "role": role,
            "revoked": done.tenants,
            "entries": [asdict(entry) for entry in done.kept],
            "removed": [asdict(entry) for entry in done.removed],
            **_sessions(done.earlier, waiting.ender),
        },
        headline=f"{role} no longer sees {_named(done.tenants)}"
        + (f"; {plural(len(done.earlier), 'session')} may still show it what it saw" if done.earlier else ""),
        sections=[*_lines([*nothing, *_removed(done.removed), *earlier]), *([_entries_table(done.kept)] if done.kept else [])],
    )


@access.command("list")
@click.argument("role", required=False)
@click.option("--changes", is_flag=True, help="List what was granted, changed and revoked, and by whom, newest first.")
@click.option(
    "--limit", envvar="DPE_LIMIT", type=click.IntRange(1), default=50, show_default=True, help="How many changes to list, newest first."
)
@_end_sessions_option
@click.pass_obj
def list_(app: App, role: str | None, *, changes: bool, limit: int, end_sessions: bool) -> Report:
    """
    List which roles may see which tenants.

    Entries of dropped roles are removed, as grant and revoke do too, because a dump would name such a role by a number. If a session
    holds the list at that moment, they are only listed.
    """
    if changes:
        with _waiting(app, ends_sessions=end_sessions) as waiting:
            made = access_list.changes(app.server, role, limit=limit, actor=_actor(), waiting=waiting)
        if role and not made:
            access_list.refuse_unknown(app.server, role)
        headings = ["when", "login", "acted", "what", "role", "tenant", "until"]
        rows = [
            [change.changed_at, change.changed_by, change.actor, change.change, change.role_name, change.tenant_id, change.valid_until]
            for change in made
        ]
        table = [Table(headings, rows)] if made else []
        return Report(data=[asdict(change) for change in made], headline=made.counted("change"), sections=[*table])
    with _waiting(app, ends_sessions=end_sessions) as waiting:
        entries = access_list.entries(app.server, role, actor=_actor(), waiting=waiting)
    if role and not entries:
        access_list.refuse_unknown(app.server, role)
    return Report(
        data=[asdict(entry) for entry in entries],
        headline=plural(sum(entry.is_role for entry in entries), "entry", "entries"),
        sections=[_entries_table(entries)] if entries else [],
    )


@contextmanager
def _waiting(app: App, *, ends_sessions: bool) -> Iterator[Waiting]:
    """Show which sessions keep a command waiting, and those that it ended."""
    with ProgressDisplay() as progress:
        ender = Ender(app.server) if ends_sessions else None
        yield Waiting(ender=ender, say=progress.say)
        for session in ender.ended if ender else []:
            progress.say(f"Ended {session}.")


def _wanted(tenants: Sequence[str], *, all_tenants: bool) -> list[str]:
    if all_tenants == bool(tenants):
        raise click.UsageError("name the tenants, or use --all-tenants")
    for tenant in tenants:
        if not tenant or tenant == EVERY_TENANT:
            raise click.UsageError(f"'{tenant}' is not a tenant; name one, or use --all-tenants")
    return [EVERY_TENANT] if all_tenants else list(dict.fromkeys(tenants))


def _named(tenants: Sequence[str]) -> str:
    return ", ".join("every tenant, one at a time" if tenant == EVERY_TENANT else tenant for tenant in tenants)


def _lines(lines: Sequence[str]) -> list[Lines]:
    return [Lines(lines)] if lines else []


def _removed(removed: Sequence[Entry]) -> list[str]:
    """Say which entries were removed because their roles were dropped."""
    roles: dict[str, list[str]] = {}
    for entry in removed:
        roles.setdefault(entry.role_name, []).append(entry.tenant_id)
    return [f"Removed the access of the dropped role {role}: {_named(tenants)}." for role, tenants in roles.items()]


def _sessions(earlier: Sequence[EarlierSession], ender: Ender | None) -> dict[str, object]:
    """Return the JSON form of the sessions with transactions that began before a change, and of those that were ended."""
    return {
        "earlier_sessions": [asdict(session) for session in earlier],
        "ended_sessions": [asdict(session) for session in ender.ended] if ender else [],
    }


def _earlier(role: str, found: Sequence[EarlierSession], ender: Ender | None, granted: str, *, is_left_without: bool = False) -> list[str]:
    """Say which sessions have a transaction that began before a change, what it still grants, and what to do."""
    if not found:
        return []
    named = [str(session) for session in found[:_MOST_NAMED]] + ([f"{len(found) - _MOST_NAMED} more"] if len(found) > _MOST_NAMED else [])
    ending = ", ".join(f"pg_terminate_backend({session.pid})" for session in found)
    instead = f", or run `revoke dpe_reader, dpe_masked_reader from {role}`, which applies at once" if is_left_without else ""
    return [
        f"Warning: {plural(len(found), 'session')} had a transaction that may have begun before this change: {'; '.join(named)}.",
        f"Until it ends, {role} can import its snapshot, in which the access list still grants {granted}.",
        *(f"Warning: {refusal}." for refusal in (ender.refusals if ender else [])),
        f"End these sessions (`select {ending}`){instead}.",
    ]


def _entries_table(entries: Sequence[Entry]) -> Table:
    return Table(
        ["role", "tenant", "until", "now"],
        [[entry.role_name, entry.tenant_id, entry.valid_until, _state(entry)] for entry in entries],
    )


def _state(entry: Entry) -> str:
    if not entry.is_role:
        return "removed: the role was dropped" if entry.is_removed else "not removed yet: the role was dropped"
    return "valid" if entry.is_valid else "over"


def _actor() -> str:
    return getpass.getuser()
