"""Compressed files, read as a stream: nothing is unpacked to disk, and memory does not grow with the file."""

from __future__ import annotations

import bz2
import errno
import gzip
import hashlib
import io
import lzma
import os
import stat
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO

from backports import zstd

from dpe_cli import machine
from dpe_cli.errors import InputError

CHUNK_BYTES = 2 * 1024 * 1024
# How much is read of a file of several streams at once: what follows the end of each stream is copied.
_STREAM_BYTES = 64 * 1024
_SUFFIXES = {".gz": "gz", ".bz2": "bz2", ".xz": "xz", ".zst": "zst", ".zip": "zip"}
_BROKEN = (EOFError, zlib.error, gzip.BadGzipFile, lzma.LZMAError, zipfile.BadZipFile, zstd.ZstdError)
_NOT_READ = {
    stat.S_ISFIFO: "a named pipe",
    stat.S_ISCHR: "a device",
    stat.S_ISBLK: "a device",
    stat.S_ISSOCK: "a socket",
    stat.S_ISDIR: "a directory",
}
# Formats whose Python file classes stop at the first broken stream.
_DECOMPRESSORS: dict[str, Callable[[], bz2.BZ2Decompressor | lzma.LZMADecompressor]] = {
    "bz2": bz2.BZ2Decompressor,
    "xz": lzma.LZMADecompressor,
}


class HashingReader(io.RawIOBase):
    """
    Passes a file through, and hashes (SHA-256) and counts what was read.

    Raises:
        InputError: it cannot be read.
    """

    def __init__(self, raw: IO[bytes], *, descriptor: int, location: str) -> None:
        self._raw = raw
        self._location = location
        self._descriptor = descriptor
        self._version = self._present_version()
        self._opened_again: Path | None = None
        self._digest = hashlib.sha256()
        self.size = 0

    def readable(self) -> bool:
        """Return that it can be read."""
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        """Read into `buffer`; return the number of bytes, 0 at the end."""
        with _reporting_read_errors(self._location):
            count: int = self._raw.readinto(buffer)  # type: ignore[attr-defined]
        self._digest.update(buffer[:count])
        self.size += count
        return count

    def hexdigest(self) -> str:
        """
        Read the rest, and return the hash of the whole.

        Raises:
            InputError: the file was written to, or replaced, since it was opened, so that something else may have been read.
        """
        buffer = memoryview(bytearray(1024 * 1024))
        while self.readinto(buffer):
            pass
        if self._present_version() != self._version or self._was_replaced():
            raise InputError(
                f"{self._location}: the file changed while it was read; nothing was loaded, extract again when it is complete "
                "(deliver it under another name, and rename it then)"
            )
        return self._digest.hexdigest()

    def path_of(self, path: Path) -> Path:
        """
        Return a path of the file itself, which stays the same if another one, or a link, takes its place at `path`.

        If the system has no such path, return `path`; `hexdigest` then refuses a file that was replaced.
        """
        itself = machine.path_of_open_file(self._descriptor)
        if itself is None:
            self._opened_again = path
            return path
        return itself

    def _was_replaced(self) -> bool:
        """Return whether a library opened the file by its path, which by now leads to another file, or to none."""
        if self._opened_again is None:
            return False
        try:
            return not os.path.samestat(self._opened_again.stat(), os.fstat(self._descriptor))
        except OSError:
            return True

    def _present_version(self) -> tuple[int, int]:
        status = os.fstat(self._descriptor)
        return status.st_size, status.st_mtime_ns


def kind_of(name: str) -> str:
    """Return the compression according to a file's name: gz, bz2, xz, zst, zip or none."""
    return _SUFFIXES.get(Path(name).suffix.lower(), "none")


def status_of(path: Path, *, location: str) -> os.stat_result:
    """
    Return the status of a file or directory.

    Raises:
        InputError: it does not exist, is not readable, or is something else, which might never end or wait forever.
    """
    with _reporting_read_errors(location):
        status = path.stat()
    if not stat.S_ISDIR(status.st_mode):
        _check_regular(status, location)
    return status


@contextmanager
def opened(path: Path, member: zipfile.ZipInfo | None, *, base: Path | None, location: str) -> Iterator[HashingReader]:
    """
    Open the bytes of a file, or of a member of a zip file, as delivered; no link may lead out of `base`, if there is one.

    Raises:
        InputError: it cannot be opened.
    """
    with ExitStack() as stack:
        raw: IO[bytes] = stack.enter_context(_regular_file(path, base, location=location, is_buffered=member is not None))
        descriptor = raw.fileno()
        with _reporting_read_errors(location):
            if member is not None:
                raw = stack.enter_context(stack.enter_context(_ZipOfKnownMembers(raw)).open(member))
        yield HashingReader(raw, descriptor=descriptor, location=location)


class _ZipOfKnownMembers(zipfile.ZipFile):
    """A zip file whose directory was read before: a member would take as long to open as there are members."""

    def _RealGetContents(self) -> None:  # noqa: N802 zipfile's name
        """Read nothing."""


def _regular_file(path: Path, base: Path | None, *, location: str, is_buffered: bool = True) -> IO[bytes]:
    """
    Open a file for reading.

    Raises:
        InputError: it is something else, cannot be opened, or a link leads out of `base`.
    """
    with _reporting_read_errors(location):
        descriptor = _descriptor(path) if base is None else _descriptor_below(base, path)
    try:
        _check_regular(os.fstat(descriptor), location)
    except InputError:
        os.close(descriptor)
        raise
    return os.fdopen(descriptor, "rb", buffering=-1 if is_buffered else 0)


def _descriptor(path: str | Path, flags: int = 0, directory: int | None = None) -> int:
    # A named pipe that took the file's place since would wait for its writer.
    return os.open(path, os.O_RDONLY | os.O_NONBLOCK | flags, dir_fd=directory)


def _descriptor_below(base: Path, path: Path) -> int:
    """Open a file below a directory, whatever a sender replaces by links meanwhile: each directory on the way is opened by itself."""
    real = Path(os.path.realpath(path))
    if not real.is_relative_to(base):
        raise OSError(errno.ELOOP, f"a symbolic link leads out of {base}")
    *directories, name = real.relative_to(base).parts
    opened_directory = _descriptor(base, os.O_DIRECTORY)
    try:
        for part in directories:
            below = _descriptor(part, os.O_DIRECTORY | os.O_NOFOLLOW, opened_directory)
            os.close(opened_directory)
            opened_directory = below
        return _descriptor(name, os.O_NOFOLLOW, opened_directory)
    finally:
        os.close(opened_directory)


def chunks(reader: HashingReader, kind: str, *, location: str) -> Iterator[bytes]:
    """
    Yield the decompressed content of an open file in chunks.

    Raises:
        InputError: the compressed data is broken or ends early.
    """
    with _reporting_read_errors(location):
        if kind in _DECOMPRESSORS:
            yield from _gathered(_streams(reader, _DECOMPRESSORS[kind]))
            return
        with _decompressed(reader, kind) as stream:
            while chunk := stream.read(CHUNK_BYTES):
                yield chunk


def zip_members(path: Path, base: Path | None, *, location: str) -> list[zipfile.ZipInfo]:
    """
    Return the files within a zip file, by name; without the entries that macOS adds.

    Raises:
        InputError: it is broken, empty or encrypted.
    """
    with _regular_file(path, base, location=location) as file, _reporting_read_errors(location), zipfile.ZipFile(file) as archive:
        members = [member for member in archive.infolist() if not member.is_dir() and not member.filename.startswith("__MACOSX/")]
    if not members:
        raise InputError(f"{location}: the zip file contains no file; ask the sender to send it again")
    if any(member.flag_bits & 0x1 for member in members):
        raise InputError(f"{location}: the zip file is encrypted; deliver it without a password")
    return sorted(members, key=lambda member: member.filename)


def _check_regular(status: os.stat_result, location: str) -> None:
    for is_kind, kind in _NOT_READ.items():
        if is_kind(status.st_mode):
            raise InputError(f"{location}: is not a file, but {kind}; remove it, or correct the location in the external block")


@contextmanager
def _reporting_read_errors(location: str) -> Iterator[None]:
    """Turn read errors into InputErrors that name the file."""
    try:
        yield
    except _BROKEN as error:
        raise InputError(f"{location}: the compressed data is broken or ends early ({error}); ask the sender to send it again") from error
    except NotImplementedError as error:
        raise InputError(f"{location}: is compressed in a format that Python cannot read ({error}); deliver it as gz, xz or zst") from error
    except OSError as error:
        # bz2 reports broken data as an OSError that has no errno.
        what = f"cannot be read ({error.strerror})" if error.errno else f"the compressed data is broken ({error})"
        raise InputError(f"{location}: {what}; ask the sender to send it again") from error


def _streams(raw: io.RawIOBase, new: Callable[[], bz2.BZ2Decompressor | lzma.LZMADecompressor]) -> Iterator[bytes]:
    """
    Yield the content of a file's streams, one after the other.

    Python's own file classes end silently at the first invalid stream, and lose everything after it.
    """
    decompressor = new()
    while True:
        data = b""
        if decompressor.eof:
            # A file may be padded with zeros to a tape block, or to a multiple of four bytes.
            data = (decompressor.unused_data or raw.read(_STREAM_BYTES) or b"").lstrip(b"\0")
            while not data:
                filled = raw.read(_STREAM_BYTES)
                if not filled:
                    return
                data = filled.lstrip(b"\0")
            decompressor = new()
        elif decompressor.needs_input:
            data = raw.read(_STREAM_BYTES) or b""
            if not data:
                raise EOFError("its end-of-stream marker is missing")
        if chunk := decompressor.decompress(data, CHUNK_BYTES):
            yield chunk


def _gathered(parts: Iterator[bytes]) -> Iterator[bytes]:
    """Yield parts in chunks of the usual size: streams may be tiny, and what follows takes time for each chunk."""
    gathered: list[bytes] = []
    size = 0
    for part in parts:
        gathered.append(part)
        size += len(part)
        if size >= CHUNK_BYTES:
            yield b"".join(gathered)
            gathered, size = [], 0
    if gathered:
        yield b"".join(gathered)


def _decompressed(raw: io.RawIOBase, kind: str) -> IO[bytes]:
    match kind:
        case "gz":
            return gzip.GzipFile(fileobj=io.BufferedReader(raw, 1024 * 1024))  # type: ignore[return-value]
        case "zst":
            return zstd.ZstdFile(io.BufferedReader(raw, 1024 * 1024))  # type: ignore[return-value]
        case _:
            return io.BufferedReader(raw, 1024 * 1024)
