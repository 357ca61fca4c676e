"""Files as sources: paths and globs, compressed or within zip files, in every format, as blocks of CSV."""

from __future__ import annotations

import stat
import zipfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Protocol

from dpe_cli.blocks.block import Block
from dpe_cli.blocks.contract import Column
from dpe_cli.blocks.csv_grammar import Dialect
from dpe_cli.blocks.inputs import MayLackColumns, Opened
from dpe_cli.errors import InputError
from dpe_cli.safe_text.redaction import hide
from dpe_cli.safe_text.secret_forms import spans
from dpe_cli.safe_text.visible_text import in_message
from dpe_cli.sources import secrets
from dpe_cli.sources.files import compression, matching, remote
from dpe_cli.sources.files.compression import HashingReader
from dpe_cli.sources.files.content import Content, Reading
from dpe_cli.sources.options.base import resolve
from dpe_cli.sources.options.files import Files
from dpe_cli.sources.read.remote_file import RemoteFile

# Opens the content of a file; returns its columns and blocks.
Opener = Callable[[Content, Reading], AbstractContextManager[Opened]]


def find(options: Files, columns: Sequence[Column], *, declared_at: str = "", project_dir: Path) -> list[File]:
    """
    Return the files that match a source's location, sorted by name; each member of a zip file counts as a file.

    `columns` are the contract's, in order: the columns of a file without a header.

    Raises:
        InputError: no file matches, or one cannot be read.
    """
    location = options.location
    reading = Reading(options, tuple(columns), declared_at)
    if remote.is_far(location):
        return [file for found in remote.find(options) for file in _far_files(found, reading)]
    base = None if options.follow_links else matching.base_of(location, project_dir)
    paths = matching.matching(location, project_dir, base=base)
    files = [file for path in paths for file in _files(LocalFile(path, base), reading, project_dir)]
    if not files:
        raise InputError(f"{location}: no file matches; correct the location (it is relative to {project_dir})")
    return files


def _files(place: LocalFile, reading: Reading, project_dir: Path) -> list[File]:
    """Return the file at a path, or the members of a zip file; nothing for a directory."""
    location, shown = matching.name_of(place.path, project_dir), matching.shown(place.path, project_dir)
    status = compression.status_of(place.path, location=shown)
    if stat.S_ISDIR(status.st_mode):
        return []
    if place.base is not None:
        matching.check_links(place.path, place.base, location=shown)
    if not matching.is_text(location):
        raise InputError(f"{shown}: the file's name is not valid UTF-8; rename it")
    kind = _kind(place.path.name, reading)
    if kind != "zip":
        return [File(place, None, status.st_size, location, kind, reading)]
    return _members(place, location, reading)


def _far_files(found: RemoteFile, reading: Reading) -> list[File]:
    """
    Return a remote file, or the members of a zip file, as the ledger may name them.

    Raises:
        InputError: a name, which the place chose, contains a secret that dpe sent there.
    """
    kind = _kind(found.location.partition("?")[0], reading)
    if found.version is not None and hide(found.version) != found.version:
        # A version that echoes a secret would be in the ledger; without a version, the content tells whether the file is new.
        found = replace(found, version=None)
    place = remote.FetchedFile(found)
    location, size = found.location, found.size
    files = _members(place, location, reading) if kind == "zip" else [File(place, None, size, location, kind, reading)]
    given = reading.options.location
    held = secrets.held({"location": given, **reading.options.storage_options})
    for file in files:
        if spans(file.location.removeprefix(given), held):
            raise InputError(f"{in_message(file.location)}: the name contains a secret of the source; ask the sender for another name")
    return files


def _members(place: FileOnDisk, location: str, reading: Reading) -> list[File]:
    return [
        File(place, member, member.file_size, f"{location}!{member.filename}", compression.kind_of(member.filename), reading)
        for member in compression.zip_members(place.path, place.base, location=in_message(location))
    ]


def _kind(name: str, reading: Reading) -> str:
    return compression.kind_of(name) if reading.options.compression == "auto" else reading.options.compression


class FileOnDisk(Protocol):
    """The place of a file."""

    @property
    def path(self) -> Path:
        """Its path on this machine, or that of a copy."""

    @property
    def version(self) -> str | None:
        """The version of its content, as far as its place reports one."""

    @property
    def base(self) -> Path | None:
        """The directory out of which no link may lead, if there is one."""


@dataclass(frozen=True)
class LocalFile:
    """A local file."""

    path: Path
    base: Path | None
    version: None = None


@dataclass
class File:
    """A file, or a member of a zip file: one load's worth of records. `size` is in bytes, as delivered."""

    place: FileOnDisk
    member: zipfile.ZipInfo | None
    size: int
    location: str
    compression: str
    reading: Reading
    _hash: str | None = field(default=None, init=False)

    @property
    def version(self) -> str | None:
        """The version of a remote file; a member of a zip file has none."""
        return self.place.version if self.member is None else None

    @property
    def is_compressed(self) -> bool:
        """Whether it holds more bytes of records than its size suggests."""
        return self.compression != "none"

    def content_hash(self) -> str:
        """Hash the file as delivered (a member as it is within its zip file); once it has been read, what was read."""
        if self._hash is None:
            with self._opened() as reader:
                self._hash = reader.hexdigest()
        return self._hash

    def is_known_as(self, content_hash: str) -> None:
        """Note the hash of its content, so that it need not be read to compute it."""
        self._hash = content_hash

    @property
    def _opener(self) -> Opener:
        return resolve(self.reading.options.opener)  # type: ignore[no-any-return]

    @contextmanager
    def content(self) -> Iterator[Content]:
        """
        Open the file's content, whatever its format.

        Raises:
            InputError: it cannot be read.
        """
        with self._opened() as reader:
            is_plain = self.member is None and self.compression == "none"
            path = reader.path_of(self.place.path) if is_plain else None
            yield Content(reader, self.compression, location=in_message(self.location), path=path)

    def _opened(self) -> AbstractContextManager[HashingReader]:
        return compression.opened(self.place.path, self.member, base=self.place.base, location=in_message(self.location))

    @contextmanager
    def open(self) -> Iterator[Opened]:
        """
        Open the file and read its header.

        Raises:
            InputError: it cannot be read, is empty, or its header is not valid.
        """
        with self.content() as content, self._opener(content, self.reading) as opened:
            yield _Noting(opened, content, self)

    def read_to_the_end(self, content_hash: str, size: int) -> None:
        """Note the hash and size of what was read, in case the file changed since it was planned."""
        self._hash = content_hash
        self.size = size


class _Noting:
    """An open file whose hash and size are noted after its last block was read."""

    def __init__(self, opened: Opened, content: Content, file: File) -> None:
        self.columns: tuple[str, ...] = opened.columns
        self.dialect: Dialect = opened.dialect
        self._opened = opened
        self._content = content
        self._file = file

    def missing(self) -> tuple[str, ...]:
        """Return the columns that no record had."""
        return self._opened.missing() if isinstance(self._opened, MayLackColumns) else ()

    def blocks(self) -> Iterator[Block]:
        """Yield the blocks once."""
        yield from self._opened.blocks()
        self._file.read_to_the_end(*self._content.finish())
