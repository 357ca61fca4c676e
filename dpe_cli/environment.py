"""The environment of programs that dpe runs: dpe's own holds the secrets of every source, and of its server."""

from __future__ import annotations

import os
from collections.abc import Iterable

# What any program may need: paths, home, language and time zone, temporary directories, and certificates.
_FOR_ALL = frozenset(
    {
        *("PATH", "LD_LIBRARY_PATH", "HOME", "USER", "LOGNAME", "LANG", "LANGUAGE", "TZ", "TMPDIR"),
        *("SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "NODE_EXTRA_CA_CERTS"),
    }
)


def for_program(names: Iterable[str] = (), *, prefixes: tuple[str, ...] = ()) -> dict[str, str]:
    """Return the environment for another program: the variables that any program needs, and those named, also by prefix."""
    given = _FOR_ALL.union(names)
    return {name: value for name, value in os.environ.items() if name in given or name.startswith(("LC_", *prefixes))}
