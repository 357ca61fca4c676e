"""No transaction of dbt commits a relation without its policies: PostgreSQL itself checks each at the commit."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path

import psycopg
import pytest
from conftest import Cluster
from support import dbt_projects, schemas

from dpe_cli.project.dbt_runner import NodeResult, run_dbt
from dpe_cli.project.project import Project
from dpe_cli.server.contexts import system_context
from dpe_cli.server.server import Server

# An event trigger records what a transaction creates or alters, and a deferred trigger checks it at the commit.
GUARD = """
create schema guard;
grant usage on schema guard to public;
create table guard.touched (relation_id oid);

create function guard.note() returns event_trigger language plpgsql security definer as $$
begin
    insert into guard.touched
    select objid
    from pg_event_trigger_ddl_commands()
    where classid = 'pg_class'::regclass and schema_name in ('raw', 'core', 'finance', 'quality');
end $$;

create function guard.verify() returns trigger language plpgsql security definer as $$
declare
    unprotected text;
begin
    select relname into unprotected
    from pg_class
    where oid = new.relation_id
        and case relkind
            when 'v' then not coalesce('security_invoker=true' = any(reloptions), false)
            when 'm' then true
            when 'r' then not (
                relrowsecurity and relforcerowsecurity and exists (select from pg_policy where polrelid = pg_class.oid)
            )
        end;
    if found then
        raise exception '% is committed unprotected', unprotected;
    end if;
    return null;
end $$;

create constraint trigger verify after insert on guard.touched deferrable initially deferred
for each row execute function guard.verify();
create event trigger note on ddl_command_end execute function guard.note();
"""

# Each way in which dbt creates a relation. A batch covers a year, so that there are several.
DECLARATION = "meta={'rls': {'tenant_column': 'shop'}}, "
MODEL = "{{{{ config({declaration}contract={{'enforced': false}}, {config}) }}}} select * from {{{{ ref('orders') }}}}"
MICROBATCH = (
    "materialized='incremental', incremental_strategy='microbatch', unique_key='order_id', event_time='ordered_at', "
    "batch_size='year', begin='2024-01-01'"
)


def _model(config: str, declaration: str = DECLARATION) -> str:
    return MODEL.format(declaration=declaration, config=config)


PROJECT = {
    "seeds/orders.csv": """
        order_id,shop,ordered_at
        1,UA,2024-05-01
        2,HA,2025-05-01
        """,
    "seeds/_seeds.yml": """
        seeds:
          - name: orders
            config: {column_types: {shop: text, ordered_at: timestamp}}
        """,
    "snapshots/orders_history.yml": """
        snapshots:
          - name: orders_history
            relation: ref('orders')
            config: {schema: finance, unique_key: order_id, strategy: check, check_cols: all, meta: {rls: {tenant_column: shop}}}
        """,
    "models/finance/all_orders.sql": _model("materialized='table'"),
    "models/finance/orders_seen.sql": _model("materialized='view'"),
    "models/finance/added_orders.sql": _model("materialized='incremental', unique_key='order_id'"),
    "models/finance/batched_orders.sql": _model(MICROBATCH),
    "tests/singular/kept_in_a_table.sql": "{{ config(severity='warn', store_failures_as='table') }} select * from {{ ref('all_orders') }}",
    "tests/singular/kept_in_a_view.sql": "{{ config(severity='warn', store_failures_as='view') }} select * from {{ ref('all_orders') }}",
}


@pytest.fixture(scope="module")
def guarded(cluster_18: Cluster) -> Iterator[Server]:
    """Give a database that refuses to commit a relation without policies."""
    with cluster_18.new_database() as server:
        with server.connect("admin") as connection:
            connection.execute(GUARD.encode())
        yield server


@pytest.fixture(scope="module")
def project(scratch: Path) -> Project:
    """Write the project."""
    return Project(dbt_projects.make(scratch / "commits", PROJECT))


@pytest.fixture(scope="module")
def built(project: Project, guarded: Server) -> list[NodeResult]:
    """Build it for the first time."""
    return run_dbt(project, guarded, ["build"])


def _failed(results: Sequence[NodeResult]) -> dict[str, str]:
    return {result.name: result.message for result in results if result.status not in {"success", "warn"}}


def test_the_guard_refuses_what_is_unprotected(guarded: Server) -> None:
    """Without it, the other tests could not fail."""
    schemas.create(guarded, "finance")
    with (
        pytest.raises(psycopg.errors.RaiseException, match="unprotected is committed unprotected"),
        guarded.connect("transformer") as connection,
    ):
        connection.execute("create table finance.unprotected as select 1 as one")


def test_a_new_relation_is_committed_with_its_policies(built: list[NodeResult]) -> None:
    """Including each batch of a microbatch, whose hooks run after the last one, and stored failures, which have no hooks."""
    assert {} == _failed(built)


@pytest.mark.parametrize("command", [["build"], ["build", "--full-refresh"]], ids=["again", "full refresh"])
def test_a_replaced_relation_is_committed_with_its_policies(
    project: Project, guarded: Server, built: list[NodeResult], command: list[str]
) -> None:
    """The old relation under its new name, and the new one."""
    del built
    assert {} == _failed(run_dbt(project, guarded, command))


def test_a_microbatch_without_a_declaration_leaves_nothing(scratch: Path, guarded: Server) -> None:
    """It is refused before the first batch is committed."""
    models = {"models/finance/undeclared.sql": _model(MICROBATCH, declaration="")}
    project = Project(dbt_projects.make(scratch / "undeclared", PROJECT | models))
    run_dbt(project, guarded, ["run", "--select", "undeclared"])
    with guarded.connect("admin") as connection:
        assert (None,) == connection.execute("select to_regclass('finance.undeclared')").fetchone()


@pytest.mark.parametrize("model", ["added_orders", "batched_orders"])
def test_adding_rows_does_not_lock_readers_out(project: Project, guarded: Server, built: list[NodeResult], model: str) -> None:
    """A table's existing policies are left alone: setting them again would wait for its readers."""
    del built
    with guarded.connect("admin", autocommit=True) as connection:
        connection.execute(f'alter role dpe_transformer in database "{guarded.database}" set lock_timeout = 500')
    with closing(guarded.connect("transformer")) as reader, system_context(reader, actor="test"):
        reader.execute(f"select from finance.{model}")

        assert {} == _failed(run_dbt(project, guarded, ["run", "--select", model]))
