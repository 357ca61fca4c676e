"""Local and remote files: which to read, their format, and how to read it."""

from __future__ import annotations

import glob
import os
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

from dpe_cli.blocks.contract import Column
from dpe_cli.errors import InputError, UsageError
from dpe_cli.infer.readers import csv_files, detect, fixed_width, headers, json_files, parquet
from dpe_cli.infer.sample import parts_of
from dpe_cli.infer.survey import Draft, Survey, SurveyRequest
from dpe_cli.safe_text.visible_text import in_message
from dpe_cli.sources.files import excel, find, matching, remote
from dpe_cli.sources.files.content import Content, Reading
from dpe_cli.sources.files.find import File
from dpe_cli.sources.options.files import Files
from dpe_cli.sources.options.formats import FORMATS
from dpe_cli.words import plural

# The columns of each file are inspected; only some of very many files, or of files that have to be fetched.
_MOST_FILES = 500
_MOST_FETCHED = 5
_WILDCARDS = frozenset("*?[")
_ROWS_FOR_HEADER = 50
_OF_FIXED_WIDTH = "columns were found by characters that are blank in every line: compare them with the sender's layout"
# Encodings in which an ASCII-only file reads the same.
_LIKE_ASCII = frozenset({"utf-8", "cp1252", "latin-1"})


def survey(request: SurveyRequest, stack: ExitStack) -> Survey:
    """
    Return how to read files, and their records.

    Raises:
        InputError: there are none, they cannot be read, or differ from each other.
    """
    found = _files(request)
    # --records means a JSON document; a file of a single line could be either.
    file_format = request.file_format or detect.of(found[0])
    file_format = "json" if file_format == "jsonl" and request.records and request.file_format is None else file_format
    _check_options(request, file_format)
    chosen = _chosen(found)
    match file_format:
        case "csv":
            seen = _csv(request, chosen)
        case "jsonl" | "json":
            seen = _json(request, chosen, file_format, stack)
        case "parquet":
            seen = _parquet(request, chosen)
        case "excel":
            seen = _excel(request, chosen)
        case _:
            seen = _fixed_width(request, chosen)
    left_out = [f"{len(chosen):,} of {plural(len(found), 'file')} inspected"] if len(chosen) < len(found) else []
    options = {"file_format": file_format, "disposition": _disposition(request.location)} | dict(seen.options)
    if request.allow_private_addresses and remote.is_far(request.location):
        options["allow_private_addresses"] = True
    return replace(seen, options=options, notes=[*left_out, *seen.notes])


def project_location(location: str, project_dir: Path, *, is_pattern: bool = True) -> str:
    """
    Return a location of files relative to the project, as sources need it; the given path may be relative to the working directory.

    The file of a SQLite database counts too, whose path is not a pattern (`is_pattern`).

    Raises:
        InputError: it is a directory.
    """
    scheme, is_database, path_and_query = location.partition(":///")
    if is_database and scheme.partition("+")[0] == "sqlite" and not path_and_query.startswith(("/", ":memory:", "file:", "?")):
        name, mark, query = path_and_query.partition("?")
        return f"{scheme}:///{project_location(name, project_dir, is_pattern=False)}{mark}{query}" if name else location
    if remote.is_far(location):
        return location
    for base in (Path.cwd(), project_dir):
        path = Path(os.path.normpath(base / location))
        if path.is_dir():
            raise InputError(f"{location}: is a directory; name the files in it, as in {location.rstrip('/')}/*.csv")
        if path.is_file() or (is_pattern and matching.matching(location, base, base=matching.base_of(location, base))):
            # Only what was given may be a pattern, not the directory that it is relative to.
            as_name = glob.escape if is_pattern else str
            written = Path(os.path.normpath(Path(as_name(str(base))) / location))
            project = Path(as_name(str(project_dir)))
            return str(written.relative_to(project)) if written.is_relative_to(project) else str(written)
    if not _WILDCARDS & set(location):
        bases = " or to ".join(dict.fromkeys([str(Path.cwd()), str(project_dir)]))
        raise InputError(f"{location}: this file does not exist; correct the path, which is relative to {bases}")
    return location


def _check_options(request: SurveyRequest, file_format: str) -> None:
    """Refuse options for other formats."""
    given = {"--records": request.records, "--sheet": request.sheet, "--table": request.relation, "--header": request.header}
    of = {"--records": {"json"}, "--sheet": {"excel"}, "--header": {"csv"}}
    for option, value in given.items():
        if value is not None and file_format not in of.get(option, ()):
            raise UsageError(
                f"{request.location}: {option} does not apply to {file_format}; leave it out, or give the format with --format"
            )


def _files(request: SurveyRequest) -> list[File]:
    return find.find(_options("csv", request), project_dir=request.project_dir, columns=())


def _options(file_format: str, request: SurveyRequest, **more: Any) -> Any:
    kind = FORMATS[file_format]
    return kind(
        location=request.location,
        file_format=file_format,
        disposition="replace",
        extra_columns="ignore",
        allow_private_addresses=request.allow_private_addresses,  # type: ignore[call-arg]
        **more,
    )


def _chosen(found: Sequence[File]) -> list[File]:
    """Return the files to inspect: all of them, or some from the first to the last."""
    most = _MOST_FETCHED if remote.is_far(found[0].location) else _MOST_FILES
    if len(found) <= most:
        return list(found)
    return [found[number * (len(found) - 1) // (most - 1)] for number in range(most)]


def _disposition(location: str) -> str:
    """Return append for a pattern, which expects more files to come, and replace for a single file, which is delivered again."""
    return "append" if _WILDCARDS & set(location.partition("?")[0] if remote.is_far(location) else location) else "replace"


def _read(chosen: Sequence[File], options: Files, columns: Sequence[Column] = ()) -> list[File]:
    """Return the same files, to be read with other options, without fetching them again."""
    reading = Reading(options, tuple(columns), "")
    return [replace(file, reading=reading) for file in chosen]


def _csv(request: SurveyRequest, chosen: Sequence[File]) -> Survey:
    encoding, notes = _encoding(request, chosen)
    with chosen[0].content() as content:
        form = csv_files.form_of(content.chunks(), encoding, location=chosen[0].location, header=request.header)
    dialect = form.dialect
    written: dict[str, object] = {"delimiter": dialect.delimiter, "quote": dialect.quote}
    if dialect.escape != dialect.quote:
        written["escape"] = dialect.escape
    if not form.header:
        written["header"] = False
    if form.encoding not in {"ascii", "utf-8"}:
        written["encoding"] = form.encoding
    defaults = {"delimiter": ",", "quote": '"'}
    written = {name: value for name, value in written.items() if value != defaults.get(name)}
    options = _options("csv", request, **written)
    names = _header(_read(chosen, options)[0]) if form.header else tuple(f"column_{number}" for number in range(1, form.fields + 1))
    if not form.header:
        notes.append("the first record is not a header: name the columns")
    if form.is_guess:
        notes.append(headers.GUESSED.format("--no-header reads it as a record" if form.header else "--header reads names from it"))
    columns = [Column(name, "text") for name in names]
    inputs = _read(chosen, options, columns)
    return Survey(
        options=written,
        drafts=[Draft(name, name) for name in names],
        parts=partial(parts_of, inputs, request.sample),
        notes=notes,
        may_have_null_string=True,
    )


def _encoding(request: SurveyRequest, chosen: Sequence[File]) -> tuple[str, list[str]]:
    """Return the encoding of all the files, because a source has only one, and notes about it."""
    found: dict[str, str] = {}
    for file in chosen:
        with file.content() as content:
            # A block is about ten thousand records.
            chunks = islice(content.chunks(), max(8, request.sample // 10_000))
            found.setdefault(csv_files.encoding_of(chunks, location=content.location), content.location)
    others = sorted(name for name in found if name != "ascii")
    if len(others) > 1 and set(others) <= {"cp1252", "latin-1"}:
        others = ["latin-1"]
    if len(others) > 1 or (others and "ascii" in found and others[0] not in _LIKE_ASCII):
        first, second, *_ = others if len(others) > 1 else ["ascii", *others]
        raise InputError(
            f"{found[second]}: is encoded in {second}, but {found[first]} in {first}; a source has one encoding: make them separate sources"
        )
    encoding = others[0] if others else "ascii"
    guessed = [f"encoding {encoding} is a guess, because the text is not UTF-8: check accented letters"]
    return encoding, guessed if encoding in {"cp1252", "latin-1"} else []


def _header(file: File) -> tuple[str, ...]:
    with file.open() as opened:
        return opened.columns


def _json(request: SurveyRequest, chosen: Sequence[File], file_format: str, stack: ExitStack) -> Survey:
    written: dict[str, object] = {}
    if file_format == "json":
        records = request.records or json_files.records_of_file(chosen[0])
        if records != "$":
            written["records"] = records
    options = _options(file_format, request, **written)
    inputs = _read(chosen, options, [json_files.WHOLE])
    seen = json_files.survey(partial(parts_of, inputs, request.sample), stack)
    return replace(seen, options={**written, **seen.options})


def _parquet(request: SurveyRequest, chosen: Sequence[File]) -> Survey:
    drafts = parquet.drafts(chosen)
    inputs = _read(chosen, _options("parquet", request))
    return Survey(options={}, drafts=drafts, parts=partial(parts_of, inputs, request.sample))


def _excel(request: SurveyRequest, chosen: Sequence[File]) -> Survey:
    with chosen[0].content() as content:
        written, notes = _sheet(content, request)
    inputs = _read(chosen, _options("excel", request, **written))
    names = _header(inputs[0])
    return Survey(
        options=written,
        drafts=[Draft(name, name) for name in names],
        parts=partial(parts_of, inputs, request.sample),
        notes=notes,
        midnights_are_dates=True,
    )


def _sheet(content: Content, request: SurveyRequest) -> tuple[Mapping[str, object], list[str]]:
    """Return the options for the sheet and its header, and notes about them."""
    written: dict[str, object] = {"sheet": request.sheet} if request.sheet else {}
    with excel.workbook(content) as workbook:
        names = list(workbook.sheets)
        rows = excel.sheet_of(workbook, request.sheet, location=content.location).rows()
        cells = {number: [cell for cell in values if cell is not None] for number, values in islice(rows, _ROWS_FOR_HEADER)}
    if not any(cells.values()):
        raise InputError(f"{content.location}: the sheet is empty; name one with --sheet (sheets: {', '.join(map(in_message, names))})")
    row = _header_row(cells)
    if row > 1:
        written["header_row"] = row
    others = [] if request.sheet else names[1:]
    notes = [f"only the first sheet of {content.location}; others: {', '.join(others)} (--sheet)"] if others else []
    if all(_are_texts(values) for number, values in cells.items() if number > row):
        notes.append(headers.GUESSED.format(f"row {row} is not loaded, whatever it is"))
    return written, notes


def _header_row(cells: Mapping[int, Sequence[object]]) -> int:
    """Return the first row with as many cells as any, unless it has values and a row of texts is above it: then a name is missing there."""
    row = max(cells, key=lambda number: len(cells[number]))
    above = [number for number, values in cells.items() if number < row and len(values) > 1 and _are_texts(values)]
    return max(above, key=lambda number: len(cells[number])) if above and not _are_texts(cells[row]) else row


def _are_texts(values: Sequence[object]) -> bool:
    return all(isinstance(value, str) for value in values)


def _fixed_width(request: SurveyRequest, chosen: Sequence[File]) -> Survey:
    encoding, notes = _encoding(request, chosen)
    with chosen[0].content() as content:
        layout = fixed_width.layout_of(content.chunks(), encoding, location=chosen[0].location)
    written: dict[str, object] = {} if encoding in {"ascii", "utf-8"} else {"encoding": encoding}
    written |= layout.options
    columns = [Column(draft.name, "text", start=draft.start, width=draft.width) for draft in layout.drafts]
    inputs = _read(chosen, _options("fixed_width", request, **written), columns)
    return Survey(
        options=written,
        drafts=layout.drafts,
        parts=partial(parts_of, inputs, request.sample),
        notes=[*notes, *layout.notes, _OF_FIXED_WIDTH],
        may_have_null_string=True,
        blanks_are_null=True,
    )
