"""
Whether relations have the protection that the project's files declare, and are granted to no other role.

The ledger and the comments on policies record what dbt's session declared while it built. A model's hooks and Jinja run in that session,
and can call whatever dpe's own macros call, for any relation. So each policy and each privilege in the catalog is compared with the
project's files: of what was built, before it is published, and of all that is published, by each check.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from dpe_cli.access import declared_policies
from dpe_cli.access.actors import READER, TENANT
from dpe_cli.access.checks import Finding, RlsCheck
from dpe_cli.access.declared_policies import TableColumn, TablePolicy, quoted
from dpe_cli.project.model import Model, by_name, models_of
from dpe_cli.server.connection import Connection
from dpe_cli.server.relations import QUARANTINE, companion_name

CHECK = RlsCheck(
    "RLS071",
    "not_as_declared",
    "error",
    "A relation that is not protected as its model declares",
    "hooks and Jinja can change its policies, and the records of what was declared",
    "",
)
# What is wrong with a relation; and what to do, if not to look for what changed it and build it again.
_Fault = tuple[str, str | None]
# The server breaks long conditions into lines.
_LINE_BREAK = re.compile(r"\n\s*")
_CATALOG_RELATIONS = """
    select
        pg_namespace.nspname::text,
        pg_class.relname::text,
        pg_class.relkind in ('r', 'p'),
        (
            select coalesce(
                jsonb_object_agg(
                    pg_policy.polname,
                    jsonb_build_object(
                        'command', pg_policy.polcmd,
                        'is_permissive', pg_policy.polpermissive,
                        'roles', array(
                            select case roles.role_id when 0 then 'public' else pg_get_userbyid(roles.role_id)::text end
                            from unnest(pg_policy.polroles) as roles (role_id)
                        ),
                        'using', coalesce(pg_get_expr(pg_policy.polqual, pg_policy.polrelid), ''),
                        'with_check', coalesce(pg_get_expr(pg_policy.polwithcheck, pg_policy.polrelid), '')
                    )
                ),
                '{}'
            )
            from pg_policy
            where pg_policy.polrelid = pg_class.oid
        ),
        (
            select coalesce(
                jsonb_object_agg(
                    pg_attribute.attname,
                    jsonb_build_object(
                        'quoted', quote_ident(pg_attribute.attname),
                        'type', case pg_type.typnamespace
                            when 'pg_catalog'::regnamespace then pg_type.typname else format_type(pg_type.oid, null)
                        end,
                        'is_exact', coalesce(pg_collation.collisdeterministic, true),
                        'is_shown', has_column_privilege('dpe_masked_reader', pg_class.oid, pg_attribute.attnum, 'select')
                        or exists(
                            select
                            from aclexplode(pg_class.relacl || pg_attribute.attacl) as granted
                            inner join pg_roles on granted.grantee = pg_roles.oid
                            where granted.privilege_type = 'SELECT'
                                and not pg_roles.rolsuper
                                and pg_has_role(pg_roles.oid, 'dpe_masked_reader', 'usage')
                        )
                    )
                ),
                '{}'
            )
            from pg_attribute
            inner join pg_type on pg_attribute.atttypid = pg_type.oid
            left join pg_collation on pg_attribute.attcollation = pg_collation.oid
            where pg_attribute.attrelid = pg_class.oid and pg_attribute.attnum > 0 and not pg_attribute.attisdropped
        ),
        (
            select coalesce(
                jsonb_agg(
                    jsonb_build_object(
                        'grantee', case granted.grantee when 0 then 'public' else pg_get_userbyid(granted.grantee)::text end,
                        'privilege', lower(granted.privilege_type) || case when granted.is_grantable then ' with grant option' else '' end,
                        'column', acls.column_name
                    )
                ),
                '[]'
            )
            from (
                select
                    null::text as column_name,
                    pg_class.relacl as acl
                union all
                select
                    pg_attribute.attname::text,
                    pg_attribute.attacl
                from pg_attribute
                where pg_attribute.attrelid = pg_class.oid
            ) as acls
            cross join lateral aclexplode(acls.acl) as granted
            where granted.grantee <> pg_class.relowner
        ),
        array(
            select
                case
                    when child.oid = pg_class.oid
                        then format('is a child of %%s, queries of which ignore its policies', pg_inherits.inhparent::regclass)
                    else format('has the child %%s, whose rows appear in it', child.oid::regclass)
                end
            from pg_inherits
            inner join pg_class as child on pg_inherits.inhrelid = child.oid
            where pg_class.oid in (pg_inherits.inhrelid, pg_inherits.inhparent) and child.relpersistence <> 't'
            order by 1
        )
    from pg_class
    inner join pg_namespace on pg_class.relnamespace = pg_namespace.oid
    where (pg_namespace.nspname, pg_class.relname) in (select * from unnest(%s::text[], %s::text[]))
    order by 1, 2
"""


@dataclass(frozen=True)
class _CatalogRelation:
    """A relation as the catalog describes it."""

    name: str
    is_table: bool
    policies: Mapping[str, TablePolicy]
    columns: Mapping[str, TableColumn]
    shown: frozenset[str]
    granted: frozenset[tuple[str, str]]
    links: tuple[str, ...]


def differences(connection: Connection, manifest: Mapping[str, Any], target: str, made: Mapping[str, str]) -> list[Finding]:
    """
    Return how relations that dbt has built differ from what the project declares for a target.

    `made` maps dbt's unique ids to the schemas of the relations. Quarantines are compared with the declaration of their models.
    """
    known = models_of(manifest)
    models = {
        (schema, companion_name(known[unique_id].alias, suffix) if suffix else known[unique_id].alias): known[unique_id]
        for unique_id, schema in made.items()
        if unique_id in known
        for suffix in ("", QUARANTINE)
    }
    with connection.transaction():
        # PostgreSQL writes policies with the names of schemas that are not in the search_path.
        connection.execute("select set_config('search_path', 'pg_catalog, pg_temp', true)")
        rows = connection.execute(_CATALOG_RELATIONS, [[schema for schema, _ in models], [name for _, name in models]]).fetchall()
    lookups = _lookups(known.values())
    masked = _masked_groups(connection, {role for model in models.values() for role in model.readers_in(target)})
    findings = [
        Finding(
            CHECK.check_id,
            CHECK.severity,
            unique_id,
            "was built, but no file of the project declares it",
            "find out what made dbt build it",
        )
        for unique_id in made
        if unique_id not in known
    ]
    for schema, name, *values in rows:
        model, relation = models[str(schema), str(name)], _catalog_relation(f"{schema}.{name}", *values)
        look = f"check what hooks and Jinja do to it, then run `dpe run {model.selector}`"
        readers = _with_applications(model.readers_in(target), masked)
        faults = _faults(manifest["nodes"][model.unique_id], model, readers, relation, lookups)
        findings += [Finding(CHECK.check_id, CHECK.severity, relation.name, detail, fix or look) for detail, fix in faults]
    return findings


def _masked_groups(connection: Connection, roles: Collection[str]) -> frozenset[str]:
    """Return those of the roles whose members are masked readers."""
    query = "select rolname::text from pg_roles where rolname = any(%s) and pg_has_role(oid, 'dpe_masked_reader', 'member')"
    with connection.transaction():
        return frozenset(str(role) for (role,) in connection.execute(query, [sorted(roles)]).fetchall())


def _with_applications(named: Sequence[str], masked: Collection[str]) -> list[str]:
    """Return the roles that a relation is granted to: the named ones, and what applications act as (macros/rls/readers_of.sql)."""
    is_read_unmasked = any(role not in masked for role in named) and READER not in named
    return sorted({*named, *([TENANT] if is_read_unmasked else [])})


def _catalog_relation(name: str, is_table: Any, policies: Any, columns: Any, granted: Any, links: Any) -> _CatalogRelation:
    return _CatalogRelation(
        name=name,
        is_table=bool(is_table),
        policies={
            policy: TablePolicy(
                command=values["command"],
                is_permissive=values["is_permissive"],
                roles=tuple(sorted(values["roles"])),
                using=_LINE_BREAK.sub(" ", values["using"]),
                with_check=_LINE_BREAK.sub(" ", values["with_check"]),
            )
            for policy, values in policies.items()
        },
        columns={column: TableColumn(values["quoted"], values["type"], values["is_exact"]) for column, values in columns.items()},
        shown=frozenset(column for column, values in columns.items() if values["is_shown"]),
        granted=frozenset(
            (grant["grantee"], grant["privilege"] if grant["column"] is None else f"{grant['privilege']} ({grant['column']})")
            for grant in granted
        ),
        links=tuple(links),
    )


def _faults(
    node: Mapping[str, Any], model: Model, readers: Sequence[str], relation: _CatalogRelation, lookups: Mapping[str, str]
) -> Iterator[_Fault]:
    yield from ((link, None) for link in relation.links)
    if relation.is_table:
        yield from _faults_of_policies(node, model, readers, relation, lookups)
    allowed = {"dpe_owner", *readers, *_granted(node)}
    for grantee, privilege in sorted(relation.granted):
        if grantee not in allowed:
            yield f"is granted to {grantee}, which neither meta.readers nor grants names for this target", None
        elif privilege.partition(" (")[0] != "select":
            yield f"grants {privilege} to {grantee}, which may only read", None
    for column in model.masked:
        if column in relation.shown:
            yield f"shows masked readers the column {column}, which meta.masked hides", None


def _faults_of_policies(
    node: Mapping[str, Any], model: Model, readers: Sequence[str], relation: _CatalogRelation, lookups: Mapping[str, str]
) -> Iterator[_Fault]:
    found = (node["config"].get("meta") or {}).get("rls")
    # A declaration that is required but missing is not a mapping.
    declaration = found if isinstance(found, Mapping) and found else {"private": True}
    names = declared_policies.compared_columns(declaration)
    if missing := [name for name in names if name not in relation.columns]:
        yield f"has no column {', '.join(missing)}, which its declaration names", None
        return
    for name in names:
        if not relation.columns[name].is_comparable:
            yield f"compares the column {name}, which is {relation.columns[name].type}", 'cast it to text, with the collation "default"'
    wanted = declared_policies.policies(
        declaration,
        [relation.columns[name] for name in names],
        readers=readers,
        looked_up=lookups.get(declaration["access"]["model"], "") if "access" in declaration else "",
        is_masked=bool(model.masked),
    )
    declared = f"tenant_column {', '.join(model.tenant_columns)}" if model.tenant_columns else model.declared
    for name in sorted({*wanted, *relation.policies}):
        if name not in relation.policies:
            yield f"lacks the policy {name} of its declaration, {declared}", None
        elif name not in wanted:
            yield f"has the policy {name}, which its declaration, {declared}, does not call for", None
        elif wanted[name] != relation.policies[name]:
            condition = relation.policies[name].using or relation.policies[name].with_check
            yield f"has the policy {name}, {condition}, which does not match its declaration, {declared}", None


def _lookups(models: Iterable[Model]) -> dict[str, str]:
    """Return the quoted names of published relations, by the names that mean one model only (macros/rls/access_relation.sql)."""
    named = by_name(models)
    return {name: f"{quoted(found[0].schema)}.{quoted(found[0].alias)}" for name, found in named.items() if len(found) == 1}


def _granted(node: Mapping[str, Any]) -> Iterator[str]:
    """Yield the roles that a node's `grants` name, as PostgreSQL stores them (macros/rls/grantees_of.sql)."""
    for grantees in (node["config"].get("grants") or {}).values():
        for grantee in [grantees] if isinstance(grantees, str) else grantees:
            name = str(grantee).strip()
            yield name[1:-1].replace('""', '"') if name.startswith('"') else name.lower()
