-- severity: error
-- title: A role that can become one that no policy binds
-- why: it can bypass policies with SET ROLE
select
    pg_get_userbyid(pg_auth_members.member)::text as subject,
    format('may become %s, which no policy binds', privileged.rolname) as detail,
    format('revoke %I from %I', pg_get_userbyid(pg_auth_members.roleid), pg_get_userbyid(pg_auth_members.member)) as fix
from pg_auth_members
inner join pg_roles as privileged
    on (privileged.rolsuper or privileged.rolbypassrls) and pg_has_role(pg_auth_members.roleid, privileged.oid, 'member')
where
    privileged.oid not in (select bound.role_id from bound)
    and exists (
        select
        from bound
        where pg_has_role(bound.role_id, pg_auth_members.member, 'member')
    )
    and pg_auth_members.member not in (
        select superusers.oid
        from pg_roles as superusers
        where superusers.rolsuper
    )
