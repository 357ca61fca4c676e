-- Each relation with what is wrong with its protection; null where nothing is. Everything in the schemas of dpe and dbt
-- has to be protected. A slice has no policy of its own: nobody reads it but through its parent.
with

policies as (

    select
        polrelid as relation_id,
        min(polname) filter (where 0 = any(polroles)) as public_policy
    from pg_policy
    group by polrelid

),

relations as (

    select
        pg_namespace.nspname as schema_name,
        pg_class.relname as relation_name,
        pg_class.relkind as kind,
        pg_class.relrowsecurity as is_enabled,
        pg_class.relforcerowsecurity as is_forced,
        pg_class.relispartition or pg_class.relname ~ '__[0-9]+_[0-9]+$' as is_slice,
        pg_class.reloptions && array['security_invoker=true', 'security_invoker=on', 'security_invoker=1'] as is_invokers,
        policies.relation_id is not null as has_policies,
        policies.public_policy
    from pg_class
    inner join pg_namespace on pg_class.relnamespace = pg_namespace.oid
    left join policies on pg_class.oid = policies.relation_id
    where pg_class.relkind in ('r', 'p', 'v', 'm', 'f')

)

select
    schema_name,
    relation_name,
    case
        when kind = 'm' then 'is a materialized view, which no policy protects; make it a table'
        when kind = 'f' then 'is a foreign table, which no policy protects; load its rows into a table'
        when kind = 'v' and is_invokers then null
        when kind = 'v' then 'is a view with its owner''s rights; build it with dbt, or set security_invoker'
        when not is_enabled then 'has row-level security off; build it with dbt, or enable it'
        when not is_forced then 'does not force row-level security on its owner; build it with dbt, or force it'
        when public_policy is not null then format('has the policy %s for everybody (PUBLIC); name the role that it is for', public_policy)
        when not has_policies and not is_slice then 'has no policy, so nobody sees its rows; build it with dbt, or drop it'
    end as fault
from relations
order by schema_name, relation_name
