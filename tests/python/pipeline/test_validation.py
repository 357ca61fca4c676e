# mypy: disable-error-code="comparison-overlap"
# Numbers of a balance are Decimal, which compares with int.
from __future__ import annotations

from collections.abc import Callable, Sequence
from decimal import Decimal
from pathlib import Path

import psycopg
import pytest
from support.dbt_projects import Silence
from support.shop import Shop

from dpe_cli.access import visibility
from dpe_cli.access.visibility import Visibility
from dpe_cli.cli import main
from dpe_cli.pipeline import checks, protection
from dpe_cli.pipeline.checks import Check
from dpe_cli.project.project import Project
from dpe_cli.quality import dimensions
from dpe_cli.quality.coverage import RuleTest, rule_tests
from dpe_cli.quality.reconciliation import Balance, Reconciliation
from dpe_cli.specs.requirement import Field, Requirement, RuleRow
from dpe_cli.specs.spec import Spec
from dpe_cli.specs.text import Text

SCHEMAS = ("dpe", "raw", "core", "finance", "quality")


def _counts(shop: Shop) -> Check:
    with shop.server.connect("transformer") as connection:
        return checks.check_counts(connection, list(shop.project.sources.values()))


def _as_superuser(shop: Shop, *statements: str) -> None:
    with shop.server.connect("admin") as connection:
        for statement in statements:
            connection.execute(statement.encode())


def test_staging_holds_what_the_ledger_says(shop: Shop) -> None:
    """Both sources, all loads."""
    assert Check("counts", "5 rows in 2 staging tables match the ledger") == _counts(shop)


def test_a_lost_row_is_found(shop: Shop) -> None:
    """With the file it came from, and what to do."""
    _as_superuser(shop, "delete from raw.orders where order_id = 2")

    (fault,) = _counts(shop).faults
    assert "shop.orders: load 1 (data/orders/monday.csv): rows in the ledger: 2, in staging: 1; find out who changed them" in fault
    assert "`dpe extract --full-refresh source:shop.orders`" in fault


def test_a_lost_load_is_found(shop: Shop) -> None:
    """With all of its rows."""
    _as_superuser(shop, "delete from raw.orders where order_id = 3")

    assert ["shop.orders: load 2 (data/orders/tuesday.csv): rows in the ledger: 1, in staging: 0"] == [
        fault.partition(";")[0] for fault in _counts(shop).faults
    ]


def test_rows_that_change_their_load_are_found(shop: Shop) -> None:
    """Though the sum is right."""
    _as_superuser(shop, "update raw.orders set _load_id = 2 where order_id = 1")

    assert 2 == len(_counts(shop).faults)


def test_rows_without_a_load_are_found(shop: Shop) -> None:
    """Whatever inserted them."""
    _as_superuser(shop, "update raw.shops set _load_id = 99")

    assert "shop.shops: load 99 (a load that is not in the ledger): rows in the ledger: 0, in staging: 2" in " ".join(_counts(shop).faults)


def test_a_source_that_was_never_extracted_is_found(shop: Shop) -> None:
    """It does not count as zero."""
    _as_superuser(shop, "drop table raw.shops cascade")

    assert ("shop.shops: was never extracted; run `dpe extract source:shop.shops`",) == _counts(shop).faults


RECONCILED: dict[str, Callable[[str], str]] = {
    "models/finance/_finance__models.yml": lambda text: text.replace(
        "config: {meta: {rls: {tenant_column: shop}}}",
        "config: {meta: {rls: {tenant_column: shop}, reconcile: {from: stg_shop__orders, sums: [amount]}}}",
    )
}


def _declare_reconciliation(shop: Shop) -> None:
    for path, change in RECONCILED.items():
        shop.write({path: change((shop.directory / path).read_text(encoding="utf-8"))})


def test_a_model_that_loses_a_row_fails_its_run(shop: Shop) -> None:
    """Without any rule for it."""
    _declare_reconciliation(shop)
    shop.write({"models/finance/fct_orders.sql": "select order_id, shop, amount from {{ ref('stg_shop__orders') }} where order_id <> 2"})
    summary = shop.run()

    assert not summary.holds
    assert summary.validation is not None
    assert "stg_shop__orders → fct_orders: records: 2 found where 3 were expected" in " ".join(summary.validation.reconciliation.faults)


def test_what_a_rule_keeps_in_quarantine_is_explained(shop: Shop) -> None:
    """The duplicated rows, with their amounts."""
    _declare_reconciliation(shop)
    path = "models/finance/_finance__models.yml"
    text = (shop.directory / path).read_text(encoding="utf-8")
    quarantine = "{on_failure: quarantine, quarantine: {max_ratio: 0.9}, rule: SHOP-1-01,"
    shop.write({path: text.replace("{rule: SHOP-1-01,", quarantine), "data/orders/wednesday.csv": "order_id,shop,amount\n1,HA,40\n"})
    summary = shop.run()

    assert summary.validation is not None
    assert [("records", 4, 2, 2, True), ("sum of amount", 100, 50, 50, True)] == [
        (balance.quantity, balance.delivered, balance.rejected, balance.found, balance.holds)
        for balance in summary.validation.reconciliation.balances[2:]
    ]


def test_what_was_not_published_is_counted_where_it_was_built(shop: Shop) -> None:
    """What readers still see is older than staging, which is not a fault of reconciliation."""
    _declare_reconciliation(shop)
    shop.run()
    shop.write({"data/orders/wednesday.csv": "order_id,shop,amount\n1,HA,40\n"})
    summary = shop.run()

    assert summary.build.not_published is not None
    assert summary.validation is not None
    assert [] == summary.validation.reconciliation.faults


def test_a_part_that_is_built_is_reconciled_by_itself(shop: Shop) -> None:
    """Other models are not checked in this run."""
    _declare_reconciliation(shop)
    _as_superuser(shop, "delete from finance.fct_orders")
    summary = shop.run("dim_shops")

    assert summary.validation is not None
    assert ["files → shop.shops"] == [balance.name for balance in summary.validation.reconciliation.balances]


def test_an_unexplained_difference_fails() -> None:
    """In words."""
    check = checks.check_reconciliation(Reconciliation([Balance("a → b", "records", Decimal(3), Decimal(2))]))

    assert [False, "a → b: records: 2 found where 3 were expected; 1 missing without an explanation"] == [
        check.holds,
        check.faults[0].partition(",")[0],
    ]


def test_validate_says_what_was_reconciled(shop: Shop, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """One line per relation and quantity, with a verdict at the end; and a report for CI."""
    _declare_reconciliation(shop)
    shop.run()
    _as_superuser(shop, "update finance.fct_orders set amount = 11 where order_id = 1")
    monkeypatch.chdir(shop.directory)
    for name, value in {"PGHOST": shop.server.host, "PGDATABASE": shop.server.database, "PGUSER": "postgres"}.items():
        monkeypatch.setenv(name, value)
    capsys.readouterr()
    status = main.run(["validate", "--junit", "dpe.xml"])

    lines = capsys.readouterr().out.splitlines()
    table = lines[lines.index("Reconciled") + 1 :]
    assert ["hop", "what", "delivered", "rejected", "deduplicated", "filtered", "expected", "found", "unexplained"] == table[0].split()
    assert [
        "files → shop.orders records 3 0 0 0 3 3 0",
        "files → shop.shops records 2 0 0 0 2 2 0",
        "stg_shop__orders → fct_orders records 3 0 0 0 3 3 0",
        "stg_shop__orders → fct_orders sum of amount 60 0 0 0 60 61 1",
    ] == [" ".join(line.split()) for line in table[2:6]]
    assert (1, "DPE FAILED") == (status, lines[-2])
    assert lines[-1].startswith("- reconciliation: stg_shop__orders → fct_orders: ")
    assert 'failures="1"' in (shop.directory / "dpe.xml").read_text(encoding="utf-8")


def _protection(connection: psycopg.Connection) -> Check:
    return checks.check_protection(connection, SCHEMAS)


def test_all_is_protected_after_a_run(shop: Shop) -> None:
    """Slices and ledger too."""
    with shop.server.connect("transformer") as connection:
        check = _protection(connection)

    assert () == check.faults
    assert "relations are protected" in check.detail


@pytest.mark.parametrize(
    ("statement", "fault"),
    [
        (
            "alter table finance.fct_orders no force row level security",
            "finance.fct_orders: does not force row-level security on its owner; alter table finance.fct_orders force row level security",
        ),
        (
            "alter table dpe.loads no force row level security",
            "dpe.loads: does not force row-level security on its owner; alter table dpe.loads force row level security",
        ),
        (
            "alter view raw.stg_shop__orders reset (security_invoker)",
            "raw.stg_shop__orders: is a view with its owner's rights; alter view raw.stg_shop__orders set (security_invoker = true)",
        ),
    ],
)
def test_what_is_not_protected_is_a_fault(shop: Shop, statement: str, fault: str) -> None:
    """With its fix; and nothing else is a fault."""
    with shop.server.connect("admin") as connection:
        connection.execute(statement.encode())
        assert (fault,) == _protection(connection).faults


def test_what_is_slow_or_could_leak_is_a_warning(shop: Shop) -> None:
    """It fails nothing."""
    with shop.server.connect("admin") as connection:
        connection.execute("create unique index orders_once on finance.fct_orders (order_id)")
        check = _protection(connection)

    assert check.holds
    assert ["finance.fct_orders: has the unique index orders_once, which does not contain the tenant"] == [
        warning.partition(" (")[0] for warning in check.warnings
    ]


def test_a_view_may_spell_its_protection_differently(shop: Shop) -> None:
    """PostgreSQL keeps the option as it was written."""
    with shop.server.connect("admin") as connection:
        connection.execute("set role dpe_transformer; create view finance.seen with (security_invoker = on) as select 1 as one")
        assert _protection(connection).holds


def test_other_schemas_are_not_checked(shop: Shop) -> None:
    """Only dpe's are."""
    with shop.server.connect("admin") as connection:
        connection.execute("create table public.stray as select 1 as one")
        assert _protection(connection).holds


def _visible_rows(shop: Shop) -> list[Visibility]:
    cells = protection.measure_published(shop.project, shop.server, Silence(), only_of_tenants=True)
    return visibility.of_models(cells, shop.project.models.values(), shop.project.target)


def test_who_sees_what_is_measured(shop: Shop) -> None:
    """For each published relation with tenants, by acting as them."""
    visible_rows = _visible_rows(shop)

    assert [
        Visibility("finance.fct_orders", "UA", 2, 2),
        Visibility("finance.fct_orders", "HA", 1, 1),
        Visibility("finance.fct_orders", "a stranger", 0, 0),
        Visibility("finance.fct_orders", "its owner, no context", 0, 0),
    ] == visible_rows
    assert checks.check_visibility(visible_rows).holds


@pytest.mark.parametrize(
    ("statements", "faults"),
    [
        (
            [
                "drop policy dpe_reader on finance.fct_orders",
                "create policy dpe_reader on finance.fct_orders for select to dpe_reader using (true)",
            ],
            ["UA sees 3 rows instead of 2", "HA sees 3 rows instead of 1", "a stranger sees 3 rows instead of 0"],
        ),
        (["drop policy dpe_reader on finance.fct_orders"], ["UA sees 0 rows instead of 2", "HA sees 0 rows instead of 1"]),
        (["revoke select on finance.fct_orders from dpe_reader"], ["UA sees 0 rows instead of 2", "HA sees 0 rows instead of 1"]),
        (["alter table finance.fct_orders no force row level security"], ["its owner, no context sees 3 rows instead of 0"]),
    ],
    ids=["open", "closed", "revoked", "not forced"],
)
def test_who_sees_too_much_or_too_little_is_found(shop: Shop, statements: Sequence[str], faults: list[str]) -> None:
    """With both numbers."""
    _as_superuser(shop, *statements)

    check = checks.check_visibility(_visible_rows(shop))
    assert [f"finance.fct_orders: {fault}; check its policies and grants" for fault in faults] == list(check.faults)


def test_rows_without_a_tenant_are_not_measured(shop: Shop) -> None:
    """No role should see them."""
    _as_superuser(
        shop, "alter table finance.fct_orders alter shop drop not null", "insert into finance.fct_orders values (4, null, 1), (5, '', 1)"
    )

    visible_rows = _visible_rows(shop)
    assert ["UA", "HA", "a stranger", "its owner, no context"] == [visible.who for visible in visible_rows]
    assert checks.check_visibility(visible_rows).holds


def test_what_is_not_built_is_not_measured(shop: Shop) -> None:
    """For example before the first run."""
    _as_superuser(shop, "drop table finance.fct_orders")

    assert [] == _visible_rows(shop)


def test_a_version_from_before_the_tenant_column_has_no_tenants(shop: Shop) -> None:
    """It stays published while builds of the model with tenants are refused; the rest is measured."""
    _as_superuser(shop, "alter table finance.fct_orders rename column shop to branch")

    assert ["a stranger", "its owner, no context"] == [visible.who for visible in _visible_rows(shop)]


def _spec(*, rules: Sequence[str] = ("SHOP-1-01", "SHOP-1-02"), **fields: list[str]) -> Spec:
    wanted = {"owner": ["sales"], "sources": ["shop.orders"], "models": ["fct_orders"]} | fields
    named = {name: Field(name, tuple(Text(value, 1) for value in values), 1) for name, values in wanted.items()}
    rows = tuple(RuleRow(rule_id, line, {}) for line, rule_id in enumerate(rules, 10))
    return Spec(Requirement(Path("SHOP-1-spec.md"), "SHOP-1", named, (), rules=rows))


@pytest.fixture
def project(first_run: tuple[Shop, object]) -> Project:
    """Give the project, which no test changes."""
    return first_run[0].project


@pytest.mark.parametrize(
    ("spec", "faults"),
    [
        (_spec(), ()),
        (_spec(rules=("SHOP-1-01", "SHOP-1-09")), ("SHOP-1-spec.md: rule SHOP-1-09 has no test; give a test this id in its meta",)),
        (_spec(sources=["shop.oders"]), ("SHOP-1-spec.md: source shop.oders is not in the project; declare it",)),
        (_spec(models=["fct_orders", "dim_days"]), ("SHOP-1-spec.md: model dim_days is not in the project; write it",)),
    ],
)
def test_the_project_has_what_a_spec_requires(project: Project, spec: Spec, faults: tuple[str, ...]) -> None:
    """Rules, sources and models."""
    tests = rule_tests(project.manifest)

    assert faults == checks.check_coverage(tests, [spec], sources=project.sources, models=project.models_named).faults


GOOD_RULE = {
    "rule_id": "SHOP-1-01",
    "test": "t",
    "unique_id": "test.t",
    "dimension": "validity",
    "path": "_models.yml",
    "owner": "o",
    "because": "b",
}


@pytest.mark.parametrize(
    ("fields", "faults"),
    [
        ({}, ()),
        ({"rule_id": "SHOP-1-07"}, ("_models.yml: t has rule SHOP-1-07, which is not in a spec; describe it in its ticket's spec",)),
        ({"rule_id": "SHIP-1-01"}, ("_models.yml: t has rule SHIP-1-01, which is not in a spec; describe it in its ticket's spec",)),
        ({"owner": "", "because": ""}, ("_models.yml: t has no owner and no because; add them to the test's meta",)),
        ({"dimension": "beauty"}, (f"_models.yml: t has the dimension beauty; choose one of {', '.join(dimensions.DIMENSIONS)}",)),
        ({"dimension": ""}, (f"_models.yml: t has the dimension none; choose one of {', '.join(dimensions.DIMENSIONS)}",)),
    ],
)
def test_a_rule_has_the_required_metadata(fields: dict[str, str], faults: tuple[str, ...]) -> None:
    """And is in a spec."""
    assert faults == checks.check_rules([RuleTest(**(GOOD_RULE | fields))], [_spec()]).faults


def test_the_rules_of_the_project_are_sound(project: Project) -> None:
    """Those of the first run."""
    assert Check("rules", "every test of a rule has an owner, a reason and a place in a spec (2)") == checks.check_rules(
        rule_tests(project.manifest), [_spec()]
    )
