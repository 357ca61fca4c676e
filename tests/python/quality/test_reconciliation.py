# mypy: disable-error-code="comparison-overlap"
# Numbers of a balance are Decimal, which compares with int.
from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest
from psycopg import sql
from support.shop import Shop

from dpe_cli.errors import ProjectError
from dpe_cli.quality import reconcile_config, reconciliation
from dpe_cli.quality.reconcile_config import Explanation, Quarantine, ReconciledModel
from dpe_cli.quality.reconciliation import Balance, Reconciliation

ORDERS = ReconciledModel(
    unique_id="model.shops.fct_orders",
    model="fct_orders",
    origin="stg_shop__orders",
    model_relation=sql.Identifier("finance", "fct_orders"),
    origin_relation=sql.Identifier("raw", "stg_shop__orders"),
    sums={"amount": "amount"},
)
NEGATIVE = Explanation("filtered", where="amount < 0", rule="SHOP-1-04")


def _as_superuser(shop: Shop, *statements: str) -> None:
    with shop.server.connect("admin") as connection:
        for statement in statements:
            connection.execute(statement.encode())


def _reconcile(shop: Shop, *wanted_models: ReconciledModel, sources: bool = False) -> Reconciliation:
    wanted = list(shop.project.sources.values()) if sources else []
    with shop.server.connect("loader") as loader, shop.server.connect("transformer") as transformer:
        return reconciliation.reconcile(loader, transformer, wanted, wanted_models)


def _numbers(balance: Balance) -> tuple[str, int, int, int, int, int, int, int]:
    """Return a balance as a row of the table."""
    amounts = (balance.delivered, balance.rejected, balance.deduplicated, balance.filtered, balance.expected, balance.found)
    return balance.quantity, *map(int, amounts), int(balance.unexplained)  # type: ignore[return-value]


def test_files_add_up_to_staging(shop: Shop) -> None:
    """Each source by itself."""
    found = _reconcile(shop, sources=True)

    assert [("files → shop.orders", 3, 3, True), ("files → shop.shops", 2, 2, True)] == [
        (balance.name, int(balance.delivered), int(balance.found), balance.holds) for balance in found.balances
    ]
    assert [] == found.faults


def test_rejects_explain_what_is_not_in_staging(shop: Shop) -> None:
    """As many as the ledger contains."""
    shop.write({
        "models/raw/_shop__sources.yml": (shop.directory / "models/raw/_shop__sources.yml")
        .read_text()
        .replace("disposition: append}", "disposition: append, rejects: {max_rows: 9}}"),
        "data/orders/wednesday.csv": "order_id,shop,amount\n4,HA,many\n5,HA,50\n",
    })  # fmt: skip
    shop.run("source:shop.orders")

    (orders, _) = _reconcile(shop, sources=True).balances
    assert ("records", 5, 1, 0, 0, 4, 4, 0) == _numbers(orders)


def test_a_row_that_is_lost_after_its_load_is_unexplained(shop: Shop) -> None:
    """With how many."""
    _as_superuser(shop, "delete from raw.orders where order_id = 2")

    (fault,) = _reconcile(shop, sources=True).faults
    assert "files → shop.orders: records: 2 found where 3 were expected; 1 missing without an explanation, find out why" in fault


def test_a_reject_that_is_gone_from_the_ledger_is_unexplained(shop: Shop) -> None:
    """The ledger has to keep the rejects that the load counted."""
    _as_superuser(shop, "update dpe.loads set records_read = 3, rows_rejected = 1 where load_id = 1")

    assert "files → shop.orders: records: 3 found where 4 were expected; 1 missing" in " ".join(_reconcile(shop, sources=True).faults)


def test_a_source_that_was_never_extracted_is_not_counted(shop: Shop) -> None:
    """It does not count as zero."""
    _as_superuser(shop, "drop table raw.shops cascade")

    assert ["files → shop.shops: was never extracted; run `dpe extract source:shop.shops`"] == _reconcile(shop, sources=True).faults


def test_counts_and_sums_match_the_origin(shop: Shop) -> None:
    """One balance for each."""
    assert [("records", 3, 0, 0, 0, 3, 3, 0), ("sum of amount", 60, 0, 0, 0, 60, 60, 0)] == [
        _numbers(balance) for balance in _reconcile(shop, ORDERS).balances
    ]


def test_a_changed_amount_is_unexplained_though_the_count_is_right(shop: Shop) -> None:
    """That is what sums are for."""
    _as_superuser(shop, "update finance.fct_orders set amount = 11 where order_id = 1")

    count, amount = _reconcile(shop, ORDERS).balances
    assert (True, False, 1) == (count.holds, amount.holds, amount.unexplained)


def test_a_duplicated_row_is_unexplained(shop: Shop) -> None:
    """Too many is as bad as too few."""
    _as_superuser(shop, "insert into finance.fct_orders select * from finance.fct_orders where order_id = 1")

    assert "records: 4 found where 3 were expected; 1 too many without an explanation" in _reconcile(shop, ORDERS).faults[0]


def test_filtered_rows_are_explained_with_their_sums(shop: Shop) -> None:
    """By the condition on the origin's rows; and with the rule that requires it."""
    _as_superuser(
        shop,
        "update raw.orders set amount = -5 where order_id = 3",
        "delete from finance.fct_orders where order_id = 3",
    )

    balances = _reconcile(shop, replace(ORDERS, explanations=(NEGATIVE,))).balances
    assert [("records", 3, 0, 0, 1, 2, 2, 0), ("sum of amount", 25, 0, 0, -5, 30, 30, 0)] == [_numbers(balance) for balance in balances]
    assert ("SHOP-1-04",) == balances[0].rules


def test_rows_that_should_have_been_filtered_and_were_not_are_unexplained(shop: Shop) -> None:
    """Explanations are counted, not trusted."""
    _as_superuser(shop, "update raw.orders set amount = -5 where order_id = 3")

    (count, _) = _reconcile(shop, replace(ORDERS, explanations=(NEGATIVE,))).balances
    assert 1 == count.unexplained


def test_duplicates_are_explained_by_their_key(shop: Shop) -> None:
    """All but the first one in the declared order."""
    _as_superuser(
        shop,
        "insert into raw.orders select 3, 'HA', 7, _load_id, _slice_id from raw.orders where order_id = 3",
    )

    once = Explanation("deduplicated", by=("order_id",), order_by=("amount desc",))
    assert [("records", 4, 0, 1, 0, 3, 3, 0), ("sum of amount", 67, 0, 7, 0, 60, 60, 0)] == [
        _numbers(balance) for balance in _reconcile(shop, replace(ORDERS, explanations=(once,))).balances
    ]


def test_a_row_with_two_explanations_counts_once(shop: Shop) -> None:
    """A filtered duplicate is not a duplicate of a row that stays."""
    _as_superuser(
        shop,
        "insert into raw.orders select 3, 'HA', amounts.amount, _load_id, _slice_id "
        "from raw.orders cross join (values (-1), (-2), (30)) as amounts (amount) where order_id = 3",
    )

    both = (Explanation("deduplicated", by=("order_id",), order_by=("amount",)), NEGATIVE)
    assert [("records", 6, 0, 1, 2, 3, 3, 0), ("sum of amount", 87, 0, 30, -3, 60, 60, 0)] == [
        _numbers(balance) for balance in _reconcile(shop, replace(ORDERS, explanations=both)).balances
    ]


def test_rows_that_are_kept_elsewhere_are_explained_by_that_relation(shop: Shop) -> None:
    """Like those of a quarantine."""
    _as_superuser(
        shop,
        "create table finance.fct_orders__quarantine as select * from finance.fct_orders where order_id = 2",
        "alter table finance.fct_orders__quarantine owner to dpe_transformer",
        "delete from finance.fct_orders where order_id = 2",
    )

    kept = Explanation("rejected", relation=sql.Identifier("finance", "fct_orders__quarantine"))
    assert [("records", 3, 1, 0, 0, 2, 2, 0), ("sum of amount", 60, 20, 0, 0, 40, 40, 0)] == [
        _numbers(balance) for balance in _reconcile(shop, replace(ORDERS, explanations=(kept,))).balances
    ]


def test_rows_in_quarantine_count_as_rejected(shop: Shop) -> None:
    """In addition to those that the declaration explains, with the model's own column names."""
    _as_superuser(
        shop,
        "create table finance.fct_orders__quarantine as select order_id, shop, amount as euros from finance.fct_orders where order_id = 2",
        "alter table finance.fct_orders__quarantine owner to dpe_transformer",
        "delete from finance.fct_orders where order_id = 2",
        "alter table finance.fct_orders rename column amount to euros",
    )

    kept = Quarantine(sql.Identifier("finance", "fct_orders__quarantine"), ("SHOP-1-05",))
    balances = _reconcile(shop, replace(ORDERS, sums={"amount": "euros"}, quarantine=kept)).balances
    assert [("records", 3, 1, 0, 0, 2, 2, 0), ("sum of amount", 60, 20, 0, 0, 40, 40, 0)] == [_numbers(balance) for balance in balances]
    assert ("SHOP-1-05",) == balances[0].rules


def test_a_column_may_count_the_records(shop: Shop) -> None:
    """If one row of the model stands for several of the origin."""
    _as_superuser(
        shop,
        "create table finance.daily as select shop, count(*) as order_count from finance.fct_orders group by shop",
        "alter table finance.daily owner to dpe_transformer",
    )

    daily = replace(ORDERS, model="daily", model_relation=sql.Identifier("finance", "daily"), sums={}, count_column="order_count")
    assert [("records", 3, 0, 0, 0, 3, 3, 0)] == [_numbers(balance) for balance in _reconcile(shop, daily).balances]


def test_sums_of_floating_point_numbers_are_exact(shop: Shop) -> None:
    """In any order of the rows: as floats, the sums would depend on it."""
    _as_superuser(
        shop,
        "create table finance.there as select unnest(array[1e16, 1, -1e16, 0.1]::float8[]) as amount",
        "create table finance.here as select unnest(array[0.1, 1e16, -1e16, 1]::float8[]) as amount",
        "alter table finance.there owner to dpe_transformer",
        "alter table finance.here owner to dpe_transformer",
    )

    reconciled = replace(ORDERS, origin_relation=sql.Identifier("finance", "there"), model_relation=sql.Identifier("finance", "here"))
    (_, amount) = _reconcile(shop, reconciled).balances
    assert (Decimal("1.1"), Decimal("1.1")) == (amount.delivered, amount.found)


def test_what_was_not_built_is_not_counted(shop: Shop) -> None:
    """But the others are."""
    missing = replace(ORDERS, model="dim_days", model_relation=sql.Identifier("finance", "dim_days"))
    found = _reconcile(shop, missing, ORDERS)

    assert ['stg_shop__orders → dim_days: relation "finance.dim_days" does not exist; run `dpe run dim_days`'] == found.faults
    assert 2 == len(found.balances)


def test_a_condition_that_writes_is_refused(shop: Shop) -> None:
    """It could be code of another role that a relation calls."""
    with shop.server.connect("admin") as connection:
        connection.execute("create sequence public.leak; grant all on public.leak to public; grant usage on schema public to public")
    reconciled = replace(ORDERS, explanations=(Explanation("filtered", where="nextval('public.leak') < 0"),))

    [fault] = _reconcile(shop, reconciled).faults

    assert "cannot be counted (cannot execute nextval() in a read-only transaction)" in fault


def test_a_condition_that_is_not_valid_sql_is_reported(shop: Shop) -> None:
    """With its place."""
    reconciled = replace(ORDERS, explanations=(Explanation("filtered", where="price < 0"),))

    assert [
        'stg_shop__orders → fct_orders: cannot be counted (column "price" does not exist); correct meta.reconcile of fct_orders'
    ] == _reconcile(shop, reconciled).faults


def _manifest(reconcile: Any) -> dict[str, Any]:
    """Return a manifest with two models, one of which has this declaration."""
    nodes = {
        f"model.shops.{name}": {
            "resource_type": "model",
            "unique_id": f"model.shops.{name}",
            "name": name,
            "alias": name,
            "schema": schema,
            "package_name": "dpe",
            "patch_path": "dpe://models/finance.yml",
            "config": {"meta": meta},
        }
        for name, schema, meta in (("fct_orders", "finance", {"reconcile": reconcile}), ("stg_orders", "raw", {}))
    }
    return {"nodes": nodes}


def test_a_declaration_names_relations_sums_and_explanations() -> None:
    """With short forms for simple cases."""
    (reconciled,) = reconcile_config.declared(
        _manifest({"from": "stg_orders", "sums": ["amount"], "explained_by": {"filtered": {"where": "amount < 0", "rule": "SHOP-1-04"}}}),
        {},
    )

    assert ("stg_orders → fct_orders", sql.Identifier("raw", "stg_orders"), {"amount": "amount"}, (NEGATIVE,)) == (
        reconciled.name,
        reconciled.origin_relation,
        reconciled.sums,
        reconciled.explanations,
    )


def test_an_unpublished_build_is_counted_in_its_schema() -> None:
    """Both ends."""
    (reconciled,) = reconcile_config.declared(
        _manifest({"from": "stg_orders"}), {}, None, {"model.shops.fct_orders": "finance__next", "model.shops.stg_orders": "raw__next"}
    )

    assert (sql.Identifier("raw__next", "stg_orders"), sql.Identifier("finance__next", "fct_orders")) == (
        reconciled.origin_relation,
        reconciled.model_relation,
    )


def test_a_model_with_quarantining_rules_has_a_quarantine() -> None:
    """In the schema in which it is counted."""
    manifest = _manifest({"from": "stg_orders"})
    test = {
        "attached_node": "model.shops.fct_orders",
        "resource_type": "test",
        "config": {"meta": {"rule": "SHOP-1-05", "on_failure": "quarantine"}},
    }
    other = {
        "attached_node": "model.shops.stg_orders",
        "resource_type": "test",
        "config": {"meta": {"rule": "SHOP-1-06", "on_failure": "quarantine"}},
    }
    manifest["nodes"].update({"test.one": test, "test.other": other})

    (reconciled,) = reconcile_config.declared(manifest, {}, None, {"model.shops.fct_orders": "finance__next"})
    assert Quarantine(sql.Identifier("finance__next", "fct_orders__quarantine"), ("SHOP-1-05",)) == reconciled.quarantine


def test_an_origin_is_one_model() -> None:
    """Versions of a model have one name, which does not say whose rows are counted; all of them belong to its spec."""
    versions = {
        f"model.shops.stg_orders.v{number}": {"name": "stg_orders", "alias": f"stg_orders_v{number}", "version": number}
        for number in (1, 2)
    }
    manifest = _manifest({"from": "stg_orders"})
    stg_orders = manifest["nodes"].pop("model.shops.stg_orders")
    manifest["nodes"] |= {unique_id: stg_orders | {"unique_id": unique_id} | version for unique_id, version in versions.items()}

    with pytest.raises(ProjectError, match="stg_orders is the name of 2 models; write one of stg_orders.v1, stg_orders.v2"):
        reconcile_config.declared(manifest, {})
    manifest["nodes"]["model.shops.fct_orders"]["config"]["meta"]["reconcile"]["from"] = "stg_orders.v1"
    assert sql.Identifier("raw", "stg_orders_v1") == reconcile_config.declared(manifest, {})[0].origin_relation
    assert set(versions) == reconcile_config.ancestry(manifest | {"parent_map": {}}, ["stg_orders"])


def test_only_the_requested_models_are_counted() -> None:
    """Those of a spec, or of a part that was built."""
    assert [] == reconcile_config.declared(_manifest({"from": "stg_orders"}), {}, {"model.shops.other"})


@pytest.mark.parametrize(
    ("declared", "fault"),
    [
        ("stg_orders", "meta.reconcile: has to be a mapping of from, count, sums, explained_by"),
        ({}, "it does not name the rows' origin; add `from:`"),
        ({"from": "stg_order"}, "stg_order does not exist; did you mean stg_orders?"),
        ({"from": "stg_orders", "sum": ["amount"]}, "sum is not an option; did you mean sums?"),
        ({"from": "stg_orders", "sums": "amount"}, "sums: has to be a list of columns"),
        ({"from": "stg_orders", "count": 3}, "count: is not true, false or the column"),
        ({"from": "stg_orders", "explained_by": {"duplicated": {}}}, "duplicated is not an option; did you mean deduplicated?"),
        ({"from": "stg_orders", "explained_by": {"filtered": {}}}, "filtered: says nothing; give one of where, by, relation"),
        ({"from": "stg_orders", "explained_by": {"filtered": {"where": "a", "by": ["b"]}}}, "filtered: says where and by; give one of"),
        ({"from": "stg_orders", "explained_by": {"filtered": {"where": "a", "order_by": ["b"]}}}, "filtered: order_by is not an option"),
        (
            {"from": "stg_orders", "sums": ["a"], "explained_by": {"deduplicated": {"by": ["b"]}}},
            "deduplicated: sums depend on which of several rows stays; add `order_by:`",
        ),
    ],
)
def test_a_wrong_declaration_is_refused(declared: Any, fault: str) -> None:
    """Before anything is counted, with its place."""
    with pytest.raises(ProjectError) as refused:
        reconcile_config.declared(_manifest(declared), {})

    assert str(refused.value).startswith("fct_orders (models/finance.yml): meta.reconcile: ")
    assert fault in str(refused.value)


def test_a_spec_covers_its_models_and_what_they_are_built_from(shop: Shop) -> None:
    """Up to the sources."""
    parents: Mapping[str, object] = dict.fromkeys(reconcile_config.ancestry(shop.project.manifest, ["fct_orders"]))

    assert {"model.shops.fct_orders", "model.shops.stg_shop__orders", "source.shops.shop.orders"} == set(parents)
