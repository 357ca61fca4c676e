"""
Whether what was built is protected as the project's files declare, and granted to no one else.

The ledger and the comments of policies say what dbt's session declared while it built. A model's hooks and Jinja run in that session, and
may call what dpe's own macros call; so before anything is published, the catalog is compared with the project as it was read.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import psycopg

from dpe_cli.project import Model, Project
from dpe_cli.quarantine import SUFFIX as QUARANTINE

Connection = psycopg.Connection[tuple[object, ...]]

_READERS = ("dpe_reader", "dpe_masked_reader")
_FOUND = """
    select
        pg_namespace.nspname::text,
        pg_class.relname::text,
        pg_class.relkind in ('r', 'p'),
        (
            select regexp_replace(obj_description(pg_policy.oid, 'pg_policy'), ', [0-9a-f]{32}$', '')
            from pg_policy
            where pg_policy.polrelid = pg_class.oid and pg_policy.polname = 'dpe_system'
        ),
        array(
            select distinct case granted.grantee when 0 then 'public' else pg_get_userbyid(granted.grantee)::text end
            from (
                select pg_class.relacl as acl
                union all
                select pg_attribute.attacl
                from pg_attribute
                where pg_attribute.attrelid = pg_class.oid
            ) as acls
            cross join lateral aclexplode(acls.acl) as granted
            where granted.grantee <> pg_class.relowner
            order by 1
        ),
        array(
            select pg_attribute.attname::text
            from pg_attribute
            where pg_attribute.attrelid = pg_class.oid
                and pg_attribute.attnum > 0
                and not pg_attribute.attisdropped
                and has_column_privilege('dpe_masked_reader', pg_class.oid, pg_attribute.attnum, 'select')
        )
    from pg_class
    inner join pg_namespace on pg_class.relnamespace = pg_namespace.oid
    where (pg_namespace.nspname, pg_class.relname) in (select * from unnest(%s::text[], %s::text[]))
    order by 1, 2
"""


def differences(connection: Connection, project: Project, made: Mapping[str, str]) -> list[str]:
    """
    Return what is not as the project declares it, of relations that dbt has made; each with what to do.

    `made` are the schemas in which they are, by dbt's unique id. Quarantines are held against the declaration of their models.
    """
    models = {
        (made[model.unique_id], model.alias + suffix): model
        for model in project.models.values()
        if model.unique_id in made
        for suffix in ("", QUARANTINE)
    }
    with connection.transaction():
        rows = connection.execute(_FOUND, [[schema for schema, _ in models], [name for _, name in models]]).fetchall()
    found: list[str] = []
    for schema, name, is_table, said, grantees, shown in rows:
        model = models[str(schema), str(name)]
        of_relation = _faults(project, model, said if is_table else None, _texts(grantees), _texts(shown))
        found += [f"{schema}.{name}: {fault}" for fault in of_relation]
    return found


def _faults(project: Project, model: Model, said: object, grantees: Sequence[str], shown: Sequence[str]) -> Iterator[str]:
    declared = f"tenant_column {', '.join(model.tenant_columns)}".replace("'", "") if model.tenant_columns else model.declared
    is_as_declared = said is None or (str(said) == declared if model.tenant_columns else str(said).split(" ")[0] == declared)
    if not is_as_declared:
        yield f"is declared by {declared} and protected by {said}; look for what its model or hooks do to protection"
    allowed = {"dpe_owner", *(_READERS if model.is_published else ()), *_granted(project.manifest["nodes"][model.unique_id])}
    for grantee in grantees:
        if grantee not in allowed:
            yield f"is granted to {grantee}, which neither meta.rls nor grants says; look for what its model or hooks grant"
    for column in model.masked:
        if column in shown:
            yield f"shows masked readers the column {column}, which meta.masked hides; look for what its model or hooks do to it"


def _granted(node: Mapping[str, Any]) -> Iterator[str]:
    """Yield the roles that a node's `grants` name, as PostgreSQL knows them (macros/rls/grantees_of.sql)."""
    for grantees in (node["config"].get("grants") or {}).values():
        for grantee in [grantees] if isinstance(grantees, str) else grantees:
            name = str(grantee).strip()
            yield name[1:-1].replace('""', '"') if name.startswith('"') else name.lower()


def _texts(values: object) -> list[str]:
    return [str(value) for value in values] if isinstance(values, list) else []
