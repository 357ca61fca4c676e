"""
Refuses a project with models that dpe could build but not publish.

They do not declare who may see them although the project requires it, or which targets publish them to readers, their schema is not for
models or belongs to somebody else, or their name leaves no room for what dpe derives from it, is derived from another one, or is not the
one that PostgreSQL stores, or another project has a relation of that name there (refuse_relations_of_others.sql), or a version is in a file
that may be another model's (refuse_files_of_others.sql), or dbt would make a view of a latest one (refuse_latest_version_pointers.sql). The
macros rls_declaration and readers_of refuse most of that when plain dbt builds such a model. Tests may not store their failures
next to relations of the project, either (refuse_tests_elsewhere.sql).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from psycopg import sql

from dpe_cli.access import strays
from dpe_cli.errors import ProjectError
from dpe_cli.project import version_pointers
from dpe_cli.project.model import READERS_EXAMPLE, Model, file_for, in_files_of_others, in_numbered_files
from dpe_cli.project.project import Project
from dpe_cli.project.stored_names import is_folded, stored_name
from dpe_cli.server import contexts
from dpe_cli.server.connection import Connection
from dpe_cli.server.relations import MASKED, MOST_BYTES, PREVIOUS, QUARANTINE, is_reserved
from dpe_cli.server.server import Server
from dpe_cli.words import plural

ACTOR = "dpe run"
# Relations with such names are replaced or dropped together with the one from whose name they are derived.
_DERIVED = {"__dbt_backup": "dbt", "__dbt_tmp": "dbt", MASKED: "dpe", QUARANTINE: "dpe"}


def check(project: Project, server: Server) -> None:
    """
    Check where the models of the project are to be published.

    Raises:
        ProjectError: they cannot be.
    """
    if found := faults(project, None) or faults(project, server):
        raise ProjectError("; ".join(found))


def faults(project: Project, server: Server | None) -> list[str]:
    """Return why models cannot be published where they are declared: in the files, and, with a server, because of its schemas."""
    of_server = [] if server is None else _faults_of_server(project, server)
    return [*_faults_of_files(project), *_faults_of_versions(project), *_faults_of_quoting(project), *_faults_of_tests(project), *of_server]


def _faults_of_files(project: Project) -> Iterator[str]:
    # Readers may not use these, because the loader's tables are there.
    of_sources = set(project.staging_schemas)
    for model in project.models.values():
        where = _where(project, model)
        if model.is_undeclared:
            yield (
                f"{where}: has to declare who may see it; write meta.rls as {{tenant_column: …}}, {{shared: true}}, {{private: true}}, "
                "{role_column: …} or {access: …}"
            )
        elif model.is_published and model.readers is None:
            yield (
                f"{where}: meta.rls says which rows readers may see, but nothing says which targets publish it to readers; write it under "
                f"{model.unique_id.partition('.')[0]}s: in dbt_project.yml, such as +meta: {{readers: {READERS_EXAMPLE}}}"
            )
        if is_reserved(model.schema):
            yield f"{where}: the schema {model.schema} is not for models; set another one"
        elif model.schema in of_sources and model.is_published:
            yield (
                f"{where}: meta.rls opens it to readers, who cannot use the schema {model.schema}, because sources are loaded there; "
                "declare {private: true}, or set another schema"
            )
        elif _bytes(model.schema + PREVIOUS) > MOST_BYTES:
            yield f"{where}: the name of its schema, {model.schema}, is too long for {model.schema}{PREVIOUS}; shorten it"
    for (_, name), relation in strays.project_relations(project.manifest).items():
        where = _where(project, project.models[relation.unique_id])
        is_derived = name != project.manifest["nodes"][relation.unique_id]["alias"]
        if not is_derived and (ending := next(filter(name.endswith, _DERIVED), None)):
            yield f"{where}: the name {name} ends in {ending}, like what {_DERIVED[ending]} creates for another model; set another alias"
        elif _bytes(name) > MOST_BYTES:
            yield f"{where}: the name {name} has {_bytes(name)} bytes, but PostgreSQL keeps {MOST_BYTES}; set a shorter alias"


def _faults_of_versions(project: Project) -> Iterator[str]:
    """Yield the versions whose file may be another model's, and those of which dbt would make a view that is not a model's."""
    for node in in_files_of_others(project.manifest):
        yield f"{_version(node)}: the file may be another model's, which would lose its declaration and its tests; {file_for(node)}"
    for node in version_pointers.find(project.directory, project.manifest):
        yield (
            f"{_version(node)}: latest_version_pointer has dbt create a view that no model declares, in the place of any relation of its "
            f"name; {version_pointers.instead(node)}"
        )


def _faults_of_quoting(project: Project) -> Iterator[str]:
    """Yield the models whose names PostgreSQL would fold, so that dpe would look for other relations than those that dbt builds."""
    for model in project.models.values():
        node = project.manifest["nodes"][model.unique_id]
        if is_folded(node):
            yield (
                f"{_where(project, model)}: PostgreSQL would store {model.schema}.{model.alias} as {'.'.join(stored_name(node))}, because "
                "dbt does not quote it (`quoting:`); write it in lower case, or let dbt quote it"
            )


def _faults_of_tests(project: Project) -> Iterator[str]:
    """Yield the schemas in which tests would store their failures next to other relations, which they could replace."""
    nodes = project.manifest["nodes"]
    taken = {stored_name(node)[0]: node["name"] for node in project.manifest["sources"].values()}
    taken |= {model.schema: model.name for model in project.models.values()}
    tests: dict[str, list[Mapping[str, Any]]] = {}
    for node in nodes.values():
        if (
            node["resource_type"] == "test"
            and node["config"].get("store_failures")
            and node["config"].get("store_failures_as") != "ephemeral"
        ):
            tests.setdefault(node["schema"], []).append(node)
    for schema, found in sorted(tests.items()):
        if schema not in taken and not is_reserved(schema):
            continue
        first = min(found, key=lambda node: str(node["name"]))
        others = f" (and so would {plural(len(found) - 1, 'other test')})" if len(found) > 1 else ""
        what = "which is not for tests" if is_reserved(schema) else f"in which {taken[schema]} is"
        yield (
            f"{first['name']} ({first['original_file_path']}): would store its failures in the schema {schema}, {what}{others}; "
            "set another one (`data_tests: +schema`)"
        )


def _faults_of_server(project: Project, server: Server) -> Iterator[str]:
    with server.connect("transformer") as connection, contexts.system_context(connection, actor=ACTOR):
        yield from _faults_of_schemas(project, connection)
        yield from _faults_of_relations(project, connection)
        yield from _faults_of_neighbours(project, connection)
        yield from _faults_of_taken_files(project, connection)


def _faults_of_schemas(project: Project, connection: Connection) -> Iterator[str]:
    rows = connection.execute(
        """
        select nspname::text
        from pg_namespace
        where nspname = any(%s) and not (has_schema_privilege(oid, 'usage') and has_schema_privilege(oid, 'create'))
        order by nspname
        """,
        [project.published_schemas],
    ).fetchall()
    closed = {str(schema) for (schema,) in rows}
    for model in project.models.values():
        if model.schema in closed:
            yield (
                f"{_where(project, model)}: dpe_transformer may not create relations in the schema {model.schema}; set another one, or "
                "have an administrator grant usage and create on it"
            )


def _faults_of_relations(project: Project, connection: Connection) -> Iterator[str]:
    """Yield the relations of others in the place of models, such as those that plain dbt built before the project used dpe."""
    models = {(model.schema, model.alias): model for model in project.models.values()}
    rows = connection.execute(
        """
        select nspname::text, relname::text, pg_get_userbyid(relowner)::text
        from pg_class
        inner join pg_namespace on relnamespace = pg_namespace.oid
        inner join unnest(%s::text[], %s::text[]) as published (schema_name, relation_name)
            on nspname = schema_name and relname = relation_name
        where not pg_has_role(relowner, 'usage')
        order by 1, 2
        """,
        [[schema for schema, _ in models], [name for _, name in models]],
    ).fetchall()
    for schema, name, owner in rows:
        relation = sql.Identifier(schema, name).as_string(connection)
        yield (
            f"{_where(project, models[schema, name])}: {schema}.{name} belongs to {owner}, so dpe cannot replace it; have an administrator "
            f"run `alter table {relation} owner to dpe_transformer`"
        )


def _faults_of_neighbours(project: Project, connection: Connection) -> Iterator[str]:
    """Yield the models in the place of another project's, whose readers would see them instead (refuse_relations_of_others.sql)."""
    models = {stored_name(project.manifest["nodes"][model.unique_id]): model for model in project.models.values()}
    packages = sorted({str(node["package_name"]) for node in project.manifest["nodes"].values()})
    rows = connection.execute(
        """
        select nspname::text, relname::text, split_part(node, '.', 2)
        from dpe.protected_relations
        inner join pg_class on pg_class.oid = relation_id
        inner join pg_namespace on pg_namespace.oid = relnamespace
        inner join unnest(%s::text[], %s::text[]) as own (schema_name, relation_name)
            on nspname = schema_name and relname = relation_name
        where
            split_part(node, '.', 2) <> all(%s)
            -- Not of a package that the project no longer uses.
            and split_part(node, '.', 2) in (select project from dpe.project_schemas)
        order by 1, 2
        """,
        [[schema for schema, _ in models], [name for _, name in models], packages],
    ).fetchall()
    for schema, name, owner in rows:
        yield (
            f"{_where(project, models[schema, name])}: {schema}.{name} belongs to the project {owner}, whose readers would see this model "
            f"instead; set another schema or alias for target {project.target}, or drop that relation if the project is gone"
        )


def _faults_of_taken_files(project: Project, connection: Connection) -> Iterator[str]:
    """Yield the versions in files that were published as models of their own, with other declarations (refuse_files_of_others.sql)."""
    versions = in_numbered_files(project.manifest)
    rows = connection.execute(
        """
        select node, string_agg(format('%%I.%%I', nspname, relname), ', ' order by nspname, relname)
        from dpe.protected_relations
        inner join pg_class on pg_class.oid = relation_id
        inner join pg_namespace on pg_namespace.oid = relnamespace
        where node = any(%s) and nspname !~ '__(next|previous|old_[0-9]+)$'
        group by node
        order by node
        """,
        [list(versions)],
    ).fetchall()
    for node, relations in rows:
        yield (
            f"{_version(versions[node])}: the file was that of the model {str(node).rpartition('.')[2]}, with its own declaration, and is "
            f"published as {relations}; give the version a file of its own, or drop that relation if the model is gone"
        )


def _version(node: Mapping[str, Any]) -> str:
    return f"{node['name']}.v{node['version']} ({node['original_file_path']})"


def _where(project: Project, model: Model) -> str:
    return f"{model.selector} ({project.manifest['nodes'][model.unique_id]['original_file_path']})"


def _bytes(name: str) -> int:
    return len(name.encode())
