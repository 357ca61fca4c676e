"""Addresses of HTTP requests: which can be read, which share an origin, and which lead into a private network."""

from __future__ import annotations

import ipaddress
import socket
from urllib.parse import SplitResult, urlsplit


class InsideError(Exception):
    """A connection led into a private network, or to this machine."""


def is_address(url: str) -> bool:
    """Return whether all who read an address, down to the resolver of names, can read this one."""
    import httpx

    try:
        parts = urlsplit(url)
        if parts.scheme not in {"http", "https"} or not parts.hostname or not _port(parts):
            return False
        # httpx reads a name when it is asked for, and Python encodes it again before it is resolved.
        httpx.URL(url).host.encode("idna")
        parts.hostname.encode("idna")
    # UnicodeError, and idna's own errors, among them.
    except (ValueError, httpx.InvalidURL):
        return False
    return True


def origin(url: str) -> tuple[str, str | None, int]:
    """Return what two addresses of the same origin have in common (RFC 6454, section 4)."""
    parts = urlsplit(url)
    return parts.scheme, parts.hostname, _port(parts)


def leads_inside(url: str) -> bool:
    """
    Return whether a host is in a private network, or is this machine.

    Raises:
        socket.gaierror: its name cannot be resolved.
        UnicodeError: it cannot be encoded.
    """
    parts = urlsplit(url)
    found = socket.getaddrinfo(parts.hostname, _port(parts), type=socket.SOCK_STREAM)
    return any(is_inside(str(address[0])) for *_, address in found)


def is_inside(address: str) -> bool:
    """Return whether an IP address is in a private network, or this machine's."""
    return not ipaddress.ip_address(address.partition("%")[0]).is_global


def _port(parts: SplitResult) -> int:
    return (443 if parts.scheme == "https" else 80) if parts.port is None else parts.port
