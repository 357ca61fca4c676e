"""
Rejects as a file that a person corrects, and the corrected file back into staging.

The file is CSV in the source's own dialect, in UTF-8 and with a header: which reject it is, why, and the source's columns.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from dpe_cli import rls
from dpe_cli.errors import DpeError, InputError
from dpe_cli.load import replay as loading
from dpe_cli.load.extract import ExtractResult
from dpe_cli.load.grammar import Dialect
from dpe_cli.load.inputs import Order, RejectLimits
from dpe_cli.load.replay import RECORD, Corrections, Outstanding, Replay
from dpe_cli.postgres import Server
from dpe_cli.project import Project, Source
from dpe_cli.sources import files

ACTOR = "dpe rejects"


class ReplayError(DpeError):
    """What was asked for has no rejects, or cannot be replayed."""


@dataclass(frozen=True)
class Export:
    """Rejects as a file: `records` are lines, the header first. `unsplit` says how many hold their record as it was delivered."""

    source: str
    columns: tuple[str, ...]
    records: list[str]
    unsplit: int

    @property
    def count(self) -> int:
        """How many rejects it holds."""
        return len(self.records) - 1


def export(project: Project, server: Server, wanted: str) -> Export:
    """
    Return the rejects of a source or a load that are not replayed, with their fields in the source's columns.

    A record that has other fields than its file's header, or a quote that is never closed, or bytes that are no text,
    stands undivided in a column of its own; and so does one whose file is not there any more to say what its columns were.

    Raises:
        ReplayError: there is no such source or load.
    """
    source, load_id = _find(project, server, wanted)
    with server.connect("loader") as connection, rls.system_context(connection, actor=ACTOR):
        rejects = loading.outstanding(connection, source.name, load_id)
    dialect = source.external.dialect("utf-8")
    wanted_columns = tuple(column.name for column in source.table.columns)
    columns = (loading.REJECT_ID, loading.REASON, RECORD, *wanted_columns)
    delivered = _delivered_columns(project, source, rejects)
    lines = [dialect.delimiter.join(_quoted(name, dialect) for name in columns)]
    unsplit = 0
    for one in rejects:
        names = delivered.get(one.load_id, ())
        fields = split(one.raw, dialect) if one.is_text else None
        values = ["" for _ in wanted_columns]
        record = ""
        if fields is not None and len(fields) == len(names):
            given = dict(zip(names, fields, strict=True))
            values = [given[name] for name in wanted_columns]
        else:
            record = _quoted(one.raw, dialect)
            unsplit += 1
        lines.append(dialect.delimiter.join([str(one.reject_id), _quoted(one.reason, dialect), record, *values]))
    return Export(source.name, columns, lines, unsplit)


def replay(project: Project, server: Server, wanted: str, path: Path) -> ExtractResult:
    """
    Load a file of corrected rejects of a source or a load, as a load of its own; all of it or nothing.

    Raises:
        ReplayError: there is no such source or load.
        ExtractError: the file or a reject is refused; nothing is replayed.
    """
    source, load_id = _find(project, server, wanted)
    columns = [column.name for column in source.table.columns]
    external = replace(source.external, location=str(path.resolve()), header=True, encoding="utf-8", compression="auto")
    found = files.find(external, columns, project_dir=project.directory)
    if len(found) != 1:
        raise InputError(f"{path}: holds {len(found)} files; give one file of corrected rejects")
    order = Order(source.table, "append", RejectLimits(), spec=source.spec)
    connect = partial(server.connect, "loader", application_name=f"dpe rejects replay {source.name}")
    return Replay(connect, order, load_id=load_id).replay(Corrections(found[0]))


def split(record: str, dialect: Dialect) -> list[str] | None:
    """Return the fields of a record as they are written, quotes and all; None where its quotes are not closed."""
    fields: list[str] = []
    start = position = 0
    is_open = False
    text = record.removesuffix("\n").removesuffix("\r")
    while position < len(text):
        character = text[position]
        if is_open and character == dialect.escape != dialect.quote:
            # Whatever it escapes, that closes nothing.
            position += 1
        elif character == dialect.quote:
            # A doubled quote closes and opens again.
            is_open = not is_open
        elif character == dialect.delimiter and not is_open:
            fields.append(text[start:position])
            start = position + 1
        position += 1
    return None if is_open else [*fields, text[start:]]


def _quoted(text: str, dialect: Dialect) -> str:
    escaped = text if dialect.escape == dialect.quote else text.replace(dialect.escape, dialect.escape * 2)
    return f"{dialect.quote}{escaped.replace(dialect.quote, dialect.escape + dialect.quote)}{dialect.quote}"


def _delivered_columns(project: Project, source: Source, rejects: Sequence[Outstanding]) -> dict[int, tuple[str, ...]]:
    """Return the columns of each load's file, in their order. Of files that changed or went, nobody knows them."""
    contract = tuple(column.name for column in source.table.columns)
    loads = {one.load_id: (one.location, one.content_hash) for one in rejects}
    if not source.external.header:
        return dict.fromkeys(loads, contract)
    hashes = dict(loads.values())
    try:
        found = files.find(source.external, contract, project_dir=project.directory) if loads else []
    except InputError:
        found = []
    columns: dict[str, tuple[str, ...]] = {}
    for file in found:
        if file.location in hashes and _hash(file) == hashes[file.location]:
            with file.open() as opened:
                columns[file.location] = opened.columns
    return {load_id: columns[location] for load_id, (location, _) in loads.items() if location in columns}


def _hash(file: files.File) -> str | None:
    try:
        return file.content_hash()
    except InputError:
        return None


def _find(project: Project, server: Server, wanted: str) -> tuple[Source, int | None]:
    """Return a source by its name, or a load's source with its id."""
    name: str | None = wanted
    load_id: int | None = None
    if wanted.isascii() and wanted.isdigit():
        load_id = int(wanted)
        with server.connect("loader") as connection, rls.system_context(connection, actor=ACTOR):
            name = loading.source_of(connection, load_id)
        if name is None:
            raise ReplayError(f"load {wanted}: is not in the ledger; `dpe rejects list` shows the loads that have rejects")
    source = project.sources.get(name or "")
    if source is None:
        known = ", ".join(project.sources) or "none"
        raise ReplayError(f"{name}: is no source of the project; name a load, or one of its sources ({known})")
    return source, load_id


__all__ = ["RECORD", "Export", "ReplayError", "export", "replay", "split"]
