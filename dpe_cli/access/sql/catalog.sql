-- What the checks in checks/ examine: the contents of the checked schemas, $1, and the roles. $2 and $3 are the functions that
-- bootstrap creates. outside.sql continues it.
--
-- What belongs to dpe_loader is a staging table (kind p) or one of its slices (kind r): no other role can create such a relation, whatever
-- its schema and its name, and it remains one if the project no longer has its source.
-- noqa: disable=ST03, ST05
with

managed_schemas as (

    select nspname as schema_name
    from pg_namespace
    where nspname = any($1::text[])

),

-- Only the policies of dpe's own relations have comments that matter: any login can write some of ten thousand names on those of its
-- temporary tables. Materialized, so that no other comment is read.
declaring_policies as materialized (

    select
        pg_policy.oid as policy_id,
        pg_policy.polrelid as relation_id
    from pg_policy
    inner join pg_class on pg_policy.polrelid = pg_class.oid
    inner join pg_namespace on pg_class.relnamespace = pg_namespace.oid
    where
        pg_policy.polname = 'dpe_system'
        and pg_namespace.nspname in (select managed_schemas.schema_name from managed_schemas)
        and pg_get_userbyid(pg_class.relowner) in ('dpe_owner', 'dpe_loader', 'dpe_transformer')

),

-- The declarations, as macros/rls/describe_policies.sql and dpe_cli/load/policies.py recorded them.
declarations as (

    select
        declaring_policies.relation_id,
        split_part(comments.text, ' ', 1) as declared_kind,
        case split_part(comments.text, ' ', 1)
            when 'tenant_column'
                then array(
                    select dpe.decoded_name(names.name)
                    from unnest(string_to_array(substr(comments.text, strpos(comments.text, ' ') + 1), ', ')) as names (name)
                )
            when 'role_column' then array[dpe.decoded_name(substr(comments.text, strpos(comments.text, ' ') + 1))]
            when 'access' then array[dpe.decoded_name(substring(comments.text from '[{ ]column: ([^,}]+)'))]
        end as declared_columns,
        dpe.decoded_name(
            coalesce(substring(comments.text from '[{ ]key: ([^,}]+)'), substring(comments.text from '[{ ]column: ([^,}]+)'))
        ) as declared_key,
        dpe.decoded_name(substring(comments.text from '[{ ]role_column: ([^,}]+)')) as declared_role_column
    from declaring_policies
    cross join
        lateral (
            select regexp_replace(left(obj_description(declaring_policies.policy_id, 'pg_policy'), 10000), ', [0-9a-f]{32}$', '') as text
        ) as comments
    where comments.text ~ '^(tenant_column|shared|private|role_column|access|no) '

),

-- Views with their reader's rights (security_invoker).
invokers_views as materialized (

    select pg_class.oid as relation_id
    from pg_class
    cross join lateral unnest(pg_class.reloptions) as options (option)
    where pg_class.relkind = 'v' and options.option ~* '^security_invoker=(t|true|y|yes|on|1)$'

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
        pg_class.relkind = 'r' and pg_class.relowner = (
            select pg_roles.oid
            from pg_roles
            where pg_roles.rolname = 'dpe_loader'
        ) as is_slice,
        pg_class.oid in (select invokers_views.relation_id from invokers_views) as is_invokers,
        exists(
            select from pg_policy
            where pg_policy.polrelid = pg_class.oid
        ) as has_policies,
        declarations.declared_kind,
        declarations.declared_columns,
        declarations.declared_key,
        declarations.declared_role_column
    from pg_class
    inner join pg_namespace on pg_class.relnamespace = pg_namespace.oid
    left join declarations on pg_class.oid = declarations.relation_id
    where
        pg_class.relkind in ('r', 'p', 'v', 'm', 'f')
        and pg_namespace.nspname in (select managed_schemas.schema_name from managed_schemas)

),

masked_tables as (

    select
        protected.relation_id,
        protected.name,
        shown.relation_id as view_id
    from managed as protected
    inner join managed as shown
        on
            protected.schema_name = shown.schema_name
            and shown.relation_name = dpe.companion_name(protected.relation_name, '__masked')
            and shown.kind = 'v'
    where protected.is_table

),

-- The view of a masked table masks the columns that it does not read.
masked_columns as (

    select
        masked_tables.relation_id,
        masked_tables.name,
        pg_attribute.attnum as column_number,
        pg_attribute.attname as column_name
    from masked_tables
    inner join pg_attribute on masked_tables.relation_id = pg_attribute.attrelid
    where
        pg_attribute.attnum > 0
        and not pg_attribute.attisdropped
        and not exists (
            select
            from pg_rewrite
            inner join pg_depend on pg_depend.classid = 'pg_rewrite'::regclass and pg_rewrite.oid = pg_depend.objid
            where
                pg_rewrite.ev_class = masked_tables.view_id
                and pg_depend.refclassid = 'pg_class'::regclass
                and masked_tables.relation_id = pg_depend.refobjid
                and pg_attribute.attnum = pg_depend.refobjsubid
        )

),

-- The privileges granted on these relations, or on the column that is named. 0 is PUBLIC.
privileges as materialized (

    select
        managed.relation_id,
        null::text as column_name,
        granted.grantee,
        granted.privilege_type,
        granted.is_grantable
    from managed
    cross join lateral aclexplode(managed.acl) as granted
    where granted.grantee <> managed.owner_id
    union all
    select
        managed.relation_id,
        pg_attribute.attname::text as column_name,
        granted.grantee,
        granted.privilege_type,
        granted.is_grantable
    from managed
    inner join pg_attribute on managed.relation_id = pg_attribute.attrelid
    cross join lateral aclexplode(pg_attribute.attacl) as granted
    where granted.grantee <> managed.owner_id

),

-- Materialized: pg_get_expr() reads a policy's current state, which may change while the query runs.
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
        managed.owner,
        managed.name as relation,
        managed.declared_kind,
        managed.declared_columns,
        managed.declared_key,
        managed.declared_role_column,
        pg_policy.polname::text as policy,
        pg_policy.polcmd as command,
        pg_policy.polpermissive as is_permissive,
        array(
            select case roles.role_id when 0 then 'public' else pg_get_userbyid(roles.role_id)::text end
            from unnest(pg_policy.polroles) as roles (role_id)
        ) as roles,
        -- A policy that is dropped meanwhile no longer has a text, though this query still sees it.
        pg_policy.polqual is not null and expressions.using_expression is null as is_gone,
        pg_policy.polwithcheck is not null as has_check,
        expressions.using_expression,
        expressions.check_expression
    from managed
    inner join pg_policy on managed.relation_id = pg_policy.polrelid
    inner join expressions on pg_policy.oid = expressions.policy_id

),

-- Roles that see more than readers, or can become such a role: superusers, BYPASSRLS, the pipeline's roles, and their members.
privileged as materialized (

    with recursive members (role_id) as (

        select oid
        from pg_roles
        where rolsuper or rolbypassrls or rolname in ('dpe_owner', 'dpe_loader', 'dpe_transformer')
        union
        select pg_auth_members.member
        from members
        inner join pg_auth_members on members.role_id = pg_auth_members.roleid

    )

    select role_id
    from members

),

-- The roles that bootstrap creates. A reader can act as dpe_reader at any time, and masked readers and auditors as their group: any member
-- may have created what belongs to one of these. The same holds for dpe_tenant once applications may act as it; until then, only the
-- pipeline can have created what belongs to it.
dpe_roles as materialized (

    select
        oid as role_id,
        rolname::text as role_name,
        rolname in ('dpe_reader', 'dpe_masked_reader', 'dpe_auditor')
        or rolname = 'dpe_tenant'
        and exists (
            select from pg_roles as applications
            where
                applications.rolcanlogin
                and applications.oid not in (select privileged.role_id from privileged)
                and pg_has_role(applications.oid, 'dpe_tenant', 'member')
        ) as is_of_readers
    from pg_roles
    where rolname in ('dpe_owner', 'dpe_loader', 'dpe_transformer', 'dpe_reader', 'dpe_masked_reader', 'dpe_tenant', 'dpe_auditor')

),

-- dpe_reader and dpe_masked_reader, and all roles that are granted them, also through other roles. The pipeline is never a reader.
-- Nor is an administrator only because it can become a reader without inheriting from it, can grant a role that it created (from
-- PostgreSQL 16 on it is a member that neither inherits nor can become it), or was granted a membership by a reader: it gains nothing
-- by these.
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
        where
            pg_get_userbyid(pg_auth_members.member) not in ('dpe_owner', 'dpe_loader', 'dpe_transformer', 'dpe_auditor')
            and (
                pg_auth_members.member not in (select privileged.role_id from privileged)
                or pg_auth_members.grantor in (select privileged.role_id from privileged)
            )
            and (
                coalesce((to_jsonb(pg_auth_members) ->> 'inherit_option')::boolean, true)
                or coalesce((to_jsonb(pg_auth_members) ->> 'set_option')::boolean, true)
                and pg_auth_members.member not in (select privileged.role_id from privileged)
            )

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

-- Roles that policies have to bind.
bound as (

    select role_id
    from dpe_roles
    union
    select role_id
    from readers

),

wanted_functions as (

    select
        function_name,
        body
    from unnest($2::text[], $3::text[]) as wanted (function_name, body)

),

-- Schemas in which roles other than dpe's and administrators may create.
open_schemas as materialized (

    select opened.schema_name
    from unnest(dpe.open_schemas(array(select pg_namespace.nspname from pg_namespace))) as opened (schema_name)

),

-- Those of them in which a reader may create with its own rights, or as dpe_reader: dpe's roles do not own these.
schemas_of_others as materialized (

    select pg_namespace.oid as schema_id
    from pg_namespace
    inner join open_schemas on pg_namespace.nspname = open_schemas.schema_name
    where pg_namespace.nspowner not in (select dpe_roles.role_id from dpe_roles)

),

-- Settings of sessions in this database, each with the statement that resets it.
session_settings as materialized (

    select
        pg_db_role_setting.setrole as role_id,
        pg_roles.rolname::text as role_name,
        -- Only the settings of the role that logs in apply, not those of a role that it becomes later.
        coalesce(pg_roles.rolcanlogin, true) as is_applied,
        settings.setting,
        case
            when pg_db_role_setting.setrole = 0 and pg_database.datname is not null then format('alter database %I', pg_database.datname)
            else
                'alter role ' || coalesce(quote_ident(pg_roles.rolname), 'all')
                || coalesce(' in database ' || quote_ident(pg_database.datname), '')
        end || ' reset ' || split_part(settings.setting, '=', 1) as reset
    from pg_db_role_setting
    left join pg_roles on pg_db_role_setting.setrole = pg_roles.oid
    left join pg_database on pg_db_role_setting.setdatabase = pg_database.oid
    -- Any login can set a text for itself that is too long for regular expressions.
    cross join
        lateral (
            select left(whole.setting, 10000) as setting
            from unnest(pg_db_role_setting.setconfig) as whole (setting)
        ) as settings
    where pg_db_role_setting.setdatabase = 0 or pg_database.datname = current_database()

),

-- Each search_path: of functions that run as a privileged owner, or are dpe's; of all sessions; of the sessions of privileged roles; and
-- the initial one of this session.
set_paths as (

    select
        'function' as scope,
        pg_proc.oid as function_id,
        pg_get_userbyid(pg_proc.proowner)::text as role_name,
        settings.setting
    from pg_proc
    cross join lateral unnest(pg_proc.proconfig) as settings (setting)
    where
        (
            -- Any login can create others, in pg_temp.
            pg_proc.prosecdef and pg_proc.proowner in (select privileged.role_id from privileged)
            or pg_proc.pronamespace in (
                select pg_namespace.oid
                from pg_namespace
                where pg_namespace.nspname = 'dpe' or pg_namespace.nspname in (select managed_schemas.schema_name from managed_schemas)
            )
            or pg_proc.proowner in (
                select dpe_roles.role_id
                from dpe_roles
                where not dpe_roles.is_of_readers
            )
        )
        -- A longer one is not taken to be safe. It could name millions of schemas.
        and length(settings.setting) <= 1000
    union all
    select
        'sessions' as scope,
        null as function_id,
        session_settings.role_name,
        session_settings.setting
    from session_settings
    where session_settings.role_id = 0 or session_settings.role_id in (select privileged.role_id from privileged)
    union all
    select
        'sessions' as scope,
        null as function_id,
        session_user::text as role_name,
        'search_path=' || pg_settings.reset_val as setting
    from pg_settings
    where pg_settings.name = 'search_path'

),

-- Their schemas in order, as the server parses them: names without quotes are folded, "$user" is the role.
path_schemas as materialized (

    select
        set_paths.scope,
        set_paths.function_id,
        parts.position,
        case
            when parts.words[1] = '$user' then set_paths.role_name
            when parts.words[1] is not null then replace(parts.words[1], '""', '"')
            else lower(parts.words[2])
        end as schema_name
    from set_paths
    cross join
        lateral regexp_matches(substr(set_paths.setting, length('search_path=') + 1), '"((?:[^"]|"")*)"|([^",[:space:]]+)', 'g')
        with ordinality as parts (words, position)
    where set_paths.setting like 'search\_path=%'

),

-- Functions that search pg_temp last, also for types, and no schema in which others may create.
safe_paths as (

    select function_id
    from path_schemas
    where scope = 'function'
    group by function_id
    having
        bool_and(schema_name not in (select open_schemas.schema_name from open_schemas))
        and min(position) filter (where schema_name = 'pg_temp') = max(position)

),

functions as (

    select
        pg_proc.oid as function_id,
        pg_namespace.nspname::text as schema_name,
        pg_proc.proname::text as function_name,
        pg_proc.oid::regprocedure::text as signature,
        pg_get_userbyid(pg_proc.proowner)::text as owner,
        pg_proc.prosrc as body,
        pg_proc.prosecdef as is_definer,
        pg_proc.provolatile as volatility,
        pg_proc.proparallel as parallel_safety,
        -- Aggregates have no settings.
        pg_proc.prokind = 'a' or 'search_path=pg_catalog, pg_temp' = any(pg_proc.proconfig) is true as has_exact_path,
        pg_proc.oid in (select safe_paths.function_id from safe_paths) as has_safe_path
    from pg_proc
    inner join pg_namespace on pg_proc.pronamespace = pg_namespace.oid
    where
        pg_namespace.nspname = 'dpe'
        or pg_namespace.nspname in (select managed_schemas.schema_name from managed_schemas)
        or pg_proc.proowner in (
            select dpe_roles.role_id
            from dpe_roles
            where not dpe_roles.is_of_readers
        )

)

-- The checks take the place of what follows.
select name
from managed
