-- The declared protection of dbt's relations, and the trigger that compares it with the actual one when dbt commits. If a model's hooks
-- changed it in between, the build of that model fails (docs/guides/row-level-security.md).
create table if not exists dpe.protected_relations (
    relation_id oid primary key,
    node text not null,
    declaration text not null,
    protection jsonb not null,
    invocation_id text not null,
    protected_at timestamptz not null default clock_timestamp()
);

comment on table dpe.protected_relations is 'One row per relation that dbt built under row-level security.';
comment on column dpe.protected_relations.relation_id is 'The relation, by its oid: it moves when it is published.';
comment on column dpe.protected_relations.node is 'dbt''s unique id of the model, seed, snapshot or test that it belongs to.';
comment on column dpe.protected_relations.declaration is 'meta.rls, with a digest of the policies, masked columns and grants.';
comment on column dpe.protected_relations.protection is
'Owner, policies and privileges, as dpe.protection_of() returned them after they were set.';
comment on column dpe.protected_relations.invocation_id is 'The run of dbt that last protected it.';

alter table dpe.protected_relations owner to dpe_owner;
alter table dpe.protected_relations enable row level security;
alter table dpe.protected_relations force row level security;
revoke all on dpe.protected_relations
from public, dpe_loader, dpe_transformer, dpe_reader, dpe_auditor, dpe_tenant, dpe_masked_reader cascade;

drop policy if exists admin_in_context on dpe.protected_relations;
create policy admin_in_context on dpe.protected_relations for all to dpe_owner
using ((select dpe.context_is_open())) with check ((select dpe.context_is_open()));
drop policy if exists transformer_in_context on dpe.protected_relations;
create policy transformer_in_context on dpe.protected_relations for all to dpe_transformer
using ((select dpe.every_tenant_is_open())) with check ((select dpe.every_tenant_is_open()));
drop policy if exists auditor_reads on dpe.protected_relations;
create policy auditor_reads on dpe.protected_relations for select to dpe_auditor using (true);
grant select, insert, update, delete on dpe.protected_relations to dpe_transformer;
grant select on dpe.protected_relations to dpe_auditor;

-- Everything that decides who sees the rows of a relation, each fact under a name that an error can show.
create or replace function dpe.protection_of(relation_id oid)
returns jsonb
language sql
stable
security invoker
set search_path = pg_catalog, pg_temp
as $$
    with

    relation as (

        select *
        from pg_class
        where pg_class.oid = protection_of.relation_id

    ),

    privileges as (

        select
            granted.grantee,
            '' as where_granted,
            granted.privilege_type,
            granted.is_grantable
        from relation
        cross join lateral aclexplode(relation.relacl) as granted
        where granted.grantee <> relation.relowner
        union all
        select
            granted.grantee,
            format(' on column %s', pg_attribute.attname),
            granted.privilege_type,
            granted.is_grantable
        from relation
        inner join pg_attribute on relation.oid = pg_attribute.attrelid
        cross join lateral aclexplode(pg_attribute.attacl) as granted
        where granted.grantee <> relation.relowner

    ),

    facts as (

        select
            'owner' as fact,
            pg_get_userbyid(relation.relowner)::text as value
        from relation
        union all
        select
            'row-level security',
            concat_ws(
                ', ',
                case when relation.relrowsecurity then 'enabled' else 'off' end,
                case when relation.relforcerowsecurity then 'forced' end
            )
        from relation
        where relation.relkind in ('r', 'p')
        union all
        select
            format('option %s', options.option_name),
            options.option_value
        from relation
        cross join lateral pg_options_to_table(relation.reloptions) as options
        where options.option_name in ('security_invoker', 'security_barrier')
        union all
        select
            format('policy %s', pg_policy.polname),
            concat_ws(
                ' ',
                case when not pg_policy.polpermissive then 'restrictive' end,
                'for',
                case pg_policy.polcmd when '*' then 'all' when 'r' then 'select' when 'a' then 'insert' when 'w' then 'update' else 'delete' end,
                'to',
                (
                    select string_agg(
                        case roles.role_id when 0 then 'public' else pg_get_userbyid(roles.role_id)::text end,
                        ', '
                        order by pg_get_userbyid(roles.role_id)
                    )
                    from unnest(pg_policy.polroles) as roles (role_id)
                ),
                'using (' || pg_get_expr(pg_policy.polqual, pg_policy.polrelid) || ')',
                'with check (' || pg_get_expr(pg_policy.polwithcheck, pg_policy.polrelid) || ')'
            )
        from relation
        inner join pg_policy on relation.oid = pg_policy.polrelid
        union all
        select
            format(
                'privileges of %s%s',
                case privileges.grantee when 0 then 'every role (PUBLIC)' else pg_get_userbyid(privileges.grantee)::text end,
                privileges.where_granted
            ),
            string_agg(
                lower(privileges.privilege_type) || case when privileges.is_grantable then ' with grant option' else '' end,
                ', '
                order by privileges.privilege_type
            )
        from privileges
        group by privileges.grantee, privileges.where_granted
        union all
        select
            format('a part of %s', pg_inherits.inhparent::regclass),
            'whose policies decide who sees its rows'
        from relation
        inner join pg_inherits on relation.oid = pg_inherits.inhrelid
        union all
        select
            format('a parent of %s', pg_inherits.inhrelid::regclass),
            'whose rows appear in it'
        from relation
        inner join pg_inherits on relation.oid = pg_inherits.inhparent
        inner join pg_class as child on pg_inherits.inhrelid = child.oid
        -- Other sessions do not see the rows of temporary children.
        where child.relpersistence <> 't'
        union all
        select
            format('code in the %s', code.part),
            string_agg(code.routine, ', ' order by code.routine)
        from dpe.code_in_definition(protection_of.relation_id) as code
        group by code.part

    )

    select coalesce(jsonb_object_agg(facts.fact, facts.value), '{}')
    from facts
$$;

comment on function dpe.protection_of(oid) is
'Owner, row-level security, policies, parents, children and privileges (except the owner''s) of a relation, each fact as text.';

-- Null if nothing differs.
create or replace function dpe.protection_differences(declared jsonb, found jsonb)
returns text
language sql
immutable
security invoker
set search_path = pg_catalog, pg_temp
as $$
    select string_agg(
        case
            when is_now.value is null then format('%s is gone (%s)', fact, was.value)
            when was.value is null then format('%s: %s', fact, is_now.value)
            else format('%s: %s (declared: %s)', fact, is_now.value, was.value)
        end,
        '; '
        order by fact
    )
    from jsonb_each_text(declared) as was (fact, value)
    full join jsonb_each_text(found) as is_now (fact, value) using (fact)
    where was.value is distinct from is_now.value
$$;

comment on function dpe.protection_differences(jsonb, jsonb) is
'The differences between two results of dpe.protection_of(), in words; null if there are none.';

-- Fails if hooks changed a table's protection since it was created, which protecting it would silently undo: dbt runs the hooks of a
-- table before it grants.
create or replace function dpe.refuse_changes_of_hooks(relation regclass, node text)
returns void
language plpgsql
stable
security invoker
set search_path = pg_catalog, pg_temp
as $$
declare
    differences text;
begin
    select dpe.protection_differences(known.protection, dpe.protection_of(relation))
    into differences
    from dpe.protected_relations as known
    where known.relation_id = relation;
    if not found or differences is not null then
        raise exception '%: a hook changed who may see it: %',
            split_part(node, '.', 3), coalesce(differences, 'another relation is in its place')
            using errcode = 'insufficient_privilege',
            hint = 'Remove that from the hook: name readers in meta.readers, other roles in grants.';
    end if;
end
$$;

comment on function dpe.refuse_changes_of_hooks(regclass, text) is
'Fails if a new table is no longer protected as it was when it was created.';

create or replace function dpe.revoke_privileges(relation regclass)
returns void
language plpgsql
volatile
security invoker
set search_path = pg_catalog, pg_temp
as $$
declare
    grantee text;
begin
    for grantee in
        select distinct case granted.grantee when 0 then 'public' else quote_ident(pg_get_userbyid(granted.grantee)) end
        from pg_class
        cross join lateral (
            select relacl as acl
            union all
            select attacl
            from pg_attribute
            where attrelid = pg_class.oid
        ) as acls
        cross join lateral aclexplode(acls.acl) as granted
        where pg_class.oid = relation and granted.grantee <> pg_class.relowner
    loop
        -- On the table, which also revokes those on its columns (docs: "REVOKE").
        execute format('revoke all on %s from %s cascade', relation, grantee);
    end loop;
end
$$;

comment on function dpe.revoke_privileges(regclass) is 'Revokes all privileges on a relation except its owner''s.';

-- Removes all policies, privileges, parents and children, so that only what is declared next remains.
create or replace function dpe.reset_protection(relation regclass)
returns void
language plpgsql
volatile
security invoker
set search_path = pg_catalog, pg_temp
as $$
declare
    policy_name name;
    link record;
begin
    for link in
        select
            pg_inherits.inhrelid::regclass as child,
            pg_inherits.inhparent::regclass as parent,
            pg_class.relispartition
        from pg_inherits
        inner join pg_class on pg_inherits.inhrelid = pg_class.oid
        where relation in (pg_inherits.inhrelid, pg_inherits.inhparent) and pg_class.relpersistence <> 't'
    loop
        execute format(
            case when link.relispartition then 'alter table %2$s detach partition %1$s' else 'alter table %1$s no inherit %2$s' end,
            link.child,
            link.parent
        );
    end loop;
    for policy_name in
        select polname
        from pg_policy
        where polrelid = relation
    loop
        execute format('drop policy %I on %s', policy_name, relation);
    end loop;
    perform dpe.revoke_privileges(relation);
end
$$;

comment on function dpe.reset_protection(regclass) is
'Drops all policies of a relation, separates it from parents and children, and revokes all privileges except its owner''s.';

-- Whether a relation still is protected as it was when this declaration was applied.
create or replace function dpe.is_protected(relation regclass, declaration text)
returns boolean
language sql
stable
security invoker
set search_path = pg_catalog, pg_temp
as $$
    select exists(
        select
        from dpe.protected_relations as known
        where known.relation_id = is_protected.relation
            and known.declaration = is_protected.declaration
            and known.protection = dpe.protection_of(is_protected.relation)
    )
$$;

comment on function dpe.is_protected(regclass, text) is 'Whether a relation has the policies and privileges that this declaration gave it.';

create or replace function dpe.remember_protection(relation regclass, node text, declaration text, invocation_id text)
returns void
language plpgsql
volatile
security invoker
set search_path = pg_catalog, pg_temp
as $$
declare
    code text;
begin
    select string_agg(format('%s calls %s', found_code.part, found_code.routine), ', ' order by found_code.part, found_code.routine)
    into code
    from dpe.code_in_definition(relation) as found_code;
    if code is not null then
        raise exception '%: PostgreSQL would run code of its own in other sessions: %', split_part(node, '.', 3), code
            using errcode = 'insufficient_privilege',
            hint = 'Compute the value in a column of the model, or ask an administrator to create the function.';
    end if;

    insert into dpe.protected_relations as known (relation_id, node, declaration, protection, invocation_id)
    values (relation, node, declaration, dpe.protection_of(relation), invocation_id)
    on conflict (relation_id) do update
    set
        node = excluded.node,
        declaration = excluded.declaration,
        protection = excluded.protection,
        invocation_id = excluded.invocation_id,
        protected_at = excluded.protected_at;
end
$$;

comment on function dpe.remember_protection(regclass, text, text, text) is
'Records how a relation is protected now; the transaction commits only if that has not changed by then.';

create or replace function dpe.check_protection_at_commit()
returns trigger
language plpgsql
volatile
security invoker
set search_path = pg_catalog, pg_temp
as $$
declare
    declared jsonb := new.protection;
    differences text;
    code text := dpe.read_with_code();
begin
    -- The transaction's last declaration counts.
    select coalesce(max(known.protection::text)::jsonb, declared)
    into declared
    from dpe.protected_relations as known
    where known.relation_id = new.relation_id;

    if exists(select from pg_class where oid = new.relation_id) then
        differences := dpe.protection_differences(declared, dpe.protection_of(new.relation_id));
    else
        differences := 'it was dropped';
    end if;
    if differences is not null then
        raise exception '%: a hook changed how it is protected: %', split_part(new.node, '.', 3), differences
            using errcode = 'insufficient_privilege',
            hint = 'Remove that from the hook: name readers in meta.readers, other roles in grants.';
    end if;
    if code is not null then
        raise exception '%: reading it ran code of others with the rights of dpe_transformer: %', split_part(new.node, '.', 3), code
            using errcode = 'insufficient_privilege',
            hint = 'Remove this code, or have an administrator own it.';
    end if;
    return null;
end
$$;

comment on function dpe.check_protection_at_commit() is 'Fails the commit if a relation is not protected as declared.';

do $$
begin
    if not exists (
        select
        from pg_trigger
        where tgrelid = 'dpe.protected_relations'::regclass and tgname = 'check_protection_at_commit'
    ) then
        create constraint trigger check_protection_at_commit
        after insert or update on dpe.protected_relations
        deferrable initially deferred
        for each row execute function dpe.check_protection_at_commit();
    end if;
end
$$;
