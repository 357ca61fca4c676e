"""The results of dbt's tests are stored, however dbt is run, and so are the rows that failed, from the first run to the last."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import psycopg
import pytest
from conftest import Cluster, numbers
from psycopg import sql
from psycopg.types.json import Jsonb
from support import dbt_projects, schemas
from support.demo_project import dpe

from dpe_cli.project import dbt
from dpe_cli.project.dbt_runner import run_dbt
from dpe_cli.project.project import Project
from dpe_cli.server.contexts import admin_context, system_context
from dpe_cli.server.server import Server

# Orders, some of which are cheap; each test decides which.
PROJECT = {
    "models/finance/fct_orders.sql": "{{ config(materialized='table') }} select * from {{ var('orders', 'quality.orders') }}",
    "models/finance/_finance__models.yml": """
        models:
          - name: fct_orders
            config: {meta: {rls: {private: true}}, contract: {enforced: false}}
            columns:
              - name: order_id
                data_tests:
                  - unique: {name: orders_are_unique}
              - name: customer
                data_tests:
                  - not_null:
                      name: orders_have_a_customer
                      config: {severity: warn, meta: {rule: SHOP-1-01, dimension: completeness, owner: sales, because: who pays}}
        """,
    "tests/singular/orders_are_not_cheap.sql": """
        {{ config(severity='warn', warn_if='> 1', meta={
            'rule': 'SHOP-1-02', 'dimension': 'validity', 'owner': "the owner's", 'because': 'postage', 'keep_rows': 3
        }) }}
        select order_id, customer, amount, amount as dpe_row, amount as dpe_failing from {{ ref('fct_orders') }} where amount < 15 -- no semicolon
        """,
}
RESULTS = "select test, status, failures from dpe.rule_results order by ran_at, test"
FAILURES = """
    select row_key ->> 'order_id', first_seen_at = last_seen_at, resolved_at is null
    from dpe.rule_failures
    where test = {test}
    order by 1
"""


def _query(server: Server, query: str | sql.Composed) -> list[Any]:
    with server.connect("transformer") as connection, system_context(connection, actor="test"):
        return connection.execute(query if isinstance(query, sql.Composed) else query.encode()).fetchall()


class Orders:
    """The project with its orders, which a test replaces before each run."""

    def __init__(self, directory: Path, server: Server) -> None:
        self.directory = directory
        self.server = server

    def create(self) -> Orders:
        """Create the table for the orders."""
        schemas.create(self.server, "quality")
        with self.server.connect("admin") as connection:
            connection.execute("create table quality.orders (order_id integer, customer text, amount integer)")
            connection.execute("grant select on quality.orders to dpe_transformer")
        return self

    def are(self, *orders: tuple[int, str | None, int]) -> Orders:
        """Replace the orders."""
        with self.server.connect("admin") as connection, connection.cursor() as cursor:
            cursor.execute("truncate quality.orders")
            cursor.executemany("insert into quality.orders values (%s, %s, %s)", orders)
        return self

    def run(self, *command: str) -> dict[str, str]:
        """Run dbt, and return each node's status."""
        results = run_dbt(Project(self.directory), self.server, command or ("build",))
        return {result.name: result.status for result in results}

    def failures(self, test: str = "orders_have_a_customer") -> list[tuple[str, bool, bool]]:
        """Return the orders that are stored for a test: whether only one run saw them, and whether they still fail."""
        return _query(self.server, sql.SQL(FAILURES).format(test=sql.Literal(test)))

    def statuses(self, test: str = "orders_have_a_customer") -> list[tuple[str, int | None]]:
        """Return a test's results, oldest first."""
        return [(status, failures) for name, status, failures in _query(self.server, RESULTS) if name == test]


@pytest.fixture(scope="module")
def directory(scratch: Path) -> Path:
    """Write the project."""
    return dbt_projects.make(scratch / f"memory_{next(numbers)}", PROJECT)


@pytest.fixture
def orders(directory: Path, server: Server) -> Orders:
    """Give the project on a database of its own."""
    return Orders(directory, server).create()


@pytest.fixture(scope="module")
def remembered(directory: Path, cluster_18: Cluster) -> Iterator[Orders]:
    """Run the project once, with one failing row."""
    with cluster_18.new_database() as server:
        orders = Orders(directory, server).create().are((1, None, 20))
        orders.run()
        yield orders


@pytest.fixture
def failing(cluster_18: Cluster, remembered: Orders) -> Iterator[Orders]:
    """Give a copy of the project's database after a run in which order 1 had no customer."""
    with replace(cluster_18, template=remembered.server).new_database() as server:
        yield Orders(remembered.directory, server)


# Longer than what an index can hold, even compressed.
LONG = "".join(chr(ord("a") + digit % 26) for digit in hashlib.shake_128(b"long").digest(9000))
# YAML has values that JSON or PostgreSQL lacks; each is written for one test.
ODD = {
    "odd_date": ("meta: {rule: 2024-01-01}", "2024-01-01", None),
    "odd_number": ("meta: {dimension: .nan}", None, "nan"),
    "odd_nul": ('meta: {rule: "A\\0B"}', "AB", None),
    "odd_keep": ("meta: {rule: R, keep_rows: .inf}", "R", None),
    "odd_threshold": ('warn_if: "!= 0 /*\\0*/"', None, None),
    "odd_length": (f"meta: {{rule: {LONG}}}", LONG[:500], None),
}


def test_what_one_test_declares_costs_no_other_its_result(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A text takes the place of what cannot be stored, and the run succeeds as it would without it."""
    # With it, dbt raises an error instead of logging that it cannot write the node.
    monkeypatch.delenv("PYTEST_CURRENT_TEST")
    tests = "".join(f"\n              - not_null: {{name: {name}, config: {{severity: warn, {said}}}}}" for name, (said, *_) in ODD.items())
    odd = f"""
        models:
          - name: odd
            config: {{meta: {{rls: {{private: true}}}}, contract: {{enforced: false}}, unique_key: ["id\\0"]}}
            columns:
              - name: id
                data_tests:{tests.replace("              - ", "                  - ")}
          - name: odd_key
            config: {{meta: {{rls: {{private: true}}}}, contract: {{enforced: false}}}}
            data_tests:
              - unique: {{name: {LONG}, column_name: 5, config: {{severity: warn}}}}
              - unique: {{name: odd_number_is_unique, column_name: 5, config: {{severity: warn}}}}
              - unique: {{name: key_is_unique, column_name: id}}
            columns:
              - name: other
                data_tests:
                  - not_null: {{name: key_has_other, config: {{severity: warn}}}}
        """
    files = {
        "models/finance/odd.sql": "{{ config(materialized='table') }} select null::integer as id",
        "models/finance/odd_key.sql": "{{ config(materialized='table') }} select 7 as id, null::integer as other",
        "models/finance/_odd.yml": odd,
    }
    orders = Orders(dbt_projects.make(tmp_path, PROJECT | files), server).create()

    orders.are((1, None, 10)).run()

    stored = {test: (rule, dimension) for test, rule, dimension in _query(server, "select test, rule, dimension from dpe.rule_results")}
    assert {name: (rule, dimension) for name, (_, rule, dimension) in ODD.items()} == {name: stored.get(name) for name in ODD}
    assert "SHOP-1-01" == stored["orders_have_a_customer"][0]
    assert [("1", True, True)] == orders.failures()
    assert stored.keys() >= {"odd_number_is_unique", "key_is_unique"}
    # By the test of the model whose column is one.
    assert [({"id": 7},)] == _query(server, "select row_key from dpe.rule_failures where test = 'key_has_other'")


def test_each_test_of_a_build_leaves_its_result(orders: Orders) -> None:
    """With its rule, its count, the number of rows, and its thresholds."""
    orders.are((1, None, 10), (2, "A", 20), (3, "B", 30), (4, "C", 40)).run()

    assert [
        ("SHOP-1-01", "completeness", "orders_have_a_customer", "fct_orders", "warn", "warn", 1, 4, 0.25, "!= 0", "!= 0", "dbt"),
        ("SHOP-1-02", "validity", "orders_are_not_cheap", "fct_orders", "warn", "pass", 1, 4, 0.25, "> 1", "!= 0", "dbt"),
        (None, None, "orders_are_unique", "fct_orders", "error", "pass", 0, 4, 0.0, "!= 0", "!= 0", "dbt"),
    ] == _query(
        orders.server,
        "select rule, dimension, test, model, severity, status, failures, records, share, warn_if, error_if, actor "
        "from dpe.rule_results where duration_seconds > 0 and now() - ran_at < interval '1 minute' order by rule",
    )


def test_plain_dbts_results_are_stored_too(orders: Orders) -> None:
    """dbt itself, with the variables of `dpe env`, and `dpe dbt`."""
    orders.are((1, "A", 20)).run()
    with pytest.MonkeyPatch.context() as patch:
        for name, value in orders.server.environment().items():
            patch.setenv(name, value)
        patch.chdir(orders.directory)
        assert dbt.invoke(["test"], ["--project-dir", str(orders.directory)]).success
    done = dpe(orders.directory, orders.server, "dbt", "test")
    assert 0 == done.returncode, done.stdout + done.stderr

    assert [("pass", 0)] * 3 == orders.statuses()


def test_a_rule_has_a_history(orders: Orders) -> None:
    """It held, did not, and holds again."""
    orders.are((1, "A", 20)).run()
    orders.are((1, None, 20), (2, None, 20)).run()
    orders.are((1, "A", 20), (2, "B", 20)).run()

    assert [("pass", 0), ("warn", 2), ("pass", 0)] == orders.statuses()


def test_a_whole_failing_row_is_stored(orders: Orders) -> None:
    """With the columns that identify it, and the run that first saw it."""
    orders.are((1, "A", 20), (2, None, 20)).run()

    assert [("SHOP-1-01", {"order_id": 2}, {"order_id": 2, "customer": None, "amount": 20}, None, True)] == _query(
        orders.server,
        "select failures.rule, row_key, failing_row, resolved_at, first_invocation_id = invocation_id "
        "from dpe.rule_failures as failures inner join dpe.rule_results using (test_id)",
    )


def test_a_row_that_still_fails_keeps_its_first_date(failing: Orders) -> None:
    """Even if another column has changed."""
    orders = failing
    assert [("1", True, True)] == orders.failures()
    orders.are((1, None, 30), (2, None, 20)).run()

    assert [("1", False, True), ("2", True, True)] == orders.failures()
    assert [(30,), (20,)] == _query(
        orders.server, "select (failing_row ->> 'amount')::integer from dpe.rule_failures order by first_seen_at"
    )


@pytest.mark.parametrize("other", [(), ((2, None, 20),)], ids=["its rule holds", "its rule does not hold"])
def test_a_row_that_no_longer_fails_is_resolved(orders: Orders, other: tuple[tuple[int, str | None, int], ...]) -> None:
    """Whether or not others still do."""
    orders.are((1, None, 20), *other).run()
    orders.are((1, "A", 20), *other).run()

    assert [("1", True, False), *[("2", False, True) for _ in other]] == orders.failures()


def test_a_row_that_fails_again_is_opened_again(failing: Orders) -> None:
    """It keeps its first date."""
    orders = failing
    for customer in ("A", None):
        orders.are((1, customer, 20)).run()

    assert [("1", False, True)] == orders.failures()


def test_the_rows_of_a_removed_test_are_resolved(orders: Orders, tmp_path: Path) -> None:
    """Because no run would ever update them."""
    orders.are((1, None, 20), (2, "b", 10), (3, "c", 10)).run()
    assert [("2", True, True), ("3", True, True)] == orders.failures("orders_are_not_cheap")
    shutil.copytree(orders.directory, tmp_path / "without", symlinks=True)
    (tmp_path / "without" / "tests" / "singular" / "orders_are_not_cheap.sql").unlink()

    run_dbt(Project(tmp_path / "without"), orders.server, ["build"])

    assert [("2", True, False), ("3", True, False)] == orders.failures("orders_are_not_cheap")
    assert [("1", False, True)] == orders.failures()


def test_a_test_that_did_not_run_resolves_nothing(failing: Orders) -> None:
    """Neither one that was not selected, nor one that cannot run: its result is an error without a count."""
    orders = failing
    orders.run("test", "--select", "orders_are_unique")
    with orders.server.connect("admin") as connection:
        connection.execute("drop table finance.fct_orders cascade")
    assert "error" == orders.run("test")["orders_have_a_customer"]

    assert [("1", True, True)] == orders.failures()
    assert [("warn", 1), ("error", None)] == orders.statuses()


def test_a_test_that_passes_by_its_threshold_keeps_its_rows(orders: Orders) -> None:
    """dbt does not count if a test passes; the row still breaks the rule."""
    orders.are((1, "A", 1), (2, "B", 2)).run()
    orders.are((1, "A", 1), (2, "B", 20)).run()

    assert [("warn", 2), ("pass", 1)] == orders.statuses("orders_are_not_cheap")
    assert [("1", False, True), ("2", True, False)] == orders.failures("orders_are_not_cheap")


def test_a_limited_number_of_rows_is_stored_for_a_test(orders: Orders) -> None:
    """Those that fail now; whether the others still do is unknown."""
    orders.are(*[(number, "A", number) for number in range(1, 8)]).run()
    assert [("1", True, True), ("2", True, True), ("3", True, True)] == orders.failures("orders_are_not_cheap")
    orders.are(*[(number, "A", number) for number in range(3, 8)]).run()

    assert [("3", False, True), ("4", True, True), ("5", True, True)] == orders.failures("orders_are_not_cheap")
    assert [("warn", 7), ("warn", 5)] == orders.statuses("orders_are_not_cheap")


def test_a_limited_number_of_resolved_rows_is_stored_for_a_test(orders: Orders) -> None:
    """The newest ones, so that the memory does not grow forever."""
    for start in (1, 3, 5):
        orders.are((start, "A", 1), (start + 1, "A", 2)).run()
    orders.are((9, "A", 20)).run()

    kept = orders.failures("orders_are_not_cheap")
    assert (3, {False}) == (len(kept), {fails for *_, fails in kept})
    assert {"5", "6"} < {number for number, *_ in kept}


def test_no_row_is_stored_if_none_is_wanted(orders: Orders) -> None:
    """`keep_rows: 0` for rules on rows that must not be copied; the count is stored."""
    orders.are((1, None, 20)).run("build", "--vars", "dpe_keep_rows: 0")

    assert ([], [("warn", 1)]) == (orders.failures(), orders.statuses())


def test_values_with_quotes_are_stored_unchanged(orders: Orders, tmp_path: Path) -> None:
    r"""In rows, in names, in queries: ' " \ % { $$ and letters that are not ASCII."""
    value = "O'Neill \"\\ 50 % {{ x }} $$ ü"
    directory = dbt_projects.make(
        tmp_path / "quotes",
        {
            **PROJECT,
            "tests/singular/it_is_not_oneill.sql": """
                {{ config(severity='warn', meta={'rule': "SHOP-1-'03", 'dimension': 'the "dimension"'}) }}
                select * from {{ ref('fct_orders') }} where customer like 'O''Neill%' or customer = '\\'
                """,
        },
    )
    orders.directory = directory
    orders.are((1, value, 20)).run()

    assert [("SHOP-1-'03", 'the "dimension"', value)] == _query(
        orders.server,
        "select failures.rule, dimension, failing_row ->> 'customer' from dpe.rule_failures as failures "
        "inner join dpe.rule_results using (test_id)",
    )


def test_without_tests_nothing_is_stored(orders: Orders) -> None:
    """Neither in a run, nor in a build without rows, in which all tests would pass."""
    orders.are((1, None, 20))
    orders.run("run")
    orders.run("build", "--empty")

    assert [] == orders.statuses()


def test_a_build_needs_no_ledger(orders: Orders) -> None:
    """On a server that this version has not bootstrapped, dbt works as usual."""
    with orders.server.connect("admin") as connection:
        connection.execute("drop function dpe.remember_rules")

    assert "warn" == orders.are((1, None, 20)).run()["orders_have_a_customer"]
    assert [] == orders.statuses()


def test_rows_that_can_no_longer_be_selected_stop_nothing(orders: Orders) -> None:
    """A result whose query fails is stored without its rows; the others are complete."""
    result = {
        "test_id": "test.shops.gone", "test": "gone", "severity": "warn", "status": "warn", "failures": 3, "warn_if": "!= 0", "error_if": "!= 0",
        "fail_calc": "count(*)", "query": "select * from finance.gone", "duration_seconds": 1, "keep_rows": 9, "key_columns": [],
    }  # fmt: skip
    other = {**result, "test_id": "test.shops.here", "test": "here", "query": "select 1 as a -- one"}
    # As the macros would not write it: the name of a column of the key is missing.
    keyless = {**result, "test_id": "test.shops.keyless", "test": "keyless", "query": "select 2 as a", "key_columns": ["a", None]}
    with orders.server.connect("transformer") as connection, system_context(connection, actor="test"):
        unstored = connection.execute(
            "select * from dpe.remember_rules('1', %s, current_schemas(false))", [Jsonb([result, other, keyless])]
        ).fetchall()  # fmt: skip
        # An id that no index can hold.
        [(problem,)] = connection.execute(
            "select dpe.remember_failures(%s, '1', now(), 'pg_catalog')", [Jsonb({**other, "test_id": LONG})]
        ).fetchall()

    assert [("gone", 'relation "finance.gone" does not exist')] == unstored
    assert "index row" in problem
    assert [("gone", "warn", 3), ("here", "warn", 3), ("keyless", "warn", 3)] == _query(orders.server, RESULTS)
    assert [("here", None, {"a": 1}), ("keyless", None, {"a": 2})] == _query(
        orders.server, "select test, row_key, failing_row from dpe.rule_failures order by test"
    )


@pytest.mark.parametrize("options", ["-c dpe.actor= ", "-c dpe.actor=dbt -c dpe.tenant_id=UA"])
def test_tests_that_see_no_rows_have_no_result(failing: Orders, monkeypatch: pytest.MonkeyPatch, options: str) -> None:
    """Without a context, or in one for a single tenant, every rule would seem to hold."""
    orders = failing
    monkeypatch.setenv("PGOPTIONS", options)
    with pytest.raises(Exception, match=r"no context for every tenant is open, so that tests see no rows, or only some"):
        orders.run("test")
    monkeypatch.delenv("PGOPTIONS")

    assert [("warn", 1)] == orders.statuses()
    assert [("1", True, True)] == orders.failures()


WHO_READS = {
    "dpe_auditor": (3, None),
    "dpe_reader": (None, None),
    "dpe_tenant": (None, None),
    "dpe_loader": (None, None),
    "dpe_transformer": (0, 0),
    "dpe_owner": (0, 0),
}


@pytest.mark.parametrize("role", WHO_READS)
def test_only_auditors_read_the_memory_without_a_context(remembered: Orders, role: str) -> None:
    """They see counts, but not rows; other roles see nothing."""
    seen: list[int | None] = []
    with remembered.server.connect("admin", autocommit=True) as connection:
        connection.execute(sql.SQL("set role {}").format(sql.Identifier(role)))
        for table in ("rule_results", "rule_failures"):
            try:
                row = connection.execute(sql.SQL("select count(*) from dpe.{}").format(sql.Identifier(table))).fetchone()
                seen.append(row[0] if row else None)
            except psycopg.errors.InsufficientPrivilege:
                seen.append(None)

    assert WHO_READS[role] == tuple(seen)


def test_an_administrator_reads_the_memory_in_a_context(remembered: Orders) -> None:
    """The context names the person."""
    with remembered.server.connect("admin") as connection, admin_context(connection, "j.doe"):
        assert [(3,), (1,)] == connection.execute(
            "select count(*) from dpe.rule_results union all select count(*) from dpe.rule_failures"
        ).fetchall()


def test_a_context_for_one_tenant_sees_no_rows_of_the_memory(remembered: Orders) -> None:
    """The rows do not say which tenant they belong to."""
    with remembered.server.connect("transformer") as connection, system_context(connection, actor="test", tenant_id="UA"):
        assert (0,) == connection.execute("select count(*) from dpe.rule_failures").fetchone()


def test_results_cannot_be_changed_afterwards(remembered: Orders) -> None:
    """Not even by the role that writes them."""
    with (
        remembered.server.connect("transformer") as connection,
        system_context(connection, actor="test"),
        pytest.raises(psycopg.errors.InsufficientPrivilege),
    ):
        connection.execute("update dpe.rule_results set status = 'pass'")


def test_each_version_of_postgresql_stores_results(directory: Path, fresh_server: Server) -> None:
    """Including the oldest."""
    orders = Orders(directory, fresh_server).create().are((1, None, 20))
    orders.run()

    assert [("1", True, True)] == orders.failures()


def test_runs_that_end_at_once_take_turns(remembered: Orders) -> None:
    """Otherwise they could deadlock on each other's rows, depending on the order in which each writes them."""
    remember = "select * from dpe.remember_rules(%s, '[]', current_schemas(false))"
    with remembered.server.connect("transformer") as first, remembered.server.connect("transformer") as second:
        for connection in (first, second):
            connection.execute("select set_config('dpe.actor', 'test', false), set_config('lock_timeout', '200ms', false)")
            connection.commit()
        first.execute(remember, ["first"])
        with pytest.raises(psycopg.errors.LockNotAvailable):
            second.execute(remember, ["second"])
        second.rollback()
        first.commit()

        assert [] == second.execute(remember, ["second"]).fetchall()
