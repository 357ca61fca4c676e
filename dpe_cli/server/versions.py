"""
Which version of dpe bootstrapped a database, compared with this command line.

A ledger, a command line and a project's macros work together only if their versions are the same. The comment of the schema `dpe` says
which version wrote the ledger; macros/ledger/require_same_version.sql compares it with the macros. It also names two tables of the ledger
by their oids, which differ in a database that was restored from a dump; a copy of a database, and pg_upgrade, keep them.
"""

from __future__ import annotations

import re

from dpe_cli import __version__
from dpe_cli.server.connection import Connection

_COMMENT = "select obj_description(to_regnamespace('dpe'), 'pg_namespace')"
# The tables that know relations by their oids.
_TABLES = """
    select coalesce(string_agg(oid::text, ' and ' order by relname), '')
    from pg_class
    where relnamespace = to_regnamespace('dpe') and relname in ('protected_relations', 'publications')
"""
_BOOTSTRAPPED_BY = re.compile(r"Bootstrapped by dpe (?P<version>\S+) with ")
_TABLES_OF_SEAL = re.compile(r"for the tables (?P<tables>.+)\.")
_DIGITS = re.compile(r"\d+")


def seal(digest: str, tables: str) -> str:
    """Return the comment of the ledger's schema after this version has bootstrapped these tables with the statements of this digest."""
    return f"The ledger of dpe, and what its policies ask. Bootstrapped by dpe {__version__} with {digest} for the tables {tables}."


def tables(connection: Connection) -> str:
    """Return which tables of the ledger exist, by their oids. Any role can call this."""
    row = connection.execute(_TABLES).fetchone()
    return str(row[0]) if row else ""


def is_restored(connection: Connection) -> bool:
    """Return whether the ledger was restored from a dump after it was bootstrapped. Any role can call this."""
    found = _TABLES_OF_SEAL.search(seal_of(connection))
    return found is not None and found["tables"] != tables(connection)


def seal_of(connection: Connection) -> str:
    """Return the comment of the ledger's schema; an empty string if there is none. Any role can call this."""
    row = connection.execute(_COMMENT).fetchone()
    return str(row[0] or "") if row else ""


def of_ledger(connection: Connection) -> str | None:
    """Return the version that bootstrapped the database; None if it was not bootstrapped, or by a version that did not record itself."""
    found = _BOOTSTRAPPED_BY.search(seal_of(connection))
    return found["version"] if found else None


def is_newer(version: str | None) -> bool:
    """Return whether a version is newer than this command line."""
    return version is not None and _numbers(version) > _numbers(__version__)


def _numbers(version: str) -> list[int]:
    return [int(number) for number in _DIGITS.findall(version)]
