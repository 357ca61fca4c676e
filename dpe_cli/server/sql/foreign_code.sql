-- Code that a query of a relation runs with the rights of the role that reads it, and that belongs to somebody who is neither an
-- administrator nor the pipeline. The tables of other tools, which dbt reads where they are, belong to these tools' logins: such a login
-- could have dpe_transformer, which sees all rows, run its policies, views, types and functions.
--
-- What runs when a plain table is read: the policies of its own, functions in the definition of its indexes, statistics and constraints
-- and of those of its children, which PostgreSQL evaluates while it plans (dpe.code_in_definition), and the casts of its columns' types and
-- of its row type. Defaults, triggers and stored generated columns run when a row is written, with the rights of the role that writes it;
-- the expressions of virtual ones may call functions of PostgreSQL only. What a view or a policy of an administrator calls is followed. One
-- of another owner counts as code even if it calls only functions of PostgreSQL, because some of these run SQL from a string, end sessions
-- or change settings; a policy that is only true or false is none.
--
-- Which policies run depends on who reads: `also_read_by` are the roles that the caller acts as besides its own. dpe_tenant and those of
-- readers may choose any tenant or see the rows of some, and the session behind them is the transformer's or an administrator's.
create or replace function dpe.code_of_others(relation_id oid, also_read_by name[] default '{}')
returns table (code text, owner text)
language sql
stable
security invoker
set search_path = pg_catalog, pg_temp
as $$
    with recursive

    trusted (role_id) as materialized (

        select administrators.role_id
        from dpe.administrators() as administrators (role_id)
        union
        select oid
        from pg_roles
        where rolname in ('dpe_owner', 'dpe_loader', 'dpe_transformer')

    ),

    -- The roles that read, or an administrator whose view reads with its owner's rights.
    bound (role_id) as materialized (

        select pg_roles.oid
        from pg_roles
        where
            (pg_roles.oid in (select trusted.role_id from trusted) or pg_roles.rolname = any(code_of_others.also_read_by))
            and not pg_roles.rolsuper
            and not pg_roles.rolbypassrls

    ),

    -- Policies that a query evaluates.
    evaluated as not materialized (

        select pg_policy.oid as policy_id, pg_policy.polrelid, pg_policy.polname, pg_class.relowner
        from pg_policy
        inner join pg_class on pg_policy.polrelid = pg_class.oid
        where
            pg_class.relrowsecurity
            and pg_policy.polcmd in ('r', '*')
            and (pg_policy.polqual is null or pg_policy.polqual::text !~ '^\{CONST [^{}]*\}$')
            and exists (
                select
                from unnest(pg_policy.polroles) as roles (role_id)
                cross join bound
                -- 0 is PUBLIC, which is not a role.
                where case roles.role_id when 0 then true else pg_has_role(bound.role_id, roles.role_id, 'usage') end
            )

    ),

    reached (class_id, object_id, is_child) as (

        select 'pg_class'::regclass::oid, code_of_others.relation_id, false
        union
        select needed.class_id, needed.object_id, needed.is_child
        from reached
        cross join lateral (
            select pg_depend.refclassid as class_id, pg_depend.refobjid as object_id, false as is_child
            from pg_class
            inner join pg_rewrite on pg_class.oid = pg_rewrite.ev_class
            inner join pg_depend on pg_depend.classid = 'pg_rewrite'::regclass and pg_depend.objid = pg_rewrite.oid
            where
                reached.class_id = 'pg_class'::regclass
                and pg_class.oid = reached.object_id
                and pg_class.relkind = 'v'
                and pg_rewrite.ev_type = '1'
                -- What another owner's view does is its owner's affair.
                and pg_class.relowner in (select trusted.role_id from trusted)
            union all
            select pg_depend.refclassid, pg_depend.refobjid, false
            from evaluated
            inner join pg_depend on pg_depend.classid = 'pg_policy'::regclass and pg_depend.objid = evaluated.policy_id
            where
                reached.class_id = 'pg_class'::regclass
                and evaluated.polrelid = reached.object_id
                and not reached.is_child
                and evaluated.relowner in (select trusted.role_id from trusted)
            union all
            -- Policies of partitions and children are not evaluated for queries of their parents.
            select 'pg_class'::regclass, inhrelid, true
            from pg_inherits
            where reached.class_id = 'pg_class'::regclass and inhparent = reached.object_id
            union all
            select 'pg_foreign_data_wrapper'::regclass, pg_foreign_server.srvfdw, false
            from pg_foreign_table
            inner join pg_foreign_server on pg_foreign_table.ftserver = pg_foreign_server.oid
            where reached.class_id = 'pg_class'::regclass and pg_foreign_table.ftrelid = reached.object_id
            union all
            select 'pg_type'::regclass, pg_attribute.atttypid, false
            from pg_attribute
            where
                reached.class_id = 'pg_class'::regclass
                and pg_attribute.attrelid = reached.object_id
                and pg_attribute.attnum > 0
                and not pg_attribute.attisdropped
            union all
            -- The elements of arrays, the values of domains and ranges, and the columns of composite types.
            select 'pg_type'::regclass, parts.type_id, false
            from pg_type
            cross join lateral (
                select pg_type.typelem as type_id
                union all
                select pg_type.typbasetype
                union all
                select rngsubtype
                from pg_range
                where rngtypid = pg_type.oid
                union all
                select atttypid
                from pg_attribute
                where attrelid = pg_type.typrelid and attnum > 0
            ) as parts
            where reached.class_id = 'pg_type'::regclass and pg_type.oid = reached.object_id
            union all
            select pg_depend.refclassid, pg_depend.refobjid, false
            from pg_depend
            left join pg_proc on pg_depend.classid = 'pg_proc'::regclass and pg_depend.objid = pg_proc.oid
            where
                pg_depend.classid = reached.class_id
                and pg_depend.objid = reached.object_id
                and reached.class_id in (
                    'pg_operator'::regclass, 'pg_foreign_data_wrapper'::regclass, 'pg_opclass'::regclass, 'pg_opfamily'::regclass,
                    'pg_proc'::regclass
                )
                -- What a function calls is its owner's affair, but that of an aggregate are functions.
                and (pg_proc.oid is null or pg_proc.prokind = 'a')
        ) as needed
        where
            needed.object_id >= 16384
            and needed.class_id in (
                'pg_class'::regclass, 'pg_proc'::regclass, 'pg_type'::regclass, 'pg_operator'::regclass, 'pg_opclass'::regclass,
                'pg_opfamily'::regclass, 'pg_foreign_data_wrapper'::regclass
            )

    ),

    found (code, owner_id) as (

        select format('the view %s', pg_class.oid::regclass), pg_class.relowner
        from reached
        inner join pg_class on reached.class_id = 'pg_class'::regclass and reached.object_id = pg_class.oid
        where pg_class.relkind = 'v'
        union
        select format('the policy %I on %s', evaluated.polname, evaluated.polrelid::regclass), evaluated.relowner
        from reached
        inner join evaluated on reached.class_id = 'pg_class'::regclass and reached.object_id = evaluated.polrelid
        where not reached.is_child
        union
        select format('the function %s', pg_proc.oid::regprocedure), pg_proc.proowner
        from reached
        inner join pg_proc on reached.class_id = 'pg_proc'::regclass and reached.object_id = pg_proc.oid
        union
        select format('the function %s in the %s of %s', definition.routine, definition.part, reached.object_id::regclass), pg_proc.proowner
        from reached
        cross join lateral dpe.code_in_definition(reached.object_id) as definition
        inner join pg_proc on pg_proc.oid = definition.routine::regprocedure
        where reached.class_id = 'pg_class'::regclass
        union
        -- The owner of a type decides which functions cast it, also if it is the row type of another table. A relation's own row type is
        -- the type of none of its columns, and has its casts below.
        select format('the type %s', pg_type.oid::regtype), pg_type.typowner
        from reached
        inner join pg_type on reached.class_id = 'pg_type'::regclass and reached.object_id = pg_type.oid
        union
        select
            format('the cast from %s to %s by %s', pg_cast.castsource::regtype, pg_cast.casttarget::regtype, pg_proc.oid::regprocedure),
            pg_proc.proowner
        from reached
        inner join pg_class on reached.class_id = 'pg_class'::regclass and reached.object_id = pg_class.oid
        inner join pg_type on pg_class.reltype = pg_type.oid
        inner join pg_cast on pg_cast.castsource in (pg_type.oid, pg_type.typarray)
        inner join pg_proc on pg_cast.castfunc = pg_proc.oid

    )

    select left(found.code, 300), pg_get_userbyid(found.owner_id)::text
    from found
    where found.owner_id not in (select trusted.role_id from trusted)
$$;

comment on function dpe.code_of_others(oid, name[]) is
'Views, policies, functions, types and casts of roles that are neither administrators nor the pipeline that run when a relation is read.';

-- The first three, as a text; null if there is none.
create or replace function dpe.described_code_of_others(relation_id oid, also_read_by name[] default '{}')
returns text
language sql
stable
security invoker
set search_path = pg_catalog, pg_temp
as $$
    select
        string_agg(format('%s, of %s', numbered.code, numbered.owner), '; ' order by numbered.place) filter (where numbered.place <= 3)
        || case when count(*) > 3 then format('; and %s more', count(*) - 3) else '' end
    from (
        select
            code_of_others.code,
            code_of_others.owner,
            row_number() over (order by code_of_others.code) as place
        from dpe.code_of_others(described_code_of_others.relation_id, described_code_of_others.also_read_by) as code_of_others
    ) as numbered
$$;

comment on function dpe.described_code_of_others(oid, name[]) is 'What dpe.code_of_others() finds, in words; null if it finds nothing.';

create or replace function dpe.sources_with_code(schemas name[], relations name[])
returns table (source text, code text)
language sql
-- Volatile, so that it sees what was committed before a lock was granted.
volatile
security invoker
set search_path = pg_catalog, pg_temp
as $$
    select distinct format('%I.%I', pg_namespace.nspname, pg_class.relname), described.code
    from unnest(sources_with_code.schemas, sources_with_code.relations) as named (schema_name, relation_name)
    inner join pg_namespace on pg_namespace.nspname = named.schema_name
    inner join pg_class on pg_class.relnamespace = pg_namespace.oid and pg_class.relname = named.relation_name
    cross join lateral dpe.described_code_of_others(pg_class.oid) as described (code)
    where
        pg_class.relkind in ('r', 'p', 'v', 'm', 'f')
        -- Only the loader makes these, and RLS073 examines them.
        and pg_get_userbyid(pg_class.relowner) <> 'dpe_loader'
        and described.code is not null
    order by 1
$$;

comment on function dpe.sources_with_code(name[], name[]) is 'Sources that run code of others when they are read, with this code.';

-- Lock a relation and all that a query of it reads as this query does, until the end of the transaction, and return its number. What is
-- found out about it after that is what the query meets: its owner can neither change nor exchange it before the transaction ends, but
-- can add indexes, statistics, children and casts (docs/background/security-model.md).
--
-- PREPARE analyses and rewrites a query, which locks the relations that it names, those of their views, and those of the policies that
-- apply to the role that acts, and runs nothing. It needs USAGE of the schema, but no privilege on what is in it, and exists for all that
-- can be read. Each role that is going to read locks: one of them may reach what the session's own role may not. LOCK TABLE, which needs
-- a privilege on the whole table, adds the children, of which PREPARE does not know yet.
create or replace function dpe.lock_as_queries_do(schema_name name, relation_name name, also_read_by name[] default '{}')
returns oid
language plpgsql
-- Volatile, so that it sees what was committed before a lock was granted.
volatile
security invoker
set search_path = pg_catalog, pg_temp
as $$
declare
    acting constant text := current_setting('role', true);
    reading text;
    relation record;
    denied text;
    is_locked boolean := false;
begin
    foreach reading in array array[acting] || also_read_by::text[] loop
        begin
            perform set_config('role', reading, true);
            -- A cancelled call leaves it, because prepared statements outlive their transaction.
            if exists (select from pg_prepared_statements where pg_prepared_statements.name = 'dpe_lock') then
                execute 'deallocate dpe_lock';
            end if;
            execute format('prepare dpe_lock as select from %I.%I', schema_name, relation_name);
            execute 'deallocate dpe_lock';
            is_locked := true;
        exception
            -- Another of the roles may reach it.
            when insufficient_privilege then
                denied := sqlerrm;
                continue;
        end;
        select
            pg_class.oid as relation_id,
            -- A query of a staging table need not read all of its slices.
            pg_class.relkind in ('r', 'p', 'v') and pg_get_userbyid(pg_class.relowner) <> 'dpe_loader' as locks_children
        into strict relation
        from pg_class
        inner join pg_namespace on pg_class.relnamespace = pg_namespace.oid
        where pg_namespace.nspname = schema_name and pg_class.relname = relation_name;
        if relation.locks_children then
            begin
                perform set_config('role', reading, true);
                execute format('lock table %I.%I in access share mode', schema_name, relation_name);
            exception
                when insufficient_privilege or wrong_object_type then
                    null;
            end;
        end if;
    end loop;
    perform set_config('role', acting, true);
    -- What no role can reach now, its owner could let them reach after the check, with other content.
    if not is_locked then
        raise exception '%', denied using errcode = 'insufficient_privilege';
    end if;
    return relation.relation_id;
end
$$;

comment on function dpe.lock_as_queries_do(name, name, name[]) is
'Locks a relation and all that a query of it reads as this query does, and returns its number.';

-- Lock sources, and return which of them run code of others. A query of one that does not exist fails.
create or replace function dpe.lock_sources(schemas name[], relations name[])
returns table (source text, code text)
language plpgsql
volatile
security invoker
set search_path = pg_catalog, pg_temp
as $$
begin
    perform dpe.lock_as_queries_do(wanted.schema_name, wanted.relation_name)
    from (
        select distinct named.schema_name, named.relation_name
        from unnest(lock_sources.schemas, lock_sources.relations) as named (schema_name, relation_name)
        inner join pg_namespace on pg_namespace.nspname = named.schema_name
        inner join pg_class on pg_class.relnamespace = pg_namespace.oid and pg_class.relname = named.relation_name
        where pg_class.relkind in ('r', 'p', 'v', 'm', 'f')
        order by 1, 2
    ) as wanted;

    return query
    select listed.source, listed.code
    from dpe.sources_with_code(lock_sources.schemas, lock_sources.relations) as listed;
end
$$;

comment on function dpe.lock_sources(name[], name[]) is 'Locks sources as queries do, and returns those that run code of others.';

-- Refuse to read a relation that runs code of others, and lock it, so that none can be added before the transaction ends.
create or replace function dpe.refuse_code_of_others(schema_name name, relation_name name, also_read_by name[] default '{}')
returns void
language plpgsql
volatile
security invoker
set search_path = pg_catalog, pg_temp
as $$
declare
    locked constant oid := dpe.lock_as_queries_do(schema_name, relation_name, also_read_by);
    -- Not in the same expression, which sees what was committed before it began to wait.
    code constant text := dpe.described_code_of_others(locked, also_read_by);
begin
    if code is not null then
        raise exception '%.%: reading it would run code of others: %', schema_name, relation_name, code
            using errcode = 'wrong_object_type',
            hint = 'Remove this code, or have an administrator own it.';
    end if;
end
$$;

comment on function dpe.refuse_code_of_others(name, name, name[]) is
'Locks a relation as a query does, and raises an error if reading it runs code of others.';

-- What this transaction has read, by its locks: whatever name a query found it under, it cannot have changed since.
create or replace function dpe.read_with_code()
returns text
language sql
volatile
security invoker
set search_path = pg_catalog, pg_temp
as $$
    select string_agg(format('%s (%s)', pg_class.oid::regclass, described.code), '; ' order by pg_class.oid)
    from pg_locks
    inner join pg_class on pg_locks.relation = pg_class.oid
    cross join lateral dpe.described_code_of_others(pg_class.oid) as described (code)
    where
        pg_locks.locktype = 'relation'
        and pg_locks.pid = pg_backend_pid()
        and pg_locks.mode = 'AccessShareLock'
        and pg_locks.granted
        and pg_locks.database = (select oid from pg_database where datname = current_database())
        and pg_class.oid >= 16384
        and pg_class.relkind in ('r', 'p', 'v', 'm', 'f')
        and pg_get_userbyid(pg_class.relowner) not in ('dpe_owner', 'dpe_loader', 'dpe_transformer')
        and described.code is not null
$$;

comment on function dpe.read_with_code() is 'What this transaction has read that runs code of others, with this code; null if nothing.';

-- Lock what a query will read, and refuse it if it runs code of others. `path` is the search_path in which it is going to run.
create or replace function dpe.refuse_query_with_code(query text, path text)
returns void
language plpgsql
volatile
security invoker
set search_path = pg_catalog, pg_temp
as $$
declare
    code text;
begin
    if exists (select from pg_prepared_statements where pg_prepared_statements.name = 'dpe_lock') then
        execute 'deallocate dpe_lock';
    end if;
    perform set_config('search_path', path, true);
    execute 'prepare dpe_lock as ' || query;
    execute 'deallocate dpe_lock';
    perform set_config('search_path', 'pg_catalog, pg_temp', true);
    code := dpe.read_with_code();
    if code is not null then
        raise exception 'it would run code of others: %', code
            using errcode = 'wrong_object_type',
            hint = 'Remove this code, or have an administrator own it.';
    end if;
end
$$;

comment on function dpe.refuse_query_with_code(text, text) is
'Locks what a query will read, and raises an error if it would run code of others.';
