-- The memory of rules: the result of each test in each run of dbt, and the rows that failed it.
create table if not exists dpe.rule_results (
    invocation_id text not null,
    ran_at timestamptz not null,
    rule text,
    dimension text,
    test_id text not null,
    test text not null,
    model text,
    severity text not null check (severity in ('warn', 'error')),
    status text not null check (status in ('pass', 'warn', 'fail', 'error')),
    failures bigint,
    records bigint,
    share double precision,
    warn_if text not null,
    error_if text not null,
    duration_seconds double precision not null,
    actor text not null default current_setting('dpe.actor', true),
    project text not null default dpe.own_project(),
    target text not null default dpe.own_target(),
    primary key (invocation_id, test_id)
);

drop index if exists dpe.rule_results_rule_index;
create index if not exists rule_results_of_rule_index on dpe.rule_results (project, target, rule, ran_at);
drop index if exists dpe.rule_results_test_index;
create index if not exists rule_results_of_test_index on dpe.rule_results (project, target, test_id text_pattern_ops, ran_at);

create table if not exists dpe.rule_failures (
    test_id text not null,
    row_hash text not null,
    rule text,
    test text not null,
    row_key jsonb,
    failing_row jsonb not null,
    first_invocation_id text not null,
    first_seen_at timestamptz not null,
    last_seen_at timestamptz not null,
    resolved_at timestamptz,
    project text not null default dpe.own_project(),
    target text not null default dpe.own_target(),
    primary key (project, target, test_id, row_hash)
);

create index if not exists rule_failures_rule_index on dpe.rule_failures (rule, last_seen_at);

comment on table dpe.rule_results is 'One row per data test and run of dbt (dbt''s invocation). Skipped tests have none.';
comment on column dpe.rule_results.project is 'The dbt project that ran it.';
comment on column dpe.rule_results.target is 'The target of the project that it ran for.';
comment on column dpe.rule_results.rule is 'The id in the test''s meta; null for a test without one.';
comment on column dpe.rule_results.test_id is 'dbt''s unique id of the test.';
comment on column dpe.rule_results.model is 'The tested model, by its name in dbt; several are separated by commas.';
comment on column dpe.rule_results.failures is
'What the test counted: rows that break the rule, unless it has a fail_calc. Null if it did not complete.';
comment on column dpe.rule_results.records is
'Rows of the tested model: exact if the run built it as a table, else PostgreSQL''s estimate; null if neither is known, as for views.';
comment on column dpe.rule_results.share is
'Failures divided by records; null if records are not known or the test does not count rows.';
comment on table dpe.rule_failures is
'One row per row that breaks or broke a rule, as its test selects it; capped by meta.keep_rows. Business rows: auditors cannot read them.';
comment on column dpe.rule_failures.project is 'The dbt project of the test.';
comment on column dpe.rule_failures.target is 'The target of the project that it ran for.';
comment on column dpe.rule_failures.row_hash is 'SHA-256 (hexadecimal) of row_key, or of the row if no key is known.';
comment on column dpe.rule_failures.row_key is
'The columns that identify a row of the model; null if they are not known, or the test does not select them.';
comment on column dpe.rule_failures.first_seen_at is 'When it first failed; unchanged when it fails again.';
comment on column dpe.rule_failures.resolved_at is 'When the test first ran without finding it again; null while it fails.';

-- Called by the hook remember_rules (macros/ledger), once per run. It acts with the rights of dbt's session, and the queries that
-- it runs are those that this session has just run; `path` is their search_path.
create or replace function dpe.count_failures(query text, fail_calc text, path text)
returns bigint
language plpgsql
volatile
security invoker
set search_path = pg_catalog, pg_temp
as $$
declare
    counted bigint;
begin
    perform dpe.refuse_query_with_code(query, path);
    -- Lasts until the function ends, whose own search_path is fixed (docs: "CREATE FUNCTION", SET).
    perform set_config('search_path', path, true);
    execute 'select ' || fail_calc || ' from (' || query || E'\n) as dpe_failing' into counted;
    -- A function that the query calls may have changed something: this undoes it. Variables keep their values.
    raise exception 'counted';
exception
    when others then
        return counted;
end
$$;

comment on function dpe.count_failures(text, text, text) is 'What a test counts; null if its query can no longer run.';

-- Keeps the newest `wanted` rows of a test that still fail, and as many of those that no longer do.
create or replace function dpe.keep_newest_failures(of_test_id text, wanted integer)
returns void
language sql
volatile
security invoker
set search_path = pg_catalog, pg_temp
as $$
    delete from dpe.rule_failures
    where test_id = of_test_id and row_hash in (
        select row_hash
        from (
            select
                row_hash,
                row_number() over (
                    partition by resolved_at is null
                    order by last_seen_at desc, first_seen_at, row_hash
                ) as position
            from dpe.rule_failures
            where test_id = of_test_id
        ) as numbered
        where position > wanted
    )
$$;

comment on function dpe.keep_newest_failures(text, integer) is
'Deletes all rows of a test except the newest that still fail, and the newest that no longer do.';

create or replace function dpe.remember_failures(result jsonb, invocation text, seen_at timestamptz, path text)
returns text
language plpgsql
volatile
security invoker
set search_path = pg_catalog, pg_temp
as $$
declare
    wanted constant integer := (result ->> 'keep_rows')::integer;
    -- Null, as for a model without a key, if a name is missing.
    key_columns constant text[] := (
        select case when bool_and(value is not null) then array_agg(value) end
        from jsonb_array_elements_text(result -> 'key_columns')
    );
    query constant text := 'with dpe_failing as materialized (' || (result ->> 'query') || E'\n)'
        ' select coalesce(array_agg(to_jsonb(dpe_row.*)), array[]::jsonb[]) from ';
    found jsonb[];
begin
    begin
        perform dpe.refuse_query_with_code(result ->> 'query', path);
        perform set_config('search_path', path, true);
        -- A materialized CTE is planned for all of its rows but read only up to the limit. Planned for the limit, a query that
        -- returns fewer rows may take forever.
        begin
            -- Ordered, so that the same rows return each time: others would count as new, and the earlier ones as resolved.
            execute query || '(select * from dpe_failing order by dpe_failing.* limit $1) as dpe_row' into found using wanted + 1;
        exception
            -- Columns of type json or point cannot be ordered.
            when undefined_function then
                execute query || '(select * from dpe_failing limit $1) as dpe_row' into found using wanted + 1;
        end;
        -- Undo what functions that the query calls may have changed: dbt has compared what it built with the declarations already.
        raise exception 'found';
    exception
        when others then
            if found is null then
                return sqlerrm;
            end if;
    end;

    begin
        insert into dpe.rule_failures as kept (
            test_id, row_hash, rule, test, row_key, failing_row, first_invocation_id, first_seen_at, last_seen_at
        )
        select distinct on (hashed.row_hash)
            result ->> 'test_id',
            hashed.row_hash,
            result ->> 'rule',
            result ->> 'test',
            keyed.row_key,
            failing.failing_row,
            invocation,
            seen_at,
            seen_at
        from unnest(found[:wanted]) as failing (failing_row)
        cross join lateral (
            select case
                when failing.failing_row ?& key_columns
                    then (select jsonb_object_agg(name, failing.failing_row -> name) from unnest(key_columns) as name)
            end as row_key
        ) as keyed
        cross join lateral (
            -- The load that a row came from does not distinguish it.
            select encode(sha256(convert_to(coalesce(keyed.row_key, failing.failing_row - '_load_id')::text, 'UTF8')), 'hex') as row_hash
        ) as hashed
        order by hashed.row_hash
        on conflict (project, target, test_id, row_hash) do update
        set
            rule = excluded.rule,
            failing_row = excluded.failing_row,
            last_seen_at = excluded.last_seen_at,
            resolved_at = null;

        -- If the list was cut, the state of the other rows is unknown.
        if cardinality(found) <= wanted then
            update dpe.rule_failures
            set resolved_at = seen_at
            where test_id = result ->> 'test_id' and resolved_at is null and last_seen_at < seen_at;
        end if;
        perform dpe.keep_newest_failures(result ->> 'test_id', wanted);
    exception
        when others then
            -- One test's rows cost no other test its results.
            return sqlerrm;
    end;
    return null;
end
$$;

comment on function dpe.remember_failures(jsonb, text, timestamptz, text) is
'Reruns a test''s query and keeps its rows. Returns why it could not, or null.';

-- `schemas` are those of the search_path of dbt's session: current_schemas(false).
create or replace function dpe.remember_rules(invocation text, results jsonb, schemas name[])
returns table (test text, problem text)
language plpgsql
volatile
security invoker
set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_column
declare
    path constant text := dpe.safe_search_path(schemas);
    turn constant text := format('rule results %s %s', dpe.own_project(), dpe.own_target());
    seen_at timestamptz;
    result jsonb;
begin
    if not dpe.every_tenant_is_open() then
        raise exception 'no context for every tenant is open, so that tests see no rows, or only some'
            using hint = 'Run dbt as `dpe dbt`, or set PGOPTIONS with `eval "$(dpe env)"`.';
    end if;

    -- Runs of a project and target that end at the same time take turns; otherwise they could deadlock on each other's rows.
    insert into dpe_locks.locks (name)
    values (turn)
    on conflict do nothing;
    perform from dpe_locks.locks where name = turn for update;
    seen_at := clock_timestamp();

    insert into dpe.rule_results (
        invocation_id, ran_at, rule, dimension, test_id, test, model, severity, status, failures, records, share, warn_if, error_if,
        duration_seconds
    )
    select
        invocation,
        seen_at,
        given.rule,
        given.dimension,
        given.test_id,
        given.test,
        given.model,
        given.severity,
        given.status,
        counted.failures,
        known.records,
        case
            when given.fail_calc <> 'count(*)' then null
            when known.records > 0 then counted.failures::double precision / known.records
        end,
        given.warn_if,
        given.error_if,
        given.duration_seconds
    from jsonb_to_recordset(results) as given (
        rule text,
        dimension text,
        test_id text,
        test text,
        model text,
        relation text,
        severity text,
        status text,
        failures bigint,
        records bigint,
        warn_if text,
        error_if text,
        fail_calc text,
        query text,
        duration_seconds double precision
    )
    cross join lateral (
        -- dbt does not report the failures of a test that passes by its thresholds.
        select case
            when given.status = 'pass' and given.query is not null then dpe.count_failures(given.query, given.fail_calc, path)
            else given.failures
        end as failures
    ) as counted
    left join pg_catalog.pg_class as relation
        on relation.oid = to_regclass(given.relation) and relation.relkind in ('r', 'p') and relation.reltuples >= 0
    cross join lateral (
        select coalesce(given.records, relation.reltuples::bigint) as records
    ) as known;

    for result in
        select value
        from jsonb_array_elements(results)
        where value ->> 'query' is not null
    loop
        problem := dpe.remember_failures(result, invocation, seen_at, path);
        if problem is not null then
            test := result ->> 'test';
            return next;
        end if;
    end loop;

    update dpe.rule_failures
    set resolved_at = seen_at
    where resolved_at is null and test_id in (
        select value ->> 'test_id'
        from jsonb_array_elements(results)
        where value ->> 'status' = 'pass' and value ->> 'query' is null
    );
end
$$;

comment on function dpe.remember_rules(text, jsonb, name[]) is
'Writes what a run of dbt''s tests found to the memory of rules; returns the tests whose rows could not be kept, and why.';

create or replace function dpe.resolve_failures_of_other_tests(project text, test_ids text[])
returns void
language sql
volatile
security invoker
set search_path = pg_catalog, pg_temp
as $$
    update dpe.rule_failures
    set resolved_at = clock_timestamp()
    where resolved_at is null
        and split_part(test_id, '.', 2) = resolve_failures_of_other_tests.project
        and test_id <> all(test_ids)
$$;

comment on function dpe.resolve_failures_of_other_tests(text, text[]) is
'Resolves the rows of tests that a dbt project no longer has, because no run would ever update them.';

do $$
declare
    memory_table text;
    is_own constant text := '(select dpe.every_tenant_is_open()) and project = (select dpe.own_project()) and target = (select dpe.own_target())';
begin
    foreach memory_table in array array['rule_results', 'rule_failures'] loop
        execute format('alter table dpe.%I owner to dpe_owner', memory_table);
        execute format('alter table dpe.%I enable row level security', memory_table);
        execute format('alter table dpe.%I force row level security', memory_table);
        execute format('revoke all on dpe.%I from public, dpe_loader, dpe_transformer, dpe_reader, dpe_auditor, dpe_tenant, dpe_masked_reader cascade', memory_table);

        execute format('drop policy if exists admin_in_context on dpe.%I', memory_table);
        execute format(
            'create policy admin_in_context on dpe.%I for all to dpe_owner using ((select dpe.context_is_open())) with check ((select dpe.context_is_open()))',
            memory_table
        );
        -- The rows do not say which tenant they belong to.
        execute format('drop policy if exists transformer_in_context on dpe.%I', memory_table);
        execute format(
            'create policy transformer_in_context on dpe.%1$I for all to dpe_transformer using (%2$s) with check (%2$s)', memory_table, is_own
        );
    end loop;
end
$$;

grant select, insert on dpe.rule_results to dpe_transformer;
grant select, insert, update, delete on dpe.rule_failures to dpe_transformer;

-- Auditors may read counts, but not business rows.
drop policy if exists auditor_reads on dpe.rule_results;
create policy auditor_reads on dpe.rule_results for select to dpe_auditor using (true);
grant select on dpe.rule_results to dpe_auditor;
