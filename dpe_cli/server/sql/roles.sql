-- The roles of dpe. Roles are the trust boundary: none may bypass row-level security, directly or through a membership.
-- Roles that are already right are not altered, so that the administrator of a managed server can run this, also for a second
-- database, when another role created them. Attributes that only a superuser may change are checked, not set.
do $$
declare
    wanted record;
begin
    for wanted in
        select *
        from (
            values
                -- noinherit keeps the readers' policies off the pipeline's roles themselves (see the grants below).
                ('dpe_loader', 'login', 'noinherit'),
                ('dpe_transformer', 'login', 'noinherit'),
                ('dpe_owner', 'nologin', 'inherit'),
                ('dpe_reader', 'nologin', 'inherit'),
                -- Reads what a reader does, except the columns that a model masks.
                ('dpe_masked_reader', 'nologin', 'inherit'),
                ('dpe_auditor', 'nologin', 'inherit'),
                ('dpe_tenant', 'nologin', 'inherit')
        ) as roles (role_name, login, inheritance)
    loop
        if not exists (select from pg_roles where rolname = wanted.role_name) then
            execute format('create role %I %s %s', wanted.role_name, wanted.login, wanted.inheritance);
        elsif not exists (
            select
            from pg_roles
            where rolname = wanted.role_name
                and rolcanlogin = (wanted.login = 'login')
                and rolinherit = (wanted.inheritance = 'inherit')
        ) then
            execute format('alter role %I %s %s', wanted.role_name, wanted.login, wanted.inheritance);
        end if;
        if exists (
            select
            from pg_roles as privileged
            where (privileged.rolsuper or privileged.rolbypassrls)
                and pg_has_role(wanted.role_name, privileged.oid, 'member')
        ) then
            raise exception 'role %: is a superuser, may bypass row-level security, or may become a role that does', wanted.role_name
                using errcode = 'insufficient_privilege', hint = 'Remove that attribute or membership, then bootstrap again.';
        end if;
    end loop;
end
$$;

-- A session that acts as dpe_tenant sees one tenant at a time, as an application does. The transformer can become it, so that a
-- run can show what a tenant sees without an administrator's login; it sees less as dpe_tenant, not more.
do $$
begin
    if not pg_has_role('dpe_tenant', 'dpe_reader', 'usage') then
        grant dpe_reader to dpe_tenant;
    end if;
    if not pg_has_role('dpe_transformer', 'dpe_tenant', 'member') then
        grant dpe_tenant to dpe_transformer;
    end if;
end
$$;

-- An administrator that is not a superuser has to be a member of the owner to transfer objects to it. A role that created
-- another may grant it, also to itself, but that does not make it a full member.
do $$
declare
    granted text;
begin
    foreach granted in array array['dpe_owner', 'dpe_loader', 'dpe_transformer', 'dpe_tenant'] loop
        if not pg_has_role(granted, 'usage') then
            execute format('grant %I to %I', granted, current_user);
        end if;
    end loop;
end
$$;

-- `dpe rls matrix` acts as every role. From PostgreSQL 16 on, the creator of a role cannot become it without a grant, and one that is
-- made during the measurement would keep others from granting the role until the end.
do $$
declare
    granted text;
begin
    if current_setting('server_version_num')::integer < 160000 then
        return;
    end if;
    foreach granted in array array['dpe_masked_reader', 'dpe_auditor'] loop
        if pg_has_role(granted, 'member with admin option') and not pg_has_role(granted, 'set') then
            execute format('grant %I to %I with inherit false, set true', granted, current_user);
        end if;
    end loop;
end
$$;

-- COPY reports skipped rows in the server's language; the loader sets English. Without the privilege, it finds the rows in a slower way.
-- dbt sets a longer deadlock_timeout, so that in a deadlock the server cancels the statement of a reader rather than dbt's. By default,
-- only a superuser can set these, or grant it.
do $$
declare
    needed record;
begin
    for needed in
        select
            role_name,
            parameter
        from (values ('dpe_loader', 'lc_messages'), ('dpe_transformer', 'deadlock_timeout')) as needed (role_name, parameter)
        where has_parameter_privilege(parameter, 'set with grant option')
            and not has_parameter_privilege(role_name, parameter, 'set')
    loop
        execute format('grant set on parameter %I to %I', needed.parameter, needed.role_name);
    end loop;
end
$$;
