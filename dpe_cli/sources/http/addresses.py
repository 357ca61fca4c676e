"""Addresses of HTTP requests: which can be read, which share an origin, and which lead into a private network."""

from __future__ import annotations

import ipaddress
import socket
from urllib.parse import SplitResult, urlsplit

# All that IANA has assigned to machines anywhere (RFC 4291, section 2.4): neither site-local (fec0::/10) nor multicast addresses.
_GLOBAL_UNICAST = ipaddress.IPv6Network("2000::/3")
# What is only for protocols, including addresses of the nearest gateway (RFC 6890; RFC 7723), and what all of Python's versions refuse.
_FOR_PROTOCOLS = ipaddress.IPv4Network("192.0.0.0/24")
# Addresses that a gateway turns into the IPv4 address at their end (NAT64: RFC 6052, section 2.1; RFC 8215).
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
_LOCAL_NAT64 = ipaddress.IPv6Network("64:ff9b:1::/48")


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
    """Return whether an IP address is in a private network, is this machine's, or is not a single machine's."""
    found = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(found, ipaddress.IPv4Address):
        return not found.is_global or found.is_multicast or found in _FOR_PROTOCOLS
    inner = _ipv4_within(found)
    if inner is not None:
        return is_inside(str(inner))
    return found not in _GLOBAL_UNICAST or not found.is_global


def _ipv4_within(address: ipaddress.IPv6Address) -> ipaddress.IPv4Address | None:
    """Return the IPv4 address that an IPv6 address stands for; Teredo's addresses are not global themselves."""
    if address in _NAT64 or (address in _LOCAL_NAT64 and not _may_end_with_zeros(address)):
        return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    return address.ipv4_mapped or address.sixtofour


def _may_end_with_zeros(address: ipaddress.IPv6Address) -> bool:
    """Return whether an IPv4 address may come earlier, before bits that are zero (RFC 6052, section 2.2)."""
    return not int(address) & 0xFFFFFF


def _port(parts: SplitResult) -> int:
    return (443 if parts.scheme == "https" else 80) if parts.port is None else parts.port
