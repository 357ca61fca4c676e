"""
Finds what is wrong with the protection of a database, from its catalog.

Each file in `sql/checks` is a check: its name gives the check's id and name, comments give its severity, what it finds and why that
matters, and a query over the common table expressions of `sql/catalog.sql` and its continuations returns the findings (subject,
detail, fix). All checks run as one query, so that they see the same snapshot.

What a reader can do with its own rights is at most a warning, unless it weakens the protection of others: an error stops a run
from publishing, which would cut off everyone's new data.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Literal

import psycopg
from psycopg import sql

from dpe_cli.errors import ServerError
from dpe_cli.server.bootstrap import function_bodies
from dpe_cli.server.connection import Connection

Severity = Literal["error", "warning"]

# Common table expressions; each file builds on the files before it.
CATALOG = ("catalog.sql", "outside.sql", "reaching.sql")
_HEAD = re.compile(r"-- severity: (?P<severity>error|warning)\n-- title: (?P<title>.+)\n-- why: (?P<why>.+)\n")


@dataclass(frozen=True)
class RlsCheck:
    """A check of the catalog. The meaning of a `check_id` never changes."""

    check_id: str
    name: str
    severity: Severity
    title: str
    why: str
    query: str


@dataclass(frozen=True)
class Finding:
    """A problem that a check found, and how to fix it."""

    check_id: str
    severity: Severity
    subject: str
    detail: str
    fix: str

    def __str__(self) -> str:
        """Describe it in one line."""
        return f"{self.subject}: {self.detail}; {self.fix}"


@cache
def checks() -> tuple[RlsCheck, ...]:
    """Return all checks, by id."""
    found = []
    for path in resources.files("dpe_cli.access").joinpath("sql", "checks").iterdir():
        check_id, _, name = path.name.removesuffix(".sql").partition("_")
        text = path.read_text(encoding="utf-8")
        head = _HEAD.match(text)
        if head is None:
            raise ValueError(f"{path.name}: does not begin with its severity, title and why")
        severity: Severity = "error" if head["severity"] == "error" else "warning"
        found.append(RlsCheck(check_id, name, severity, head["title"], head["why"], text[head.end() :].strip()))
    return tuple(sorted(found, key=lambda rls_check: rls_check.check_id))


def check(
    connection: Connection, schemas: Sequence[str], *, judged: Sequence[str] | None = None, unreadable: Sequence[str] = ()
) -> list[Finding]:
    """
    Return what is wrong with the roles and with the protection of the relations that dpe manages; errors first.

    `schemas` are all that dpe manages. Relations are checked in the `judged` ones, or in all; objects elsewhere that bypass the
    policies are found for all of them. Readers may read nothing in the `unreadable` ones: those of sources and of stored failures.

    Raises:
        ServerError: the database is not bootstrapped for this version of dpe.
    """
    severities = {rls_check.check_id: rls_check.severity for rls_check in checks()}
    names, bodies = zip(*function_bodies().items(), strict=True)
    arguments = [list(schemas if judged is None else judged), list(names), list(bodies), list(schemas), list(unreadable)]
    with connection.transaction(), psycopg.RawCursor(connection) as cursor:
        # No schema of other roles, and temporary relations last. In a context, because the query reads the access list, too.
        cursor.execute("select set_config('search_path', 'pg_catalog, pg_temp', true), set_config('dpe.actor', 'dpe rls check', true)")
        # PostgreSQL estimates that each step returns few objects. If a reader has made thousands, nested loops would take minutes.
        # Compiling so long a query takes longer than running it.
        cursor.execute("select set_config('enable_nestloop', 'off', true), set_config('jit', 'off', true)")
        try:
            rows = cursor.execute(_query(), arguments).fetchall()
        except psycopg.errors.UndefinedFunction as error:
            raise ServerError(f"database {connection.info.dbname}: {error.diag.message_primary}; run `dpe bootstrap`") from error
    found = [
        Finding(str(check_id), severities[str(check_id)], str(subject), str(detail), str(fix)) for check_id, subject, detail, fix in rows
    ]
    return sorted(found, key=lambda finding: (finding.severity, finding.check_id, finding.subject, finding.detail))


@cache
def _query() -> sql.Composed:
    catalog = ",".join(_expressions(name) for name in CATALOG)
    queries = [
        sql.SQL("select {}, found.subject::text, found.detail::text, found.fix::text from (\n{}\n) as found").format(
            sql.Literal(rls_check.check_id),
            sql.SQL(rls_check.query),
        )
        for rls_check in checks()
    ]
    return sql.SQL("with") + sql.SQL(catalog) + sql.SQL("\nunion all\n").join(queries)


def _expressions(name: str) -> str:
    """Return the common table expressions of a file, which is a complete query so that it can be linted."""
    text = resources.files("dpe_cli.access").joinpath("sql", name).read_text(encoding="utf-8")
    return text.partition("\nwith\n")[2].partition("-- The checks take the place of what follows.")[0]
