-- What the checks examine outside of dpe's schemas: objects that read protected rows, the roles that they act as, and the roles that
-- can reach them. It continues catalog.sql. $4 are all schemas of dpe and the project; $1 are the checked ones among them,
-- and $5 those in which readers may read nothing: the sources' and those of stored failures.
-- noqa: disable=ST03, ST05
with

-- Schemas that sessions search by default: `public`, those of the search_paths that are set, and "$user" for roles with rights that
-- others lack. This session's own path does not count: dpe omits schemas that are open to others from it.
searched_schemas as (

    select 'public' as schema_name
    union
    select path_schemas.schema_name
    from path_schemas
    where path_schemas.scope = 'sessions'
    union
    select pg_roles.rolname::text
    from pg_roles
    where pg_roles.oid in (select privileged.role_id from privileged)

),

protected as materialized (

    select
        pg_class.oid as relation_id,
        pg_namespace.nspname as schema_name,
        pg_class.relname as relation_name,
        format('%I.%I', pg_namespace.nspname, pg_class.relname) as name,
        pg_class.relkind as kind
    from pg_class
    inner join pg_namespace on pg_class.relnamespace = pg_namespace.oid
    where pg_class.relkind in ('r', 'p', 'v', 'm', 'f') and pg_namespace.nspname = any($4::text[])

),

-- The privileges of roles that are not privileged on a relation or a column, except temporary ones; 0 is PUBLIC.
granted_to_others as (

    select
        pg_class.oid as relation_id,
        granted.grantee,
        granted.privilege_type
    from pg_class
    cross join lateral aclexplode(pg_class.relacl) as granted
    where pg_class.relpersistence <> 't' and granted.grantee not in (select privileged.role_id from privileged)
    union all
    select
        pg_attribute.attrelid,
        granted.grantee,
        granted.privilege_type
    from pg_attribute
    inner join pg_class on pg_attribute.attrelid = pg_class.oid
    cross join lateral aclexplode(pg_attribute.attacl) as granted
    where pg_class.relpersistence <> 't' and granted.grantee not in (select privileged.role_id from privileged)

),

-- The other roles with any privilege on a relation, with SELECT, and with a privilege to write.
others as (

    select
        granted_to_others.relation_id,
        array_agg(distinct granted_to_others.grantee) as grantees,
        array_agg(distinct granted_to_others.grantee) filter (where granted_to_others.privilege_type = 'SELECT') as readers,
        array_agg(distinct granted_to_others.grantee)
        filter (where granted_to_others.privilege_type in ('INSERT', 'UPDATE', 'DELETE', 'TRUNCATE')) as writers
    from granted_to_others
    inner join pg_class on granted_to_others.relation_id = pg_class.oid and granted_to_others.grantee <> pg_class.relowner
    group by granted_to_others.relation_id

),

-- Relations elsewhere, except temporary ones, which other sessions cannot reach.
outside as materialized (

    select
        pg_class.oid as relation_id,
        pg_namespace.nspname as schema_name,
        format('%I.%I', pg_namespace.nspname, pg_class.relname) as name,
        pg_class.relkind as kind,
        pg_class.relowner as owner_id,
        pg_get_userbyid(pg_class.relowner)::text as owner,
        pg_class.relowner in (select privileged.role_id from privileged) as is_of_privileged,
        coalesce(others.readers, '{}') as readers,
        case
            when pg_class.relowner in (select privileged.role_id from privileged) then coalesce(others.writers, '{}')
            else pg_class.relowner || coalesce(others.writers, '{}')
        end as writers
    from pg_class
    inner join pg_namespace on pg_class.relnamespace = pg_namespace.oid
    left join others on pg_class.oid = others.relation_id
    where
        pg_class.relkind in ('r', 'p', 'v', 'm', 'f')
        and pg_class.relpersistence <> 't'
        -- PostgreSQL's own have lower oids.
        and pg_class.oid >= 16384
        and pg_namespace.nspname <> all($4::text[])
        and pg_namespace.nspname <> 'pg_toast'

),

-- Foreign servers that lead to this server and database, as far as their options show.
servers_that_lead_back as (

    select pg_foreign_server.oid as server_id
    from pg_foreign_server
    cross join
        lateral (
            select
                max(option_value) filter (where option_name = 'dbname') as database_name,
                max(option_value) filter (where option_name in ('host', 'hostaddr')) as host,
                max(option_value) filter (where option_name = 'port') as port
            from pg_options_to_table(pg_foreign_server.srvoptions)
        ) as options
    where
        options.database_name = current_database()
        and coalesce(options.port, '5432') = current_setting('port')
        and (
            coalesce(options.host, '') = ''
            or left(options.host, 1000) ~ '^(localhost|127[.].*|::1|/.*)$'
            or options.host = host(inet_server_addr())
        )

),

-- Foreign tables elsewhere, and the roles that can use their servers through these or through their own foreign tables.
foreign_tables as (

    select
        outside.relation_id,
        outside.name,
        outside.readers,
        pg_foreign_table.ftserver as server_id
    from outside
    inner join pg_foreign_table on outside.relation_id = pg_foreign_table.ftrelid

),

server_users as (

    select
        foreign_tables.server_id,
        roles.role_id,
        false as may_map
    from foreign_tables
    cross join lateral unnest(foreign_tables.readers) as roles (role_id)
    union
    select
        pg_foreign_server.oid as server_id,
        granted.grantee as role_id,
        true as may_map
    from pg_foreign_server
    cross join lateral aclexplode(pg_foreign_server.srvacl) as granted
    where granted.grantee not in (select privileged.role_id from privileged)

)

-- The checks take the place of what follows.
select name
from outside
