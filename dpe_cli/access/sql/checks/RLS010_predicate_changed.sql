-- severity: error
-- title: A policy does not match its declaration
-- why: its condition, its command or its roles were changed
-- Compared as the server writes it, ignoring line breaks: text is compared as it is, varchar and bpchar as text, a name with its own
-- operator. The relation in which `access` looks up keys is compared with the project's files before publishing.
with

written as (

    select
        *,
        regexp_replace(using_expression, '\n\s*', ' ', 'g') as using_words,
        regexp_replace(check_expression, '\n\s*', ' ', 'g') as check_words,
        policy in ('dpe_reader', 'dpe_mask') and using_expression ~ 'WHEN \(*pg_has_role\(\(to_regrole\(' as asks_readers,
        regexp_match(using_expression, 'dpe\.granted_keys\(''("(?:[^"'']|""|'''')+"\."(?:[^"'']|""|'''')+")''::text') as looked_up
    from policies
    where
        schema_name <> 'dpe'
        and policy in ('dpe_system', 'dpe_admin', 'dpe_reader', 'dpe_transformer', 'dpe_mask')
        and declared_kind is not null
        and not is_gone

),

-- Their columns as they are compared.
compared as (

    select
        written.relation_id,
        written.policy,
        columns.place,
        case
            when pg_attribute.atttypid in ('varchar'::regtype, 'bpchar'::regtype) then format('(%I)::text', columns.name)
            else format('%I', columns.name)
        end as name
    from written
    cross join lateral unnest(written.declared_columns) with ordinality as columns (name, place)
    left join pg_attribute on written.relation_id = pg_attribute.attrelid and columns.name = pg_attribute.attname

),

types as (

    select
        relation_id,
        policy,
        case declared_kind when 'role_column' then 'name' when 'shared' then 'boolean' else 'text[]' end as type
    from written

),

-- What they are compared with, and what a mask asks before.
words as (

    select
        written.relation_id,
        written.policy,
        written.asks_readers,
        types.type,
        case written.declared_kind
            when 'role_column' then '"current_user"'
            when 'access' then 'granted_keys'
            else 'visible_tenants'
        end as label,
        case written.declared_kind
            when 'role_column' then 'CURRENT_USER'
            when 'access'
                then format(
                    'dpe.granted_keys(''%s''::text, %L::text, %L::text)',
                    written.looked_up[1],
                    written.declared_key,
                    written.declared_role_column
                )
            when 'shared' then 'true'
            else 'dpe.visible_tenants()'
        end as call,
        case
            when written.policy = 'dpe_mask'
                then format('WHEN pg_has_role(''dpe_masked_reader''::name, ''usage''::text) THEN NULL::%s ', types.type)
        end as denied
    from written
    inner join types on written.relation_id = types.relation_id and written.policy = types.policy

),

-- If a relation is published to some readers only, its policies for readers also ask whether the session's role has the rights of one of
-- them: the same in both. That they ask, and for whom, is compared with the project's files (RLS071); in earlier versions of a relation,
-- masks and shared relations may not ask.
published as (

    select
        relation_id,
        (
            regexp_match(
                using_words,
                'SELECT CASE WHEN (\(?pg_has_role\(\(to_regrole\(''(?:[^'']|'''')+''::text\)\)::oid, ''usage''::text\)'
                || '(?: OR pg_has_role\(\(to_regrole\(''(?:[^'']|'''')+''::text\)\)::oid, ''usage''::text\))*\)?) THEN'
            )
        )[1] as published_to
    from written
    where policy = 'dpe_reader'

),

-- Called in a sub-select, in a mask together with the check whether the session reads masked.
calls as (

    select
        words.relation_id,
        words.policy,
        words.asks_readers and published.published_to is not null as asks_readers,
        case
            when words.asks_readers and published.published_to is not null
                then
                    format(
                        '( SELECT CASE %sWHEN %s THEN %s ELSE NULL::%s END AS "case")',
                        words.denied,
                        published.published_to,
                        words.call,
                        words.type
                    )
            when words.policy = 'dpe_mask' then format('( SELECT CASE %sELSE %s END AS %s)', words.denied, words.call, words.label)
            else format('( SELECT %s AS %s)', words.call, words.label)
        end as question
    from words
    left join published on words.relation_id = published.relation_id

),

conditions as (

    select
        calls.relation_id,
        calls.policy,
        count(compared.name) as columns,
        string_agg(format('(%s = ANY (%s::text[]))', compared.name, calls.question), ' OR ' order by compared.place) as in_array,
        format('(%s = %s)', max(compared.name), max(calls.question)) as of_role,
        max(calls.question) filter (where calls.asks_readers) as of_everything
    from calls
    left join compared on calls.relation_id = compared.relation_id and calls.policy = compared.policy
    group by calls.relation_id, calls.policy

),

wanted as (

    select
        written.*,
        case
            when written.policy not in ('dpe_reader', 'dpe_mask') and written.declared_kind = 'tenant_column'
                then format('(( SELECT dpe.every_tenant_is_open() AS every_tenant_is_open) OR %s)', conditions.in_array)
            when written.policy not in ('dpe_reader', 'dpe_mask') then '( SELECT dpe.context_is_open() AS context_is_open)'
            when written.declared_kind in ('tenant_column', 'access')
                then format(case when conditions.columns > 1 then '(%s)' else '%s' end, conditions.in_array)
            when written.declared_kind = 'role_column' then conditions.of_role
            when written.declared_kind = 'shared' and conditions.of_everything is not null then conditions.of_everything
            when written.policy = 'dpe_mask'
                then '(NOT ( SELECT pg_has_role(''dpe_masked_reader''::name, ''usage''::text) AS pg_has_role))'
            when written.declared_kind = 'shared' then 'true'
        end as condition,
        case when written.policy = 'dpe_system' then '*' else 'r' end as wanted_command,
        case written.policy
            when
                'dpe_system'
                then case written.owner when 'dpe_loader' then array['dpe_loader', 'dpe_transformer'] else array['dpe_transformer'] end
            when 'dpe_transformer' then array['dpe_transformer']
            when 'dpe_admin' then array['dpe_owner']
            when 'dpe_mask' then array['dpe_reader']
            else array['dpe_reader', 'dpe_masked_reader']
        end as wanted_roles
    from written
    left join conditions on written.relation_id = conditions.relation_id and written.policy = conditions.policy

)

select
    relation as subject,
    format('has the policy %s, which does not match its declaration, %s', policy, declared_kind) as detail,
    'build it with dbt --full-refresh' as fix
from wanted
where
    not coalesce(
        using_words = condition
        and coalesce(check_words, condition) = condition
        and command = wanted_command
        and is_permissive = (policy <> 'dpe_mask')
        and (
            declared_kind <> 'access'
            or policy not in ('dpe_reader', 'dpe_mask')
            or replace(split_part(looked_up[1], '"."', 1), '"', '') = any($4::text[])
        ),
        false
    )
union all
select
    relation as subject,
    format('has the policy %s for %s', policy, array_to_string(roles, ', ')) as detail,
    format('alter policy %I on %s to %s', policy, relation, array_to_string(wanted_roles, ', ')) as fix
from wanted
where not roles <@ wanted_roles or (policy in ('dpe_reader', 'dpe_mask') and not wanted_roles <@ roles)
