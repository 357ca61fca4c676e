"""Starts servers of the test's own: not bootstrapped, or with roles that others must not see."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest
from conftest import VERSIONS

from dpe_cli.server.embedded.server import EmbeddedServer


@contextmanager
def start(directory: Path, version: str) -> Iterator[EmbeddedServer]:
    """Run a new server of a version, which keeps nothing durably; skip the test if the version is not installed."""
    bin_dir = VERSIONS[version]
    if bin_dir is not None and not bin_dir.is_dir():
        pytest.skip(f"PostgreSQL {version} is not installed in {bin_dir}")
    embedded = EmbeddedServer(directory, bin_dir)
    embedded.start()
    try:
        with psycopg.connect(host=str(embedded.socket_dir), user="postgres", dbname="postgres", autocommit=True) as connection:
            connection.execute("alter system set fsync = off")
            connection.execute("select pg_reload_conf()")
        yield embedded
    finally:
        embedded.stop()
