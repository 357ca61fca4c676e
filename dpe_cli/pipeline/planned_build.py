"""What dbt would build and test, who will see it, and what of it is new, for `dpe run --plan`."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from graphlib import TopologicalSorter
from typing import Any, Literal

from dpe_cli.access import strays
from dpe_cli.project.model import Model
from dpe_cli.project.project import Project
from dpe_cli.publishing import old_versions
from dpe_cli.quality import quarantine
from dpe_cli.quality.coverage import rule_tests
from dpe_cli.server.relations import Relation
from dpe_cli.server.server import Server

ACTOR = "dpe run --plan"
# What dbt has made in schemas, without what the next run drops: versions that a plain `dbt build` replaced.
_MADE = """
    select nspname::text, relname::text
    from pg_class
    inner join pg_namespace on relnamespace = pg_namespace.oid
    where nspname = any(%s)
        and relkind in ('r', 'p', 'v', 'm')
        and not relispartition
        and relowner = to_regrole('dpe_transformer')
        and relname !~ '__dbt_(backup|tmp)$'
    order by 1, 2
"""


@dataclass(frozen=True)
class PlannedRelation:
    """
    A relation that would be built. `companions` are its view for masked readers and its quarantine, which come with it.

    `seen_by` says which roles of the target read which of its rows; `change` is what its publication would do.
    """

    unique_id: str
    name: str
    resource_type: str
    materialization: str
    relation: str
    seen_by: str
    change: Literal["new", "replaces"]
    companions: tuple[str, ...] = ()


@dataclass(frozen=True)
class LeftRelation:
    """
    A relation in a published schema that the project does not contain any more.

    A publication removes it if it is the masked view or the quarantine of a model that no longer has one; others stay.
    """

    relation: str
    is_removed: bool


@dataclass(frozen=True)
class PlannedBuild:
    """
    What would be built, in that order, and tested: unique ids of tests, the `rules` among them, and names of tests that are `skipped`.

    `left_over` is empty unless the whole project is built. `strays` say which relations keep the build from being published.
    """

    relations: list[PlannedRelation] = field(default_factory=list)
    left_over: list[LeftRelation] = field(default_factory=list)
    strays: list[str] = field(default_factory=list)
    tests: list[str] = field(default_factory=list)
    rules: list[str] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)


def plan_build(project: Project, server: Server | None, select: Sequence[str], exclude: Sequence[str]) -> PlannedBuild:
    """Plan the build of a selection, which is that of dbt; without a `server`, nothing is published yet."""
    manifest, chosen = project.manifest, project.selected(select, exclude)
    built = [project.models[unique_id] for unique_id in _in_order(manifest) if unique_id in project.models]
    built = [model for model in built if chosen is None or model.unique_id in chosen]
    published, left, found = _present(project, server, built)
    skipped = project.untestable(select, exclude, published)
    nodes = {**manifest["nodes"], **(manifest.get("unit_tests") or {})}
    tests = {
        unique_id
        for unique_id, node in nodes.items()
        if node["resource_type"] in {"test", "unit_test"} and (chosen is None or unique_id in chosen) and unique_id not in skipped
    }
    companions = _companions(manifest)
    return PlannedBuild(
        relations=[_planned(project, model, published, companions.get(model.unique_id, ())) for model in built],
        left_over=left if chosen is None else [],
        strays=found,
        tests=sorted(tests),
        rules=sorted({test.rule_id for test in rule_tests(manifest) if test.unique_id in tests}),
        skipped=sorted(nodes[unique_id]["name"] for unique_id in skipped),
    )


def _in_order(manifest: Mapping[str, Any]) -> list[str]:
    """Return the unique ids of nodes, each after what it is built from."""
    nodes = manifest["nodes"]
    return list(
        TopologicalSorter({unique_id: nodes[unique_id]["depends_on"].get("nodes", []) for unique_id in sorted(nodes)}).static_order()
    )


def _present(project: Project, server: Server | None, built: Sequence[Model]) -> tuple[set[tuple[str, str]], list[LeftRelation], list[str]]:
    """Return what is published, what of it the project does not contain, and which of it keeps any build from being published."""
    if server is None:
        return set(), [], []
    known = strays.project_relations(project.manifest)
    with server.connect("transformer", application_name=ACTOR) as connection:
        with connection.transaction():
            published = {(stored.schema, stored.name) for stored in old_versions.relations(connection, project.published_schemas)}
            made = [(str(schema), str(name)) for schema, name in connection.execute(_MADE, [project.published_schemas])]
            planned = [Relation(schema, name, 0) for schema, name in _names(project, built)]
            removed = quarantine.leftovers(connection, planned, schema_suffix="")
        found = strays.find(connection, project.manifest, project.published_schemas, but=removed)
    left = [LeftRelation(f"{schema}.{name}", is_removed=(schema, name) in removed) for schema, name in made if (schema, name) not in known]
    return published, left, [str(finding) for finding in found]


def _names(project: Project, built: Sequence[Model]) -> list[tuple[str, str]]:
    """Return the schemas and names of everything that models become."""
    unique_ids = {model.unique_id for model in built}
    return [name for name, part in strays.project_relations(project.manifest).items() if part.unique_id in unique_ids]


def _companions(manifest: Mapping[str, Any]) -> dict[str, tuple[str, ...]]:
    """Return the masked views and quarantines of models, by unique id."""
    found: dict[str, tuple[str, ...]] = {}
    for (schema, name), part in strays.project_relations(manifest).items():
        if name != manifest["nodes"][part.unique_id]["alias"]:
            found[part.unique_id] = (*found.get(part.unique_id, ()), f"{schema}.{name}")
    return found


def _planned(project: Project, model: Model, published: Collection[tuple[str, str]], companions: tuple[str, ...]) -> PlannedRelation:
    node = project.manifest["nodes"][model.unique_id]
    return PlannedRelation(
        unique_id=model.unique_id,
        name=model.selector,
        resource_type=node["resource_type"],
        materialization=node["config"].get("materialized") or node["resource_type"],
        relation=f"{model.schema}.{model.alias}",
        seen_by=_seen_by(model, node, project.target),
        change="replaces" if (model.schema, model.alias) in published else "new",
        companions=companions,
    )


def _seen_by(model: Model, node: Mapping[str, Any], target: str) -> str:
    """Say which roles of a target will read which rows of a relation."""
    readers = model.readers_in(target)
    if not model.is_published:
        return "no reader"
    if not readers:
        return f"no reader in the target {target}"
    declaration = node["config"]["meta"]["rls"]
    access = declaration.get("access")
    granting = access.get("model") if isinstance(access, Mapping) else access
    # The macros refuse a declaration of another kind, or one that is incomplete, when the model is built.
    rows = {
        "shared": "all rows",
        "tenant_column": f"the rows of their tenants ({', '.join(model.tenant_columns)})",
        "role_column": f"the rows that name them ({declaration.get('role_column')})",
        "access": f"the rows that {granting} grants them",
    }.get(model.declared, model.declared)
    masked = f", without {', '.join(model.masked)} for masked readers" if model.masked else ""
    return f"{', '.join(readers)}: {rows}{masked}"
