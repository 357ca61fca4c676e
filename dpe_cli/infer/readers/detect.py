"""The format of a file, by the ending of its name, or else by its first bytes."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import islice
from pathlib import PurePosixPath

from dpe_cli.blocks import encodings
from dpe_cli.errors import InputError
from dpe_cli.infer.readers.csv_files import encoding_of, looks_like_csv
from dpe_cli.safe_text.visible_text import in_message
from dpe_cli.sources.files.find import File
from dpe_cli.sources.json import parsing

_ENDINGS = {
    ".csv": "csv",
    ".tsv": "csv",
    ".tab": "csv",
    ".psv": "csv",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "json",
    ".geojson": "json",
    ".parquet": "parquet",
    ".pq": "parquet",
    ".xlsx": "excel",
    ".xlsm": "excel",
}
COMPRESSED = (".gz", ".bz2", ".xz", ".zst", ".zip")
# Formats that dpe does not read, and what to ask for instead.
_FOREIGN = {
    ".xls": "a workbook from before Excel 2007; save it as .xlsx",
    ".xlsb": "a binary Excel workbook; save it as .xlsx",
    ".ods": "an OpenDocument workbook; save it as .xlsx",
    ".xml": "XML; ask the sender for JSON or CSV",
    ".avro": "Avro; ask the sender for Parquet",
    ".orc": "ORC; ask the sender for Parquet",
    ".pdf": "a document; ask the sender for its tables as CSV",
    ".sas7bdat": "a SAS data set; ask the sender for CSV or Parquet",
}
_SQLITE = b"SQLite format 3\0"
_BYTES = {b"PAR1": "parquet", b"PK\x03\x04": "excel"}


def by_ending(location: str) -> str | None:
    """Return the format according to a location's ending, ignoring compression; None if unknown."""
    return _ENDINGS.get(_ending(location))


def without_ending(name: str) -> str:
    """Return a file's name without the endings for format and compression."""
    path = PurePosixPath(name)
    if path.suffix.lower() in COMPRESSED:
        path = path.with_suffix("")
    return path.stem if path.suffix.lower() in {*_ENDINGS, *_FOREIGN, ".txt", ".dat", ".log"} else path.name


def of(file: File) -> str:
    """
    Return the format of a file.

    Raises:
        InputError: dpe does not read it, or cannot detect it.
    """
    ending = _ending(file.location)
    location = in_message(file.location)
    if foreign := _FOREIGN.get(ending):
        raise InputError(f"{location}: is {foreign}")
    by_name = _ENDINGS.get(ending)
    if by_name not in {None, "json"}:
        return str(by_name)
    with file.content() as content:
        start = b"".join(islice(content.chunks(), 1))
        if not start.strip():
            raise InputError(f"{location}: the file is empty; name one with records")
        if start.startswith(_SQLITE):
            raise InputError(f"{location}: is a SQLite database; write it as sqlite:///{location}, and name a table with --table")
        if by_name is None and (found := next((name for magic, name in _BYTES.items() if start.startswith(magic)), None)):
            return found
        text = next(encodings.to_utf8(iter([start]), encodings.with_byte_order(encoding_of([start], location=location), start)), b"")
    found = _of_text(text.lstrip()) or by_name
    if found is None and not looks_like_csv(text):
        raise InputError(f"{location}: cannot detect the format; give it with --format")
    return found or "csv"


def _of_text(text: bytes) -> str | None:
    """Return json or jsonl for text that starts like JSON: jsonl if the second line starts like the first, or there is only one."""
    if not text.startswith((b"{", b"[")):
        return None
    lines: Iterator[bytes] = (line for line in text.split(b"\n") if line.strip())
    first = next(lines)
    try:
        is_record = isinstance(parsing.parse(first), dict)
    except ValueError:
        return "json"
    second = next(lines, None)
    return "jsonl" if is_record and (second is None or second.lstrip().startswith(b"{")) and not _holds_records(first) else "json"


def _holds_records(line: bytes) -> bool:
    return re.search(rb'^\s*\{\s*"[^"]*"\s*:\s*\[\s*\{', line) is not None


def _ending(location: str) -> str:
    path = PurePosixPath(location.partition("?")[0] if "://" in location else location)
    if path.suffix.lower() in COMPRESSED:
        path = path.with_suffix("")
    return path.suffix.lower()
