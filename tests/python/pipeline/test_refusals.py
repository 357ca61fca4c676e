"""What is built, waits or is restored is judged before readers see it: whatever its authors did, and whenever."""

from __future__ import annotations

import re
from collections.abc import Iterator, MutableMapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import psycopg
import pytest
from babel import Locale
from conftest import numbers
from dbt.adapters.base import BaseRelation, Column
from dbt.artifacts.schemas import results as dbt_results
from dbt.context.base import get_context_modules
from dbt.version import __version__ as dbt_version
from dbt_common.contracts.config.base import BaseConfig
from dbt_common.dataclass_schema import StrEnum
from dbt_common.events.functions import get_metadata_vars
from psycopg import sql
from support.dbt_projects import Silence
from support.shop import DOUBLED, WEDNESDAY, Shop

from dpe_cli.access import matrix, visibility
from dpe_cli.access.matrix import Cell
from dpe_cli.access.samples import MeasuredRelation
from dpe_cli.errors import PublishError
from dpe_cli.ingest.extract import ExtractSummary
from dpe_cli.outputs import notification
from dpe_cli.pipeline import checks, protection, publish, refusals
from dpe_cli.pipeline.build import BuildResult
from dpe_cli.pipeline.run import RunSummary
from dpe_cli.pipeline.validate import Validation
from dpe_cli.project.dbt_runner import NodeResult, run_dbt
from dpe_cli.publishing import publication, publisher
from dpe_cli.server.connection import Connection
from dpe_cli.server.contexts import system_context

FCT_ORDERS = "{{{{ config(post_hook={hooks}) }}}} select order_id, shop, amount from {{{{ ref('stg_shop__orders') }}}}"
PUBLISHED = {"raw.stg_shop__orders", "finance.fct_orders", "finance.dim_shops"}
# From dbt 1.12 on, each access to a node in `graph` makes a copy: what Jinja changes in it has no effect.
GRAPH_CAN_BE_CHANGED = dbt_version.startswith("1.11.")


RESULT = NodeResult(
    "model.shops.fct_orders",
    "fct_orders",
    "fct_orders.sql",
    "model",
    "success",
    None,
    "",
    0.1,
    None,
    None,
    None,
    "",
    "finance__next",
    "fct_orders",
)


# What becomes of a run with a node of each status that dbt 1.11 and 1.12 know, for models, tests and sources.
GOOD, SKIPPED, BAD = "published", "skipped, although nothing failed", "failed"
STATUSES = {
    "success": GOOD,
    "pass": GOOD,
    "warn": GOOD,
    "no-op": GOOD,
    "skipped": SKIPPED,
    "error": BAD,
    "fail": BAD,
    "runtime error": BAD,
    "partial success": BAD,
    "reused": BAD,
    "unheard of": BAD,
}


def test_each_status_of_dbt_is_judged() -> None:
    """A version of dbt with another one makes this fail, so that somebody decides whether it is a good one."""
    kinds = [kind for kind in vars(dbt_results).values() if isinstance(kind, type) and issubclass(kind, StrEnum) and kind is not StrEnum]
    # Of nodes that have not ended.
    kinds.remove(dbt_results.RunningStatus)

    assert {"NodeStatus", "RunStatus", "TestStatus", "FreshnessStatus"} == {kind.__name__ for kind in kinds}
    assert {status.value for kind in kinds for status in kind} <= STATUSES.keys()


@pytest.mark.parametrize(("status", "judgement"), STATUSES.items())
def test_only_what_dbt_did_completely_is_published(status: str, judgement: str) -> None:
    """A status that does not say so refuses, is notified and counts as failed, as `partial success` does: a part of the rows is missing."""
    result = replace(RESULT, status=status)
    refused = refusals.of_nodes([RESULT, result], [])
    build = BuildResult([RESULT, result], refused=refused)
    outcome = notification.of_summary(RunSummary(ExtractSummary([], 0), build, Validation([], build.results, [])))

    if judgement == GOOD:
        assert ([], []) == (refused, outcome.faults)
    else:
        expected = f"model fct_orders {'was ' if judgement == SKIPPED else ''}{judgement}"
        assert refused[0].startswith(expected)
        assert expected in outcome.faults[0]
    assert outcome.has_failed == bool(refused)
    assert result.has_failed == (judgement == BAD)


def test_what_was_skipped_because_something_failed_is_not_named() -> None:
    """The failure says more."""
    assert ["model fct_orders failed"] == refusals.of_nodes([replace(RESULT, status="error"), replace(RESULT, status="skipped")], [])


# What authors can write into a model to contradict its YAML, with dpe's own macros and functions.
FORGED = {
    "private_orders": """
        {{ config(meta={'rls': {'private': true}}, contract={'enforced': false}, materialized='incremental',
            post_hook="{{ dpe.protect_table(this, {'shared': true}, model.unique_id) }}") }}
        select * from {{ ref('stg_shop__orders') }}
        """,
    "masked_orders": """
        {{ config(meta={'rls': {'tenant_column': 'shop'}, 'masked': ['amount']}, contract={'enforced': false}, materialized='incremental',
            post_hook="grant select on {{ this }} to dpe_masked_reader;"
            ~ "{{ dpe.remember_protection(this, model.unique_id, 'tenant_column shop') }}") }}
        select * from {{ ref('stg_shop__orders') }}
        """,
    "granted_orders": """
        {{ config(meta={'rls': {'tenant_column': 'shop'}}, contract={'enforced': false}, materialized='incremental',
            post_hook="grant truncate on {{ this }} to dpe_auditor; grant insert (shop) on {{ this }} to dpe_reader;"
            ~ "{{ dpe.remember_protection(this, model.unique_id, 'tenant_column shop') }}") }}
        select * from {{ ref('stg_shop__orders') }}
        """,
    # Queries one of PostgreSQL's own tables, with the same result for every reader.
    "answered_orders": """
        {{ config(meta={'rls': {'access': {'model': 'managers', 'column': 'shop', 'role_column': 'manager'}}}, contract={'enforced': false},
            materialized='incremental', post_hook="alter policy dpe_reader on {{ this }} using"
            ~ " ('true'::text = any ((select dpe.granted_keys('pg_catalog.pg_roles', 'rolinherit', 'rolname'))::text[]));"
            ~ "{{ dpe.remember_protection(this, model.unique_id, 'access') }}") }}
        select * from {{ ref('stg_shop__orders') }}
        """,
    # A type whose author defines equality.
    "tagged_orders": """
        {{ config(meta={'rls': {'tenant_column': 'shop'}}, contract={'enforced': false}, materialized='incremental',
            post_hook="do $x$ begin create type raw.tag as enum ('UA', 'HA');"
            ~ "create function raw.tag_text(raw.tag) returns text language sql as $$ select 'UA' $$;"
            ~ "create cast (raw.tag as text) with function raw.tag_text(raw.tag); end $x$;"
            ~ "drop policy dpe_system on {{ this }}; drop policy dpe_admin on {{ this }}; drop policy dpe_reader on {{ this }};"
            ~ "alter table {{ this }} alter column shop type raw.tag using shop::raw.tag;"
            ~ "create policy dpe_reader on {{ this }} for select to dpe_reader"
            ~ " using (shop::text = any ((select dpe.visible_tenants())::text[]));"
            ~ "{{ dpe.remember_protection(this, model.unique_id, 'tenant_column shop') }}") }}
        select * from {{ ref('stg_shop__orders') }}
        """,
    "managers": """
        {{ config(meta={'rls': {'role_column': 'manager'}}, contract={'enforced': false}) }}
        select 'UA'::text as shop, 'nobody'::text as manager
        """,
    # The versions of a model have one name.
    "versioned_orders_v1": """
        {{ config(contract={'enforced': false}, materialized='incremental',
            post_hook="{{ dpe.protect_table(this, {'shared': true}, model.unique_id) }}") }}
        select * from {{ ref('stg_shop__orders') }}
        """,
    "versioned_orders_v2": "{{ config(contract={'enforced': false}) }} select * from {{ ref('stg_shop__orders') }}",
    # By another author, who substitutes another table for the one that it names.
    "looked_up_orders": """
        {{ config(meta={'rls': {'access': {'model': 'managers', 'column': 'shop', 'role_column': 'manager'}}}, contract={'enforced': false}) }}
        -- depends_on: {{ ref('changing_orders') }}
        select * from {{ ref('stg_shop__orders') }}
        """,
    "changing_orders": """
        -- depends_on: {{ ref('stg_shop__orders') }}
        {% if execute %}
            {% do builtins.ref.manifest.nodes['model.shops.changed_orders'].config.meta.update({'rls': {'shared': true}}) %}
            {% do graph.nodes['model.shops.managers'].update({'alias': 'private_orders'}) %}
        {% endif %}
        {{ config(meta={'rls': {'private': true}}, contract={'enforced': false}) }}
        select 1 as one
        """,
    "changed_orders": """
        {{ config(meta={'rls': {'private': true}}, contract={'enforced': false}) }}
        -- depends_on: {{ ref('changing_orders') }}
        select * from {{ ref('stg_shop__orders') }}
        """,
}

VERSIONS = """
    models:
      - name: versioned_orders
        latest_version: 2
        config: {meta: {rls: {private: true}}}
        versions: [{v: 1}, {v: 2}]
    """


def test_what_is_not_protected_as_declared_is_not_published(new_shop: Shop) -> None:
    """Not even if a model's hooks or Jinja make PostgreSQL, the ledger or dbt believe in another declaration."""
    new_shop.write({f"models/finance/{name}.sql": text for name, text in FORGED.items()})
    new_shop.write({"models/finance/_versions.yml": VERSIONS})

    summary = new_shop.run()

    assert summary.build.not_published is not None
    for fault in (
        "finance__next.versioned_orders_v1: has the policy dpe_reader, which its declaration, private, does not call for",
        "finance__next.private_orders: has the policy dpe_reader, which its declaration, private, does not call for",
        "finance__next.masked_orders: shows masked readers the column amount, which meta.masked hides",
        "finance__next.granted_orders: is granted to dpe_auditor, which neither meta.readers nor grants names",
        "finance__next.granted_orders: grants insert (shop) to dpe_reader, which may only read",
        "finance__next.changed_orders: has the policy dpe_reader, which its declaration, private, does not call for",
        "finance__next.answered_orders: has the policy dpe_reader, ('true'::text = ANY (",
        *(["finance__next.looked_up_orders: has the policy dpe_reader, (shop = ANY ("] if GRAPH_CAN_BE_CHANGED else []),
        "finance__next.tagged_orders: compares the column shop, which is raw.tag; cast it to text",
    ):
        assert fault in summary.build.not_published


# Puts a view in the place of another model's table, and has dpe record it as that model's.
IN_PLACE = {
    "models/finance/replacing.sql": """
        {{ config(meta={'rls': {'tenant_column': 'shop'}}, contract={'enforced': false}, post_hook=[
            "drop table finance__next.fct_orders; create view finance__next.fct_orders as select * from {{ this }}",
            "{{ dpe.protect_view(api.Relation.create(schema='finance__next', identifier='fct_orders', type='view'), {'tenant_column': 'shop'},"
            ~ " 'model.shops.fct_orders', ['dpe_reader', 'dpe_masked_reader']) }}"
        ]) }}
        select order_id, 'HA' as shop, 999 as amount from {{ ref('fct_orders') }}
        """
}


def test_a_view_in_the_place_of_a_table_is_not_published(shop: Shop) -> None:
    """Even if it is protected and recorded as the table's model: what it shows is not what the model selects."""
    shop.write(IN_PLACE)

    refused = shop.run().build.not_published

    assert refused is not None
    assert "finance__next.fct_orders: is a view, but the model fct_orders makes a table" in refused
    assert [1, 2, 3] == shop.orders()


# What a model can do to published relations that are not built with it: declare something else, and show another table's rows in one.
ELSEWHERE = {
    "models/finance/forging.sql": """
        {{ config(meta={'rls': {'private': true}}, contract={'enforced': false}, post_hook=[
            "{{ dpe.protect_table(api.Relation.create(schema='finance', identifier='fct_orders', type='table'), {'shared': true},"
            ~ " 'model.shops.fct_orders') }}",
            "create schema parts; create table parts.part () inherits (finance.dim_shops)"
        ]) }}
        select 1 as one
        """
}


def test_what_is_published_is_compared_with_the_files(shop: Shop) -> None:
    """By each check, also relations that the run did not build: other models' hooks can change what PostgreSQL says was declared."""
    shop.write(ELSEWHERE)

    summary = shop.run("forging")

    assert summary.validation is not None
    [check] = [one for one in summary.validation.checks if one.name == "row-level security"]
    for fault in (
        "finance.fct_orders: has the policy dpe_reader, true, which does not match its declaration, tenant_column shop; check what hooks",
        "finance.dim_shops: has the child parts.part, whose rows appear in it",
    ):
        assert any(found.startswith(fault) for found in check.faults)
    assert {("RLS046", "finance.dim_shops"), ("RLS071", "finance.fct_orders"), ("RLS071", "finance.dim_shops")} == {
        (finding.check_id, finding.subject) for finding in protection.check_rls(shop.project, shop.server) if finding.severity == "error"
    }


def test_extensions_of_a_login_refuse_no_publication(shop: Shop) -> None:
    """Wherever it put them before the event trigger refused it: each is a warning, and the run publishes."""
    login = f"extending_{next(numbers)}"
    extensions = {
        "citext": "dpe",
        "lo": "dpe_locks",
        "hstore": "finance",
        "seg": "finance__previous",
        "isn": "raw",
        "intarray": "pg_catalog",
    }
    assert shop.run().holds
    with shop.server.connect("admin", autocommit=True) as connection:
        connection.execute(
            sql.SQL("create role {0} login; grant create on database {1} to {0}; set role {0}").format(
                *map(sql.Identifier, (login, shop.server.database))
            )
        )
        for name, schema in extensions.items():
            connection.execute(sql.SQL("create extension {} schema {}").format(*map(sql.Identifier, (name, schema))))
        connection.execute("reset role")
        try:
            for _ in range(2):
                summary = shop.run()

                assert summary.holds, summary
                assert summary.validation is not None
                [check] = [one for one in summary.validation.checks if one.name == "row-level security"]
                assert [
                    f"{name}: belongs to {login}, and is in the schema {schema}; drop extension {name}; "
                    "if models need it, install it in another schema as an administrator"
                    for name, schema in sorted(extensions.items())
                ] == [warning for warning in check.warnings if "belongs to" in warning]
                assert not check.faults
        finally:
            connection.execute(sql.SQL("drop owned by {0} cascade; drop role {0}").format(sql.Identifier(login)))


# A rule of fct_orders keeps cheap orders out; another model's Jinja removes it from dbt's graph while fct_orders is built.
TAMPERING = {
    "models/finance/_rule.yml": """
        models:
          - name: fct_cheap
            config: {meta: {rls: {tenant_column: shop}}, contract: {enforced: false}}
            columns:
              - name: amount
                data_tests:
                  - accepted_values:
                      name: amounts_are_known
                      arguments: {values: [10, 20], quote: false}
                      config: {severity: warn, meta: {rule: SHOP-1-02, on_failure: quarantine, quarantine: {max_rows: 9}}}
          - name: fct_dated
            config: {meta: {rls: {tenant_column: shop}}, contract: {enforced: false}}
            columns:
              - name: amount
                data_tests:
                  - accepted_values:
                      name: dated_amounts_are_known
                      arguments: {values: [10, 20], quote: false}
                      config: {severity: warn, meta: {rule: SHOP-1-03, on_failure: quarantine, quarantine: {max_rows: 9}}}
          - name: fct_small
            config: {meta: {rls: {tenant_column: shop}, since: 2024-01-01}}
            columns:
              - {name: shop, data_type: text}
              - {name: amount, data_type: integer, constraints: [{type: check, expression: "amount < 99"}]}
        unit_tests:
          - name: amounts_stay_the_same
            model: fct_small
            given: [{input: ref('stg_shop__orders'), rows: [{shop: UA, amount: 1}]}]
            expect: {rows: [{shop: UA, amount: 1}]}
          - name: shops_stay_the_same
            model: fct_small
            given: [{input: ref('stg_shop__orders'), format: csv, rows: "shop,amount\\nUA,1"}]
            expect: {rows: [{shop: UA}]}
        """,
    "models/finance/fct_small.sql": "-- depends_on: {{ ref('dim_before') }}\nselect shop, amount from {{ ref('stg_shop__orders') }}",
    "models/finance/fct_cheap.sql": "-- depends_on: {{ ref('dim_before') }}\nselect order_id, shop, amount from {{ ref('stg_shop__orders') }}",
    "models/finance/fct_dated.sql": "-- depends_on: {{ ref('dim_before') }}\nselect order_id, shop, amount from {{ ref('stg_shop__orders') }}",
    "models/finance/dim_before.sql": """
        {{ config(meta={'rls': {'private': true}}, contract={'enforced': false}) }}
        {% if execute %}{% for node in graph.nodes.values() if node.name in ['amounts_are_known', 'dated_amounts_are_known'] %}
            {% do node.config.meta.pop('on_failure') %}
        {% endfor %}
        {% set manifest = builtins.ref.manifest %}
        {% for node in manifest.nodes.values() if node.name in ['fct_dated', 'dated_amounts_are_known'] %}
            {% do node.meta.update({'since': modules.datetime.date(2024, 1, 1)}) %}
        {% endfor %}
        {% do manifest.nodes['model.shops.fct_small'].columns.amount.constraints.clear() %}
        {% do manifest.unit_tests['unit_test.shops.fct_small.amounts_stay_the_same'].expect.rows[0].update({'amount': 2}) %}
        {% do manifest.get_macros_by_name()['quoted'].append(manifest.macros['macro.dpe.quoted']) %}
        {% do manifest.ref_lookup.storage.update({'dim_gone': {'dpe': 'model.shops.dim_shops'}}) %}
        {% do selected_resources.append('model.shops.dim_gone') %}
        {% do builtins.ref.config.vars.vars.update({'dpe_keep_rows': 0}) %}
        {% do builtins.ref.config.quoting.update({'database': false}) %}
        {% do manifest.source_lookup.storage.update({'shop.gone': {'shops': 'source.shops.shop.shops'}}) %}
        {% do manifest.function_lookup.storage.update({'gone': {'shops': 'function.shops.gone'}}) %}
        {% do flags.WARN_ERROR_OPTIONS.silence.append('NodeNotFoundOrDisabled') %}
        {% do api.Column.TYPE_LABELS.update({'INTEGER': 'text'}) %}
        {% do modules.pytz.common_timezones.append('Mars/Olympus_Mons') %}
        {% do modules.pytz.country_names.data.update({'MM': 'Mars'}) %}
        {% do dbt_metadata_envs.update({'planet': 'Mars'}) %}
        {% do builtins.ref.model.config.mergebehavior['append'].append('grants') %}
        {% do api.Relation.create(identifier='x').Config.aliases.update({'a': 'b'}) %}
        {% set package = adapter.config.dependencies['dbt_postgres'] %}
        {% do package.vars.vars.update({'keep': 3}) %}{% do package.dispatch.append({'macro_namespace': 'dbt', 'search_order': ['shops']}) %}
        {% for type in run_query('select 1.5 as one').column_types %}
            {% do type.locale.number_symbols['latn'].update({'decimal': ',', 'group': '.'}) %}
        {% endfor %}
        {% endif %}
        select 1 as one
        """,
    "models/finance/dim_hiding.sql": """
        -- depends_on: {{ ref('fct_cheap') }} {{ ref('fct_dated') }}
        {{ config(meta={'rls': {'private': true}}, contract={'enforced': false}) }}
        {% if execute %}{% for node in graph.nodes.values() if node.name in ['amounts_are_known', 'dated_amounts_are_known'] %}
            {% set limit = node.config.meta.pop('quarantine') %}
            {% do node.config.meta.update({'on_failure': 'quarantine'}) %}{% do node.config.meta.update({'quarantine': limit}) %}
        {% endfor %}
        {% for node in builtins.ref.manifest.nodes.values() if node.name in ['fct_dated', 'dated_amounts_are_known'] %}
            {% do node.meta.pop('since') %}
        {% endfor %}{% endif %}
        select 1 as one
        """,
}


@contextmanager
def _restored() -> Iterator[None]:
    """Undo what is changed in containers of libraries, which outlive a run."""
    pytz = get_context_modules()["pytz"]
    containers: list[Any] = [
        Column.TYPE_LABELS,
        BaseRelation.Config.aliases,
        BaseConfig.mergebehavior["append"],
        pytz["common_timezones"],
        pytz["country_names"].data if pytz["country_names"] else {},
        get_metadata_vars(),
        Locale.parse("en_US").number_symbols["latn"],
    ]
    copies = [dict(one) if isinstance(one, MutableMapping) else list(one) for one in containers]
    try:
        yield
    finally:
        for container, content in zip(containers, copies, strict=True):
            container.clear()
            (container.update if isinstance(container, MutableMapping) else container.extend)(content)


def test_what_dbt_ran_otherwise_than_it_was_read_is_not_published(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    Jinja that changes other nodes, or dbt's own variables, is found, and what it changed is named.

    Even if it changes it back afterwards, as it does with another model's rule; and if it adds a date, which dbt cannot write into its
    events, so that these do not say which node they are about.
    """
    # With it, dbt raises an error instead of leaving the event empty.
    monkeypatch.delenv("PYTEST_CURRENT_TEST")
    shop.write(TAMPERING)

    with _restored():
        summary = shop.run("dim_hiding", "fct_small")

    assert summary.build.not_published is not None
    assert (
        "selected_resources: was changed in dbt while the project was built; check for Jinja that changes nodes, macros or dbt's own variables"
        in summary.build.not_published
    )
    changed = re.findall(r"(?:^|; )([^;]+): was changed in dbt", summary.build.not_published)
    assert [re.sub(r"^(test.*)\.\w+$", r"\1", name) for name in changed] == [
        "api.Column",
        "api.Relation",
        "dbt's configuration",
        "dbt's configuration of the package dbt_postgres",
        "dbt_metadata_envs",
        "flags",
        "how configurations are merged",
        "how seeds are read",
        "macros",
        "model.shops.fct_dated",
        "model.shops.fct_small",
        "modules",
        "selected_resources",
        *(["test.shops.amounts_are_known"] if GRAPH_CAN_BE_CHANGED else []),
        "test.shops.dated_amounts_are_known",
        "unit_test.shops.fct_small.amounts_stay_the_same",
        "vars",
        "vars of the package dbt_postgres",
        "what function() finds",
        "what ref() finds",
        "what source() finds",
    ]


def test_what_jinja_changed_in_libraries_while_dbt_read_the_project_is_found(shop: Shop) -> None:
    """They are shared by all runs of dbt in a process, from the first one to the one that builds."""
    shop.write(
        {
            "models/finance/dim_before.sql": """
                {{ config(meta={'rls': {'private': true}}, contract={'enforced': false}) }}
                {% if not execute %}{% do api.Column.TYPE_LABELS.update({'UUID': 'text'}) %}{% endif %}
                select 1 as one
                """
        }
    )

    with _restored():
        summary = shop.run("fct_orders")

    assert summary.build.not_published is not None
    assert summary.build.not_published.startswith("api.Column: was changed in dbt while the project was built")


# What a hook of fct_orders creates next to dim_shops, whose declaration it would borrow, with dpe's policies and comments.
STRAYS = [("finance", "dim_shops__masked"), ("finance", "dim_shops__quarantine"), ("finance__next", "dim_shops__quarantine")]
MAKE_STRAY = (
    "create table {schema}.{name} as select 1 as one, now() as _quarantined_at; "
    "{{{{ dpe.protect_table(api.Relation.create(schema='{schema}', identifier='{name}', type='table'), {{'shared': true}}, 'model.shops.fct_orders',"
    " ['dpe_reader', 'dpe_masked_reader']) }}}}"
)


def test_a_relation_without_a_model_is_not_published(shop: Shop) -> None:
    """Whatever its policies and comments say: the project does not declare it. `dpe rls check` finds it as well."""
    hooks = [MAKE_STRAY.format(schema=schema, name=name) for schema, name in STRAYS]
    shop.write({**WEDNESDAY, "models/finance/fct_orders.sql": FCT_ORDERS.format(hooks=hooks)})

    summary = shop.run()

    assert summary.build.not_published is not None
    assert summary.build.publication is not None
    for schema, name in STRAYS:
        assert f"{schema}.{name}: may be read by dpe_masked_reader, dpe_reader, but dim_shops " in summary.build.not_published
    assert PUBLISHED == {str(relation) for relation in summary.build.publication.relations}
    assert [1, 2, 3] == shop.orders()
    assert [("RLS070", "finance.dim_shops__masked"), ("RLS070", "finance.dim_shops__quarantine")] == [
        (finding.check_id, finding.subject) for finding in protection.check_rls(shop.project, shop.server)
    ]
    assert summary.validation is not None
    assert any("finance.dim_shops__masked" in fault for check in summary.validation.checks for fault in check.faults)


OPEN = "create policy dpe_open on {} for select to dpe_reader using (true)"
# A view that opens another relation of the same build when dpe's own session counts it.
OPENING = {
    "models/finance/private_orders.sql": (
        "{{ config(meta={'rls': {'private': true}}, contract={'enforced': false}) }} select * from {{ ref('stg_shop__orders') }}"
    ),
    "models/finance/counted_orders.sql": """
        -- depends_on: {{ ref('private_orders') }}
        {{ config(
            materialized='view',
            contract={'enforced': false},
            meta={'rls': {'private': true}, 'reconcile': {'from': 'stg_shop__orders'}},
            pre_hook="
                create schema if not exists code;
                create or replace function code.open() returns boolean language plpgsql as $f$
                begin
                    if (select setting from pg_settings where name = 'application_name') like 'dpe%' then
                        execute '__OPEN__';
                    end if;
                    return true;
                exception when duplicate_object or undefined_table then
                    return true;
                end $f$;"
        ) }}
        select * from {{ ref('stg_shop__orders') }} where code.open()
        """.replace("__OPEN__", OPEN.format("finance__next.private_orders")),
}


def test_code_that_counting_a_model_calls_changes_nothing(new_shop: Shop) -> None:
    """The transaction that counts is read-only: what would weaken the protection of another model fails, and nothing is published."""
    new_shop.write(OPENING)

    summary = new_shop.run()

    assert summary.build.not_published is not None
    said = "counted_orders: cannot be counted (cannot execute CREATE POLICY in a read-only transaction)"
    assert said in summary.build.not_published
    with new_shop.server.connect("admin") as connection:
        assert [] == connection.execute("select from pg_policy where polname = 'dpe_open'").fetchall()


def _as_an_author(shop: Shop, *statements: str) -> None:
    """Do what a model's hook or Jinja can do."""
    with shop.server.connect("transformer") as connection, system_context(connection, actor="dbt"):
        for statement in statements:
            connection.execute(statement.encode())


# What an author's other session can change after the check, each one judged with what the ones before left.
LATE_CHANGES = (
    "grant insert on finance__next.fct_orders to dpe_reader",
    "create trigger late before update on finance__next.fct_orders for each row execute function suppress_redundant_updates_trigger()",
    "alter table finance__next.fct_orders enable always trigger late",
    "create rule late as on delete to finance__next.fct_orders where false do instead nothing",
    "create or replace rule late as on delete to finance__next.fct_orders do instead nothing",
)


def test_what_changes_after_the_check_is_not_published(shop: Shop) -> None:
    """The transaction that swaps relations compares their protection with what was judged."""
    shop.write(WEDNESDAY)
    summary = shop.run(publishes=False)
    assert summary.build.publication is not None
    with publisher.connected(shop.server) as connection:
        for change in LATE_CHANGES:
            judged = publication.protection(connection, summary.build.publication.relations)
            connection.rollback()
            _as_an_author(shop, change)

            with pytest.raises(PublishError, match="finance.fct_orders: its protection was changed after it was checked; run `dpe run`"):
                publication.publish(connection, summary.build.publication, shop.project.published_schemas, judged=judged)
            connection.rollback()

    assert [1, 2, 3] == shop.orders()


def test_what_waits_and_what_is_restored_is_judged_again(shop: Shop) -> None:
    """Since it was built or replaced, hooks and Jinja of models may have opened it or substituted something else."""

    def undo() -> None:
        publish.undo(shop.project, shop.server, ends_sessions=False, progress=Silence())

    shop.write(WEDNESDAY)
    shop.run(publishes=False)
    _as_an_author(shop, OPEN.format("finance__next.fct_orders"))
    with pytest.raises(
        PublishError,
        match=r"publication 2: was not published \(finance__next.fct_orders: shows all rows to dpe_reader through the policy dpe_open",
    ):
        publish.publish(shop.project, shop.server, ends_sessions=False, progress=Silence())
    _as_an_author(shop, "drop policy dpe_open on finance__next.fct_orders", "revoke select on finance__next.fct_orders from dpe_reader")
    with pytest.raises(PublishError, match=r"publication 2: was not published \(finance.fct_orders: HA sees 0 rows instead of 2"):
        publish.publish(shop.project, shop.server, ends_sessions=False, progress=Silence())
    _as_an_author(shop, "grant select on finance__next.fct_orders to dpe_reader")
    publish.publish(shop.project, shop.server, ends_sessions=False, progress=Silence())
    assert [1, 2, 3, 4] == shop.orders()

    _as_an_author(shop, OPEN.format("finance__previous.fct_orders"))
    with pytest.raises(
        PublishError, match=r"was not undone, .* \(finance__previous.fct_orders: shows all rows to dpe_reader through the policy dpe_open"
    ):
        undo()
    _as_an_author(
        shop,
        "alter table finance__previous.fct_orders rename to replaced_orders",
        "create table finance__previous.fct_orders (like finance.fct_orders including all)",
    )
    with publisher.connected(shop.server) as connection, pytest.raises(PublishError, match="finance__previous.fct_orders: was rebuilt"):
        publication.undo(connection, shop.project.published_schemas)
    _as_an_author(
        shop,
        "drop table finance__previous.fct_orders",
        "alter table finance__previous.replaced_orders rename to fct_orders",
        "drop policy dpe_open on finance__previous.fct_orders",
    )
    shop.change_columns("{tenant_column: shop}", "{private: true}")
    with pytest.raises(
        PublishError, match=r"finance__previous.fct_orders: has the policy .* which does not match its declaration, private"
    ):
        undo()
    shop.change_columns("{private: true}", "{tenant_column: shop}")
    undo()
    assert [1, 2, 3] == shop.orders()


REWRITING = (
    "update dpe.publications set status = 'built', refused_because = null",
    "update dpe.publications set status = 'published', published_at = now(), replaced = '[]', refused_because = null",
    "insert into dpe.publications (status, selection, relations) select 'built', '', relations from dpe.publications",
    """
    insert into dpe.publications (publication_id, status, selection, relations) overriding system value
    select 1000, 'built', '', '[]' from dpe.publications
    """,
    "update dpe.publications set relations = '[]'",
    "delete from dpe.publications",
)


def test_what_was_refused_stays_refused(shop: Shop) -> None:
    """Hooks and Jinja act as the role that publishes, but cannot change that."""
    shop.write(DOUBLED)
    assert shop.run().build.not_published is not None

    for statement in REWRITING:
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            _as_an_author(shop, f"{statement} where status = 'refused'")
    with pytest.raises(PublishError, match="is refused .rule SHOP-1-01 failed"):
        publish.publish(shop.project, shop.server, ends_sessions=False, progress=Silence())


ALL_ORDERS = """
    {{ config(materialized='view', contract={'enforced': false}, meta={'rls': {'tenant_column': 'shop'}}) }}
    select * from {{ ref('fct_orders') }}
    """
TOUCHY = {
    "models/finance/touchy_orders.sql": """
        {{ config(
            materialized='view',
            contract={'enforced': false},
            meta={'rls': {'tenant_column': 'shop'}},
            pre_hook="
                create schema if not exists code;
                create or replace function code.no() returns boolean language plpgsql as $f$
                begin
                    if current_user in ('dpe_reader', 'dpe_tenant') then
                        raise exception 'not for readers';
                    end if;
                    return true;
                end $f$;
                grant usage on schema code to dpe_reader; grant execute on function code.no() to dpe_reader"
        ) }}
        {% if flags.WHICH == 'generate' %}{{ exceptions.raise_compiler_error('not to be documented') }}{% endif %}
        select * from {{ ref('fct_orders') }} where code.no()
        """
}


NOT_FOR_READERS = [f"finance.touchy_orders: {who} cannot read it (not for readers); correct the model" for who in ("HA", "UA")]


def _faults_of_visibility(validation: Validation | None) -> set[str]:
    assert validation is not None
    return {fault for check in validation.checks if check.name == "who sees what" for fault in check.faults}


def test_what_readers_could_not_read_is_not_published(shop: Shop) -> None:
    """
    Who sees what is measured before the publication, in the shadow schemas, which stay closed to readers.

    A docs site that cannot be built does not keep the rest from being checked.
    """
    shop.write(WEDNESDAY | TOUCHY)

    summary = shop.run(documents=True)

    assert NOT_FOR_READERS == sorted(summary.build.refused)
    assert [1, 2, 3] == shop.orders()
    assert "not to be documented" in str(summary.not_documented)
    assert set() == _faults_of_visibility(summary.validation)
    with shop.server.connect("admin") as connection:
        assert (False,) == connection.execute("select has_schema_privilege('dpe_reader', 'finance__next', 'usage')").fetchone()


def test_a_schema_that_is_closed_to_readers_is_found_before_the_publication(shop: Shop) -> None:
    """An administrator owns it, so that publishing cannot open it."""
    shop.write(WEDNESDAY)
    with shop.server.connect("admin") as connection:
        connection.execute("alter schema finance owner to dpe_owner; grant usage, create on schema finance to dpe_transformer")
        connection.execute("revoke usage on schema finance from dpe_reader, dpe_tenant, dpe_masked_reader")

    summary = shop.run("fct_orders")

    assert "finance.fct_orders: UA sees 0 rows instead of 2; check its policies and grants" in summary.build.refused


def test_what_was_measured_before_the_publication_is_not_measured_again(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run shows each measurement once; what it did not publish is measured afterwards."""
    shop.write({"models/finance/all_orders.sql": ALL_ORDERS})
    shop.run("all_orders")
    measured: list[str] = []

    def measure(connection: Connection, relations: Sequence[MeasuredRelation], **options: Any) -> list[Cell]:
        measured.extend(f"{relation.stored_in}.{relation.name}" for relation in relations)
        return matrix_measure(connection, relations, **options)

    matrix_measure = matrix.measure
    monkeypatch.setattr(matrix, "measure", measure)
    shop.write(WEDNESDAY)
    summary = shop.run("fct_orders")

    assert ["finance__next.fct_orders", "finance.all_orders"] == measured
    assert summary.validation is not None
    assert [("finance.all_orders", "UA", 2), ("finance.fct_orders", "UA", 2)] == [
        (visible.relation, visible.who, visible.rows) for visible in summary.validation.visibility if visible.who == "UA"
    ]


def test_a_relation_that_raises_is_a_fault_of_its_own(shop: Shop) -> None:
    """Everything else is checked and measured."""
    shop.write(TOUCHY)
    run_dbt(shop.project, shop.server, ["run", "--select", "touchy_orders"])

    cells = protection.measure_rls(shop.project, shop.server, ["finance.*"], (), Silence())

    assert {"finance.touchy_orders: a tenant (UA) cannot read it (not for readers)"} < {fault for cell in cells for fault in cell.faults}
    assert {"finance.touchy_orders"} == {cell.relation for cell in cells if cell.faults}
    published = protection.measure_published(shop.project, shop.server, Silence(), only_of_tenants=True)
    assert NOT_FOR_READERS == sorted(
        checks.check_visibility(visibility.of_models(published, shop.project.models.values(), shop.project.target)).faults
    )


@pytest.mark.parametrize("declared", [("{tenant_column: shop}", "{private: true}"), ("{shared: true}", "{tenant_column: shop}")])
def test_an_earlier_version_is_measured_by_its_own_declaration(shop: Shop, declared: tuple[str, str]) -> None:
    """What is right for the present version would be a fault of the previous one."""
    shop.change_columns(*declared)
    assert shop.run().build.not_published is None

    cells = protection.measure_rls(shop.project, shop.server, ["finance__previous.*"], (), Silence())

    assert cells
    assert [] == [fault for cell in cells for fault in cell.faults]
