"""Files as sources: paths and globs of CSV, compressed or within zip files, in any encoding, as blocks of UTF-8."""

from __future__ import annotations

import codecs
import csv
import glob
import io
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import IO

from dpe_cli.errors import InputError
from dpe_cli.load.blocks import Block, Dialect, Grammar, cut
from dpe_cli.sources import compression
from dpe_cli.sources.external import External

_UTF8_NAMES = {"utf-8", "utf-8-sig", "ascii"}
_BYTE_ORDER_MARK = codecs.BOM_UTF8


def find(external: External, columns: Sequence[str], *, project_dir: Path) -> list[File]:
    """
    Return the files a source's location stands for, in the order of their names; a zip file's members each count as one.

    `columns` are the contract's, in order: what a file without a header holds.

    Raises:
        InputError: no file matches, or a zip file is broken.
    """
    paths = [Path(path) for path in sorted(glob.glob(str(project_dir / external.location), recursive=True)) if not Path(path).is_dir()]
    if not paths:
        raise InputError(f"{external.location}: no file matches; correct the location (it is relative to {project_dir})")
    return [file for path in paths for file in _files(path, external, tuple(columns), project_dir)]


def _files(path: Path, external: External, columns: tuple[str, ...], project_dir: Path) -> list[File]:
    location = str(path.relative_to(project_dir)) if path.is_relative_to(project_dir) else str(path)
    kind = compression.kind_of(path.name) if external.compression == "auto" else external.compression
    if kind != "zip":
        return [File(path, None, path.stat().st_size, location, kind, external, columns)]
    return [
        File(
            path,
            member.filename,
            member.file_size,
            f"{location}!{member.filename}",
            compression.kind_of(member.filename),
            external,
            columns,
        )
        for member in compression.zip_members(path, location=location)
    ]


@dataclass
class File:
    """A CSV file, or a member of a zip file: one load's worth of records."""

    path: Path
    member: str | None
    size: int
    location: str
    compression: str
    external: External
    contract_columns: tuple[str, ...]
    _hash: str | None = field(default=None, init=False)

    @property
    def is_compressed(self) -> bool:
        """Whether it holds more bytes of records than its size says."""
        return self.compression != "none"

    def content_hash(self) -> str:
        """Hash the file as delivered (a member as it is within its zip file); once it has been read, what was read."""
        if self._hash is None:
            with ExitStack() as stack:
                self._hash = compression.HashingReader(self.raw(stack)).hexdigest()
        return self._hash

    def open(self) -> OpenFile:
        """
        Open the file and read its header.

        Raises:
            InputError: it cannot be read, is empty, or its header is no record.
        """
        return OpenFile(self)

    def read_to_the_end(self, content_hash: str) -> None:
        """Take note of the hash of what was read, should the file have changed since it was planned."""
        self._hash = content_hash

    def raw(self, stack: ExitStack) -> IO[bytes]:
        """Open the bytes as delivered."""
        try:
            if self.member is None:
                return stack.enter_context(self.path.open("rb", buffering=0))  # type: ignore[return-value]
            archive = stack.enter_context(zipfile.ZipFile(self.path))
            return stack.enter_context(archive.open(self.member))
        except (OSError, KeyError, zipfile.BadZipFile) as error:
            raise InputError(f"{self.location}: cannot be opened ({error}); have it delivered again") from error


class OpenFile:
    """A file whose header has been read."""

    def __init__(self, file: File) -> None:
        self._file = file
        self.dialect: Dialect = file.external.dialect
        self._stack = ExitStack()
        self._reader = compression.HashingReader(file.raw(self._stack))
        self._chunks = _as_utf8(compression.chunks(self._reader, file.compression, location=file.location), file.external.encoding)
        self._first_line = 1
        self.columns = file.contract_columns
        if file.external.header:
            self.columns = self._take_header()

    def blocks(self) -> Iterator[Block]:
        """Yield the records behind the header, once; note the file's hash at its end."""
        with self._stack:
            yield from cut(
                self._chunks,
                self.dialect,
                location=self._file.location,
                first_line=self._first_line,
                max_record_bytes=self._file.external.max_record_bytes,
            )
            self._file.read_to_the_end(self._reader.hexdigest())

    def _take_header(self) -> tuple[str, ...]:
        location = self._file.location
        data = b""
        end = 0
        for chunk in self._chunks:
            data += chunk
            end = Grammar(self.dialect).end_of_first(data)
            if end or len(data) > self._file.external.max_record_bytes:
                break
        if not data:
            raise InputError(f"{location}: the file is empty; it needs at least a header, or `header: false` in the external block")
        header = data[: end or len(data)]
        if b"\r" in header.rstrip(b"\r\n") and b"\n" not in data:
            raise InputError(f"{location}: its lines end in carriage returns only; convert them to line feeds")
        names = _parse_header(header, self.dialect, location)
        self._chunks = chain([data[len(header) :]], self._chunks)
        self._first_line += header.count(b"\n")
        return names


def _parse_header(header: bytes, dialect: Dialect, location: str) -> tuple[str, ...]:
    doubled = dialect.escape == dialect.quote
    try:
        reader = csv.reader(
            io.StringIO(header.decode(), newline=""),
            delimiter=dialect.delimiter,
            quotechar=dialect.quote,
            doublequote=doubled,
            escapechar=None if doubled else dialect.escape,
            strict=True,
        )
        names = tuple(next(reader, []))
    except (csv.Error, UnicodeDecodeError) as error:
        raise InputError(
            f"{location}, line 1: the header cannot be read ({error}); check encoding, delimiter and quote in the external block"
        ) from error
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise InputError(f"{location}, line 1: the header names {', '.join(twice)} more than once; have it delivered with distinct names")
    return names


def _as_utf8(chunks: Iterator[bytes], encoding: str) -> Iterator[bytes]:
    """Transcode to UTF-8 without a byte order mark. Bytes that are invalid stay invalid, so that the server refuses the record."""
    first = True
    decoder = None if encoding in _UTF8_NAMES else codecs.getincrementaldecoder(encoding)(errors="dpe_keep_invalid")
    for chunk in chain(chunks, [b""]):
        data = chunk if decoder is None else decoder.decode(chunk, final=not chunk).encode(errors="surrogatepass")
        if first and data:
            data = data.removeprefix(_BYTE_ORDER_MARK)
            first = False
        if data:
            yield data


def _keep_invalid(error: UnicodeError) -> tuple[str, int]:
    """Stand in for undecodable bytes with lone surrogates: UTF-8 has none, so PostgreSQL refuses the record that holds them."""
    if not isinstance(error, UnicodeDecodeError):
        raise error
    return "".join(chr(0xDC00 + byte) for byte in error.object[error.start : error.end]), error.end


codecs.register_error("dpe_keep_invalid", _keep_invalid)
