"""Every property that PostgreSQL stores for a table, so that two tables can be compared."""

from __future__ import annotations

from dpe_cli.server.connection import Connection

# Numbers that PostgreSQL gives to objects (PostgreSQL documentation, "System Catalogs"), and what changes while a table is used.
_OBJECTS = """
    'oid relnatts reltype relfilenode relnamespace reltoastrelid relpages reltuples relallvisible relallfrozen relfrozenxid relminmxid relacl relowner
    relrowsecurity relforcerowsecurity relhastriggers relhasrules relchecks
    attrelid attnum atttypid attacl attmissingval atthasmissing attinhcount attislocal attcacheoff
    indexrelid indrelid indkey indexprs indpred indcollation indclass indcheckxmin
    conrelid connamespace conindid conkey conpfeqop conppeqop conffeqop conexclop conbin confrelid
    tgrelid tgfoid tgconstrrelid tgconstrindid tgconstraint tgqual tgattr tgoldtable tgnewtable
    stxrelid stxnamespace stxowner stxkeys stxexprs seqrelid'
"""
_QUERY = f"""
with

ignored as (

    select string_to_array(regexp_replace(btrim({_OBJECTS}, E' \\n'), '\\s+', ' ', 'g'), ' ') as keys

)

select 'table', pg_class.relname, to_jsonb(pg_class) - keys, obj_description(pg_class.oid, 'pg_class')
from pg_class, ignored
where pg_class.oid = %(table)s::text::regclass

union all

select 'toast', '', jsonb_build_object('options', toast.reloptions), null
from pg_class
inner join pg_class as toast on toast.oid = pg_class.reltoastrelid
where pg_class.oid = %(table)s::text::regclass

union all

select
    'column',
    row_number() over (order by attnum) || ' ' || attname,
    to_jsonb(pg_attribute) - keys || jsonb_build_object(
        'type', format_type(atttypid, atttypmod), 'default', pg_get_expr(adbin, adrelid), 'sequence', pg_get_serial_sequence(%(table)s::text, attname)
    ),
    col_description(attrelid, attnum)
from ignored, pg_attribute
left join pg_attrdef on adrelid = attrelid and adnum = attnum
where attrelid = %(table)s::text::regclass and attnum > 0 and not attisdropped

union all

select 'constraint', conname, to_jsonb(pg_constraint) - keys || jsonb_build_object('definition', pg_get_constraintdef(oid)), obj_description(oid, 'pg_constraint')
from pg_constraint, ignored
where conrelid = %(table)s::text::regclass and contype <> 'f'

union all

select
    'index',
    pg_class.relname,
    (to_jsonb(pg_index) || to_jsonb(pg_class)) - keys || jsonb_build_object('definition', pg_get_indexdef(indexrelid)),
    obj_description(indexrelid, 'pg_class')
from ignored, pg_index
inner join pg_class on pg_class.oid = indexrelid
where indrelid = %(table)s::text::regclass

union all

select 'column of an index', pg_class.relname || ' ' || attnum, to_jsonb(pg_attribute) - keys, null
from ignored, pg_index
inner join pg_class on pg_class.oid = indexrelid
inner join pg_attribute on attrelid = indexrelid
where indrelid = %(table)s::text::regclass

union all

select
    'sequence',
    pg_class.relname,
    (to_jsonb(pg_sequence) || to_jsonb(pg_class)) - keys || jsonb_build_object('owned by', refobjsubid > 0, 'kind', deptype),
    obj_description(pg_class.oid, 'pg_class')
from ignored, pg_depend
inner join pg_sequence on seqrelid = objid
inner join pg_class on pg_class.oid = objid
where refobjid = %(table)s::text::regclass and deptype in ('a', 'i')

union all

select 'statistics', stxname, to_jsonb(pg_statistic_ext) - keys || jsonb_build_object('definition', pg_get_statisticsobjdef(oid)), obj_description(oid, 'pg_statistic_ext')
from pg_statistic_ext, ignored
where stxrelid = %(table)s::text::regclass

union all

select 'trigger', tgname, to_jsonb(pg_trigger) - keys || jsonb_build_object('definition', pg_get_triggerdef(oid)), obj_description(oid, 'pg_trigger')
from pg_trigger, ignored
where tgrelid = %(table)s::text::regclass and not tgisinternal

order by 1, 2
"""


def properties(connection: Connection, schema: str, name: str) -> dict[tuple[str, str, str], str]:
    """Return each property of a table by kind and name of the object that has it, with `<schema>` in place of the table's schema."""
    found = connection.execute(_QUERY.encode(), {"table": f'"{schema}"."{name}"'}).fetchall()
    return {
        (str(kind), str(part), key): str(value).replace(f"{schema}.", "<schema>.")
        for kind, part, values, comment in found
        for key, value in {**values, "comment": comment}.items()
    }
