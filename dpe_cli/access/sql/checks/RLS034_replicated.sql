-- severity: warning
-- title: Rows are replicated without policies
-- why: a subscriber gets the rows of all tenants
select
    managed.name as subject,
    format('is in the publication %s, whose subscribers get all rows', pg_publication.pubname) as detail,
    format('alter publication %I drop table %s', pg_publication.pubname, managed.name) as fix
from pg_publication_rel
inner join pg_publication on pg_publication_rel.prpubid = pg_publication.oid
inner join managed on pg_publication_rel.prrelid = managed.relation_id
union all
select
    pg_namespace.nspname as subject,
    format('is in the publication %s with all of its tables, present and future, whose subscribers get all rows', pg_publication.pubname)
        as detail,
    format('alter publication %I drop tables in schema %I', pg_publication.pubname, pg_namespace.nspname) as fix
from pg_publication_namespace
inner join pg_publication on pg_publication_namespace.pnpubid = pg_publication.oid
inner join pg_namespace on pg_publication_namespace.pnnspid = pg_namespace.oid
where pg_namespace.nspname = any($4::text[])
union all
select
    pubname as subject,
    'is a publication of all tables, whose subscribers get all rows' as detail,
    format('drop publication %I, and publish only the intended tables', pubname) as fix
from pg_publication
where puballtables
