-- Run by the first bootstrap after a dump was restored. The ledger knows relations by their oids, and a restored relation has another one,
-- which may be that of a relation that the ledger remembers. So what it says about relations is replaced: their protection by the
-- present one, which `dpe rls check` compares with the project, and the builds by ones that can be neither published nor undone.
alter table dpe.protected_relations disable trigger user;

delete from dpe.protected_relations;

insert into dpe.protected_relations (relation_id, node, declaration, protection, invocation_id)
select
    oid,
    '' as node,
    'restored from a dump' as declaration,
    dpe.protection_of(oid) as protection,
    '' as invocation_id
from pg_class
where relowner = 'dpe_transformer'::regrole and relkind in ('r', 'p', 'v', 'm', 'f');

alter table dpe.protected_relations enable trigger user;

update dpe.publications
set
    relations = (
        select coalesce(jsonb_agg(relation || '{"oid": 0}'), '[]')
        from jsonb_array_elements(publications.relations) as relation
    ),
    replaced = (
        select jsonb_agg(relation || '{"oid": 0}')
        from jsonb_array_elements(publications.replaced) as relation
    );
