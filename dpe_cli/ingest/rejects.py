"""
Export rejects to a file for a person to correct, and load the corrected file into staging.

The file is CSV in the source's own dialect, in UTF-8 with a header: the reject's id, the reason, and the source's columns.
The format of the source decides how a rejected record is split into these: sources/rejects/json_objects.py for all formats (Parquet,
Excel, APIs …) but CSV and fixed-width, which have splitters of their own in sources/files.
"""

from __future__ import annotations

import glob
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from dpe_cli.blocks.contract import Column
from dpe_cli.blocks.csv_grammar import Dialect, quoted
from dpe_cli.errors import InputError, UnknownNameError
from dpe_cli.ingest.extract import load_request_of
from dpe_cli.load import corrections as loading
from dpe_cli.load.corrections import RECORD, Corrections, Replayer
from dpe_cli.load.inputs import LoadRequest, RejectLimits
from dpe_cli.load.result import ExtractResult
from dpe_cli.project.source import Source
from dpe_cli.server import contexts
from dpe_cli.server.server import Server
from dpe_cli.sources.files import find
from dpe_cli.sources.options.base import resolve
from dpe_cli.sources.options.files import CsvFiles
from dpe_cli.words import did_you_mean

ACTOR = "dpe rejects"


@dataclass(frozen=True)
class Export:
    """Rejects as a file: `records` are lines, header first. `unsplit` is how many hold their whole record as it was delivered."""

    source: str
    columns: tuple[str, ...]
    records: list[str]
    unsplit: int

    @property
    def count(self) -> int:
        """How many rejects it holds."""
        return len(self.records) - 1


def export(sources: Mapping[str, Source], server: Server, wanted: str, *, project_dir: Path) -> Export:
    """
    Return the rejects of a source or a load that were not replayed, with their fields in the source's columns.

    A record stays whole, in a column of its own, if its fields do not match its file's header, a quote is never closed, its bytes
    are not text, or its file no longer exists to tell what the columns were.

    Raises:
        UnknownNameError: the source or load does not exist.
    """
    source, load_id = _find(sources, server, wanted)
    with server.connect("loader") as connection, contexts.system_context(connection, actor=ACTOR):
        rejects = loading.outstanding(connection, source.table.relation, load_id)
    dialect = source.external.dialect("utf-8") if isinstance(source.external, CsvFiles) else Dialect()
    wanted_columns = tuple(column.name for column in source.table.columns)
    columns = (loading.REJECT_ID, loading.REASON, RECORD, *wanted_columns)
    make_splitter = resolve(source.external.splitter)
    fields_of = make_splitter(source.external, source.table.columns, rejects, dialect=dialect, project_dir=project_dir)
    lines = [dialect.delimiter.join(quoted(name, dialect) for name in columns)]
    unsplit = 0
    for reject in rejects:
        given = fields_of(reject) if reject.is_text else None
        values = ["" for _ in wanted_columns] if given is None else [_field(given, column, dialect) for column in source.table.columns]
        record = quoted(reject.raw, dialect) if given is None else ""
        unsplit += given is None
        lines.append(dialect.delimiter.join([str(reject.reject_id), quoted(reject.reason, dialect), record, *values]))
    return Export(source.name, columns, lines, unsplit)


def replay(sources: Mapping[str, Source], server: Server, wanted: str, path: Path, *, project_dir: Path) -> ExtractResult:
    """
    Load a file of corrected rejects of a source or a load, as a load of its own; either all of it or nothing.

    Raises:
        UnknownNameError: the source or load does not exist.
        ExtractError: the file or a reject is refused; nothing is replayed.
    """
    source, load_id = _find(sources, server, wanted)
    location = glob.escape(str(path.resolve()))
    external = CsvFiles(location=location, file_format="csv", disposition="append")
    if isinstance(source.external, CsvFiles):
        external = replace(source.external, location=location, header=True, encoding="utf-8", compression="auto")
    found = find.find(external, source.table.columns, declared_at=source.table.declared_at, project_dir=project_dir)
    if len(found) != 1:
        raise InputError(f"{path}: contains {len(found)} files; give one file of corrected rejects")
    request = LoadRequest(source.table, "append", RejectLimits(), spec=source.spec)
    declared = load_request_of(source)
    if declared.unique and declared.unique.within == "table":
        # A corrected record must not have the key of a row that is in staging.
        request = replace(request, key=declared.key, unique=declared.unique)
    connect = partial(server.connect, "loader", application_name=f"dpe rejects replay {source.name}")
    return Replayer(connect, request, load_id=load_id).replay(Corrections(found[0]))


def _field(given: Mapping[str, str], column: Column, dialect: Dialect) -> str:
    """Return the field of a column, under whichever of its names it was delivered; if it was not, the default."""
    for name in column.names:
        if name in given:
            return given[name]
    return dialect.null_string if column.default is None else quoted(column.default, dialect)


def _find(sources: Mapping[str, Source], server: Server, wanted: str) -> tuple[Source, int | None]:
    """Return a source by its name, or a load's source with its id."""
    name = wanted
    load_id: int | None = None
    relation: str | None = None
    if wanted.isascii() and wanted.isdigit():
        load_id = int(wanted)
        with server.connect("loader") as connection, contexts.system_context(connection, actor=ACTOR):
            found = loading.source_of(connection, load_id)
        if found is None:
            raise UnknownNameError(f"load {wanted}: is not in the ledger; `dpe rejects list` shows the loads that have rejects")
        name, relation = found
    source = sources.get(name)
    if source is None:
        hint = did_you_mean(name, sources, f"name a load, or one of its sources ({', '.join(sources) or 'none'})")
        raise UnknownNameError(f"{name}: is not a source of the project; {hint}")
    if relation not in (None, source.table.relation):
        raise UnknownNameError(
            f"load {wanted}: was loaded into {relation}, but this target loads {name} into {source.table.relation}; "
            f"give the target that loads {relation} with --target"
        )
    return source, load_id


__all__ = ["RECORD", "Export", "export", "replay"]
