-- The functions that policies call. Each is STABLE, PARALLEL SAFE and SECURITY INVOKER; policies call them in a sub-select, so
-- that PostgreSQL evaluates them once per query (docs: "CREATE POLICY", "Function Volatility").
--
-- Every function of dpe has a fixed search_path that ends in pg_temp: unless pg_temp is named, PostgreSQL searches it first for
-- types, so that the caller could redefine `text` (docs: "search_path", and "Writing SECURITY DEFINER Functions Safely").

-- The name that is derived from a relation's name by a suffix, as by macros/rls/companion_name.sql: a name that leaves no room for the
-- suffix is cut, and gets a part of its MD5 digest.
create or replace function dpe.companion_name(name text, suffix text)
returns text
language sql
stable
parallel safe
security invoker
set search_path = pg_catalog, pg_temp
as $$
    select
        case
            when octet_length(companion_name.name) <= 63 - octet_length(companion_name.suffix)
                then companion_name.name || companion_name.suffix
            else (
                select left(companion_name.name, max(lengths.characters))
                from generate_series(0, length(companion_name.name)) as lengths (characters)
                where octet_length(left(companion_name.name, lengths.characters)) <= 54 - octet_length(companion_name.suffix)
            ) || '_' || left(md5(companion_name.name), 8) || companion_name.suffix
        end
$$;

comment on function dpe.companion_name(text, text) is 'The name of a relation''s view or quarantine, from its name and a suffix.';

-- A column's name from the comment on a policy, where macros/rls/encoded_name.sql recorded it.
create or replace function dpe.decoded_name(name text)
returns text
language sql
stable
parallel safe
security invoker
set search_path = pg_catalog, pg_temp
as $$
    select replace(replace(replace(replace(replace(name, '%3A ', ': '), '%7D', '}'), '%27', ''''), '%2C', ','), '%25', '%')
$$;

comment on function dpe.decoded_name(text) is 'The name of a column, as a policy''s comment records it.';

-- The actor of a system or admin context; null outside of one.
create or replace function dpe.actor()
returns text
language sql
stable
parallel safe
security invoker
set search_path = pg_catalog, pg_temp
as $$ select nullif(current_setting('dpe.actor', true), '') $$;

-- The tenant that the session restricts itself to; null if it does not.
create or replace function dpe.chosen_tenant()
returns text
language sql
stable
parallel safe
security invoker
set search_path = pg_catalog, pg_temp
as $$ select nullif(current_setting('dpe.tenant_id', true), '') $$;

-- Whether a system or admin context is open. Only policies TO a pipeline role or TO dpe_owner call this:
-- a reader that sets dpe.actor gains nothing.
create or replace function dpe.context_is_open()
returns boolean
language sql
stable
parallel safe
security invoker
set search_path = pg_catalog, pg_temp
as $$ select dpe.actor() is not null $$;

-- Whether the open context is for every tenant. Used only in the same policies as context_is_open().
create or replace function dpe.every_tenant_is_open()
returns boolean
language sql
stable
parallel safe
security invoker
set search_path = pg_catalog, pg_temp
as $$ select dpe.actor() is not null and dpe.chosen_tenant() is null $$;

-- The access list used to be kept by role name. Such a list is renamed, and access.sql migrates its entries: its column cannot change
-- its type while a reader's view uses it, and readers cannot be prevented from creating one.
do $$
declare
    kept name;
begin
    if exists (
        select
        from pg_attribute
        where attrelid = to_regclass('dpe.tenant_access') and attname = 'role_name' and atttypid = 'name'::regtype
    ) then
        alter table dpe.tenant_access add column if not exists valid_until timestamptz;
        alter table dpe.tenant_access rename to tenant_access_by_name;
        -- Otherwise the new table's constraints would get other names.
        for kept in
            select conname from pg_constraint where conrelid = 'dpe.tenant_access_by_name'::regclass
        loop
            execute format('alter table dpe.tenant_access_by_name rename constraint %I to %I', kept, 'by_name_' || kept);
        end loop;
    end if;
end
$$;

-- The access list: which tenants a role may see. '*' is every tenant, for an application that restricts itself to one
-- per transaction with set_config('dpe.tenant_id', …, true). A regrole is the role itself, not its name: one that is dropped and
-- created again is another role, which sees nothing until access is granted to it. pg_dump writes the name.
create table if not exists dpe.tenant_access (
    role_name regrole not null,
    tenant_id text not null check (tenant_id <> ''),
    valid_until timestamptz,
    primary key (role_name, tenant_id)
);

comment on table dpe.tenant_access is
'Which tenants a role may see. tenant_id ''*'' is every tenant, one at a time: the session chooses with the setting dpe.tenant_id.';
comment on column dpe.tenant_access.role_name is
'The role itself, shown by its name; compare it with ''name''::regrole. A role that is dropped and created again is another role.';
comment on column dpe.tenant_access.valid_until is 'When the entry expires; null if it does not.';

insert into dpe.tenant_access (role_name, tenant_id)
values ('dpe_tenant', '*')
on conflict do nothing;

-- Why the access list cannot restrict a role, as the rest of a sentence; null if it can. Checked with 'member': a role that can grant
-- itself another role, or become it, counts as having it.
create or replace function dpe.access_obstacle(role_id regrole)
returns text
language sql
stable
parallel safe
security invoker
set search_path = pg_catalog, pg_temp
as $$
    with

    privileged as (

        select
            pg_roles.oid,
            pg_roles.rolname,
            case
                when pg_roles.rolsuper then 'is a superuser'
                when pg_roles.rolbypassrls then 'bypasses row-level security'
                when pg_roles.rolreplication then 'may replicate all rows'
                when pg_roles.rolname in ('dpe_owner', 'dpe_loader', 'dpe_transformer') then 'works for every tenant'
                when pg_roles.rolname = 'dpe_tenant' then 'may choose any tenant'
                when pg_roles.rolname = 'pg_read_all_data' then 'reads every table'
                when pg_roles.rolname = 'pg_write_all_data' then 'writes every table'
                when pg_roles.rolname = 'pg_read_server_files' then 'reads the files of the server'
                when pg_roles.rolname = 'pg_write_server_files' then 'writes the files of the server'
                when pg_roles.rolname = 'pg_execute_server_program' then 'runs programs on the server'
                -- Before PostgreSQL 16, such a role can grant itself any other that is not a superuser. Since then, it can do so only with
                -- roles that it created, but with a role_column, a name decides who sees a row.
                when pg_roles.rolcreaterole
                    then
                        case
                            when current_setting('server_version_num', true)::integer < 160000
                                then 'may become any role that is not a superuser (CREATEROLE)'
                            else 'may become a role of any name that the rows of a model contain (CREATEROLE)'
                        end
            end as privilege
        from pg_roles

    )

    select
        case
            when wanted.rolname is null then 'was dropped'
            when wanted.rolname in (
                'dpe_owner', 'dpe_loader', 'dpe_transformer', 'dpe_reader', 'dpe_masked_reader', 'dpe_auditor', 'dpe_tenant'
            ) then 'is one of dpe''s own roles'
            when wanted.rolname ~ '^pg_' then 'is one of PostgreSQL''s predefined roles'
            else (
                select
                    'sees more than the access list says, because it '
                    || case when privileged.oid = role_id then '' else format('may become %s, which ', privileged.rolname) end
                    || privileged.privilege
                from privileged
                where privileged.privilege is not null and pg_has_role(role_id, privileged.oid, 'member')
                -- A role that can become dpe_transformer can thereby become dpe_tenant.
                order by privileged.oid <> role_id, privileged.rolname = 'dpe_tenant', privileged.rolname
                limit 1
            )
        end
    from (select) as asked
    left join pg_roles as wanted on wanted.oid = role_id
$$;

comment on function dpe.access_obstacle(regrole) is
'Why the access list cannot restrict a role, as the rest of a sentence that begins with its name; null if it can.';

-- The tenants that the session may see: those granted to the acting role, restricted by the setting dpe.tenant_id. Each query of
-- a reader calls this once, so it has to be fast: in PL/pgSQL, which caches the plan of its query for the session, and through
-- the primary key, because the plans that PostgreSQL prefers for a table of one page take longer to start. It uses the same
-- expression for the role as the policy own_entries, so that PostgreSQL looks the role up once for both. It needs the condition
-- because another policy lets auditors read the whole list.
create or replace function dpe.visible_tenants()
returns text[]
language plpgsql
stable
parallel safe
security invoker
set search_path = pg_catalog, pg_temp
set enable_seqscan = off
set enable_bitmapscan = off
as $$
declare
    chosen constant text := nullif(current_setting('dpe.tenant_id', true), '');
begin
    if chosen is null then
        -- Those granted by name. A role that was granted every tenant sees none until it chooses one.
        return array(
            select granted.tenant_id
            from dpe.tenant_access as granted
            where granted.role_name = to_regrole(quote_ident(current_user))
                and (granted.valid_until is null or granted.valid_until > clock_timestamp())
                and granted.tenant_id <> '*'
        );
    end if;
    -- A pipeline or administrator whose context is for one tenant.
    if nullif(current_setting('dpe.actor', true), '') is not null and current_user in ('dpe_loader', 'dpe_transformer', 'dpe_owner') then
        return array[chosen];
    end if;
    -- The chosen one, if it was granted by name or with '*'.
    return array(
        select chosen
        from dpe.tenant_access as granted
        where granted.role_name = to_regrole(quote_ident(current_user))
            and (granted.valid_until is null or granted.valid_until > clock_timestamp())
            and granted.tenant_id in (chosen, '*')
    );
end
$$;

-- The keys that the acting role was granted in one of the user's own tables, subject to that table's policies; none if the table
-- does not exist. By name, so that other tables' policies do not depend on its current version.
--
-- A name leads to the newest version, and a query or cursor that began before that version was built sees none of its rows: it would find
-- no keys, and return nothing. So it fails: the version has to exist for this query too, with the same file (TRUNCATE gives a table another
-- one). A view may read other tables than this query sees that it does, so that these must not have moved, either. This is compared after
-- the keys are read, which locks the tables; until then they can be replaced.
create or replace function dpe.granted_keys(access_table text, key_column text, role_column text)
returns text[]
language plpgsql
stable
parallel safe
security invoker
set search_path = pg_catalog, pg_temp
as $$
declare
    keys text[] := '{}';
    newest oid;
    seen record;
    is_replaced boolean;
begin
    if to_regclass(access_table) is null then
        is_replaced := exists (
            select
            from pg_class
            inner join pg_namespace on pg_class.relnamespace = pg_namespace.oid
            where array[pg_namespace.nspname::text, pg_class.relname::text] = parse_ident(access_table)
        );
    else
        execute format(
            'select coalesce(array_agg(distinct %I::text), ''{}'') from %s where %I = current_user',
            key_column,
            to_regclass(access_table),
            role_column
        ) into keys;
        newest := to_regclass(access_table);
        select
            pg_class.relkind,
            nullif(pg_class.relfilenode, 0) as file
        into seen
        from pg_class
        where pg_class.oid = newest;
        is_replaced := not found or seen.file is distinct from pg_relation_filenode(newest);
        if not is_replaced and seen.relkind = 'v' then
            with recursive

            looked_up (relation_id) as (

                select newest
                union
                select pg_depend.refobjid
                from looked_up
                inner join pg_rewrite on looked_up.relation_id = pg_rewrite.ev_class
                inner join pg_depend on pg_rewrite.oid = pg_depend.objid
                where pg_depend.classid = 'pg_rewrite'::regclass and pg_depend.refclassid = 'pg_class'::regclass

            )

            select exists (
                select
                from looked_up
                left join pg_class on looked_up.relation_id = pg_class.oid
                left join pg_namespace on pg_class.relnamespace = pg_namespace.oid
                where
                    -- PostgreSQL's own are never replaced.
                    looked_up.relation_id >= 16384
                    and looked_up.relation_id <> newest
                    and (
                        nullif(pg_class.relfilenode, 0) is distinct from pg_relation_filenode(looked_up.relation_id)
                        or quote_ident(pg_namespace.nspname) || '.' || quote_ident(pg_class.relname)
                        is distinct from looked_up.relation_id::regclass::text
                    )
            )
            into is_replaced;
        end if;
    end if;
    if is_replaced then
        raise exception '%: a new version was published while this query ran; run it again', access_table
            using errcode = 'serialization_failure';
    end if;
    return keys;
end
$$;

-- The schemas among `schemas` in which roles other than dpe's, superusers and administrators may create: a reader could create
-- functions and operators there that are called instead of PostgreSQL's own (CVE-2018-1058). An administrator owns the database,
-- or can become dpe_owner. Also the schemas named like a role ("$user" of its search_path) that belong to a different role which is
-- not an administrator, even if it is one of dpe's.
create or replace function dpe.open_schemas(schemas name[])
returns name[]
language sql
stable
parallel safe
security invoker
set search_path = pg_catalog, pg_temp
as $$
    with

    administrators as (

        select pg_roles.oid as role_id
        from pg_roles
        where
            pg_roles.rolsuper
            or pg_roles.rolname = 'pg_database_owner'
            or pg_roles.oid = (select pg_database.datdba from pg_database where pg_database.datname = current_database())
            or pg_has_role(pg_roles.oid, 'dpe_owner', 'member')

    ),

    creators as (

        select
            pg_namespace.nspname as schema_name,
            pg_namespace.nspowner as role_id
        from pg_namespace
        union all
        select
            pg_namespace.nspname,
            granted.grantee
        from pg_namespace
        cross join lateral aclexplode(pg_namespace.nspacl) as granted
        where granted.privilege_type = 'CREATE'

    ),

    opened as (

        -- PUBLIC is not a role.
        select creators.schema_name
        from creators
        where
            creators.role_id not in (select administrators.role_id from administrators)
            and creators.role_id not in (select pg_roles.oid from pg_roles where pg_roles.rolname in ('dpe_loader', 'dpe_transformer'))
        union all
        select pg_namespace.nspname
        from pg_namespace
        inner join pg_roles on pg_namespace.nspname = pg_roles.rolname
        where pg_namespace.nspowner <> pg_roles.oid and pg_namespace.nspowner not in (select administrators.role_id from administrators)

    )

    select coalesce(array_agg(distinct opened.schema_name), '{}')
    from opened
    where opened.schema_name = any(schemas) and opened.schema_name !~ '^pg_'
$$;

comment on function dpe.open_schemas(name[]) is
'Those of the schemas in which roles other than dpe''s and administrators may create, or that are named like a role but belong to another.';

-- A search_path for the pipeline's sessions: the session's schemas, without those in which others may create, and pg_temp last.
-- Called with current_schemas(false), which only the caller can know.
create or replace function dpe.safe_search_path(schemas name[])
returns text
language sql
stable
parallel safe
security invoker
set search_path = pg_catalog, pg_temp
as $$
    select coalesce(string_agg(quote_ident(searched.name), ', ' order by searched.position), 'pg_catalog') || ', pg_temp'
    from unnest(schemas) with ordinality as searched (name, position)
    where searched.name !~ '^pg_' and searched.name <> all(dpe.open_schemas(schemas))
$$;

comment on function dpe.safe_search_path(name[]) is
'The search_path of these schemas, without those in which others may create: a function there could be called instead of another.';

do $$
declare
    signature regprocedure;
begin
    alter table dpe.tenant_access owner to dpe_owner;
    foreach signature in array array[
        'dpe.companion_name(text, text)',
        'dpe.decoded_name(text)',
        'dpe.actor()',
        'dpe.chosen_tenant()',
        'dpe.context_is_open()',
        'dpe.every_tenant_is_open()',
        'dpe.visible_tenants()',
        'dpe.granted_keys(text, text, text)',
        'dpe.open_schemas(name[])',
        'dpe.safe_search_path(name[])',
        'dpe.access_obstacle(regrole)'
    ]::regprocedure[] loop
        execute format('alter function %s owner to dpe_owner', signature);
        execute format('revoke all on function %s from public', signature);
        execute format(
            'grant execute on function %s to dpe_owner, dpe_loader, dpe_transformer, dpe_reader, dpe_masked_reader, dpe_auditor, dpe_tenant', signature
        );
    end loop;
end
$$;
