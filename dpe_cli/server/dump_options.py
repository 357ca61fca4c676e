"""
What of a database pg_dump may dump, so that neither the dump nor its restore calls code of other logins.

pg_dump evaluates the policies of each table that it dumps, and pg_restore the checks and generated columns of each table that it fills, as
the administrator who runs them. Besides, a login can lock its own tables, close them to administrators, or make objects that cannot be
restored. So a dump holds only the schemas of the pipeline, and those that the administrator names.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import LiteralString

from psycopg import sql

from dpe_cli.errors import ServerError
from dpe_cli.server.connection import Connection

_MOST_NAMED = 5
# With more than 128 KiB, xargs would run pg_dump twice, and the second dump would replace the first. It does not pass line breaks.
_MOST_CHARACTERS = 100_000

_SCHEMAS: LiteralString = """
    select
        nspname::text,
        coalesce(nspowner in (to_regrole('dpe_owner'), to_regrole('dpe_loader'), to_regrole('dpe_transformer')), false)
    from pg_namespace
    where nspname !~ '^pg_' and nspname <> 'information_schema'
    order by 1
"""
# Relations of the pipeline in a schema of another owner, which `dpe rls check` reports (RLS035).
_ELSEWHERE: LiteralString = """
    select nspname::text, min(pg_class.oid::regclass::text), min(relowner::regrole::text)
    from pg_class
    inner join pg_namespace on relnamespace = pg_namespace.oid
    where
        relkind in ('r', 'p', 'v', 'm', 'f', 'S')
        and relowner in (to_regrole('dpe_owner'), to_regrole('dpe_loader'), to_regrole('dpe_transformer'))
        and nspname !~ '^pg_'
        and nspname <> all(%(schemas)s)
    group by 1
    order by 1
"""
# Administrators are, as in dpe.open_schemas(), superusers, the owner of the database, and the members of dpe_owner. Members of an extension
# are not dumped, because the extension creates them.
_CATALOG: LiteralString = """
    with

    trusted as materialized (

        select oid as role_id
        from pg_roles
        where
            rolsuper
            or rolname in ('pg_database_owner', 'dpe_owner', 'dpe_loader', 'dpe_transformer')
            or oid = (select datdba from pg_database where datname = current_database())
            or pg_has_role(oid, 'dpe_owner', 'member')

    ),

    all_objects as (

        select 'pg_class'::regclass::oid as class_id, oid as object_id, relnamespace as schema_id, relowner as owner_id
        from pg_class where relkind in ('r', 'p', 'v', 'm', 'f', 'S', 'c')
        union all
        select 'pg_proc'::regclass, oid, pronamespace, proowner from pg_proc
        union all
        select 'pg_type'::regclass, oid, typnamespace, typowner from pg_type
        union all
        select 'pg_operator'::regclass, oid, oprnamespace, oprowner from pg_operator
        union all
        select 'pg_opclass'::regclass, oid, opcnamespace, opcowner from pg_opclass
        union all
        select 'pg_opfamily'::regclass, oid, opfnamespace, opfowner from pg_opfamily
        union all
        select 'pg_collation'::regclass, oid, collnamespace, collowner from pg_collation
        union all
        select 'pg_conversion'::regclass, oid, connamespace, conowner from pg_conversion
        union all
        select 'pg_statistic_ext'::regclass, oid, stxnamespace, stxowner from pg_statistic_ext
        union all
        select 'pg_ts_config'::regclass, oid, cfgnamespace, cfgowner from pg_ts_config
        union all
        select 'pg_ts_dict'::regclass, oid, dictnamespace, dictowner from pg_ts_dict

    ),

    objects as materialized (

        select
            all_objects.*,
            pg_namespace.nspname as schema_name,
            pg_namespace.nspowner as schema_owner_id,
            pg_namespace.nspname = any(%(schemas)s) as is_dumped,
            extname as extension_name
        from all_objects
        inner join pg_namespace on schema_id = pg_namespace.oid and nspname !~ '^pg_' and nspname <> 'information_schema'
        left join pg_depend on classid = class_id and objid = object_id and refclassid = 'pg_extension'::regclass and deptype = 'e'
        left join pg_extension on refobjid = pg_extension.oid

    )

"""
# In the schemas that a new database has, and in those of the dump. The extensions of a new database have smaller numbers.
_EXTENSIONS: LiteralString = (
    _CATALOG  # noqa: S608 constants
    + """
    select extname::text
    from pg_extension
    inner join pg_namespace on extnamespace = pg_namespace.oid
    where
        pg_extension.oid >= 16384
        and extowner in (select role_id from trusted)
        and (nspname in ('pg_catalog', 'public') or nspname = any(%(schemas)s))
    order by 1
    """
)
# The type of a relation's rows and that of an array belong to what they are types of. A domain over an array is a type of its own, although
# it has an array's category.
_OF_OTHERS: LiteralString = (
    _CATALOG  # noqa: S608 constants
    + """
    select
        schema_name::text,
        pg_get_userbyid(owner_id)::text,
        count(*),
        min(left(pg_describe_object(class_id, object_id, 0), 200))
    from objects
    where
        is_dumped
        and extension_name is null
        and owner_id not in (select role_id from trusted)
        and owner_id <> schema_owner_id
        and not exists (
            select
            from pg_type
            where
                class_id = 'pg_type'::regclass
                and oid = object_id
                and (typrelid <> 0 or (typtype = 'b' and typelem <> 0 and typsubscript = 'array_subscript_handler'::regproc))
        )
    group by schema_name, owner_id
    order by 1, 2
    """
)
# Rules, defaults, policies, triggers, indexes and constraints belong to their tables, or to their domains.
_NEEDED: LiteralString = (
    _CATALOG  # noqa: S608 constants
    + """
    , dumped as (

        select class_id, object_id, class_id as part_class_id, object_id as part_id from objects where is_dumped
        union all
        select class_id, object_id, 'pg_rewrite'::regclass, oid
        from objects inner join pg_rewrite on class_id = 'pg_class'::regclass and ev_class = object_id where is_dumped
        union all
        select class_id, object_id, 'pg_attrdef'::regclass, oid
        from objects inner join pg_attrdef on class_id = 'pg_class'::regclass and adrelid = object_id where is_dumped
        union all
        select class_id, object_id, 'pg_policy'::regclass, oid
        from objects inner join pg_policy on class_id = 'pg_class'::regclass and polrelid = object_id where is_dumped
        union all
        select class_id, object_id, 'pg_trigger'::regclass, oid
        from objects inner join pg_trigger on class_id = 'pg_class'::regclass and tgrelid = object_id where is_dumped
        union all
        select class_id, object_id, 'pg_constraint'::regclass, oid
        from objects inner join pg_constraint on class_id = 'pg_class'::regclass and conrelid = object_id where is_dumped
        union all
        select class_id, object_id, 'pg_constraint'::regclass, oid
        from objects inner join pg_constraint on class_id = 'pg_type'::regclass and contypid = object_id where is_dumped
        union all
        select class_id, object_id, 'pg_class'::regclass, indexrelid
        from objects inner join pg_index on class_id = 'pg_class'::regclass and indrelid = object_id where is_dumped

    )

    select
        needed.schema_name::text,
        min(left(pg_describe_object(dumped.class_id, dumped.object_id, 0), 200)),
        min(left(pg_describe_object(needed.class_id, needed.object_id, 0), 200))
    from dumped
    inner join pg_depend on part_class_id = classid and part_id = objid
    inner join objects as needed on refclassid = needed.class_id and refobjid = needed.object_id
    where not needed.is_dumped and (needed.extension_name is null or needed.extension_name <> all(%(extensions)s))
    group by 1
    order by 1
    """
)


@dataclass(frozen=True)
class DumpOptions:
    """Which schemas and extensions pg_dump is to dump, and which schemas it then leaves out."""

    schemas: list[str]
    extensions: list[str]
    left_out: list[str]

    @property
    def options(self) -> list[str]:
        """Return the options of pg_dump; in its patterns, quotes keep a name from being one."""
        return [
            *(f"--schema={sql.Identifier(schema).as_string()}" for schema in self.schemas),
            *(f"--extension={sql.Identifier(extension).as_string()}" for extension in self.extensions),
        ]


def dump_options(connection: Connection, named: Sequence[str] = ()) -> DumpOptions:
    """
    Return what to dump: the schemas that dpe's roles own, those that the administrator `named`, and the extensions of administrators.

    Raises:
        ServerError: the database is not bootstrapped; a named schema does not exist; one of the schemas holds an object that belongs to
            neither an administrator nor the schema's owner, or needs an object of a schema that is left out; dpe's roles have relations in
            a schema that is left out; or xargs could not pass the options to one pg_dump.
    """
    with connection.transaction():
        schemas = {str(name): bool(is_of_dpe) for name, is_of_dpe in connection.execute(_SCHEMAS)}
        _check_names(connection, schemas, named)
        dumped = [name for name, is_of_dpe in schemas.items() if is_of_dpe or name in named]
        _refuse_relations_elsewhere(connection, dumped)
        _refuse_objects_of_others(connection, dumped)
        extensions = [str(name) for (name,) in connection.execute(_EXTENSIONS, {"schemas": dumped})]
        _refuse_missing(connection, dumped, extensions)
    options = DumpOptions(dumped, extensions, [name for name in schemas if name not in dumped])
    if len("".join(options.options).encode()) > _MOST_CHARACTERS or any("\n" in option for option in options.options):
        raise ServerError(
            f"database {connection.info.dbname}: has too many schemas ({len(dumped):,}) for one command, or one with a line break in its "
            "name; give pg_dump their names with --schema yourself"
        )
    return options


def _check_names(connection: Connection, schemas: Mapping[str, bool], named: Sequence[str]) -> None:
    if not any(schemas.values()):
        raise ServerError(f"database {connection.info.dbname}: has no schemas of dpe; run `dpe bootstrap`")
    for name in named:
        if name not in schemas:
            raise ServerError(f"--schema {name}: database {connection.info.dbname} has no schema of this name; correct it")


def _refuse_relations_elsewhere(connection: Connection, dumped: Sequence[str]) -> None:
    elsewhere = connection.execute(_ELSEWHERE, {"schemas": dumped}).fetchall()
    if elsewhere:
        found = [f"{relation} belongs to {owner}, but its schema {name} does not" for name, relation, owner in elsewhere[:_MOST_NAMED]]
        raise ServerError(
            f"{'; '.join(found)}; it would not be dumped. Let dpe_owner own the schema, move or drop what is in it, or add "
            f"{_to_add(elsewhere)}"
        )


def _refuse_objects_of_others(connection: Connection, dumped: Sequence[str]) -> None:
    of_others = connection.execute(_OF_OTHERS, {"schemas": dumped}).fetchall()
    if of_others:
        found = [f"{name}: holds {count:,} of {owner}, such as {example}" for name, owner, count, example in of_others[:_MOST_NAMED]]
        raise ServerError(
            f"{'; '.join(found)}; a dump would call their code as the administrator. Have them moved to another schema or dropped, and "
            "let only administrators create in this one"
        )


def _refuse_missing(connection: Connection, dumped: Sequence[str], extensions: Sequence[str]) -> None:
    needed = connection.execute(_NEEDED, {"schemas": dumped, "extensions": extensions}).fetchall()
    if needed:
        found = [f"{user} uses {used}, in the schema {name}" for name, user, used in needed[:_MOST_NAMED]]
        raise ServerError(
            f"{'; '.join(found)}; the dump could not be restored without it. If only administrators and the schema's owner create "
            f"objects there, and you trust them with your rights, add {_to_add(needed)}"
        )


def _to_add(rows: Sequence[tuple[object, ...]]) -> str:
    return shlex.join(word for name, *_ in rows for word in ("--schema", str(name)))
