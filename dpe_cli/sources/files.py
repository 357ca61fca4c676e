"""Files as sources: paths and globs of CSV, compressed or within zip files, in any encoding, as blocks of UTF-8."""

from __future__ import annotations

import glob
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path

from dpe_cli.errors import InputError
from dpe_cli.load import encodings
from dpe_cli.load.blocks import Block, cut
from dpe_cli.load.grammar import Dialect, Grammar
from dpe_cli.sources import compression
from dpe_cli.sources.compression import HashingReader
from dpe_cli.sources.external import External


def find(external: External, columns: Sequence[str], *, project_dir: Path) -> list[File]:
    """
    Return the files a source's location stands for, in the order of their names; a zip file's members each count as one.

    `columns` are the contract's, in order: what a file without a header holds.

    Raises:
        InputError: no file matches, or one cannot be read.
    """
    # A path that exists is meant as it is, whatever brackets it has.
    names = (
        [external.location]
        if (project_dir / external.location).is_file()
        else glob.glob(external.location, root_dir=project_dir, recursive=True)
    )
    paths = [path for path in sorted(project_dir / name for name in names) if not path.is_dir()]
    if not paths:
        raise InputError(f"{external.location}: no file matches; correct the location (it is relative to {project_dir})")
    return [file for path in paths for file in _files(path, external, tuple(columns), project_dir)]


def _files(path: Path, external: External, columns: tuple[str, ...], project_dir: Path) -> list[File]:
    location = str(path.relative_to(project_dir)) if path.is_relative_to(project_dir) else str(path)
    kind = compression.kind_of(path.name) if external.compression == "auto" else external.compression
    if kind != "zip":
        return [File(path, None, compression.size_of(path, location=location), location, kind, external, columns)]
    return [
        File(
            path,
            member,
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
    """A CSV file, or a member of a zip file: one load's worth of records. `size` is in bytes, as delivered."""

    path: Path
    member: zipfile.ZipInfo | None
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
            with compression.opened(self.path, self.member, location=self.location) as reader:
                self._hash = reader.hexdigest()
        return self._hash

    @contextmanager
    def open(self) -> Iterator[OpenFile]:
        """
        Open the file and read its header.

        Raises:
            InputError: it cannot be read, is empty, or its header is no record.
        """
        with compression.opened(self.path, self.member, location=self.location) as reader:
            yield OpenFile(self, reader)

    def read_to_the_end(self, content_hash: str, size: int) -> None:
        """Take note of what was read, should the file have changed since it was planned."""
        self._hash = content_hash
        self.size = size


class OpenFile:
    """A file whose header has been read."""

    def __init__(self, file: File, reader: HashingReader) -> None:
        self._file = file
        self._reader = reader
        chunks = compression.chunks(reader, file.compression, location=file.location)
        start = next(chunks, b"")
        encoding = encodings.with_byte_order(file.external.encoding, start)
        self.dialect: Dialect = file.external.dialect(encoding)
        self._chunks = encodings.to_utf8(chain([start], chunks), encoding)
        self._first_line = 1
        self.columns = file.contract_columns
        if file.external.header:
            self.columns = self._take_header()

    def blocks(self) -> Iterator[Block]:
        """Yield the records behind the header, once; note the file's hash and size at its end."""
        yield from cut(
            self._chunks,
            self.dialect,
            location=self._file.location,
            first_line=self._first_line,
            max_record_bytes=self._file.external.max_record_bytes,
        )
        self._file.read_to_the_end(self._reader.hexdigest(), self._reader.size)

    def _take_header(self) -> tuple[str, ...]:
        location = self._file.location
        grammar = Grammar(self.dialect)
        data = b""
        end = 0
        for chunk in self._chunks:
            data += chunk
            end = grammar.end_of_first(data)
            if end:
                break
            if len(data) > self._file.external.max_record_bytes:
                raise InputError(
                    f"{location}, line 1: the header does not end; check the line ends, and quote and escape in the external block"
                )
        if not data:
            raise InputError(f"{location}: the file is empty; it needs at least a header, or `header: false` in the external block")
        header = data[: end or len(data)]
        names = _parse_header(header, grammar, self.dialect, location)
        self._chunks = chain([data[len(header) :]], self._chunks)
        self._first_line += header.count(b"\n")
        return names


def _parse_header(header: bytes, grammar: Grammar, dialect: Dialect, location: str) -> tuple[str, ...]:
    outline = grammar.outlines(header)[0]
    if invalid := encodings.invalid_bytes(header, dialect.encoding):
        sequence = " ".join(f"0x{byte:02x}" for byte in invalid)
        raise InputError(
            f"{location}, line 1: the header is no text in {dialect.encoding} ({sequence}); "
            "correct encoding or compression in the external block"
        )
    if dialect.quote.encode() in outline:
        raise InputError(f"{location}, line 1: the header has a quote that is never closed; correct quote or escape in the external block")
    if b"\r" in outline:
        raise InputError(f"{location}, line 1: has a carriage return without a line feed; convert the line ends to line feeds")
    names = tuple(name.decode() for name in grammar.fields(header))
    if twice := sorted({name for name in names if names.count(name) > 1}):
        listed = ", ".join(map(repr, twice))
        raise InputError(f"{location}, line 1: the header names {listed} more than once; have it delivered with distinct names")
    return names
