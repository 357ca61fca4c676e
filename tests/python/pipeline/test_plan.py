"""`dpe run --plan`: what a run would do, and that finding it out changes nothing."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from psycopg import sql
from support.databases import Crm
from support.dbt_projects import Silence
from support.long_tests import LONG
from support.shop import SHOP, WEDNESDAY, Shop

from dpe_cli.ingest.plan import PlannedExtract
from dpe_cli.load import foresight, inputs
from dpe_cli.pipeline import failures, plan, run
from dpe_cli.pipeline.options import RunOptions
from dpe_cli.pipeline.plan import RunPlan
from dpe_cli.pipeline.planned_build import LeftRelation
from dpe_cli.pipeline.run import RunSummary
from dpe_cli.server.server import Server

SOURCES = "models/raw/_shop__sources.yml"
_ORDERS = "location: data/orders/*.csv, file_format: csv, disposition: append"
# Every other kind of node: a model without a relation, a model of it, a seed, a snapshot and a unit test.
MORE = {
    "models/core/named.sql": "{{ config(materialized='ephemeral') }} select shop, name from {{ ref('dim_shops') }}",
    "models/core/named_again.sql": "select shop, name from {{ ref('named') }}",
    "models/core/counted.sql": "select count(*) as n from {{ ref('dim_shops') }}",
    "seeds/colors.csv": "color\nred\n",
    "snapshots/shops_over_time.yml": """
        snapshots:
          - name: shops_over_time
            relation: ref('dim_shops')
            config: {unique_key: shop, strategy: check, check_cols: [name]}
        """,
    "models/core/_more.yml": """
        unit_tests:
          - name: shops_are_counted
            model: counted
            given: [{input: ref('dim_shops'), rows: [{shop: UA}]}]
            expect: {rows: [{n: 1}]}
        """,
}
# What is in the catalog that a plan could change; the ledger's and the tables' rows come in addition.
_CATALOG = """
    select 'schema', nspname::text, nspowner::regrole::text, nspacl::text
    from pg_namespace
    where nspname !~ '^pg_(toast|temp)'
    union all
    select 'relation', oid::regclass::text, concat(relkind, relowner::regrole, relacl::text, relispartition), relfilenode::text
    from pg_class
    where relnamespace::regnamespace::text !~ '^pg_|^information_schema'
    union all
    select 'role', rolname::text, concat(rolcanlogin, rolsuper, rolconfig), '' from pg_roles
    union all
    select 'policy', polname::text, polrelid::regclass::text, '' from pg_policy
    union all
    select 'comment', objoid::text, objsubid::text, description from pg_description where objoid >= 16384
    union all
    select 'function', oid::regprocedure::text, md5(prosrc), proacl::text from pg_proc where oid >= 16384
    order by 1, 2, 3, 4
"""
_TABLES = """
    select nspname::text, relname::text
    from pg_class
    inner join pg_namespace on relnamespace = pg_namespace.oid
    where relkind in ('r', 'S') and nspname !~ '^pg_' and nspname <> 'information_schema'
    order by 1, 2
"""


def _plan(shop: Shop, *select: str, exclude: Sequence[str] = (), full_refresh: bool = False, server: Server | None = None) -> RunPlan:
    options = RunOptions(full_refresh=full_refresh)
    return plan.plan(shop.project, server or shop.server, select, exclude, Silence(), options)


def _database(server: Server) -> list[object]:
    """Return everything in the database: catalog, and the rows of all tables and sequences, as a superuser, whom no policy binds."""
    with server.connect("admin", autocommit=True) as connection:
        found: list[object] = [*connection.execute(_CATALOG.encode()).fetchall()]
        for schema, name in connection.execute(_TABLES.encode()).fetchall():
            rows = sql.SQL("select row(t.*)::text from {} as t order by 1").format(sql.Identifier(str(schema), str(name)))
            found += [(schema, name, row) for (row,) in connection.execute(rows).fetchall()]
    return found


def _files(directory: Path) -> dict[str, bytes]:
    """Return the files of a project, but for what dbt's parse leaves in `.dpe`."""
    return {
        str(path.relative_to(directory)): path.read_bytes()
        for path in sorted(directory.rglob("*"))
        if path.is_file() and ".dpe" not in path.relative_to(directory).parts
    }


def _loads(found: RunPlan) -> dict[str, tuple[int | None, int, int, int, int]]:
    return {load.source: (load.files, load.new, load.changed, load.moved, load.loads) for load in found.extracts}


def _happened(summary: RunSummary) -> tuple[dict[str, int], set[str], set[str]]:
    """Return the loads of each source, the published relations, and the tests of a run."""
    assert summary.build.publication is not None
    return (
        {extract.source: len(extract.loads) for extract in summary.extracted.extracts},
        {str(relation) for relation in summary.build.publication.relations},
        {result.unique_id for result in summary.build.results if result.resource_type in {"test", "unit_test"}},
    )


def _was_planned(found: RunPlan) -> tuple[dict[str, int], set[str], set[str]]:
    relations = {name for relation in found.build.relations for name in (relation.relation, *relation.companions)}
    return {load.source: load.loads for load in found.extracts}, relations, set(found.build.tests)


def test_a_new_project_is_all_new(new_shop: Shop) -> None:
    """Files, relations with who will see them, in the order in which they are built, and tests with their rules."""
    found = _plan(new_shop)

    assert {"shop.orders": (2, 2, 0, 0, 2), "shop.shops": (1, 1, 0, 0, 1)} == _loads(found)
    assert {"shop.orders": ("data/orders/*.csv", "append"), "shop.shops": ("data/shops.csv", "replace")} == {
        load.source: (load.location, load.how) for load in found.extracts
    }
    readers = "dpe_masked_reader, dpe_reader"
    assert {
        "raw.stg_shop__orders": ("view", "no reader", "new"),
        "finance.fct_orders": ("table", f"{readers}: the rows of their tenants (shop)", "new"),
        "finance.dim_shops": ("table", f"{readers}: all rows", "new"),
    } == {relation.relation: (relation.materialization, relation.seen_by, relation.change) for relation in found.build.relations}
    names = [relation.name for relation in found.build.relations]
    assert names.index("stg_shop__orders") < names.index("fct_orders")
    assert (2, ["SHOP-1-01", "SHOP-1-02"]) == (len(found.build.tests), found.build.rules)
    assert ([], 0) == (found.errors, found.exit_status)


@pytest.mark.parametrize("full_refresh", [False, True])
def test_a_plan_changes_nothing(shop: Shop, full_refresh: bool) -> None:  # noqa: FBT001
    """Not a row, relation, schema, role or file, although there is something to load, to build and to refuse."""
    shop.write({**WEDNESDAY, "data/shops.csv": "shop,name\nHA,Hats\n", "models/later/late.sql": "select 1 as one"})
    shop.write(
        {
            SOURCES: SHOP[SOURCES]
            .replace("schema: raw", "schema: raw")
            .replace("{name: amount,", "{name: note, data_type: text, config: {meta: {optional: true}}}, {name: amount,")
        }
    )
    before = _database(shop.server), _files(shop.directory)

    found = _plan(shop, full_refresh=full_refresh)

    assert any(load.loads for load in found.extracts)
    assert before == (_database(shop.server), _files(shop.directory))


def test_a_plan_of_a_project_that_never_ran_changes_nothing(new_shop: Shop) -> None:
    """It creates neither a staging schema nor a table to compare with."""
    new_shop.write({SOURCES: SHOP[SOURCES].replace("schema: raw", "schema: landing")})
    before = _database(new_shop.server), _files(new_shop.directory)

    found = _plan(new_shop)

    assert ["new", "new"] == [load.staging for load in found.extracts]
    assert before == (_database(new_shop.server), _files(new_shop.directory))


@pytest.mark.parametrize(
    ("select", "full_refresh"), [pytest.param((), False, marks=LONG), (("fct_orders",), False), pytest.param((), True, marks=LONG)]
)
def test_what_is_planned_is_what_happens(shop: Shop, select: tuple[str, ...], full_refresh: bool) -> None:  # noqa: FBT001
    """Loads, relations and tests of the run that follows are those of the plan, with a masked view and a quarantine."""
    shop.write(WEDNESDAY)
    shop.change_columns("rls: {tenant_column: shop}", "rls: {tenant_column: shop}, masked: [amount]")
    shop.change_columns("rule: SHOP-1-01,", "on_failure: quarantine, rule: SHOP-1-01,")
    shop.write(MORE)

    planned = _was_planned(_plan(shop, *select, full_refresh=full_refresh))
    summary = plan_and_run(shop, select, full_refresh=full_refresh)

    assert [] == list(map(str, failures.of_run(summary)))
    assert planned[2]
    assert planned == _happened(summary)


def plan_and_run(shop: Shop, select: Sequence[str], *, full_refresh: bool) -> RunSummary:
    """Run exactly the selection that was planned."""
    return run.run(shop.project, shop.server, select, (), Silence(), RunOptions(full_refresh=full_refresh, documents=False))


def test_files_are_told_apart(shop: Shop) -> None:
    """New, changed and moved ones, if changed files replace their rows; a changed file does not count as new."""
    shop.write({SOURCES: SHOP[SOURCES].replace(_ORDERS, f"{_ORDERS}, changed_files: replace")})
    orders = shop.directory / "data" / "orders"
    shutil.move(orders / "monday.csv", orders / "first.csv")
    shop.write({**WEDNESDAY, "data/orders/tuesday.csv": "order_id,shop,amount\n3,HA,31\n"})

    found = _plan(shop, "fct_orders")

    assert {"shop.orders": (3, 1, 1, 1, 2)} == _loads(found)


def test_a_changed_file_of_a_replaced_source_does_not_count_as_new(shop: Shop) -> None:
    """All of its files are loaded again; and of the replaced rows, which are kept for an undo, the plan says nothing."""
    files = {
        SOURCES: SHOP[SOURCES].replace("location: data/shops.csv", "location: data/shops*.csv"),
        "data/shops2.csv": "shop,name\nDL,Hoods\n",
    }
    shop.write(files)
    shop.run()
    shop.write({"data/shops2.csv": "shop,name\nDL,Dolls\n"})

    found = _plan(shop)

    assert (2, 0, 1, 0, 2) == _loads(found)["shop.shops"]
    assert [] == found.build.left_over


def test_every_materialization_is_named(shop: Shop) -> None:
    """As in dbt; an ephemeral model becomes no relation."""
    shop.write(MORE)

    found = {relation.relation: (relation.resource_type, relation.materialization) for relation in _plan(shop).build.relations}

    assert {
        "core.counted": ("model", "view"),
        "core.named_again": ("model", "view"),
        "core.colors": ("seed", "seed"),
        "core.shops_over_time": ("snapshot", "snapshot"),
    } == {name: kind for name, kind in found.items() if name.startswith("core.")}


def test_what_a_publication_removes_is_named(shop: Shop) -> None:
    """The view for masked readers of a model that masks nothing any more."""
    shop.change_columns("rls: {tenant_column: shop}", "rls: {tenant_column: shop}, masked: [amount]")
    assert shop.run().holds
    shop.change_columns(", masked: [amount]", "")

    found = _plan(shop)

    assert [LeftRelation("finance.fct_orders__masked", is_removed=True)] == found.build.left_over
    assert [] == found.errors
    shop.run()
    assert [] == _plan(shop).build.left_over


def test_an_unreadable_source_does_not_end_the_plan(shop: Shop) -> None:
    """Its reason is the run's, the others are planned, and the exit status is 1."""
    shutil.rmtree(shop.directory / "data" / "orders")
    shop.write({"data/shops.csv": "shop,name\nHA,Hats\n"})

    found = _plan(shop)

    orders, shops = found.extracts
    assert orders.error is not None
    assert orders.error.startswith("data/orders/*.csv: no file matches")
    assert 1 == shops.loads
    assert ["shop.orders: data/orders/*.csv: no file matches"] == [problem.what for problem in found.errors]
    assert 1 == found.exit_status
    assert 3 == len(found.build.relations)


def test_a_contract_that_staging_does_not_fit_is_an_error(shop: Shop) -> None:
    """As in the extract; with --full-refresh, the staging table would be rebuilt."""
    shop.write({SOURCES: SHOP[SOURCES].replace("{name: amount, data_type: integer}]", "{name: amount, data_type: numeric}]")})

    refused, rebuilt = _plan(shop), _plan(shop, full_refresh=True)

    assert "column amount is integer in raw.orders and numeric in the contract" in str(refused.errors[0])
    assert ([], "rebuilt") == (rebuilt.errors, rebuilt.extracts[0].staging)


def test_every_reason_not_to_start_is_named(shop: Shop) -> None:
    """In the words of a run, which ends with the first."""
    shop.write(
        {
            "specs/A-1-broken-spec.md": "no front matter",
            "specs/B-1-broken-spec.md": "none here",
            "models/finance/undeclared.sql": "select 1 as one",
            "models/finance/another.sql": "select 1 as one",
        }
    )

    found = _plan(shop)

    texts = list(map(str, found.errors))
    for name in ("A-1", "B-1"):
        assert any(f"{name}-broken-spec.md, line 1: the front matter is missing" in text for text in texts)
    for name in ("undeclared", "another"):
        assert any(text.startswith(f"{name} (models/finance/{name}.sql): has to declare who may see it") for text in texts)
    assert 4 == len(texts)
    assert 1 == found.exit_status


def test_a_relation_whose_model_is_gone_is_named(shop: Shop) -> None:
    """In a run of the whole project; because readers may read it, the run would not publish, for the reason that is given."""
    (shop.directory / "models" / "finance" / "dim_shops.sql").unlink()
    models = shop.directory / "models" / "finance" / "_finance__models.yml"
    models.write_text(models.read_text().partition("  - name: dim_shops")[0])
    shop.write({"specs/SHOP-1-orders-spec.md": SHOP["specs/SHOP-1-orders-spec.md"].replace("fct_orders, dim_shops", "fct_orders")})

    found, part = _plan(shop), _plan(shop, "fct_orders")

    assert (["finance.dim_shops"], []) == (
        [left.relation for left in found.build.left_over],
        [left.relation for left in part.build.left_over],
    )
    assert "finance.fct_orders" in {relation.relation for relation in found.build.relations if relation.change == "replaces"}
    [error] = found.errors
    refused = plan_and_run(shop, (), full_refresh=False)
    assert str(error) in refused.build.refused


def test_a_test_that_reads_what_was_never_published_is_skipped(new_shop: Shop) -> None:
    """Like the run, the plan says so."""
    new_shop.write(
        {"tests/singular/shops_are_known.sql": "select shop from {{ ref('fct_orders') }} except select shop from {{ ref('dim_shops') }}"}
    )

    found = _plan(new_shop, "fct_orders")

    assert ["shops_are_known"] == found.build.skipped
    assert 2 == len(found.build.tests)


@pytest.mark.parametrize("crm", ["sqlite"], indirect=True)
def test_a_query_is_asked_from_where_the_last_extract_ended(shop: Shop, crm: Crm) -> None:
    """With its overlap; it is not asked by the plan, which does not know whether the database answers."""
    shop.write(
        {
            SOURCES: SHOP[SOURCES].rstrip()
            + f"""
              - name: paid
                external:
                  location: {crm.url}
                  file_format: sql
                  table: orders
                  extra_columns: ignore
                  disposition: append
                  incremental: {{cursor_path: id, key: [id], initial_value: 5, overlap: 2}}
                columns: [{{name: id, data_type: bigint}}, {{name: customer, data_type: text}}]
        """
        }
    )
    crm.add((7, "Ann", None, None), (40, "Bob", None, None))

    [first] = _extracts(shop, "source:shop.paid")
    assert ("incremental by id", None, 1, "5") == (first.how, first.files, first.loads, first.starts_at)
    assert "new" == first.staging
    plan_and_run(shop, ["source:shop.paid"], full_refresh=False)
    Path(crm.url.removeprefix("sqlite:///")).unlink()
    [second] = _extracts(shop, "source:shop.paid")
    assert ("38", "kept", None) == (second.starts_at, second.staging, second.error)
    [again] = _extracts(shop, "source:shop.paid", full_refresh=True)
    assert ("full refresh", "5") == (again.how, again.starts_at)


def _extracts(shop: Shop, source: str, *, full_refresh: bool = False) -> list[PlannedExtract]:
    return _plan(shop, source, full_refresh=full_refresh).extracts


def test_a_password_in_a_location_is_not_shown(shop: Shop) -> None:
    """Nor a token in a query string, which YAML may have."""
    shop.write({SOURCES: SHOP[SOURCES].replace("data/shops.csv, file_format", "'https://x.invalid/a.csv?token=abcdefgh123', file_format")})

    [extract] = _extracts(shop, "source:shop.shops")

    assert "https://x.invalid/a.csv?token=***" == extract.location
    assert extract.error is not None


def test_each_declaration_is_said_in_words(shop: Shop) -> None:
    """By the roles of the target, and what they read."""
    models = {
        "by_role": "{role_column: shop}",
        "by_access": "{access: {model: by_role, column: shop, role_column: shop}}",
        "by_tenants": "{tenant_column: [shop, name]}",
    }
    for name, declaration in models.items():
        config = f"{{{{ config(meta={{'rls': fromyaml('{declaration}')}}, contract={{'enforced': false}}) }}}}"
        shop.write({f"models/finance/{name}.sql": f"{config} select shop, name from {{{{ ref('dim_shops') }}}}"})
    shop.write({"models/finance/_more.yml": "models: [{name: by_nobody, config: {meta: {rls: {shared: true}, readers: {}}}}]"})
    shop.write({"models/finance/by_nobody.sql": "{{ config(contract={'enforced': false}) }} select 1 as one"})

    seen = {relation.name: relation.seen_by for relation in _plan(shop).build.relations}

    readers = "dpe_masked_reader, dpe_reader"
    assert f"{readers}: the rows that name them (shop)" == seen["by_role"]
    assert f"{readers}: the rows that by_role grants them" == seen["by_access"]
    assert f"{readers}: the rows of their tenants (shop, name)" == seen["by_tenants"]
    assert "no reader in the target dev" == seen["by_nobody"]


def test_a_source_that_is_declared_wrongly_leaves_nothing_to_plan(shop: Shop) -> None:
    """But what else is wrong is said with it."""
    shop.write({SOURCES: SHOP[SOURCES].replace("disposition: append", "disposition: appended"), "specs/A-1-broken-spec.md": "nothing"})

    found = _plan(shop)

    broken, wrong = map(str, found.errors)
    assert "A-1-broken-spec.md, line 1: the front matter is missing" in broken
    assert wrong.startswith("shop.orders (models/raw/_shop__sources.yml")
    assert ([], []) == (found.extracts, found.build.relations)


def test_a_staging_table_of_another_project_is_an_error(shop: Shop) -> None:
    """As in the extract: the other's rows would look like some that are not in the ledger."""
    other = replace(shop.server, project="stranger")

    found = _plan(shop, server=other)

    assert 2 == len(found.errors)
    assert all("the project shops loads raw." in str(error) for error in found.errors)


def test_a_bug_in_one_source_does_not_end_the_plan(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    """As in an extract, it is called a bug, and the exit status is 2."""

    def broken(*_arguments: object, **_options: object) -> None:
        raise KeyError("shop")

    shop.write(WEDNESDAY)
    monkeypatch.setattr(
        foresight, "planned", lambda *given, **more: (broken if given[2].table.name == "shops" else inputs.planned)(*given, **more)
    )

    found = _plan(shop)

    assert [(1, None), (0, True)] == [(extract.loads, extract.is_bug or None) for extract in found.extracts]
    assert (["bug"], 2) == ([problem.code for problem in found.errors], found.exit_status)
