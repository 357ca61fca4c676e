"""The environment that programs of others get: dpe's own holds the secrets of every source, and of its own server."""

from __future__ import annotations

import os
from collections.abc import Iterable

# What any program may need to find others, its home, its language and the time, room for its files, and certificates.
_FOR_ALL = frozenset(
    {
        *("PATH", "LD_LIBRARY_PATH", "HOME", "USER", "LOGNAME", "LANG", "LANGUAGE", "TZ", "TMPDIR"),
        *("SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "NODE_EXTRA_CA_CERTS"),
    }
)


def for_program(names: Iterable[str] = (), *, prefixes: tuple[str, ...] = ()) -> dict[str, str]:
    """Return the environment for a program of others: what any needs and holds no secret, and what is named, by a prefix too."""
    given = _FOR_ALL.union(names)
    return {name: value for name, value in os.environ.items() if name in given or name.startswith(("LC_", *prefixes))}
