-- severity: error
-- title: A declared policy is missing
-- why: readers that should see rows see none, or the pipeline reads no rows
with

declared as (

    select distinct
        relation_id,
        relation,
        declared_kind
    from policies
    where declared_kind is not null and schema_name <> 'dpe' and owner <> 'dpe_loader'

),

wanted as (

    select
        declared.*,
        names.policy
    from declared
    cross join lateral unnest(
        case declared.declared_kind
            when 'private' then array['dpe_system', 'dpe_admin'] else array['dpe_system', 'dpe_admin', 'dpe_reader']
        end
    ) as names (policy)

)

select
    relation as subject,
    format('lacks the policy %s of its declaration, %s', policy, declared_kind) as detail,
    'build it with dbt --full-refresh' as fix
from wanted
where
    not exists (
        select from policies
        where policies.relation_id = wanted.relation_id and policies.policy = wanted.policy
    )
union all
select
    name as subject,
    'has policies, but none records what was declared' as detail,
    'build it with dbt --full-refresh' as fix
from managed
where
    is_table and has_policies and schema_name <> 'dpe' and owner <> 'dpe_loader'
    and not exists (
        select from declared
        where declared.relation_id = managed.relation_id
    )
