from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Literal

import psycopg
import pytest
from support.dbt_projects import Silence
from support.shop import WEDNESDAY, Shop

from dpe_cli.errors import BuildError, ProjectError, ServerError, SpecError, UnknownNameError, UsageError
from dpe_cli.ingest import loads
from dpe_cli.pipeline import document, run, validate
from dpe_cli.pipeline.options import RunOptions
from dpe_cli.pipeline.run import RunSummary
from dpe_cli.pipeline.validate import Validation
from dpe_cli.project.dbt_runner import run_dbt
from dpe_cli.server import sessions, watching

BAD_HEADER = {"data/orders/wednesday.csv": "order_id,shop,price\n4,HA,40\n"}


def _validate(shop: Shop, wanted: str | None = None) -> Validation:
    return validate.validate(shop.project, shop.server, wanted, Silence())


def test_a_run_does_all_of_it(first_run: tuple[Shop, RunSummary]) -> None:
    """Extracts, builds, tests, checks and documents."""
    _, summary = first_run

    assert {"shop.orders": (2, 3), "shop.shops": (1, 2)} == {
        extract.source: (len(extract.loads), extract.rows_loaded) for extract in summary.extracted.extracts
    }
    assert {"stg_shop__orders": "success", "fct_orders": "success", "dim_shops": "success"} == {
        result.name: result.status for result in summary.build.results if result.resource_type == "model"
    }
    assert summary.validation is not None
    assert ["counts", "reconciliation", "freshness", "row-level security", "who sees what", "spec coverage", "rules"] == [
        check.name for check in summary.validation.checks
    ]
    assert [] == [fault for check in summary.validation.checks for fault in check.faults]
    assert 4 == len(summary.validation.visibility)
    assert summary.holds


def test_a_rule_that_warns_is_reported_and_fails_nothing(first_run: tuple[Shop, RunSummary]) -> None:
    """With its id, its count and its reason."""
    _, summary = first_run

    (warned,) = (result for result in summary.build.results if result.status == "warn")
    assert ("orders_are_not_cheap", "SHOP-1-02", 1, "validity", "postage costs as much", "warn") == (
        warned.name,
        warned.rule,
        warned.failures,
        warned.dimension,
        warned.because,
        warned.severity,
    )
    assert not warned.has_failed


def test_the_docs_are_a_single_page(first_run: tuple[Shop, RunSummary]) -> None:
    """It contains manifest and catalog, and needs no server."""
    _, summary = first_run

    assert summary.site is not None
    page = summary.site.read_text(encoding="utf-8")
    assert "model.shops.fct_orders" in page
    assert "MANIFEST.JSON INLINE DATA" not in page


def test_another_run_loads_what_is_new(shop: Shop) -> None:
    """And nothing twice."""
    shop.write(WEDNESDAY)

    summary = shop.run()

    assert {"shop.orders": (1, 2), "shop.shops": (0, 1)} == {
        extract.source: (extract.rows_loaded, extract.skipped) for extract in summary.extracted.extracts
    }
    assert summary.holds
    assert [1, 2, 3, 4] == shop.orders()


def test_a_refused_extract_stops_the_run(shop: Shop) -> None:
    """Models are not built on part of a delivery; what was published stays."""
    shop.write({**BAD_HEADER, "data/shops.csv": "shop,name\nHA,Hats\n"})

    summary = shop.run()

    orders, shops = summary.extracted.extracts
    assert [orders] == summary.extracted.refused
    assert orders.error is not None
    assert "data/orders/wednesday.csv" in orders.error
    assert "price" in orders.error
    # The other source is loaded anyway.
    assert 1 == shops.rows_loaded
    assert ([], None, None) == (summary.build.results, summary.validation, summary.site)
    assert not summary.holds
    assert [1, 2, 3] == shop.orders()


def test_a_rule_that_fails_fails_the_run(shop: Shop) -> None:
    """Everything else is done and reported anyway."""
    shop.write({"data/orders/wednesday.csv": "order_id,shop,amount\n3,HA,31\n"})

    summary = shop.run(documents=True)

    assert [("orders_are_unique", "SHOP-1-01", "fail", 1)] == [
        (result.name, result.rule, result.status, result.failures) for result in summary.build.results if result.has_failed
    ]
    assert summary.validation is not None
    assert all(check.holds for check in summary.validation.checks)
    assert summary.site is not None
    assert not summary.holds


def test_a_model_that_cannot_be_built_fails_the_run(shop: Shop) -> None:
    """With PostgreSQL's message."""
    shop.write({"models/finance/dim_shops.sql": "select shop, nonsense as name from {{ source('shop', 'shops') }}"})

    summary = shop.run("dim_shops")

    assert ["shop.shops"] == [extract.source for extract in summary.extracted.extracts]
    (result,) = summary.build.results
    assert ("dim_shops", True) == (result.name, result.has_failed)
    assert 'column "nonsense" does not exist' in result.message
    assert not summary.holds


@pytest.mark.parametrize(("name", "text"), [("SHOP-2-broken-spec.md", "---\nticket: [\n---\n"), ("SHOP-2-two-spec.md", None)])
def test_a_broken_spec_is_reported_before_the_work(shop: Shop, name: str, text: str | None) -> None:
    """Nothing is loaded for a run that cannot be judged."""
    text = text or (shop.directory / "specs" / "SHOP-1-orders-spec.md").read_text()
    shop.write({f"specs/{name}": text, **WEDNESDAY})

    with pytest.raises(SpecError, match=name):
        shop.run()

    assert 2 == len(loads.extracts(shop.server, source=None, limit=10))


def test_a_run_of_nothing_is_refused(shop: Shop) -> None:
    """Before anything is loaded."""
    shop.write(WEDNESDAY)

    with pytest.raises(UnknownNameError, match=r"\+fct_oders: selects nothing; did you mean fct_orders\?"):
        shop.run("fct_oders")

    assert 2 == len(loads.extracts(shop.server, source=None, limit=10))


@pytest.mark.parametrize(
    ("select", "expected"),
    [
        ([], []),
        (["fct_orders"], ["+fct_orders"]),
        (["+fct_orders", "2+dim_shops+1"], ["+fct_orders", "+dim_shops+1"]),
        (["tag:daily @dim_shops"], ["+tag:daily", "@dim_shops"]),
    ],
)
def test_what_is_selected_is_built_from_the_start(select: Sequence[str], expected: list[str]) -> None:
    """With all its parents, however dbt spells it."""
    assert expected == run.with_parents(select)


def test_the_present_state_is_validated(shop: Shop) -> None:
    """All tests and all checks, without loading or building."""
    shop.write(WEDNESDAY)

    found = _validate(shop)

    assert found.holds
    assert {"orders_are_unique": "pass", "orders_are_not_cheap": "warn"} == {result.name: result.status for result in found.results}
    assert [1, 2, 3] == shop.orders()


HELD_BY_DBT = "{{ config(pre_hook='lock table finance.dim_shops in share row exclusive mode') }} "
# Both with the rights of a reader: a query of the slices, and a MERGE that writes nothing (PostgreSQL 15 and later).
HOLD = {
    "raw.shops__": "select pg_partition_tree(oid) from pg_class where relname = 'shops'",
    "finance.dim_shops": "merge into finance.dim_shops using (select 1) as nothing on false when matched then do nothing",
}


def test_sessions_that_block_a_run_are_named_and_ended(shop: Shop, reader: Callable[..., str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Those that block the extract, and those that block dbt."""
    monkeypatch.setattr(sessions, "END_AFTER_SECONDS", 0.2)
    monkeypatch.setattr(watching, "_FIRST_LOOK_SECONDS", 0.2)
    orders = (shop.directory / "models/finance/fct_orders.sql").read_text()
    shop.write({"data/shops.csv": "shop,name\nHA,Hats\n", "models/finance/fct_orders.sql": HELD_BY_DBT + orders})
    progress = Silence()
    with ExitStack() as stack:
        holding = {}
        for relation, statement in HOLD.items():
            connection = psycopg.connect(shop.server.url().replace("postgres@", f"{reader(shop.server, 'UA')}@"))
            stack.callback(connection.close)
            connection.execute(statement.encode())
            holding[relation] = connection

        summary = run.run(shop.project, shop.server, (), (), progress, RunOptions(documents=False, ends_sessions=True))

        assert summary.holds
        for relation, connection in holding.items():
            login, pid = connection.info.user, connection.info.backend_pid
            assert any(re.match(rf"Waiting: {login} \(process {pid}\) holds {relation}", message) for message in progress.messages)
            assert f"Ended {login} (process {pid})." in progress.messages
            with pytest.raises(psycopg.OperationalError):
                connection.execute("select 1")


# A model whose function changes the settings of each session that counts its rows, and with them how names are written.
MEDDLING = {
    "models/finance/all_orders.sql": """
    {{ config(meta={'rls': {'tenant_column': 'shop'}}, contract={'enforced': false}) }}
    select order_id, shop, amount from {{ ref('stg_shop__orders') }}
    """,
    "models/finance/fct_orders.sql": """
    {{ config(
        materialized='view',
        meta={'reconcile': {'from': 'all_orders'}},
        pre_hook="create or replace function raw.meddle() returns boolean language plpgsql as $f$ begin
            perform set_config('quote_all_identifiers', 'on', false);
            perform set_config('search_path', 'raw', false);
            return true;
        end $f$; grant execute on function raw.meddle() to dpe_reader, dpe_tenant, dpe_owner"
    ) }}
    select order_id, shop, amount from {{ ref('all_orders') }} where raw.meddle()
    """,
}


def test_code_of_a_model_has_no_effect_on_the_checks(shop: Shop) -> None:
    """Neither before a build is published, nor after the run: the checks use a session in which no such code has run."""
    shop.write(MEDDLING)

    summary = shop.run()

    assert (None, "published") == (summary.build.not_published, summary.build.publication and summary.build.publication.status)
    assert summary.validation is not None
    assert [()] == [check.faults for check in summary.validation.checks if check.name == "row-level security"]


def test_one_spec_is_validated(shop: Shop) -> None:
    """Its rules and its sources, without another spec's."""
    spec = (shop.directory / "specs" / "SHOP-1-orders-spec.md").read_text()
    shop.write(
        {
            "specs/SHOP-2-shops-spec.md": spec.replace("SHOP-1\n", "SHOP-2\n")
            .replace("shop.orders, ", "")
            .replace("| SHOP-1-01 | An order is there once. |\n", "")
        }
    )

    found = _validate(shop, "SHOP-2")

    assert ["orders_are_not_cheap"] == [result.name for result in found.results]
    assert "2 rows in 1 staging table match the ledger" == found.checks[0].detail
    assert "every rule of SHOP-2 has a test (1)" == found.checks[5].detail
    assert found.holds


def test_a_spec_without_tests_is_not_validated(shop: Shop) -> None:
    """Checking nothing does not mean that nothing is wrong."""
    spec = (shop.directory / "specs" / "SHOP-1-orders-spec.md").read_text()
    shop.write({"specs/SHOP-2-new-spec.md": spec.replace("SHOP-1", "SHOP-2")})

    with pytest.raises(
        UsageError, match=r"SHOP-2-new-spec\.md: none of its rules has a test, so there is nothing to check; give tests its"
    ):
        _validate(shop, "SHOP-2")
    assert "SHOP-2-new-spec.md: rule SHOP-2-01 has no test" in " ".join(_validate(shop).checks[5].faults)


def test_an_unknown_ticket_is_refused(shop: Shop) -> None:
    """The known ones are named."""
    with pytest.raises(UnknownNameError, match=r"SHOP-9: no such spec; did you mean SHOP-1\?"):
        _validate(shop, "SHOP-9")


@pytest.mark.parametrize(
    ("statement", "fault"),
    [
        (
            "alter table finance.fct_orders disable row level security",
            "finance.fct_orders: has policies that do nothing, because row-level security is off",
        ),
        ("delete from raw.orders", "shop.orders: load 1"),
        (
            "update dpe.tenant_access set tenant_id = 'UA' where role_name = 'dpe_tenant'::regrole",
            "finance.fct_orders: HA sees 0 rows instead of 1",
        ),
    ],
)
def test_a_fault_of_the_database_fails_the_validation(shop: Shop, statement: str, fault: str) -> None:
    """Though every test passes."""
    with shop.server.connect("admin") as connection:
        connection.execute(statement.encode())

    found = _validate(shop, "SHOP-1")

    assert not any(result.has_failed for result in found.results)
    assert any(one.startswith(fault) for check in found.checks for one in check.faults)
    assert not found.holds


def test_each_node_is_reported_as_it_finishes(shop: Shop) -> None:
    """For the progress bar."""
    finished: list[str] = []

    run_dbt(shop.project, shop.server, ["run"], on_node=finished.append)

    assert ["dim_shops", "fct_orders", "stg_shop__orders"] == sorted(finished)


def test_dbt_leaves_the_environment_as_it_was(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its context is not for what runs after it."""
    monkeypatch.setenv("PGHOST", "elsewhere")
    monkeypatch.delenv("PGOPTIONS", raising=False)

    run_dbt(shop.project, shop.server, ["run", "--select", "dim_shops"])

    assert ("elsewhere", None) == (os.environ["PGHOST"], os.environ.get("PGOPTIONS"))


def test_a_project_that_cannot_be_read_is_reported_in_dbts_words(shop: Shop) -> None:
    """Which name the file."""
    shop.write({"models/finance/broken.sql": "select * from {{ ref('nothing') }}"})

    with pytest.raises(ProjectError, match=r"(?s)dbt run: the project cannot be read; fix what dbt reports:.*models/finance/broken\.sql"):
        run_dbt(shop.project, shop.server, ["run"])


def test_a_failure_that_dbt_attributes_to_no_node_is_a_failure(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    """dbt's exit status counts as well as the states of its nodes, so that nothing is published."""
    monkeypatch.setattr("dbt.task.runnable.GraphRunnableTask.interpret_results", lambda *_results: False)
    shop.write(WEDNESDAY)

    with pytest.raises(BuildError, match="dbt reports a failure, but none of its nodes failed; run `dpe dbt build"):
        shop.run("fct_orders")
    assert [1, 2, 3] == shop.orders()


def test_a_server_that_is_gone_is_reported_before_dbt_starts(shop: Shop, tmp_path: Path) -> None:
    """With what to do."""
    gone = replace(shop.server, host=str(tmp_path))

    with pytest.raises(ServerError, match=r"is not reachable \(No such file or directory\); run `dpe db start`"):
        run_dbt(shop.project, gone, ["run"])


def test_an_interrupt_of_dbt_is_an_interrupt(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    """dbt's runner returns it as an error among others."""
    monkeypatch.setattr("dbt.task.run.RunTask.run", _interrupt)

    with pytest.raises(KeyboardInterrupt):
        run_dbt(shop.project, shop.server, ["run"])


class LosingTheResults(Silence):
    """Takes the rules' results away when dbt has generated its docs, and before the page is written."""

    def __init__(self, shop: Shop) -> None:
        super().__init__()
        self._shop = shop

    @contextmanager
    def task(
        self, name: str, total: int | None = None, *, unit: Literal["bytes", "rows", "steps"] = "steps"
    ) -> Iterator[Callable[[int], None]]:
        """Let work be done."""
        del total, unit
        yield lambda _amount: None
        if name == "dbt docs":
            with self._shop.server.connect("admin") as connection:
                connection.execute("alter table dpe.rule_results rename to lost")


def test_a_page_that_cannot_be_written_does_not_hide_what_was_checked(shop: Shop) -> None:
    """The run fails, and says why."""
    summary = run.run(shop.project, shop.server, (), (), LosingTheResults(shop), RunOptions())

    assert summary.validation is not None
    assert (False, None) == (summary.holds, summary.site)
    assert summary.not_documented is not None
    assert 'relation "dpe.rule_results" does not exist' in summary.not_documented
    assert "then run `dpe docs build`" in summary.not_documented


def test_docs_that_lack_something_are_an_error(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    """dbt writes them anyway."""
    monkeypatch.setattr("dbt.adapters.postgres.PostgresAdapter.get_filtered_catalog", _no_catalog)

    with pytest.raises(BuildError, match=r"dbt docs generate .*: the catalog is closed; run `dpe dbt docs generate"):
        document.build(shop.project, shop.server, Silence())


def _interrupt(*_arguments: object, **_options: object) -> None:
    raise KeyboardInterrupt


def _no_catalog(*_arguments: object, **_options: object) -> tuple[object, list[Exception]]:
    import agate

    return agate.Table([]), [RuntimeError("the catalog is closed")]
