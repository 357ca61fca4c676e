"""Compressed files, read as a stream: nothing is unpacked to disk, and memory does not grow with the file."""

from __future__ import annotations

import bz2
import gzip
import hashlib
import io
import lzma
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from backports import zstd

from dpe_cli.errors import InputError

CHUNK_BYTES = 2 * 1024 * 1024
_SUFFIXES = {".gz": "gz", ".bz2": "bz2", ".xz": "xz", ".zst": "zst", ".zip": "zip"}
_BROKEN = (EOFError, zlib.error, gzip.BadGzipFile, lzma.LZMAError, zipfile.BadZipFile, zstd.ZstdError, RuntimeError, NotImplementedError)


class HashingReader(io.RawIOBase):
    """Passes a file on and hashes (SHA-256) what went through."""

    def __init__(self, raw: IO[bytes]) -> None:
        self._raw = raw
        self._digest = hashlib.sha256()

    def readable(self) -> bool:
        """Say that it can be read."""
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        """Read into `buffer`; return the number of bytes, 0 at the end."""
        count: int = self._raw.readinto(buffer)  # type: ignore[attr-defined]
        self._digest.update(buffer[:count])
        return count

    def hexdigest(self) -> str:
        """Read what is left, and return the hash of the whole."""
        buffer = memoryview(bytearray(1024 * 1024))
        while self.readinto(buffer):
            pass
        return self._digest.hexdigest()


def kind_of(name: str) -> str:
    """Return the compression that a file's name tells: gz, bz2, xz, zst, zip or none."""
    return _SUFFIXES.get(Path(name).suffix.lower(), "none")


def chunks(raw: io.RawIOBase, kind: str, *, location: str) -> Iterator[bytes]:
    """
    Yield the decompressed content of an open file in chunks.

    Raises:
        InputError: the compressed data is broken or ends early.
    """
    try:
        with _decompressed(raw, kind) as stream:
            while chunk := stream.read(CHUNK_BYTES):
                yield chunk
    except _BROKEN as error:
        raise _broken(location, kind, error) from error
    except OSError as error:
        # bz2 reports broken data as an OSError that has no errno.
        if error.errno is not None:
            raise
        raise _broken(location, kind, error) from error


def zip_members(path: Path, *, location: str) -> list[zipfile.ZipInfo]:
    """
    Return the files within a zip file, by name.

    Raises:
        InputError: it is broken or encrypted.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            members = [member for member in archive.infolist() if not member.is_dir()]
    except zipfile.BadZipFile as error:
        raise _broken(location, "zip", error) from error
    if any(member.flag_bits & 0x1 for member in members):
        raise InputError(f"{location}: the zip file is encrypted; deliver it without a password")
    return sorted(members, key=lambda member: member.filename)


def _decompressed(raw: io.RawIOBase, kind: str) -> IO[bytes]:
    match kind:
        case "gz":
            return gzip.GzipFile(fileobj=io.BufferedReader(raw, 1024 * 1024))  # type: ignore[return-value]
        case "bz2":
            return bz2.BZ2File(io.BufferedReader(raw, 1024 * 1024))  # type: ignore[return-value]
        case "xz":
            return lzma.LZMAFile(io.BufferedReader(raw, 1024 * 1024))  # type: ignore[return-value]
        case "zst":
            return zstd.ZstdFile(io.BufferedReader(raw, 1024 * 1024))  # type: ignore[return-value]
        case _:
            return io.BufferedReader(raw, 1024 * 1024)


def _broken(location: str, kind: str, error: Exception) -> InputError:
    return InputError(f"{location}: the {kind} data is broken or ends early ({error}); have the file delivered again")
