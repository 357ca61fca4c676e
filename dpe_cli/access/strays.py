"""
Relations in the project's schemas that no model of the project creates.

A hook can create one and give it dpe's policies, with the comment that records a declaration, so that readers could read it. So a
relation there that others may read has to be a model, seed or snapshot of the project, the masked readers' view of a model that masks
columns, or the quarantine of a model with quarantining rules.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from dpe_cli.access.checks import Finding, RlsCheck
from dpe_cli.project.model import selector_of
from dpe_cli.server.connection import Connection
from dpe_cli.server.relations import MASKED, NEXT, QUARANTINE, Relation, companion_name, companions_of, published_schema

CHECK = RlsCheck(
    "RLS070",
    "not_of_the_project",
    "error",
    "A relation without a model that others may read",
    "the project does not declare who may see it, and a hook decided its policies",
    "",
)
# The pipeline's own roles. A relation that only they may read is not visible to others.
_OWN = ["dpe_owner", "dpe_loader", "dpe_transformer"]
_OWNERS = [*_OWN, "dpe_tenant", "dpe_reader", "dpe_masked_reader", "dpe_auditor"]
_READABLE = """
    select
        pg_namespace.nspname::text,
        pg_class.relname::text,
        format('%%I.%%I', pg_namespace.nspname, pg_class.relname),
        pg_class.relkind::text,
        array(
            select distinct case granted.grantee when 0 then 'every role (PUBLIC)' else pg_get_userbyid(granted.grantee)::text end
            from (
                select pg_class.relacl as acl
                union all
                select pg_attribute.attacl
                from pg_attribute
                where pg_attribute.attrelid = pg_class.oid
            ) as acls
            cross join lateral aclexplode(acls.acl) as granted
            where granted.grantee <> pg_class.relowner and (granted.grantee = 0 or pg_get_userbyid(granted.grantee) <> all(%(own)s))
            order by 1
        )
    from pg_class
    inner join pg_namespace on pg_class.relnamespace = pg_namespace.oid
    where pg_namespace.nspname = any(%(schemas)s)
        and pg_class.relkind in ('r', 'p', 'v', 'm', 'f')
        and pg_get_userbyid(pg_class.relowner) = any(%(owners)s)
    order by 1, 2
"""


@dataclass(frozen=True)
class ProjectRelation:
    """
    A relation's place in the project: its model, and the kinds (as in pg_class) that it may have.

    A published one may have been a table when its model declared one, or be a view that `dbt clone` made of a table. What `dpe run` builds
    has one of the kinds `built`.
    """

    unique_id: str
    model: str
    kinds: str
    built: str


def project_relations(manifest: Mapping[str, Any]) -> dict[tuple[str, str], ProjectRelation]:
    """Return the relations of dbt's manifest, by published schema and name: models, seeds, snapshots, and their views and quarantines."""
    nodes = manifest["nodes"]
    quarantining = {
        node.get("attached_node")
        for node in nodes.values()
        if node["resource_type"] == "test" and (node["config"].get("meta") or {}).get("on_failure") == "quarantine"
    }
    found: dict[tuple[str, str], ProjectRelation] = {}
    relations = [
        node
        for node in nodes.values()
        if node["resource_type"] in {"model", "seed", "snapshot"} and node["config"].get("materialized") != "ephemeral"
    ]
    for node in relations:
        if (node["config"].get("meta") or {}).get("masked"):
            found[node["schema"], companion_name(node["alias"], MASKED)] = ProjectRelation(node["unique_id"], _selector(node), "v", "v")
        if node["unique_id"] in quarantining:
            name = companion_name(node["alias"], QUARANTINE)
            found[node["schema"], name] = ProjectRelation(node["unique_id"], _selector(node), "rp", "rp")
    # Last: a model with the name of another model's view or quarantine is a model.
    for node in relations:
        built = "v" if node["config"].get("materialized") == "view" else "rp"
        found[node["schema"], node["alias"]] = ProjectRelation(node["unique_id"], _selector(node), "rpv", built)
    return found


def _selector(node: Mapping[str, Any]) -> str:
    return selector_of(node["name"], node.get("version"))


def of_models(
    connection: Connection, manifest: Mapping[str, Any], unique_ids: Collection[str], *, schema_suffix: str
) -> list[tuple[str, str]]:
    """Return the models' relations, views and quarantines in schemas with this suffix, by published schema and name."""
    wanted = {name: part for name, part in project_relations(manifest).items() if part.unique_id in unique_ids}
    with connection.transaction():
        rows = connection.execute(
            """
            select wanted.schema_name, wanted.relation_name, pg_class.relkind::text
            from unnest(%s::text[], %s::text[]) with ordinality as wanted (schema_name, relation_name, position)
            inner join pg_namespace on pg_namespace.nspname = wanted.schema_name || %s
            inner join pg_class on pg_class.relnamespace = pg_namespace.oid and pg_class.relname = wanted.relation_name
            order by wanted.position
            """,
            [[schema for schema, _ in wanted], [name for _, name in wanted], schema_suffix],
        ).fetchall()
    return [(str(schema), str(name)) for schema, name, kind in rows if str(kind) in wanted[str(schema), str(name)].kinds]


def of_other_kinds(connection: Connection, manifest: Mapping[str, Any], relations: Iterable[Relation]) -> list[str]:
    """Return which built relations are not of the kind that their models make, so that another relation is in their place."""
    known = project_relations(manifest)
    with connection.transaction():
        rows = connection.execute(
            """
            select nspname::text, relname::text, relkind::text
            from pg_class
            inner join pg_namespace on relnamespace = pg_namespace.oid
            where pg_class.oid = any(%s)
            order by 1, 2
            """,
            [[relation.oid for relation in relations]],
        ).fetchall()
    found: list[str] = []
    for schema, name, kind in rows:
        part = known.get((published_schema(str(schema)), str(name)))
        if part is not None and str(kind) not in part.built:
            is_, makes = ("a view", "a table") if kind == "v" else ("a table", "a view")
            found.append(f"{schema}.{name}: is {is_}, but the model {part.model} makes {makes}; check what the hooks of models create")
    return found


def find(
    connection: Connection, manifest: Mapping[str, Any], schemas: Sequence[str], *, but: Iterable[tuple[str, str]] = ()
) -> list[Finding]:
    """Return the pipeline's relations in schemas that others may read and that neither the project nor `but` contains."""
    known = project_relations(manifest)
    excluded = set(but)
    with connection.transaction():
        rows = connection.execute(_READABLE, {"schemas": list(schemas), "own": _OWN, "owners": _OWNERS}).fetchall()
    found: list[Finding] = []
    for schema, name, subject, kind, readers in rows:
        part = known.get((published_schema(str(schema)), str(name)))
        is_known = part is not None and str(kind) in part.kinds
        if not is_known and isinstance(readers, list) and readers and (str(schema), str(name)) not in excluded:
            found.append(_finding(known, str(schema), str(name), str(subject), ", ".join(map(str, readers))))
    return found


def _finding(known: dict[tuple[str, str], ProjectRelation], schema: str, name: str, subject: str, readers: str) -> Finding:
    published = published_schema(schema)
    owner = known.get(companions_of(known).get((published, name), ("", "")))
    if owner is not None:
        what = "masks no columns" if name.endswith(MASKED) else "has no quarantining rule"
        detail = f"may be read by {readers}, but {owner.model} {what}, or creates another kind of relation with this name"
        return Finding(CHECK.check_id, CHECK.severity, subject, detail, f"drop it, or run `dpe run {owner.model}`")
    detail = f"may be read by {readers}, but no model of the project creates it"
    fix = "check what the hooks of models create" if schema.endswith(NEXT) else "drop it, or restore its model"
    return Finding(CHECK.check_id, CHECK.severity, subject, detail, fix)
