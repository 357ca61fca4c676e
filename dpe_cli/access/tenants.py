"""
Which tenants have published rows, according to the policies in the catalog, without reading a project.

A published relation is here a table of the pipeline that readers may read and whose policies compare tenant columns, including
quarantines. Each function works in the transaction of its caller, an administrator's context. A policy may call a function of a model's
author: queries run confined to the acting role (dpe_cli/access/guarded.py).
"""

from __future__ import annotations

import difflib
import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import zip_longest

import psycopg
from psycopg import sql

from dpe_cli.access import guarded
from dpe_cli.server.connection import Connection

MAX_SIMILAR = 3
# How many names are compared, and for how long they are searched: a hint should not take longer than the answer.
_MAX_COMPARED = 10_000
_COMPARING_SECONDS = 2.0
# Half of the characters match: one-letter mistakes in two-letter codes.
_SIMILARITY = 0.5
# The role of an administrator's context.
_ASKER = "dpe_owner"

# The columns are those that the policy depends on, because a column named in its comment may have been renamed since. Excludes other
# roles' tables, which may have such a policy as well, and columns of other roles' types, which have their own casts and operators.
_PUBLISHED = """
    select
        pg_namespace.nspname,
        pg_class.relname,
        array_agg(distinct pg_attribute.attname::text)
    from pg_policy
    inner join pg_class on pg_policy.polrelid = pg_class.oid
    inner join pg_namespace on pg_class.relnamespace = pg_namespace.oid
    inner join pg_depend
        on pg_depend.classid = 'pg_policy'::regclass and pg_policy.oid = pg_depend.objid
        and pg_depend.refclassid = 'pg_class'::regclass and pg_class.oid = pg_depend.refobjid
    inner join pg_attribute on pg_class.oid = pg_attribute.attrelid and pg_depend.refobjsubid = pg_attribute.attnum
    left join pg_collation on pg_attribute.attcollation = pg_collation.oid
    where
        pg_policy.polname = 'dpe_system'
        and pg_class.relkind in ('r', 'p')
        and pg_class.relowner = to_regrole('dpe_transformer')
        and pg_namespace.nspowner in (to_regrole('dpe_owner'), to_regrole('dpe_transformer'))
        and obj_description(pg_policy.oid, 'pg_policy') like 'tenant\\_column %'
        and pg_attribute.attnum > 0
        and pg_namespace.nspname !~ '__(next|previous|old_[0-9]+)$'
        and exists (
            select
            from dpe.readers_of(pg_class.oid) as readers (role_name)
            where has_schema_privilege(readers.role_name, pg_namespace.oid, 'usage')
        )
        and has_schema_privilege(pg_namespace.oid, 'usage')
        and has_table_privilege(pg_class.oid, 'select')
    group by pg_namespace.nspname, pg_class.relname, pg_class.reltuples
    having bool_and(
        pg_attribute.atttypid = any(array['text', 'varchar', 'bpchar', 'name']::regtype[])
        and coalesce(pg_collation.collisdeterministic, true)
    )
    order by pg_class.reltuples, pg_namespace.nspname, pg_class.relname
"""
# LIMIT prevents a join that reads the whole relation.
_FOUND = """
    select wanted.tenant
    from unnest({tenants}::text[]) as wanted (tenant)
    cross join lateral (select from {relation} as published where {is_tenants} limit 1) as found
"""
# Steps from each tenant to the next through the index, skipping their rows.
_TENANTS = """
    with recursive tenants (tenant) as (
        (select {column} from {relation} where {column} is not null order by {column} limit 1)
        union all
        select (select {column} from {relation} where {column} > tenants.tenant order by {column} limit 1)
        from tenants
        where tenants.tenant is not null
    )

    select tenant::text as tenant from tenants where tenant is not null limit {limit}
"""


@dataclass(frozen=True)
class PublishedRelation:
    """A relation that readers read, and its tenant columns."""

    schema: str
    name: str
    columns: tuple[str, ...]

    @property
    def identifier(self) -> sql.Identifier:
        """Its quoted name."""
        return sql.Identifier(self.schema, self.name)


def published(connection: Connection) -> list[PublishedRelation]:
    """Return the published relations that have tenants, small ones first."""
    rows = connection.execute(_PUBLISHED).fetchall()
    return [PublishedRelation(schema, name, tuple(columns)) for schema, name, columns in rows]


def unknown(connection: Connection, relations: Sequence[PublishedRelation], tenants: Sequence[str]) -> list[str]:
    """Return the tenants without a row in any relation, looked up through the columns' indexes."""
    left = list(dict.fromkeys(tenants))
    with guarded.acting_as(connection, [_ASKER]):
        connection.execute("select set_config('enable_seqscan', 'off', true)")
        for relation in relations:
            if not left:
                break
            # The form in which policies compare them.
            is_tenants = sql.SQL(" or ").join(
                sql.SQL("{} = any (array[wanted.tenant])").format(sql.Identifier("published", column)) for column in relation.columns
            )
            query = sql.SQL(_FOUND).format(relation=relation.identifier, is_tenants=is_tenants, tenants=sql.Literal(left))
            found = {row["tenant"] for row in guarded.rows(connection, _ASKER, query)}
            left = [tenant for tenant in left if tenant not in found]
    return left


def similar(connection: Connection, relations: Sequence[PublishedRelation], tenants: Sequence[str]) -> list[str]:
    """Return a few tenants whose names resemble one of these, among those found within the time limit."""
    names: dict[str, str] = {}
    deadline = time.monotonic() + _COMPARING_SECONDS
    try:
        with guarded.acting_as(connection, [_ASKER]):
            for relation, column in [(candidate, column) for candidate in relations for column in candidate.columns]:
                milliseconds = max(1, round((deadline - time.monotonic()) * 1000))
                connection.execute(
                    "select set_config('enable_seqscan', 'off', true), set_config('statement_timeout', %s, true)", [str(milliseconds)]
                )
                query = sql.SQL(_TENANTS).format(
                    relation=relation.identifier, column=sql.Identifier(column), limit=sql.Literal(_MAX_COMPARED - len(names))
                )
                found = [str(row["tenant"]) for row in guarded.rows(connection, _ASKER, query)]
                names |= {name.casefold(): name for name in found}
    except psycopg.errors.QueryCanceled:
        # The names found in time still make a hint.
        pass
    matches = [difflib.get_close_matches(tenant.casefold(), names, n=MAX_SIMILAR, cutoff=_SIMILARITY) for tenant in tenants[:MAX_SIMILAR]]
    # The best match of each, then the second ones.
    return list(dict.fromkeys(names[name] for place in zip_longest(*matches) for name in place if name is not None))[:MAX_SIMILAR]
