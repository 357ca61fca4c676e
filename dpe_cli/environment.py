"""
The environment: what the project's `.env` adds to it, so that a project works in any shell, and what other programs get of it.

dpe's own holds the secrets of every source, and of its own server.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from dpe_cli.errors import UsageError

FILE = ".env"

# What any program may need to find others, its home, its language and the time, room for its files, and certificates.
_FOR_ALL = frozenset(
    {
        *("PATH", "LD_LIBRARY_PATH", "HOME", "USER", "LOGNAME", "LANG", "LANGUAGE", "TZ", "TMPDIR"),
        *("SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "NODE_EXTRA_CA_CERTS"),
    }
)


def load(directory: Path) -> None:
    """
    Set the variables of a project's `.env`, where it has one; what the environment has stays as it is.

    A value is taken as it stands, with `$` and all: it may be a secret. No message shows a line of it.

    Raises:
        UsageError: it cannot be read.
    """
    path = directory / FILE
    if not path.is_file():
        return
    # Read by a library, for quotes and comments have their rules; imported only here, for most projects have no such file.
    from dotenv.parser import parse_stream

    try:
        with path.open(encoding="utf-8") as stream:
            bindings = list(parse_stream(stream))
    except (OSError, UnicodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is no UTF-8"
        raise UsageError(f"{path}: cannot be read ({reason}); correct it, or set the variables in the environment") from None
    for binding in bindings:
        if binding.error or "\0" in (binding.value or "") or {"=", "\0"} & set(binding.key or ""):
            line = binding.original.line
            raise UsageError(f"{path}, line {line}: is no NAME=value; correct it, or put a # before it")
    for binding in bindings:
        if binding.key and binding.value is not None:
            os.environ.setdefault(binding.key, binding.value)


def for_program(names: Iterable[str] = (), *, prefixes: tuple[str, ...] = ()) -> dict[str, str]:
    """Return the environment for a program of others: what any needs and holds no secret, and what is named, by a prefix too."""
    given = _FOR_ALL.union(names)
    return {name: value for name, value in os.environ.items() if name in given or name.startswith(("LC_", *prefixes))}
