"""
The file system of an SFTP server.

fsspec's own reading of an address loses `?` in a path, does not decode user and password, and accepts any host key.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from dpe_cli import optional_packages

_KNOWN_HOSTS = Path("~/.ssh/known_hosts")
_CONNECT_SECONDS = 30
# Requests that may wait for their answer: without any, each 32 KB take a round trip.
_REQUESTS = 64


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
    return fsspec.filesystem("sftp", **given, skip_instance_cache=True), path


def address_of(location: str) -> str:
    """Return the host and port of a location, without the user: as part of a file's name, they tell servers apart."""
    return _split(location)[0].rpartition("@")[2]


def prefetch(stream: Any, size: int) -> None:
    """Request a whole file at once."""
    stream.prefetch(size, _REQUESTS)


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
