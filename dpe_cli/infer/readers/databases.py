"""Database tables: their columns already have types, and often descriptions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from psycopg import sql

from dpe_cli.blocks.contract import Column
from dpe_cli.errors import InputError, UsageError
from dpe_cli.infer.sample import parts_of
from dpe_cli.infer.survey import Draft, Survey, SurveyRequest
from dpe_cli.safe_text.visible_text import in_message
from dpe_cli.sources.options.queries import Sql

_MOST_LISTED = 20
_SYSTEM = ("pg_catalog", "information_schema", "pg_toast")
_SHORT = {
    "timestamp with time zone": "timestamptz",
    "timestamp without time zone": "timestamp",
    "time with time zone": "timetz",
    "time without time zone": "time",
}
# References to other objects of the database: another one has no such relation, role or currency.
_OWN = ("reg", "money", "oid", "xid", "cid", "tid", "aclitem", "pg_", "name", '"char"')
# A type defined in the database becomes text; for a domain its base type counts, and for an array the type of its elements.
_COLUMNS = """
    with recursive types as (
        select
            attribute.attnum,
            attribute.atttypid as type_id,
            attribute.atttypmod as modifier
        from pg_attribute as attribute
        where attribute.attrelid = %(relation)s::oid and attribute.attnum > 0 and not attribute.attisdropped
        union all
        select types.attnum, pg_type.typbasetype, pg_type.typtypmod
        from types
        inner join pg_type on types.type_id = pg_type.oid and pg_type.typtype = 'd'
    ),

    base as (
        select types.attnum, types.type_id, types.modifier, pg_type.typcategory, element.typtype, element.typnamespace
        from types
        inner join pg_type on types.type_id = pg_type.oid and pg_type.typtype <> 'd'
        inner join pg_type as element on element.oid = case when pg_type.typcategory = 'A' then pg_type.typelem else pg_type.oid end
    )

    select
        attribute.attname,
        case
            when base.typnamespace = 'pg_catalog'::regnamespace and base.typtype in ('b', 'r', 'm')
                then format_type(base.type_id, base.modifier)
            when base.typcategory = 'A' then 'text[]'
            else 'text'
        end,
        coalesce(col_description(attribute.attrelid, attribute.attnum), ''),
        attribute.attnotnull,
        exists (
            select from pg_index
            where
                pg_index.indrelid = attribute.attrelid and pg_index.indisunique and pg_index.indisvalid
                and pg_index.indpred is null and pg_index.indnkeyatts = 1 and pg_index.indkey[0] = attribute.attnum
        )
    from pg_attribute as attribute
    inner join base on attribute.attnum = base.attnum
    where attribute.attrelid = %(relation)s::oid
    order by attribute.attnum
"""


def survey(request: SurveyRequest) -> Survey:
    """
    Return the columns of a table, and its records.

    Raises:
        UsageError: no table was given.
        InputError: the database cannot be read, or has no such table.
    """
    options = Sql(location=request.location, file_format="sql", disposition="replace", table=request.relation or "*")
    drafts, description = _of_postgres(options, request) if options.is_postgres else _of_another(options, request)
    written = {"file_format": "sql", "table": request.relation, "disposition": "replace"}
    return Survey(options=written, drafts=drafts, parts=partial(_parts, options, request, drafts), description=description)


def _parts(options: Sql, request: SurveyRequest, drafts: Sequence[Draft]) -> Any:
    if options.is_postgres:
        from dpe_cli.sources.databases.postgres import PostgresTable

        return parts_of([PostgresTable(options, ())], request.sample)
    from dpe_cli.sources.databases.other_databases import SqlTable

    # Bytes become booleans as they will in an extract.
    columns = [Column(draft.name, draft.declared or "text") for draft in drafts]
    return parts_of([SqlTable(options, columns, project_dir=request.project_dir)], request.sample)


def _of_postgres(options: Sql, request: SurveyRequest) -> tuple[list[Draft], str]:
    from dpe_cli.sources.databases.postgres import OWN_NAMES, PostgresTable, relation_id

    with PostgresTable(options, ()).connected() as connection:
        connection.execute("begin transaction read only")
        if request.relation is None:
            connection.execute(OWN_NAMES)
            rows = connection.execute(
                "select relnamespace::regnamespace::text || '.' || relname from pg_class where relkind in ('r', 'p', 'v', 'm', 'f') "
                "and not relnamespace::regnamespace::text = any(%s) order by 1",
                [list(_SYSTEM)],
            ).fetchall()
            raise _no_table(request, [str(name) for (name,) in rows])
        number = relation_id(connection, request.relation)
        if number is None:
            raise InputError(f"{request.location}: table {request.relation} does not exist or is not visible; correct --table")
        found = connection.execute(sql.SQL(_COLUMNS), {"relation": number}).fetchall()
        comment = connection.execute("select coalesce(obj_description(%s::oid, 'pg_class'), '')", [number]).fetchone()
    drafts = [
        Draft(
            str(name),
            str(name),
            declared=_portable(str(data_type)),
            is_enforced=True,
            description=str(description),
            is_required=bool(is_required),
            is_unique=bool(is_unique),
        )
        for name, data_type, description, is_required, is_unique in found
    ]
    return drafts, str(comment[0]) if comment else ""


def _portable(data_type: str) -> str:
    return "text" if data_type.startswith(_OWN) else _SHORT.get(data_type, data_type)


def _of_another(options: Sql, request: SurveyRequest) -> tuple[list[Draft], str]:
    from dpe_cli import optional_packages
    from dpe_cli.sources.databases.other_databases import connected

    alchemy: Any = optional_packages.needed("sqlalchemy", by=request.location)
    with connected(options, where=request.location, project_dir=request.project_dir) as database:
        return database.run(lambda: _described(alchemy, database.connection, request))


def _described(alchemy: Any, connection: Any, request: SurveyRequest) -> tuple[list[Draft], str]:
    known = alchemy.inspect(connection)
    names = [*known.get_table_names(), *known.get_view_names()]
    if request.relation is None:
        raise _no_table(request, names)
    before, _, name = request.relation.rpartition(".")
    schema = before or None
    if not (known.has_table(name, schema=schema) or name in known.get_view_names(schema=schema)):
        raise InputError(f"{request.location}: table {request.relation} does not exist; correct --table (tables: {_listed(names)})")
    unique = _unique(known, name, schema)
    is_mysql = connection.dialect.name in {"mysql", "mariadb"}
    drafts = [
        Draft(
            str(column["name"]),
            str(column["name"]),
            declared=_type(alchemy.types, column["type"], is_sqlite=connection.dialect.name == "sqlite", is_mysql=is_mysql),
            description=column.get("comment") or "",
            is_required=not column.get("nullable", True),
            is_unique=column["name"] in unique,
        )
        for column in known.get_columns(name, schema=schema)
    ]
    try:
        comment = known.get_table_comment(name, schema=schema).get("text") or ""
    except NotImplementedError:
        comment = ""
    return drafts, comment


def _unique(known: Any, name: str, schema: str | None) -> set[str]:
    keys = [known.get_pk_constraint(name, schema=schema).get("constrained_columns") or []]
    keys += [constraint.get("column_names") or [] for constraint in known.get_unique_constraints(name, schema=schema)]
    return {columns[0] for columns in keys if len(columns) == 1}


def _type(types: Any, given: Any, *, is_sqlite: bool, is_mysql: bool) -> str | None:
    """Return PostgreSQL's type for one of SQLAlchemy's; None if the database enforces none, so that the values decide."""
    is_unsigned = bool(getattr(given, "unsigned", False))
    if type(given).__name__ == "BIT":
        # BIT(1) is how MySQL and MariaDB keep a boolean; longer ones are bytes.
        return "boolean" if getattr(given, "length", None) in {None, 1} else "bytea"
    # A later type may be a subclass of an earlier one.
    known: Mapping[Any, str | None] = {
        types.Boolean: "boolean",
        types.SmallInteger: "integer" if is_unsigned else "smallint",
        types.BigInteger: "numeric" if is_unsigned else "bigint",
        # SQLite stores eight bytes for this type name.
        types.Integer: "bigint" if is_unsigned or is_sqlite else "integer",
        types.Float: "double precision",
        types.Numeric: "numeric",
        types.DateTime: "timestamptz" if getattr(given, "timezone", False) else "timestamp",
        types.Date: "date",
        # There it can be as long as a duration.
        types.Time: "interval" if is_mysql else "time",
        types.Interval: "interval",
        types.Uuid: "uuid",
        types.JSON: "jsonb",
        # The parent of BINARY, VARBINARY and all kinds of BLOB.
        types._Binary: "bytea",  # noqa: SLF001
        types.NullType: None,
    }
    return next((data_type for kind, data_type in known.items() if isinstance(given, kind)), "text")


def _no_table(request: SurveyRequest, names: Sequence[str]) -> UsageError:
    return UsageError(f"{request.location}: is a database; name a table with --table (tables: {_listed(names)})")


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - _MOST_LISTED} more" if len(names) > _MOST_LISTED else ""
    return (", ".join(map(in_message, names[:_MOST_LISTED])) or "none") + more
