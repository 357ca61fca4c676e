"""List what was loaded and what was rejected, from the ledger, and undo extracts."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from psycopg import sql

from dpe_cli.blocks.contract import StagingTable
from dpe_cli.errors import DpeError, UnknownNameError, UsageError
from dpe_cli.load import corrections, ledger, ledger_entries, ledger_rejects, locks, staging, staging_schema
from dpe_cli.load.ledger import Load
from dpe_cli.load.ledger_entries import ExtractEntry
from dpe_cli.load.ledger_rejects import RejectEntry
from dpe_cli.project.source import Source
from dpe_cli.server import contexts
from dpe_cli.server.connection import Connection
from dpe_cli.server.server import Server
from dpe_cli.words import Limited, did_you_mean

ACTOR = "dpe loads"


class LoadsError(DpeError):
    """The extract cannot be undone."""


@dataclass(frozen=True)
class Undone:
    """The result of undoing an extract. `restored_extract_id` is the one that it had replaced."""

    extract_id: int
    source: str
    rows_removed: int
    restored_extract_id: int | None


def extracts(
    server: Server, *, source: str | None, limit: int, declared: Callable[[], Mapping[str, Source]] = dict
) -> Limited[ExtractEntry]:
    """
    Return extracts of the project, newest first.

    `declared` returns its sources, and is called only if targets load one into different tables: then the others' are left out.
    """
    with _reading(server) as connection:
        return ledger_entries.extracts(connection, source=source, limit=limit, own=_own(connection, declared))


def extract(server: Server, extract_id: int) -> tuple[ExtractEntry, list[Load], list[RejectEntry]]:
    """
    Return an extract with its loads, or if it was refused, with the first of its rejects.

    Raises:
        UnknownNameError: it is not in the ledger.
    """
    with _reading(server) as connection:
        refused = ledger_rejects.entries(connection, refused_extract_id=extract_id)
        return _known(connection, extract_id), ledger_entries.loads(connection, extract_id), refused


def rejects(
    server: Server,
    *,
    source: str | None,
    load_id: int | None,
    limit: int,
    with_obsolete: bool = True,
    declared: Callable[[], Mapping[str, Source]] = dict,
) -> Limited[RejectEntry]:
    """
    Return rejects of the project, of refused deliveries first, then those of the newest load.

    `with_obsolete` includes those of loads that were replaced or undone; `declared` is as in extracts().
    """
    with _reading(server) as connection:
        own = _own(connection, declared) if load_id is None else {}
        return ledger_rejects.entries(connection, source=source, load_id=load_id, limit=limit, with_obsolete=with_obsolete, own=own)


def refuse_unknown(server: Server, declared: Collection[str], source: str) -> None:
    """
    Refuse the name of a source that is neither declared nor in the ledger.

    Raises:
        UnknownNameError: it is neither.
    """
    with _reading(server) as connection:
        known = {*declared, *ledger_entries.sources(connection)}
    if source not in known:
        hint = did_you_mean(source, known, f"there are {', '.join(sorted(known)) or 'none'}")
        raise UnknownNameError(f"{source}: is not a source of the project or of the ledger; {hint}")


def refuse_unknown_load(server: Server, load_id: int) -> None:
    """
    Refuse the number of a load that is not in the ledger.

    Raises:
        UnknownNameError: it is not.
    """
    with _reading(server) as connection:
        if corrections.source_of(connection, load_id) is None:
            raise UnknownNameError(f"load {load_id}: is not in the ledger; `dpe loads list` and `dpe loads show` list the loads")


def reject(server: Server, reject_id: int) -> RejectEntry:
    """
    Return one reject.

    Raises:
        UnknownNameError: it is not in the ledger.
    """
    with _reading(server) as connection:
        found = ledger_rejects.entry(connection, reject_id)
    if found is None:
        raise UnknownNameError(f"reject {reject_id}: is not in the ledger; `dpe rejects list` lists them")
    return found


def undo(server: Server, sources: Mapping[str, Source], extract_id: int) -> Undone:
    """
    Undo an extract in one transaction: remove its rows from staging, and forget its inputs.

    Restores the extract that it replaced, if that is still kept.

    Raises:
        LoadsError: it did not succeed, or its rows have left staging.
        UnknownNameError: it is not in the ledger.
        BusyError: an extract of the source is running.
    """
    with server.connect("loader") as connection:
        with contexts.system_context(connection, actor=ACTOR):
            found = _known(connection, extract_id)
        source = sources.get(found.source)
        if source is None:
            raise LoadsError(
                f"extract {extract_id}: its source {found.source} was removed from the project; declare it again to undo the extract"
            )
        table = source.table
        if found.relation != table.relation:
            raise LoadsError(
                f"extract {extract_id}: was loaded into {found.relation}, but this target loads {found.source} into {table.relation}; "
                f"give the target that loads {found.relation} with --target"
            )
        locks.ensure(connection, table, actor=ACTOR)

        def attempt() -> Undone:
            with contexts.system_context(connection, actor=ACTOR):
                locks.take_source(connection, table)
                locks.limit_waiting(connection)
                return _undo(connection, table, _known(connection, extract_id))

        with locks.reporting_server_errors(table), locks.last_words(connection):
            return locks.patiently(connection, table, attempt)


@contextmanager
def _reading(server: Server) -> Iterator[Connection]:
    """
    Open a transaction that reads the ledger.

    Raises:
        UsageError: the server was not chosen for a project, so that the ledger would show nothing.
    """
    if server.project is None:
        raise UsageError("the ledger shows the loads of one project; change to the project's directory, or give it with --project-dir")
    with server.connect("loader") as connection, contexts.system_context(connection, actor=ACTOR):
        yield connection


def _own(connection: Connection, declared: Callable[[], Mapping[str, Source]]) -> dict[str, str]:
    """Return the staging tables, in this target, of the sources that other targets load into others."""
    names = ledger_entries.of_several_tables(connection)
    sources = declared() if names else {}
    return {name: sources[name].table.relation for name in names if name in sources}


def _undo(connection: Connection, table: StagingTable, extract: ExtractEntry) -> Undone:
    if extract.status != "succeeded":
        raise LoadsError(f"extract {extract.extract_id}: cannot be undone, because it is {extract.status}")
    load_ids = ledger.visible_load_ids(connection, extract.extract_id)
    if not load_ids:
        raise LoadsError(f"extract {extract.extract_id}: its rows have left staging, because a later extract replaced them; undo that one")
    if later := ledger.extracts_that_resumed(connection, extract.extract_id):
        # What it loaded would never be read again.
        raise LoadsError(f"extract {extract.extract_id}: extract {', '.join(map(str, later))} resumed where it ended; undo that first")
    if replayed := corrections.replays_of(connection, extract.extract_id):
        # If it were extracted again, its records would become rejects once more, and would be replayed twice.
        raise LoadsError(
            f"extract {extract.extract_id}: its rejects were replayed by extract {', '.join(map(str, replayed))}; undo that first"
        )
    staging_schema.refuse_other_owner(connection, table)
    expected = ledger.visible_rows_loaded(connection, extract.extract_id)
    removed = _remove_rows(connection, table, extract, load_ids)
    if removed != expected:
        raise LoadsError(
            f"extract {extract.extract_id}: {expected:,} rows were loaded, but {removed:,} are in staging; nothing was changed, "
            "run `dpe validate`"
        )
    restored = _restore_replaced(connection, table, extract)
    ledger.undo_extract(connection, extract.extract_id)
    return Undone(extract.extract_id, extract.source, removed, restored)


def _remove_rows(connection: Connection, table: StagingTable, extract: ExtractEntry, load_ids: Sequence[int]) -> int:
    """Drop the slices of an extract, and delete its rows that were merged into others; return their number."""
    removed = 0
    for slice_ in staging.slices(connection, table, attached=True):
        # Number 0 is a merged slice, which also holds rows of other extracts.
        if slice_.extract_id == extract.extract_id and slice_.number:
            removed += sum(staging.visible_rows(connection, table, [slice_.slice_id]).values())
            staging.drop_slice(connection, slice_)
    if removed < extract.rows_loaded:
        deleted = connection.execute(sql.SQL("delete from {} where _load_id = any(%s)").format(table.identifier), [list(load_ids)])
        removed += deleted.rowcount
    return removed


def _restore_replaced(connection: Connection, table: StagingTable, extract: ExtractEntry) -> int | None:
    """Attach again what an extract had replaced; return the newest extract among it."""
    kept = staging.replaced_slices(connection, table, extract.extract_id)
    for slice_ in kept:
        staging.attach(connection, slice_)
    load_ids = staging.visible_rows(connection, table, [slice_.slice_id for slice_ in kept])
    return ledger.restore_loads(connection, list(load_ids)) if load_ids else None


def _known(connection: Connection, extract_id: int) -> ExtractEntry:
    found = ledger_entries.extract(connection, extract_id)
    if found is None:
        raise UnknownNameError(f"extract {extract_id}: is not in the ledger; `dpe loads list` lists them")
    return found
