"""
Locating files: on this machine, in an object store, on a file server, or on the web.

A remote file is fetched whole, to a temporary file, before it is read: a broken download is not mistaken for a file, and formats that
need random access (Parquet, Excel, zip) work. If its place reports a version, the file is recognized without being fetched.
"""

from __future__ import annotations

import asyncio
import tempfile
import weakref
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import IO, Any, TypeVar

from dpe_cli import optional_packages
from dpe_cli.blocks import reading
from dpe_cli.errors import DpeError, InputError
from dpe_cli.safe_text.redaction import redact
from dpe_cli.safe_text.visible_text import in_message
from dpe_cli.sources import secrets
from dpe_cli.sources.files import sftp
from dpe_cli.sources.options.base import nearest
from dpe_cli.sources.options.files import PLACES, Files
from dpe_cli.sources.read.limited_calls import LateError, LimitedCalls
from dpe_cli.sources.read.remote_file import RemoteFile

_T = TypeVar("_T")

# The fsspec package for each place.
_PACKAGES = {"s3": "s3fs", "gs": "gcsfs", "az": "adlfs", "abfs": "adlfs", "sftp": "paramiko"}
_LONGEST_SUFFIX = 20
_PART_BYTES = 1024 * 1024


class FetchedFile:
    """A copy of a remote file, fetched on first use; it disappears with this object."""

    base = None

    def __init__(self, file: RemoteFile) -> None:
        self._file = file
        self._path: Path | None = None
        self._version = file.version

    @property
    def version(self) -> str | None:
        """The version that the place reports; None once another one was fetched, because the sender replaced the file meanwhile."""
        return self._version

    @property
    def path(self) -> Path:
        """
        The path of the copy.

        Raises:
            InputError: the file cannot be fetched, or its size is not the announced one.
        """
        if self._path is None:
            # A name may be longer than a file system allows.
            suffix = Path(self._file.location).suffix[:_LONGEST_SUFFIX]
            with tempfile.NamedTemporaryFile(prefix="dpe-", suffix=suffix, delete=False) as copy:
                path = Path(copy.name)
                weakref.finalize(self, path.unlink, missing_ok=True)
                if self._file.fetch(copy) != self._version:
                    self._version = None
            size = path.stat().st_size
            if size != self._file.size:
                raise InputError(
                    f"{in_message(self._file.location)}: {self._file.size:,} bytes were announced, {size:,} came; "
                    "nothing was loaded, extract again"
                )
            self._path = path
        return self._path


def is_far(location: str) -> bool:
    """Return whether a location is not on this machine. The environment says so if it begins with a variable."""
    return "://" in secrets.beginning(location)


def find(options: Files) -> list[RemoteFile]:
    """
    Return the remote files that match a location, sorted by name.

    Raises:
        InputError: there is none, or the place cannot be reached.
        UsageError: the package that reaches the place is not installed.
    """
    scheme = secrets.beginning(options.location).partition("://")[0]
    if scheme not in PLACES:
        raise InputError(f"{options.location}: {scheme}:// is not supported for files{nearest(scheme, PLACES)}; correct the location")
    found = _on_the_web(options) if scheme in {"http", "https"} else _in_a_store(options, scheme)
    if not found:
        raise InputError(f"{options.location}: no file matches; correct the location")
    return found


def _in_a_store(options: Files, scheme: str) -> list[RemoteFile]:
    location = options.location
    optional_packages.needed(_PACKAGES[scheme], by=location)
    given = {name: _filled(value, location, name) for name, value in options.storage_options.items()}
    url = secrets.filled(location, where=location, in_url=True)
    waiting = _Waiting(options)
    with _reporting_connection_errors(options):
        store, path = waiting(partial(_connect, url, scheme, given))
        waiting.hang_up = partial(_hang_up, store, scheme)
        paths = waiting(partial(_matching, store, path))
        infos = [waiting(partial(store.info, found)) for found in paths]
    for found, info in zip(paths, infos, strict=True):
        # s3fs, for one, takes `?versionId=` at the end of a name for a version of another file.
        if str(info["name"]).strip("/") != found.strip("/"):
            raise InputError(f"{scheme}://{found.lstrip('/')}: fsspec takes this name for {info['name']!r}; rename the file")
    return [_stored(store, waiting, info, scheme, options) for info in infos if info["type"] == "file"]


class _Waiting:
    """Calls a store's functions, and waits for each no longer than the source's timeout."""

    def __init__(self, options: Files) -> None:
        self._options = options
        self._calls = LimitedCalls()
        # Ends what a late call waits for, or still collects.
        self.hang_up: Callable[[], None] | None = None

    def __call__(self, function: Callable[[], _T]) -> _T:
        """
        Call a function of the store.

        Raises:
            InputError: it took too long.
        """
        try:
            return self._calls.run(self._options.timeout, function)
        except LateError as error:
            if self.hang_up is not None:
                self.hang_up()
            location, timeout = self._options.location, self._options.timeout
            raise InputError(
                f"{location}: no answer within {timeout:g} seconds; extract again, or set a longer `timeout` if the store is slow"
            ) from error


def _connect(location: str, scheme: str, options: Mapping[str, Any]) -> tuple[Any, str]:
    """Return fsspec's file system for a location, and the location's path in it."""
    if scheme == "sftp":
        return sftp.connect(location, options)
    fsspec = optional_packages.needed("fsspec", by=location)
    store, path = fsspec.core.url_to_fs(location, use_listings_cache=False, **options)
    return store, path


def _hang_up(store: Any, scheme: str) -> None:
    """End a late call: otherwise, its thread would go on collecting an endless listing."""
    if scheme == "sftp":
        sftp.hang_up(store)
        return
    # The other packages run in one event loop of fsspec's, in a thread of its own.
    loop = store.loop
    loop.call_soon_threadsafe(lambda: [task.cancel() for task in asyncio.all_tasks(loop)])


def _matching(store: Any, path: str) -> list[str]:
    """Return the paths that match, sorted; like on this machine, the path of an existing file is taken literally too."""
    if not any(character in path for character in "*?["):
        return [path]
    # Without brackets a pattern matches itself.
    literally = [path] if "[" in path and store.isfile(path) else []
    return sorted({*store.glob(path), *literally})


def _stored(store: Any, waiting: _Waiting, info: Mapping[str, Any], scheme: str, options: Files) -> RemoteFile:
    def fetch(copy: IO[bytes]) -> str | None:
        with _reporting_connection_errors(options):
            stream = waiting(partial(store.open, info["name"], "rb"))
            size, received = int(info["size"]), 0
            read = partial(sftp.read, stream, size) if scheme == "sftp" else partial(stream.read, _PART_BYTES)
            while part := waiting(read):
                copy.write(part)
                received += len(part)
                if received > size:
                    # It may have no end. Its size is compared once it is here.
                    break
            waiting(stream.close)
            try:
                return _version(waiting(partial(store.info, info["name"])))
            except FileNotFoundError:
                # It was removed after it was read.
                return None

    name = str(info["name"]).removeprefix(f"{scheme}://")
    if scheme == "sftp":
        name = sftp.address_of(options.location) + name
    location = secrets.with_references(f"{scheme}://{name.lstrip('/')}", [options.location, *map(str, options.storage_options.values())])
    return RemoteFile(location, int(info["size"]), _version(info), fetch)


def _version(info: Mapping[str, Any]) -> str | None:
    version = info.get("VersionId") or info.get("ETag") or info.get("etag") or info.get("md5Hash") or info.get("mtime")
    return str(version).strip('"') if version else None


def _on_the_web(options: Files) -> list[RemoteFile]:
    from dpe_cli.sources.http.download import Download

    return [Download(options).file()]


def _filled(value: str | float, where: str, option: str) -> str | float:
    return secrets.filled(value, where=where, option=option) if isinstance(value, str) else value


@contextmanager
def _reporting_connection_errors(options: Files) -> Iterator[None]:
    """Turn connection errors into InputErrors that name the place, without its secrets."""
    try:
        yield
    except DpeError:
        raise
    except FileNotFoundError as error:
        raise InputError(f"{options.location}: does not exist ({_message(error)}); correct the location") from error
    # The errors of fsspec's packages have nothing in common: botocore's, google's and paramiko's own errors, OSError, ValueError.
    except Exception as error:
        if reading.is_out_of_memory(error):
            # The limit is named where it is set.
            raise
        raise InputError(f"{options.location}: cannot be reached ({_message(error)}); correct location or storage_options") from error


def _message(error: Exception) -> str:
    return " ".join(redact(str(error) or type(error).__name__).split())
