"""A file's content, to be read once: as a stream of decompressed chunks, or as a file on disk for readers that cannot stream."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from dpe_cli.blocks.contract import Column
from dpe_cli.sources.files import compression
from dpe_cli.sources.files.compression import HashingReader
from dpe_cli.sources.options.files import Files


@dataclass(frozen=True)
class Reading:
    """How files are read: the options of their source, its columns, and where both are declared."""

    options: Files
    columns: tuple[Column, ...]
    declared_at: str


class Content:
    """The content of an open file: `location` is what messages call it, `path` where its decompressed bytes are on disk, if anywhere."""

    def __init__(self, reader: HashingReader, kind: str, *, location: str, path: Path | None) -> None:
        self._reader = reader
        self._kind = kind
        self._path = path
        self.location = location

    def chunks(self) -> Iterator[bytes]:
        """
        Yield the decompressed content.

        Raises:
            InputError: the compressed data is broken or ends early.
        """
        return compression.chunks(self._reader, self._kind, location=self.location)

    @contextmanager
    def on_disk(self) -> Iterator[Path]:
        """
        Yield the file's path; if it is compressed, in a zip file or remote, the path of a temporary copy.

        Raises:
            InputError: the compressed data is broken or ends early.
        """
        if self._path is not None:
            yield self._path
            return
        with tempfile.NamedTemporaryFile(prefix="dpe-") as copy:
            for chunk in self.chunks():
                copy.write(chunk)
            copy.flush()
            yield Path(copy.name)

    def finish(self) -> tuple[str, int]:
        """
        Read the rest; return the hash and the size of the file as delivered.

        Raises:
            InputError: the file was written to since it was opened.
        """
        content_hash = self._reader.hexdigest()
        return content_hash, self._reader.size
