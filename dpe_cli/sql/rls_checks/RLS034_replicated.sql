-- severity: warning
-- title: Rows are replicated without policies
-- why: a subscriber gets the rows of all tenants
select
    format('%s.%s', published.schemaname, published.tablename) as subject,
    format('is in the publication %s, whose subscribers get all rows', published.pubname) as detail,
    format('alter publication %I drop table %I.%I', published.pubname, published.schemaname, published.tablename) as fix
from pg_publication_tables as published
inner join managed on published.schemaname = managed.schema_name and published.tablename = managed.relation_name
