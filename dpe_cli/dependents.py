"""
What reads relations that are exchanged, and stays where it is: views, and functions with a body of SQL.

They hold on to what they read by its identity, and would go on showing the previous version. So they are made anew, with
their own definition, which names the new one. What cannot be made to follow is refused.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import psycopg

from dpe_cli.errors import PublishError

Connection = psycopg.Connection[tuple[object, ...]]

_VIEWS = """
    select distinct
        reader.oid::bigint,
        reader.relkind::text,
        format('%%I.%%I', nspname, reader.relname),
        pg_get_userbyid(reader.relowner)::text,
        pg_has_role(reader.relowner, 'usage'),
        format(
            'create or replace view %%I.%%I %%s as %%s',
            nspname,
            reader.relname,
            (
                select 'with (' || string_agg(format('%%I = %%L', option_name, option_value), ', ') || ')'
                from pg_options_to_table(reader.reloptions)
            ),
            pg_get_viewdef(reader.oid)
        ),
        pg_depend.refobjid::regclass::text
    from pg_depend
    inner join pg_rewrite on pg_depend.classid = 'pg_rewrite'::regclass and pg_depend.objid = pg_rewrite.oid
    inner join pg_class as reader on pg_rewrite.ev_class = reader.oid
    inner join pg_namespace on reader.relnamespace = pg_namespace.oid
    where pg_depend.refclassid = 'pg_class'::regclass
        and pg_depend.refobjid = any(%(oids)s)
        and reader.oid <> all(%(oids)s)
    order by 3
"""
_FUNCTIONS = """
    select distinct
        pg_proc.oid::bigint,
        'function',
        pg_proc.oid::regprocedure::text,
        pg_get_userbyid(proowner)::text,
        pg_has_role(proowner, 'usage'),
        pg_get_functiondef(pg_proc.oid),
        pg_depend.refobjid::regclass::text
    from pg_depend
    inner join pg_proc on pg_depend.classid = 'pg_proc'::regclass and pg_depend.objid = pg_proc.oid
    where pg_depend.refclassid = 'pg_class'::regclass and pg_depend.refobjid = any(%(oids)s)
    order by 3
"""
# Policies of other relations, and whatever takes or returns rows of one: its type is that of the version it was made with.
_BOUND = """
    with

    types as (

        select
            row_type.oid as type_id,
            row_type.typarray as array_id,
            row_type.typrelid as relation_id
        from pg_type as row_type
        where row_type.typrelid = any(%(oids)s)

    )

    select
        pg_describe_object(pg_depend.classid, pg_depend.objid, pg_depend.objsubid),
        types.relation_id::regclass::text,
        'is bound to the rows of'
    from types
    inner join pg_depend on pg_depend.refclassid = 'pg_type'::regclass and pg_depend.refobjid in (types.type_id, types.array_id)
    left join pg_class as holder on pg_depend.classid = 'pg_class'::regclass and pg_depend.objid = holder.oid
    where pg_depend.deptype = 'n'
        and pg_depend.objid <> all(%(oids)s)
        and pg_depend.classid <> 'pg_rewrite'::regclass
        and holder.relkind is distinct from 'v'
    union all
    select
        pg_describe_object(pg_depend.classid, pg_depend.objid, pg_depend.objsubid),
        pg_depend.refobjid::regclass::text,
        'reads'
    from pg_depend
    inner join pg_policy on pg_depend.classid = 'pg_policy'::regclass and pg_depend.objid = pg_policy.oid
    where pg_depend.refclassid = 'pg_class'::regclass
        and pg_depend.refobjid = any(%(oids)s)
        and polrelid <> all(%(oids)s)
    order by 1
    limit 1
"""
_FOREIGN_KEYS = """
    select conname, conrelid::regclass::text, confrelid::regclass::text
    from pg_constraint
    where contype = 'f' and confrelid = any(%(oids)s) and conrelid <> all(%(oids)s)
    order by 2, 1
    limit 1
"""


@dataclass(frozen=True)
class Dependent:
    """A view or a function that reads a relation and is not exchanged with it. `definition` is the statement that makes it."""

    oid: int
    kind: str
    name: str
    owner: str
    is_ours: bool
    definition: str
    reads: str

    @property
    def is_view(self) -> bool:
        """Whether it is a view, which readers lock."""
        return self.kind == "v"


def find(connection: Connection, oids: Sequence[int]) -> list[Dependent]:
    """
    Return what reads relations directly and can be made to read others.

    Raises:
        PublishError: something depends on a relation and cannot follow.
    """
    # Names without their schema would be looked for in another session's search path.
    connection.execute("select set_config('search_path', '', true)")
    relations = {"oids": list(oids)}
    if bound := connection.execute(_BOUND, relations).fetchone():
        what, relation, how = bound
        raise PublishError(f"{what}: {how} {relation} and cannot be made to follow to its new version; drop it")
    if key := connection.execute(_FOREIGN_KEYS, relations).fetchone():
        name, referencing, referenced = key
        raise PublishError(f"{referencing}: its foreign key {name} refers to {referenced}; publish both together, or drop the foreign key")
    rows = [*connection.execute(_VIEWS, relations).fetchall(), *connection.execute(_FUNCTIONS, relations).fetchall()]
    found = [Dependent(*row) for row in rows]  # type: ignore[arg-type]
    for one in found:
        if one.kind not in {"v", "function"}:
            raise PublishError(f"{one.name}: reads {one.reads} and is no view, so it cannot be made to read the new version; drop it")
        if not one.is_ours:
            what = "view" if one.is_view else "function"
            raise PublishError(
                f"{one.name}: reads {one.reads} and belongs to {one.owner}, so it cannot be made to read the new version; "
                f"run `alter {what} {one.name} owner to dpe_transformer`, or drop it"
            )
    return list({one.oid: one for one in found}.values())


def rebind(connection: Connection, dependent: Dependent) -> None:
    """
    Make something read what has the names of its definition now; its grants and comments stay.

    Raises:
        PublishError: the new version does not fit.
    """
    try:
        with connection.transaction():
            connection.execute(dependent.definition.encode())
    except psycopg.ProgrammingError as error:
        raise PublishError(
            f"{dependent.name}: reads {dependent.reads} and does not fit its new version ({error.diag.message_primary}); "
            "select it too, change it or drop it"
        ) from error
