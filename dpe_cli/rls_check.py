"""
What is wrong with the protection of a database, from its catalog.

Each file in `sql/rls_checks` is a check: its id and name, its severity, what it finds and why that matters in comments, and
a query over the common table expressions of `sql/rls_catalog.sql` that returns what is wrong (subject, detail, fix). All of
them are one query, and so look at one moment.
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

from dpe_cli.bootstrap import function_bodies

Connection = psycopg.Connection[tuple[object, ...]]
Severity = Literal["error", "warning"]

_HEAD = re.compile(r"-- severity: (?P<severity>error|warning)\n-- title: (?P<title>.+)\n-- why: (?P<why>.+)\n")


@dataclass(frozen=True)
class RlsCheck:
    """A thing that can be wrong. `check_id` never changes its meaning."""

    check_id: str
    name: str
    severity: Severity
    title: str
    why: str
    query: str


@dataclass(frozen=True)
class Finding:
    """Something that is wrong, with what would put it right."""

    check_id: str
    severity: Severity
    subject: str
    detail: str
    fix: str

    def __str__(self) -> str:
        """Say it in a line."""
        return f"{self.subject}: {self.detail}; {self.fix}"


@cache
def checks() -> tuple[RlsCheck, ...]:
    """Return all checks, by id."""
    found = []
    for path in resources.files("dpe_cli").joinpath("sql", "rls_checks").iterdir():
        check_id, _, name = path.name.removesuffix(".sql").partition("_")
        text = path.read_text(encoding="utf-8")
        head = _HEAD.match(text)
        if head is None:
            raise ValueError(f"{path.name}: does not begin with its severity, title and why")
        severity: Severity = "error" if head["severity"] == "error" else "warning"
        found.append(RlsCheck(check_id, name, severity, head["title"], head["why"], text[head.end() :].strip()))
    return tuple(sorted(found, key=lambda one: one.check_id))


def check(connection: Connection, schemas: Sequence[str]) -> list[Finding]:
    """Return what is wrong with the protection of what is in schemas, and with the roles; errors first."""
    severities = {one.check_id: one.severity for one in checks()}
    names, bodies = zip(*function_bodies().items(), strict=True)
    with connection.transaction(), psycopg.RawCursor(connection) as cursor:
        # pg_get_expr and regclass leave out the schemas that are looked in. In a context, because the access list is looked at, too.
        cursor.execute("select set_config('search_path', '', true), set_config('dpe.actor', 'dpe rls check', true)")
        rows = cursor.execute(_query(), [list(schemas), list(names), list(bodies)]).fetchall()
    found = [
        Finding(str(check_id), severities[str(check_id)], str(subject), str(detail), str(fix)) for check_id, subject, detail, fix in rows
    ]
    return sorted(found, key=lambda one: (one.severity, one.check_id, one.subject, one.detail))


@cache
def _query() -> sql.Composed:
    text = resources.files("dpe_cli").joinpath("sql", "rls_catalog.sql").read_text(encoding="utf-8")
    catalog = text.partition("-- The checks take the place of what follows.")[0]
    queries = [
        sql.SQL("select {}, found.subject::text, found.detail::text, found.fix::text from (\n{}\n) as found").format(
            sql.Literal(one.check_id),
            sql.SQL(one.query),
        )
        for one in checks()
    ]
    return sql.SQL(catalog) + sql.SQL("\nunion all\n").join(queries)
