"""Who reads the project's relations today, and whose they are: asked of the database that the profile connects to, without changing it."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

import psycopg

from dpe_cli.safe_text import redaction
from dpe_cli.safe_text.server_messages import without_details
from dpe_cli.server.connection import Connection

_SECONDS = 5
_SETTINGS = {"host", "port", "user", "password", "pass", "dbname", "database"}
# Names and operators mean PostgreSQL's own, and nothing is written.
_OPTIONS = "-c search_path=pg_catalog,pg_temp -c default_transaction_read_only=on"
_RELATIONS = r"""
-- The roles that a relation, or a column of it, is granted to.
with granted as (
    select distinct
        attrelid as relation_id,
        acl.grantee
    from pg_attribute
    inner join pg_class on attrelid = pg_class.oid
    cross join lateral (
        select grantee, privilege_type from aclexplode(relacl)
        union all
        select grantee, privilege_type from aclexplode(attacl)
    ) as acl
    where
        acl.privilege_type = 'SELECT'
        and acl.grantee <> relowner
        and not attisdropped
        -- Readers of dpe, once the project uses it.
        and pg_get_userbyid(acl.grantee)::text not like 'dpe\_%%'
)

select
    nspname::text,
    relname::text,
    pg_get_userbyid(relowner)::text,
    array(
        select case grantee when 0 then 'PUBLIC' else pg_get_userbyid(grantee)::text end
        from granted
        where granted.relation_id = pg_class.oid
        order by 1
    ),
    array(
        select case grantee when 0 then 'PUBLIC' else pg_get_userbyid(grantee)::text end
        from (
            select grantee
            from granted
            where granted.relation_id = pg_class.oid
            union
            -- If they may use the schema, they read what every role may read.
            select grantee
            from aclexplode(nspacl)
            where grantee not in (0, relowner) and pg_get_userbyid(grantee)::text not like 'dpe\_%%'
        ) as roles
        where
            case grantee
                when 0 then exists (select from aclexplode(nspacl) as of_schema where of_schema.grantee = 0 and privilege_type = 'USAGE')
                else has_schema_privilege(grantee, pg_namespace.oid, 'usage') and has_any_column_privilege(grantee, pg_class.oid, 'select')
            end
        order by 1
    ),
    coalesce(
        (
            select
                has_table_privilege(pg_roles.oid, pg_class.oid, 'select')
                and has_schema_privilege(pg_roles.oid, pg_namespace.oid, 'usage')
            from pg_roles
            where rolname = 'dpe_transformer'
        ),
        false
    ),
    array(
        select attname::text
        from pg_attribute
        where attrelid = pg_class.oid
            and attnum > 0
            and not attisdropped
            and atttypid in ('text'::regtype, 'varchar'::regtype, 'bpchar'::regtype, 'name'::regtype)
        order by attnum
    )
from pg_class
inner join pg_namespace on relnamespace = pg_namespace.oid
inner join unnest(%s::text[], %s::text[]) as wanted (schema_name, relation_name)
    on nspname = schema_name and relname = relation_name
order by 1, 2
"""
_SCHEMAS = """
select nspname::text, pg_get_userbyid(nspowner)::text
from pg_namespace
where nspname = any(%s)
order by 1
"""


# Views and policies of roles that are neither superusers nor the database's owner nor dpe's. Once the project uses dpe, it examines more
# (dpe_cli/server/sql/foreign_code.sql).
_CODE = r"""
select
    nspname::text,
    relname::text,
    rolname::text,
    case relkind
        when 'v' then 'is a view'
        else 'has policies'
    end
from pg_class
inner join pg_namespace on relnamespace = pg_namespace.oid
inner join pg_roles on relowner = pg_roles.oid
inner join unnest(%s::text[], %s::text[]) as wanted (schema_name, relation_name)
    on nspname = schema_name and relname = relation_name
where
    not rolsuper
    and rolname::text not like 'dpe\_%%'
    and relowner <> (select datdba from pg_database where datname = current_database())
    and not exists (select from pg_roles as owners where owners.rolname = 'dpe_owner' and pg_has_role(relowner, owners.oid, 'member'))
    and (
        relkind = 'v'
        or relrowsecurity
        and exists (
            select
            from pg_policy
            where polrelid = pg_class.oid and polcmd in ('r', '*') and polqual::text !~ '^\{CONST [^{}]*\}$'
        )
    )
order by 1, 2
"""


@dataclass(frozen=True)
class Relation:
    """
    A relation that exists: its owner, the roles that it is granted to, those of them that can read it, and its columns of text types.

    A role without the use of the schema cannot. `is_open`: dpe_transformer may read it.
    """

    owner: str
    grantees: tuple[str, ...]
    readers: tuple[str, ...]
    is_open: bool
    texts: tuple[str, ...]


@dataclass(frozen=True)
class Present:
    """
    What is in the database: relations by schema and name, and the owners of schemas; or why it is not known.

    `code` says, by schema and name, which relations run code of their owner when they are read: the owner, and what it is.

    `variables` name the database, for libpq.
    """

    relations: Mapping[tuple[str, str], Relation] = field(default_factory=dict)
    schemas: Mapping[str, str] = field(default_factory=dict)
    code: Mapping[tuple[str, str], tuple[str, str]] = field(default_factory=dict)
    variables: Mapping[str, str] = field(default_factory=dict)
    unknown: str | None = None


def look(output: Mapping[str, Any], render: Callable[[object], str], names: Collection[tuple[str, str]]) -> Present:
    """Return what is known of relations (schema and name) in the database of a profile's output, whose settings `render` evaluates."""
    given = {key: render(value) for key, value in output.items() if key in _SETTINGS}
    password = _password(given)
    if password:
        redaction.remember(password)
    host, port, database = given.get("host", ""), given.get("port", ""), given.get("dbname") or given.get("database", "")
    try:
        with psycopg.connect(
            host=host,
            port=port,
            dbname=database,
            user=given.get("user"),
            password=password,
            options=_OPTIONS,
            connect_timeout=_SECONDS,
            application_name="dpe init",
        ) as connection:
            relations, schemas, code = _asked(connection, names)
    except psycopg.Error as error:
        return Present(
            unknown=redaction.hide(f"{host}:{port}/{database} cannot be asked ({without_details(' '.join(str(error).split()))})")
        )
    return Present(relations, schemas, code, {"PGHOST": host, "PGPORT": port, "PGDATABASE": database})


def _password(given: Mapping[str, str]) -> str | None:
    """Return the password of the profile's user: once the profile uses dpe's variables, its own is that of dpe_transformer."""
    if given.get("user") == os.environ.get("PGUSER") and (password := os.environ.get("PGPASSWORD")):
        return password
    return given.get("password") or given.get("pass") or None


def _asked(
    connection: Connection, names: Collection[tuple[str, str]]
) -> tuple[Mapping[tuple[str, str], Relation], Mapping[str, str], Mapping[tuple[str, str], tuple[str, str]]]:
    ordered = sorted(names)
    wanted = [[schema for schema, _ in ordered], [name for _, name in ordered]]
    rows = connection.execute(_RELATIONS, wanted).fetchall()
    schemas = connection.execute(_SCHEMAS, [sorted({schema for schema, _ in ordered})]).fetchall()
    code = connection.execute(_CODE, wanted).fetchall()
    return (
        {
            (schema, name): Relation(owner, tuple(granted), tuple(readers), is_open, tuple(texts))
            for schema, name, owner, granted, readers, is_open, texts in rows
        },
        dict(schemas),
        {(schema, name): (owner, what) for schema, name, owner, what in code},
    )
