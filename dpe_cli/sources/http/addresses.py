"""Addresses of HTTP requests: which can be read, which share an origin, and which lead into a private network."""

from __future__ import annotations

import ipaddress
import socket
from urllib.parse import SplitResult, urlsplit


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
    return any(not ipaddress.ip_address(str(address[0]).partition("%")[0]).is_global for *_, address in found)


def _port(parts: SplitResult) -> int:
    return (443 if parts.scheme == "https" else 80) if parts.port is None else parts.port
