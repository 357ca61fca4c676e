"""
The file system of an SFTP server.

fsspec's own reading of an address loses `?` in a path, does not decode user and password, and accepts any host key.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from dpe_cli import optional_packages
from dpe_cli.errors import InputError

_KNOWN_HOSTS = Path("~/.ssh/known_hosts")
_CONNECT_SECONDS = 30
# What is requested at once, in parts of 32 KB: if each of these waited for the one before, it would take a round trip.
_WINDOW_BYTES = 64 * 32 * 1024
# Of all directories that a search lists. paramiko takes about a kilobyte for each.
_MOST_NAMES = 1_000_000


def connect(location: str, options: Mapping[str, Any]) -> tuple[Any, str]:
    """
    Return the file system of a server, and the path of a location on it; `options` are for paramiko's client.

    A server in ~/.ssh/known_hosts has to have the key that is recorded there. Other servers are accepted, unless the option
    `host_key_policy` is `reject`.
    """
    address, path = _split(location)
    parts = urlsplit(f"sftp://{address}")
    given = {
        "host": parts.hostname or "",
        "port": parts.port or 22,
        **({"username": unquote(parts.username)} if parts.username else {}),
        **({"password": unquote(parts.password)} if parts.password else {}),
        "timeout": _CONNECT_SECONDS,
        **options,
    }
    given["host_key_policy"] = _policy(accepts_unknown=options.get("host_key_policy") != "reject")
    fsspec = optional_packages.needed("fsspec", by=location)
    store = fsspec.filesystem("sftp", **given, skip_instance_cache=True)
    _limit_names(store, location)
    return store, path


def address_of(location: str) -> str:
    """Return the host and port of a location, without the user: as part of a file's name, they tell servers apart."""
    return _split(location)[0].rpartition("@")[2]


def read(stream: Any, size: int) -> bytes:
    """Return the next part of a file of this size, in requests that are under way at once; nothing at its end."""
    # A server may announce any size: paramiko keeps a list of all parts that it is to request.
    stream.prefetch(min(stream.tell() + _WINDOW_BYTES, size))
    return bytes(stream.read(_WINDOW_BYTES))


def hang_up(store: Any) -> None:
    """End the session with a server, so that a thread that waits for it gets an error."""
    store.client.close()


def _limit_names(store: Any, location: str) -> None:
    """Refuse a server that lists names without end."""
    listed = store.ftp.listdir_iter
    count = 0

    def limited(path: str) -> Iterator[Any]:
        nonlocal count
        for entry in listed(path):
            count += 1
            if count > _MOST_NAMES:
                raise InputError(
                    f"{location}: its directories hold more than {_MOST_NAMES:,} names; set a location that searches fewer directories, "
                    "or remove files that were loaded"
                )
            yield entry

    store.ftp.listdir_iter = limited


def _split(location: str) -> tuple[str, str]:
    address, _, path = location.partition("://")[2].partition("/")
    return address, f"/{path}"


def _policy(*, accepts_unknown: bool) -> Any:
    """Return paramiko's policy for a server whose key its client does not know, which is every server."""
    paramiko = optional_packages.needed("paramiko", by="sftp://")

    class Policy(paramiko.MissingHostKeyPolicy):  # type: ignore[misc, name-defined]
        def missing_host_key(self, _client: Any, hostname: str, key: Any) -> None:
            known = paramiko.HostKeys()
            if _KNOWN_HOSTS.expanduser().is_file():
                known.load(str(_KNOWN_HOSTS.expanduser()))
            recorded = known.lookup(hostname)
            if recorded is None and not accepts_unknown:
                raise paramiko.SSHException(f"{_KNOWN_HOSTS} has no key of {hostname}")
            if recorded is not None and recorded.get(key.get_name()) != key:
                raise paramiko.SSHException(f"the server's {key.get_name()} key is not one that {_KNOWN_HOSTS} has for {hostname}")

    return Policy()
