-- severity: error
-- title: A policy is not what its declaration says
-- why: somebody has changed the condition, or the roles that it is for
-- Compared without parentheses, spaces and casts, which the server adds as it likes.
with

written as (

    select
        *,
        regexp_replace(using_expression, '::text\[\]|::text|::name|::character varying|[() ]', '', 'g') as using_words,
        regexp_replace(check_expression, '::text\[\]|::text|::name|::character varying|[() ]', '', 'g') as check_words
    from policies
    where
        schema_name <> 'dpe'
        and policy in ('dpe_system', 'dpe_admin', 'dpe_reader', 'dpe_transformer')
        and declared_kind is not null
        and not is_gone

),

tenants as (

    select
        written.relation_id,
        written.policy,
        string_agg(
            format('%s=ANYSELECTdpe.visible_tenantsASvisible_tenants', replace(quote_ident(columns.name), ' ', '')), 'OR'
            order by columns.place
        ) as condition
    from written
    cross join lateral unnest(written.declared_columns) with ordinality as columns (name, place)
    group by written.relation_id, written.policy

),

wanted as (

    select
        written.*,
        case
            when written.policy <> 'dpe_reader' and written.declared_kind = 'tenant_column'
                then 'SELECTdpe.every_tenant_is_openASevery_tenant_is_openOR' || tenants.condition
            when written.policy <> 'dpe_reader' then 'SELECTdpe.context_is_openAScontext_is_open'
            when written.declared_kind = 'tenant_column' then tenants.condition
            when written.declared_kind = 'role_column'
                then replace(quote_ident(written.declared_columns[1]), ' ', '') || '=SELECTCURRENT_USERAS"current_user"'
            when written.declared_kind = 'shared' then 'true'
        end as condition,
        case written.policy
            when
                'dpe_system'
                then case written.schema_name when 'staging' then array['dpe_loader', 'dpe_transformer'] else array['dpe_transformer'] end
            when 'dpe_transformer' then array['dpe_transformer']
            when 'dpe_admin' then array['dpe_owner']
            else array['dpe_reader', 'dpe_masked_reader']
        end as wanted_roles
    from written
    left join tenants on written.relation_id = tenants.relation_id and written.policy = tenants.policy

)

select
    relation as subject,
    format('has the policy %s with a condition that is not that of its declaration, %s', policy, declared_kind) as detail,
    'build it with dbt --full-refresh' as fix
from wanted
where
    not coalesce(
        case
            when policy = 'dpe_reader' and declared_kind = 'access'
                then using_words ~ '^[^=]+=ANYSELECTdpe[.]granted_keys[^=]*ASgranted_keys$' and using_expression !~ ' OR '
            else using_words = condition and coalesce(check_words, condition) = condition
        end, false
    )
union all
select
    relation as subject,
    format('has the policy %s for %s', policy, array_to_string(roles, ', ')) as detail,
    format('alter policy %I on %s to %s', policy, relation, array_to_string(wanted_roles, ', ')) as fix
from wanted
where not roles <@ wanted_roles or (policy = 'dpe_reader' and not wanted_roles <@ roles)
