"""
Export rejects to a file for a person to correct, and load the corrected file into staging.

The file is CSV in the source's own dialect, in UTF-8 with a header: the reject's id, the reason, and the source's columns.
"""

from __future__ import annotations

import glob
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from functools import partial
from pathlib import Path

from dpe_cli.blocks.contract import Column
from dpe_cli.blocks.csv_grammar import Dialect, split
from dpe_cli.errors import DpeError, InputError
from dpe_cli.load import corrections as loading
from dpe_cli.load.corrections import RECORD, Corrections, Outstanding, Replayer
from dpe_cli.load.extraction import ExtractResult
from dpe_cli.load.inputs import LoadRequest, RejectLimits
from dpe_cli.project.project import Project
from dpe_cli.project.source import Source
from dpe_cli.server import contexts
from dpe_cli.server.server import Server
from dpe_cli.sources.files import find, fixed_width
from dpe_cli.sources.json import json_path
from dpe_cli.sources.options.files import CsvFiles, FixedWidthFiles

ACTOR = "dpe rejects"


class ReplayError(DpeError):
    """The requested source or load has no rejects, or cannot be replayed."""


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


def export(project: Project, server: Server, wanted: str) -> Export:
    """
    Return the rejects of a source or a load that were not replayed, with their fields in the source's columns.

    A record stays whole, in a column of its own, if its fields do not match its file's header, a quote is never closed, its bytes
    are not text, or its file no longer exists to tell what the columns were.

    Raises:
        ReplayError: the source or load does not exist.
    """
    source, load_id = _find(project, server, wanted)
    with server.connect("loader") as connection, contexts.system_context(connection, actor=ACTOR):
        rejects = loading.outstanding(connection, source.name, load_id)
    dialect = source.external.dialect("utf-8") if isinstance(source.external, CsvFiles) else Dialect()
    wanted_columns = tuple(column.name for column in source.table.columns)
    columns = (loading.REJECT_ID, loading.REASON, RECORD, *wanted_columns)
    fields_of = _fields_of(project, source, rejects, dialect)
    lines = [dialect.delimiter.join(_quoted(name, dialect) for name in columns)]
    unsplit = 0
    for one in rejects:
        given = fields_of(one) if one.is_text else None
        values = ["" for _ in wanted_columns] if given is None else [given[name] for name in wanted_columns]
        record = _quoted(one.raw, dialect) if given is None else ""
        unsplit += given is None
        lines.append(dialect.delimiter.join([str(one.reject_id), _quoted(one.reason, dialect), record, *values]))
    return Export(source.name, columns, lines, unsplit)


def replay(project: Project, server: Server, wanted: str, path: Path) -> ExtractResult:
    """
    Load a file of corrected rejects of a source or a load, as a load of its own; either all of it or nothing.

    Raises:
        ReplayError: the source or load does not exist.
        ExtractError: the file or a reject is refused; nothing is replayed.
    """
    source, load_id = _find(project, server, wanted)
    location = glob.escape(str(path.resolve()))
    external = CsvFiles(location=location, file_format="csv", disposition="append")
    if isinstance(source.external, CsvFiles):
        external = replace(source.external, location=location, header=True, encoding="utf-8", compression="auto")
    found = find.find(external, source.table.columns, declared_at=source.table.declared_at, project_dir=project.directory)
    if len(found) != 1:
        raise InputError(f"{path}: contains {len(found)} files; give one file of corrected rejects")
    request = LoadRequest(source.table, "append", RejectLimits(), spec=source.spec)
    connect = partial(server.connect, "loader", application_name=f"dpe rejects replay {source.name}")
    return Replayer(connect, request, load_id=load_id).replay(Corrections(found[0]))


def _quoted(text: str, dialect: Dialect) -> str:
    escaped = text if dialect.escape == dialect.quote else text.replace(dialect.escape, dialect.escape * 2)
    return f"{dialect.quote}{escaped.replace(dialect.quote, dialect.escape + dialect.quote)}{dialect.quote}"


def _fields_of(
    project: Project, source: Source, rejects: Sequence[Outstanding], dialect: Dialect
) -> Callable[[Outstanding], Mapping[str, str] | None]:
    """Return a function that splits a reject into the source's columns, as CSV fields; None if a reject cannot be split."""
    options = source.external
    if isinstance(options, CsvFiles):
        delivered = _delivered_columns(project, source, options, rejects)

        def of_csv(one: Outstanding) -> Mapping[str, str] | None:
            names, fields = delivered.get(one.load_id, ()), split(one.raw, dialect)
            return dict(zip(names, fields, strict=True)) if fields is not None and len(fields) == len(names) else None

        return of_csv
    columns = source.table.columns
    if isinstance(options, FixedWidthFiles):
        places = fixed_width.places(columns)
        width = max(start + width - 1 for start, width in places)

        def of_fixed_width(one: Outstanding) -> Mapping[str, str] | None:
            values = [one.raw[start - 1 : start - 1 + width].strip(" ") for start, width in places]
            fields = ["" if value in {"", options.null_string} else _quoted(value, dialect) for value in values]
            return dict(zip([column.name for column in columns], fields, strict=True)) if len(one.raw) == width else None

        return of_fixed_width

    def of_json(one: Outstanding) -> Mapping[str, str] | None:
        try:
            # Numbers keep every digit as written.
            record = json.loads(one.raw, parse_float=Decimal, parse_int=Decimal)
            return {column.name: _json_field(record, column, dialect) for column in columns} if isinstance(record, dict) else None
        # A reject is whatever was delivered: it may be nested too deeply, or have a number that no Decimal can hold.
        except (ValueError, ArithmeticError, RecursionError):
            return None

    return of_json


def _json_field(record: Mapping[str, object], column: Column, dialect: Dialect) -> str:
    value = json_path.value(record, json_path.of(column))
    if value is None:
        return ""
    is_text = isinstance(value, str) and not column.is_json
    return _quoted(str(value) if is_text else _as_json(value), dialect)


def _as_json(value: object) -> str:
    match value:
        case dict():
            return "{" + ", ".join(f"{json.dumps(name, ensure_ascii=False)}: {_as_json(one)}" for name, one in value.items()) + "}"
        case list():
            return "[" + ", ".join(map(_as_json, value)) + "]"
        case Decimal():
            return str(value)
        case _:
            return json.dumps(value, ensure_ascii=False)


def _delivered_columns(project: Project, source: Source, options: CsvFiles, rejects: Sequence[Outstanding]) -> dict[int, tuple[str, ...]]:
    """Return the columns of each load's file, in their order. Files that changed or were deleted are left out."""
    contract = tuple(column.name for column in source.table.columns)
    loads = {one.load_id: (one.location, one.content_hash) for one in rejects}
    if not options.header:
        return dict.fromkeys(loads, contract)
    hashes = dict(loads.values())
    try:
        found = find.find(options, source.table.columns, project_dir=project.directory) if loads else []
    except InputError:
        found = []
    columns: dict[str, tuple[str, ...]] = {}
    for file in found:
        if file.location in hashes and _hash(file) == hashes[file.location]:
            with file.open() as opened:
                columns[file.location] = opened.columns
    return {load_id: columns[location] for load_id, (location, _) in loads.items() if location in columns}


def _hash(file: find.File) -> str | None:
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
        with server.connect("loader") as connection, contexts.system_context(connection, actor=ACTOR):
            name = loading.source_of(connection, load_id)
        if name is None:
            raise ReplayError(f"load {wanted}: is not in the ledger; `dpe rejects list` shows the loads that have rejects")
    source = project.sources.get(name or "")
    if source is None:
        known = ", ".join(project.sources) or "none"
        raise ReplayError(f"{name}: is not a source of the project; name a load, or one of its sources ({known})")
    return source, load_id


__all__ = ["RECORD", "Export", "ReplayError", "export", "replay", "split"]
