-- What the checks in rls_checks/ look at. $1 are the schemas of dpe and the project, $2 and $3 the functions that bootstrap makes.
-- noqa: disable=ST03, ST05
with

managed_schemas as (

    select nspname as schema_name
    from pg_namespace
    where nspname = any($1::text[])

),

-- What a declaration was, as macros/rls/describe_policies.sql and dpe_cli/load/policies.py have written it.
declarations as (

    select
        pg_policy.polrelid as relation_id,
        split_part(said.words, ' ', 1) as declared_kind,
        case split_part(said.words, ' ', 1)
            when 'tenant_column' then string_to_array(substr(said.words, strpos(said.words, ' ') + 1), ', ')
            when 'role_column' then array[substr(said.words, strpos(said.words, ' ') + 1)]
            when 'access' then array[substring(said.words from '[{ ]column: ([^,}]+)')]
        end as declared_columns
    from pg_policy
    cross join
        lateral (
            select regexp_replace(obj_description(pg_policy.oid, 'pg_policy'), ', [0-9a-f]{32}$', '') as words
        ) as said
    where pg_policy.polname = 'dpe_system' and said.words ~ '^(tenant_column|shared|private|role_column|access|no) '

),

managed as (

    select
        pg_class.oid as relation_id,
        pg_namespace.nspname::text as schema_name,
        pg_class.relname::text as relation_name,
        format('%I.%I', pg_namespace.nspname, pg_class.relname) as name,
        pg_class.relkind as kind,
        pg_class.relkind in ('r', 'p') as is_table,
        pg_class.relrowsecurity as is_enabled,
        pg_class.relforcerowsecurity as is_forced,
        pg_class.relowner as owner_id,
        pg_get_userbyid(pg_class.relowner)::text as owner,
        coalesce(pg_class.relacl, acldefault('r', pg_class.relowner)) as acl,
        pg_class.relispartition
        or pg_namespace.nspname = 'staging' and pg_class.relname ~ '__[0-9]+_[0-9]+$' as is_slice,
        coalesce(pg_class.reloptions && array['security_invoker=true', 'security_invoker=on', 'security_invoker=1'], false) as is_invokers,
        exists(
            select from pg_policy
            where pg_policy.polrelid = pg_class.oid
        ) as has_policies,
        declarations.declared_kind,
        declarations.declared_columns
    from pg_class
    inner join pg_namespace on pg_class.relnamespace = pg_namespace.oid
    left join declarations on pg_class.oid = declarations.relation_id
    where
        pg_class.relkind in ('r', 'p', 'v', 'm', 'f')
        and pg_namespace.nspname in (select managed_schemas.schema_name from managed_schemas)

),

-- Written out once: the server reads a policy as it is at that moment, which may be another one an instant later.
expressions as materialized (

    select
        pg_policy.oid as policy_id,
        pg_get_expr(pg_policy.polqual, pg_policy.polrelid) as using_expression,
        pg_get_expr(pg_policy.polwithcheck, pg_policy.polrelid) as check_expression
    from pg_policy
    where pg_policy.polrelid in (select managed.relation_id from managed)

),

policies as (

    select
        managed.relation_id,
        managed.schema_name,
        managed.name as relation,
        managed.declared_kind,
        managed.declared_columns,
        pg_policy.polname::text as policy,
        pg_policy.polcmd as command,
        pg_policy.polpermissive as is_permissive,
        array(
            select case roles.role_id when 0 then 'public' else pg_get_userbyid(roles.role_id)::text end
            from unnest(pg_policy.polroles) as roles (role_id)
        ) as roles,
        -- What is dropped meanwhile has no text any more, though this query still sees it.
        pg_policy.polqual is not null and expressions.using_expression is null as is_gone,
        pg_policy.polwithcheck is not null as has_check,
        expressions.using_expression,
        expressions.check_expression
    from managed
    inner join pg_policy on managed.relation_id = pg_policy.polrelid
    inner join expressions on pg_policy.oid = expressions.policy_id

),

-- dpe_reader and dpe_masked_reader, and all who are granted them, also through other roles. Who administrates dpe may become
-- dpe_tenant, which is no reason to be one; the pipeline is not.
reading as (

    with recursive members (role_id, is_granted_directly) as (

        select
            oid,
            true
        from pg_roles
        where rolname in ('dpe_reader', 'dpe_masked_reader')
        union
        select
            pg_auth_members.member,
            members.is_granted_directly and pg_get_userbyid(members.role_id) <> 'dpe_tenant'
        from members
        inner join pg_auth_members on members.role_id = pg_auth_members.roleid

    )

    select
        role_id,
        bool_or(is_granted_directly) as is_granted_directly
    from members
    group by role_id

),

readers as (

    select
        reading.role_id,
        pg_roles.rolname::text as role_name,
        reading.is_granted_directly
    from reading
    inner join pg_roles on reading.role_id = pg_roles.oid
    where not pg_roles.rolsuper and (reading.is_granted_directly or pg_roles.rolname = 'dpe_tenant')

),

-- Views elsewhere that read what dpe protects, with what they read. A temporary one shows its own session what that may see anyway.
outside_readers as (

    select distinct
        format('%I.%I', pg_namespace.nspname, pg_class.relname) as relation,
        pg_class.relkind as kind,
        coalesce(pg_class.reloptions && array['security_invoker=true', 'security_invoker=on', 'security_invoker=1'], false) as is_invokers,
        managed.name as reads
    from managed
    inner join pg_depend on pg_depend.refclassid = 'pg_class'::regclass and managed.relation_id = pg_depend.refobjid
    inner join pg_rewrite on pg_depend.classid = 'pg_rewrite'::regclass and pg_depend.objid = pg_rewrite.oid
    inner join pg_class on pg_rewrite.ev_class = pg_class.oid
    inner join pg_namespace on pg_class.relnamespace = pg_namespace.oid
    where
        pg_class.relkind in ('v', 'm')
        and pg_namespace.nspname !~ '^pg_temp_'
        and pg_namespace.nspname not in (select managed_schemas.schema_name from managed_schemas)

),

wanted_functions as (

    select
        function_name,
        body
    from unnest($2::text[], $3::text[]) as wanted (function_name, body)

),

functions as (

    select
        pg_proc.oid as function_id,
        pg_namespace.nspname::text as schema_name,
        pg_proc.proname::text as function_name,
        pg_get_userbyid(pg_proc.proowner)::text as owner,
        pg_proc.prosrc as body,
        pg_proc.prosecdef as is_definer,
        pg_proc.provolatile as volatility,
        pg_proc.proparallel as parallel_safety,
        pg_proc.prorettype = 'trigger'::regtype as is_trigger,
        coalesce(array_to_string(pg_proc.proconfig, ',') ~ 'search_path=', false) as has_search_path
    from pg_proc
    inner join pg_namespace on pg_proc.pronamespace = pg_namespace.oid
    where
        pg_namespace.nspname in (select managed_schemas.schema_name from managed_schemas)
        or pg_get_userbyid(pg_proc.proowner) in ('dpe_owner', 'dpe_loader', 'dpe_transformer')

)

-- The checks take the place of what follows.
select name
from managed
