"""Whether any login can read what a project publishes."""

from __future__ import annotations

from dpe_cli.access.actors import MASKED_READER, READER
from dpe_cli.pipeline.protection import separate_session
from dpe_cli.project.model import READERS_EXAMPLE
from dpe_cli.project.project import Project
from dpe_cli.server.contexts import system_context
from dpe_cli.server.server import Server

# A login that is not the pipeline's or an administrator's, with a privilege on one of the relations. The access list itself shows
# the pipeline no other role's entries.
_CAN_BE_READ = """
    select exists (
        select
        from pg_class
        inner join pg_namespace on pg_class.relnamespace = pg_namespace.oid
        inner join unnest(%s::text[], %s::text[]) as published (schema_name, relation_name)
            on pg_namespace.nspname = published.schema_name and pg_class.relname = published.relation_name
        cross join pg_roles
        where
            pg_roles.rolcanlogin
            and has_schema_privilege(pg_roles.oid, pg_namespace.oid, 'usage')
            and has_any_column_privilege(pg_roles.oid, pg_class.oid, 'select')
            and dpe.access_obstacle(pg_roles.oid::regrole) is null
    )
"""


def without(project: Project, server: Server) -> str | None:
    """Return that no login can read what the project publishes, and what to do; None if one can."""
    models = [model for model in project.models.values() if model.is_published]
    if not models:
        return "No reader sees what was published, because every model is private; declare meta.rls for those that readers should see"
    with separate_session(server) as connection, system_context(connection, actor="dpe run"):
        row = connection.execute(_CAN_BE_READ, [[model.schema for model in models], [model.alias for model in models]]).fetchone()
    if row == (True,):
        return None
    groups = sorted({group for model in models for group in model.readers_in(project.target)})
    if not groups:
        return (
            f"No reader sees what was published, because meta.readers does not name the target {project.target}; in dbt_project.yml, write "
            f"+meta: {{readers: {READERS_EXAMPLE.replace('prod', project.target)}}}, and run again"
        )
    has_tenants = any(model.tenant_columns for model in models)
    is_usual = bool({READER, MASKED_READER}.intersection(groups))
    # `dpe access grant` makes a login a member of dpe_reader.
    commands = [] if has_tenants and is_usual else [f"dpe db psql -c 'grant {READER if is_usual else groups[0]} to LOGIN'"]
    commands += ["dpe access grant LOGIN TENANT"] if has_tenants else []
    what = "the rows of a tenant" if has_tenants else "it"
    return f"No login can read what was published; let one see {what}: {' && '.join(commands)}"
