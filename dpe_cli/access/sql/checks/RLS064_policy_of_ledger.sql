-- severity: error
-- title: A policy or privilege of dpe's own tables differs from what bootstrap creates
-- why: readers may see no rows, and auditors and the pipeline no ledger
with

-- What may be seen in a context: rows of every project, of the session's, or of its project and target.
questions as (

    select
        question,
        format('( SELECT dpe.%1$s() AS %1$s)', question) as of_all,
        format('(( SELECT dpe.%1$s() AS %1$s) AND (project = ( SELECT dpe.own_project() AS own_project)))', question) as of_project,
        format(
            '(( SELECT dpe.%1$s() AS %1$s) AND (project = ( SELECT dpe.own_project() AS own_project))'
            ' AND (target = ( SELECT dpe.own_target() AS own_target)))',
            question
        ) as of_target
    from (values ('context_is_open'), ('every_tenant_is_open')) as asked (question)

),

pipelines as (

    select
        'dpe.' || tables.name as relation,
        made.policy,
        made.command,
        made.roles,
        case
            when tables.name = 'protected_relations' or made.sees = 'all' or made.sees = 'all, changes own' then questions.of_all
            when tables.has_target then questions.of_target
            else questions.of_project
        end as condition,
        case
            when tables.name = 'protected_relations' or made.sees = 'all' then questions.of_all
            when tables.has_target then questions.of_target
            else questions.of_project
        end as checked
    from (
        values
        ('admin_in_context', '*', array['dpe_owner'], 'all'),
        ('loader_in_context', '*', array['dpe_loader'], 'own'),
        ('loader_claims_in_context', 'a', array['dpe_loader'], 'own'),
        ('loader_takes_over_in_context', 'w', array['dpe_loader'], 'all, changes own'),
        ('loader_adds_in_context', 'a', array['dpe_loader'], 'own'),
        ('loader_deletes_in_context', 'd', array['dpe_loader'], 'own'),
        ('pipeline_reads_in_context', 'r', array['dpe_loader', 'dpe_transformer'], 'all'),
        ('transformer_in_context', '*', array['dpe_transformer'], 'own'),
        ('transformer_reads_in_context', 'r', array['dpe_transformer'], 'own'),
        ('admin_reads_in_context', 'r', array['dpe_owner'], 'all'),
        ('admin_adds_in_context', 'a', array['dpe_owner'], 'all')
    ) as made (policy, command, roles, sees)
    inner join (
        values
        ('extracts', false, array['admin_in_context', 'loader_in_context', 'transformer_reads_in_context']),
        ('loads', false, array['admin_in_context', 'loader_in_context', 'transformer_reads_in_context']),
        ('rejects', false, array['admin_in_context', 'loader_in_context']),
        (
            'staged_relations',
            false,
            array['admin_in_context', 'pipeline_reads_in_context', 'loader_claims_in_context', 'loader_takes_over_in_context']
        ),
        (
            'project_schemas',
            true,
            array['admin_in_context', 'pipeline_reads_in_context', 'loader_adds_in_context', 'loader_deletes_in_context']
        ),
        ('notifications', true, array['admin_in_context', 'loader_in_context']),
        ('publications', true, array['admin_in_context', 'transformer_in_context']),
        ('protected_relations', false, array['admin_in_context', 'transformer_in_context']),
        ('rule_results', true, array['admin_in_context', 'transformer_in_context']),
        ('rule_failures', true, array['admin_in_context', 'transformer_in_context']),
        ('tenant_access', false, array['admin_in_context']),
        ('access_changes', false, array['admin_reads_in_context', 'admin_adds_in_context'])
    ) as tables (name, has_target, policies) on made.policy = any(tables.policies)
    inner join questions
        on questions.question = case
            when made.policy = 'transformer_in_context' and tables.name <> 'publications' then 'every_tenant_is_open'
            else 'context_is_open'
        end

),

wanted_of_ledger as (

    select *
    from pipelines
    union all
    select
        'dpe.' || tables.name as relation,
        'auditor_reads' as policy,
        'r' as command,
        array['dpe_auditor'] as roles,
        'true' as condition,
        'true' as checked
    from (
        values
        ('extracts'),
        ('loads'),
        ('rejects'),
        ('staged_relations'),
        ('project_schemas'),
        ('tenant_access'),
        ('access_changes'),
        ('publications'),
        ('notifications'),
        ('protected_relations'),
        ('rule_results')
    ) as tables (name)
    union all
    select
        'dpe.tenant_access' as relation,
        'own_entries' as policy,
        'r' as command,
        array['dpe_loader', 'dpe_masked_reader', 'dpe_reader', 'dpe_tenant', 'dpe_transformer'] as roles,
        '((role_name)::oid = (to_regrole(quote_ident((CURRENT_USER)::text)))::oid)' as condition,
        '((role_name)::oid = (to_regrole(quote_ident((CURRENT_USER)::text)))::oid)' as checked
    union all
    select
        'dpe.tenant_access' as relation,
        'obstacles_in_context' as policy,
        'r' as command,
        array['dpe_transformer'] as roles,
        '(( SELECT dpe.context_is_open() AS context_is_open)'
        || ' AND (( SELECT dpe.access_obstacle(tenant_access.role_name) AS access_obstacle) IS NOT NULL))' as condition,
        '(( SELECT dpe.context_is_open() AS context_is_open)'
        || ' AND (( SELECT dpe.access_obstacle(tenant_access.role_name) AS access_obstacle) IS NOT NULL))' as checked

),

-- The rows that the pipeline locks: it may not change any.
wanted as (

    select *
    from wanted_of_ledger
    union all
    select
        'dpe_locks.locks' as relation,
        of_locks.policy,
        of_locks.command,
        of_locks.roles,
        '( SELECT dpe.context_is_open() AS context_is_open)' as condition,
        case of_locks.command when 'w' then 'false' else '( SELECT dpe.context_is_open() AS context_is_open)' end as checked
    from (
        values
        ('admin_in_context', '*', array['dpe_owner']),
        ('pipeline_reads', 'r', array['dpe_loader', 'dpe_transformer']),
        ('pipeline_adds', 'a', array['dpe_loader', 'dpe_transformer']),
        ('pipeline_locks', 'w', array['dpe_loader', 'dpe_transformer'])
    ) as of_locks (policy, command, roles)

),

present as (

    select
        relation,
        policy,
        command::text as command,
        is_permissive,
        array(
            select roles.name
            from unnest(policies.roles) as roles (name)
            order by roles.name collate "C"
        ) as roles,
        coalesce(using_expression, check_expression) as condition,
        coalesce(check_expression, using_expression) as checked
    from policies
    where schema_name = 'dpe' and not is_gone
    union all
    select
        'dpe_locks.locks' as relation,
        policyname::text as policy,
        case cmd when 'ALL' then '*' when 'SELECT' then 'r' when 'INSERT' then 'a' when 'UPDATE' then 'w' else 'd' end as command,
        permissive = 'PERMISSIVE' as is_permissive,
        array(
            select roles.name::text
            from unnest(pg_policies.roles) as roles (name)
            order by roles.name::text collate "C"
        ) as roles,
        coalesce(qual, with_check) as condition,
        coalesce(with_check, qual) as checked
    from pg_policies
    where schemaname = 'dpe_locks' and tablename = 'locks'

)

select
    coalesce(wanted.relation, present.relation) as subject,
    case
        when present.policy is null then format('lacks the policy %s', wanted.policy)
        when wanted.policy is null then format('has the policy %s, which bootstrap does not create', present.policy)
        when present.roles <> wanted.roles
            then
                format(
                    'has the policy %s for %s instead of %s',
                    present.policy, array_to_string(present.roles, ', '), array_to_string(wanted.roles, ', ')
                )
        else format('has the policy %s with another condition or for another command', present.policy)
    end as detail,
    case
        when wanted.policy is null then format('drop policy %I on %s', present.policy, present.relation)
        else 'run dpe bootstrap'
    end as fix
from wanted
full join present on wanted.relation = present.relation and wanted.policy = present.policy
where
    'dpe' in (select managed_schemas.schema_name from managed_schemas)
    and coalesce(wanted.relation, present.relation) in (select known.relation from wanted as known)
    and not coalesce(
        present.is_permissive
        and present.command = wanted.command
        and present.roles = wanted.roles
        and present.condition = wanted.condition
        and present.checked = wanted.checked,
        false
    )
union all
select
    'dpe.tenant_access' as subject,
    format('may not be read by %s, so that policies cannot look up its tenants', dpe_roles.role_name) as detail,
    'run dpe bootstrap' as fix
from dpe_roles
where
    'dpe' in (select managed_schemas.schema_name from managed_schemas)
    and not (
        has_schema_privilege(dpe_roles.role_id, 'dpe', 'usage')
        and has_table_privilege(dpe_roles.role_id, 'dpe.tenant_access', 'select')
    )
