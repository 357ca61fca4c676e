"""
Refuses a project with models that dpe could build but not publish.

Their schema is not for models, belongs to somebody else, or their name leaves no room for what dpe derives from it, or is derived from
another one. The macro rls_declaration refuses the first when plain dbt builds such a model.
"""

from __future__ import annotations

from collections.abc import Iterator

from dpe_cli.access import strays
from dpe_cli.errors import ProjectError
from dpe_cli.project.model import Model
from dpe_cli.project.project import Project
from dpe_cli.server.relations import MASKED, PREVIOUS, QUARANTINE, is_shadow
from dpe_cli.server.server import Server

_RESERVED = frozenset({"dpe", "dpe_locks", "information_schema", "public", "quality"})
# Readers may not use it, because the loader's tables are there.
_UNREADABLE = "staging"
# Relations with such names are replaced or dropped together with the one from whose name they are derived.
_DERIVED = {"__dbt_backup": "dbt", "__dbt_tmp": "dbt", MASKED: "dpe", QUARANTINE: "dpe"}
# NAMEDATALEN of PostgreSQL: it cuts longer names off, without an error.
_MOST_BYTES = 63


def check(project: Project, server: Server) -> None:
    """
    Check where the models of the project are to be published.

    Raises:
        ProjectError: they cannot be.
    """
    faults = [*_faults_of_files(project)] or [*_faults_of_schemas(project, server)]
    if faults:
        raise ProjectError("; ".join(faults))


def _faults_of_files(project: Project) -> Iterator[str]:
    for model in project.models.values():
        where = _where(project, model)
        if model.schema in _RESERVED or model.schema.startswith("pg_") or is_shadow(model.schema):
            yield f"{where}: the schema {model.schema} is not for models; set another one, such as marts"
        elif model.schema == _UNREADABLE and model.is_published:
            yield (
                f"{where}: readers may read nothing in the schema {model.schema}, but meta.rls names some; "
                "declare {private: true}, or set another schema"
            )
        elif _bytes(model.schema + PREVIOUS) > _MOST_BYTES:
            yield f"{where}: the name of its schema, {model.schema}, is too long for {model.schema}{PREVIOUS}; shorten it"
    for (_, name), relation in strays.project_relations(project.manifest).items():
        where = _where(project, project.models[relation.unique_id])
        is_derived = name != project.manifest["nodes"][relation.unique_id]["alias"]
        if not is_derived and (ending := next(filter(name.endswith, _DERIVED), None)):
            yield f"{where}: the name {name} ends in {ending}, like what {_DERIVED[ending]} creates for another model; set another alias"
        elif _bytes(name) > _MOST_BYTES:
            yield f"{where}: the name {name} has {_bytes(name)} bytes, but PostgreSQL keeps {_MOST_BYTES}; set a shorter alias"


def _faults_of_schemas(project: Project, server: Server) -> Iterator[str]:
    with server.connect("transformer") as connection:
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


def _where(project: Project, model: Model) -> str:
    return f"{model.selector} ({project.manifest['nodes'][model.unique_id]['original_file_path']})"


def _bytes(name: str) -> int:
    return len(name.encode())
