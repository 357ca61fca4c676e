"""Models are built, protected and published whatever their relations and columns are called, at the first run and at the second."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from support import dbt_projects
from support.dbt_projects import Silence
from support.long_tests import runs_long_tests

from dpe_cli.access.matrix import Cell
from dpe_cli.pipeline import protection, run
from dpe_cli.pipeline.options import RunOptions
from dpe_cli.project.dbt_runner import run_dbt
from dpe_cli.project.project import Project
from dpe_cli.server.contexts import system_context
from dpe_cli.server.relations import MASKED, QUARANTINE, companion_name
from dpe_cli.server.server import Server

# Tenant columns, by the name of their table.
COLUMNS = {
    "fct_tenant": "tenant",
    "fct_sampled": "sampled",
    "fct_protected": "protected",
    "fct_reserved": "select",
    "fct_comma": "sho,p",
    "fct_single": "sho'p",
    "fct_brackets": "shop (code)",
    "fct_braces": "a: {shop}",
    "fct_percent": "sho%p",
    "fct_dollars": "$$shop$$",
    "fct_double": 'sho"p',
    "fct_umlauts": "Geschäft",
}
# Tables with a masked column and a quarantine, and relations of the other kinds, with names that leave no room for a suffix.
LONG = ["orders_" + "x" * 49, "orders_" + "x" * 56, "o_" + "ä" * 27]
INCREMENTAL, SNAPSHOT, SEED, VIEW = ("incremental_" + "x" * 51, "s" + "ä" * 31, "seed_" + "x" * 58, "view_" + "x" * 58)
# Names of 63 bytes and fewer characters: PostgreSQL would cut off the whole ending of dbt's own names for what it builds or replaces.
UMLAUTS = {kind: kind[0] + "ä" * 31 for kind in ("table", "incremental", "view")}
KEPT_OUT = """
            columns:
              - name: amount
                data_tests:
                  - accepted_values:
                      arguments: {values: [10, 20], quote: false}
                      config: {meta: {rule: SHOP-1-01, on_failure: quarantine, quarantine: {max_rows: 1}}}
        """


# Packages' tests with the name of one of dpe's, and another way to count what fails: two relations of the same size differ by 0.
OF_PACKAGES = {"dbt_utils": "as_many_as_itself", "other_rules": "as_many_by_other_rules"}
EQUAL_ROWCOUNT = """
    {% test equal_rowcount(model, compare_model) %}
      {{ return(adapter.dispatch('test_equal_rowcount', 'NAME')(model, compare_model)) }}
    {% endtest %}

    {% macro default__test_equal_rowcount(model, compare_model) %}
    {{ config(fail_calc='sum(coalesce(diff_count, 0))') }}
    select (select count(*) from {{ model }}) - (select count(*) from {{ compare_model }}) as diff_count
    {% endmacro %}
    """
PACKAGES = {
    f"dbt_packages/{name}/dbt_project.yml": f"{{name: {name}, version: 1.3.0, config-version: 2, macro-paths: [macros]}}"
    for name in OF_PACKAGES
}
PACKAGES |= {f"dbt_packages/{name}/macros/equal_rowcount.sql": EQUAL_ROWCOUNT.replace("NAME", name) for name in OF_PACKAGES}
PACKAGES |= {
    "models/raw/stg_orders.yml": """
        models:
          - name: stg_orders
            data_tests:
              - dpe.equal_rowcount: {name: as_many_by_dpe, arguments: {compare_model: ref('stg_orders')}}
              - dbt_utils.equal_rowcount: {name: as_many_as_itself, arguments: {compare_model: ref('stg_orders')}}
              - other_rules.equal_rowcount: {name: as_many_by_other_rules, arguments: {compare_model: ref('stg_orders')}}
        """,
}


def _declared(kind: str, name: str, column: str, *, masks: bool = False, schema: str = "finance") -> str:
    quoted = column.replace("'", "''")
    masked = ", masked: [amount]" if masks else ""
    return f"""
        {kind}:
          - name: {name}
            config: {{schema: {schema}, contract: {{enforced: false}}, meta: {{rls: {{tenant_column: '{quoted}'}}{masked}}}}}
        """


def _files() -> dict[str, str]:
    orders = "select * from (values (1, 'UA', 10), (2, 'UA', 20), (3, 'HA', 30)) as orders (order_id, shop, amount)"
    files = {"models/raw/stg_orders.sql": orders, f"seeds/{SEED}.csv": "order_id,shop,amount\n1,UA,10\n2,UA,20\n3,HA,30\n"}
    for name, column in COLUMNS.items():
        quoted = '"' + column.replace('"', '""') + '"'
        files[f"models/finance/{name}.sql"] = (
            f"{{{{ config(materialized='table') }}}} select order_id, shop as {quoted} from {{{{ ref('stg_orders') }}}}"
        )
        files[f"models/finance/{name}.yml"] = _declared("models", name, column)
    for name in LONG:
        files[f"models/finance/{name}.sql"] = (
            "{{ config(materialized='table') }} select *, '{{ make_intermediate_relation(this).identifier }}' as built_as from {{ ref('stg_orders') }}"
        )
        files[f"models/finance/{name}.yml"] = _declared("models", name, "shop", masks=True).rstrip() + KEPT_OUT
    files[f"models/finance/{INCREMENTAL}.sql"] = (
        "{{ config(materialized='incremental', unique_key='order_id', on_schema_change='fail') }} select * from {{ ref('stg_orders') }}"
    )
    files[f"models/finance/{INCREMENTAL}.yml"] = _declared("models", INCREMENTAL, "shop", masks=True, schema="finance")
    files[f"models/finance/{VIEW}.sql"] = "{{ config(materialized='view') }} select order_id, tenant from {{ ref('fct_tenant') }}"
    files[f"models/finance/{VIEW}.yml"] = _declared("models", VIEW, "tenant", schema="finance")
    for kind, name in UMLAUTS.items():
        files[f"models/finance/{name}.sql"] = (
            f"{{{{ config(materialized='{kind}', unique_key='order_id', on_schema_change='fail') }}}} select order_id, tenant from {{{{ ref('fct_tenant') }}}}"
        )
        files[f"models/finance/{name}.yml"] = _declared("models", name, "tenant")
    files["seeds/seeds.yml"] = _declared("seeds", SEED, "shop", masks=True)
    # dbt's names of snapshots are ASCII.
    files["snapshots/orders_over_time.sql"] = (
        "{% snapshot orders_over_time %}\n"
        f"{{{{ config(alias='{SNAPSHOT}', unique_key='order_id', strategy='check', check_cols='all') }}}}\n"
        "select * from {{ ref('stg_orders') }}\n"
        "{% endsnapshot %}\n"
    )
    files["snapshots/snapshots.yml"] = _declared("snapshots", "orders_over_time", "shop", masks=True)
    return files | PACKAGES


@pytest.fixture(scope="module")
def built(scratch: Path, module_server: Server) -> tuple[Project, dict[str, list[Cell]]]:
    """Return a project after a run, or two in long tests, and what each role sees and may write, by relation."""
    project = Project(dbt_projects.make(scratch / "names", _files()))
    for _ in range(2 if runs_long_tests() else 1):
        done = run.run(project, module_server, [], [], Silence(), RunOptions(documents=False))
        assert done.build.not_published is None, [r.message for r in done.build.results if r.has_failed]
        passed = {result.name for result in done.build.results if result.status == "pass"}
        assert {*OF_PACKAGES.values(), "as_many_by_dpe"} <= passed
    cells: dict[str, list[Cell]] = {}
    for cell in protection.measure_rls(project, module_server, [], [], Silence()):
        cells.setdefault(cell.relation, []).append(cell)
    return project, cells


def test_nothing_is_wrong_with_their_protection(built: tuple[Project, dict[str, list[Cell]]], module_server: Server) -> None:
    """Neither in the catalog nor in what roles can do; the view in staging reads no table, so that no policy applies to it."""
    project, cells = built

    assert [] == [str(finding) for finding in protection.check_rls(project, module_server) if finding.severity == "error"]
    assert [] == [fault for name, measured in cells.items() if not name.startswith("raw") for cell in measured for fault in cell.faults]


def test_dbt_knows_the_configuration_of_packages_tests(built: tuple[Project, dict[str, list[Cell]]], module_server: Server) -> None:
    """As `dpe dbt` starts it; dpe's own test of that name counts rows."""
    project, _ = built
    command = ["ls", "--no-partial-parse", "--quiet", "--target-path", "ls", "--output", "json", "--output-keys", "name", "config"]
    listed = subprocess.run(
        [sys.executable, "-P", "-m", "dpe_cli.project.package_tests", *command, "--select", "test_name:equal_rowcount"],
        cwd=project.directory,
        env=os.environ | module_server.environment(),
        capture_output=True,
        text=True,
        check=True,
    )

    tests = [json.loads(line) for line in listed.stdout.splitlines()]
    assert {"as_many_by_dpe": "count(*)"} | dict.fromkeys(OF_PACKAGES.values(), "sum(coalesce(diff_count, 0))") == {
        test["name"]: test["config"]["fail_calc"] for test in tests
    }


@pytest.mark.parametrize(
    "name",
    [*(f"finance.{name}" for name in [*COLUMNS, *LONG, *UMLAUTS.values(), SEED, SNAPSHOT]), f"finance.{INCREMENTAL}", f"finance.{VIEW}"],
)
def test_a_reader_sees_the_rows_of_its_tenant(built: tuple[Project, dict[str, list[Cell]]], name: str) -> None:
    """Whatever the relation, its tenant column and its schema are called."""
    _, cells = built

    assert 2 in {cell.rows for cell in cells[name] if cell.tenant == "UA" and not cell.actor.startswith("the ")}


def test_plain_dbt_opens_a_schema_to_those_who_may_read_in_it(built: tuple[Project, dict[str, list[Cell]]], module_server: Server) -> None:
    """Like publishing; a role that may read nothing there stays outside."""
    project, _ = built
    with module_server.connect("admin") as connection:
        connection.execute("revoke usage on schema finance from dpe_owner, dpe_reader, dpe_tenant, dpe_masked_reader")

    run_dbt(project, module_server, ["run", "--select", VIEW])

    with module_server.connect("admin") as connection:
        may_use = "select rolname from pg_roles where rolname ~ '^dpe_' and has_schema_privilege(oid, 'finance', 'usage') order by 1"
        roles = [name for (name,) in connection.execute(may_use).fetchall()]
    assert ["dpe_masked_reader", "dpe_owner", "dpe_reader", "dpe_tenant", "dpe_transformer"] == roles


@pytest.mark.parametrize("suffix", [MASKED, QUARANTINE])
def test_a_long_name_has_its_companions(built: tuple[Project, dict[str, list[Cell]]], suffix: str) -> None:
    """Under different names, which the command line knows."""
    _, cells = built
    names = [companion_name(name, suffix) for name in LONG]

    assert len(LONG) == len({*names})
    assert [] == [name for name in names if len(name.encode()) > 63 or f"finance.{name}" not in cells]


def test_long_names_that_begin_alike_are_built_under_different_names(
    built: tuple[Project, dict[str, list[Cell]]], module_server: Server
) -> None:
    """dbt builds several models at once, each next to the table that it replaces."""
    del built
    with module_server.connect("transformer") as connection, system_context(connection, actor="test"):
        names = [str(connection.execute(f'select max(built_as) from finance."{name}"'.encode()).fetchall()[0][0]) for name in LONG]

    assert len(LONG) == len({*names})
    assert [] == [name for name in names if len(name.encode()) > 63 or not name.endswith("__dbt_tmp")]


@pytest.mark.parametrize("name", ["orders", *LONG, "ä" * 31, "x" + "ä" * 31, "日本" * 10])
def test_macros_command_line_and_server_derive_the_same_names(module_server: Server, name: str) -> None:
    """The tables with companions show it for the macros."""
    with module_server.connect("admin") as connection:
        for suffix in (MASKED, QUARANTINE):
            assert (companion_name(name, suffix),) == connection.execute("select dpe.companion_name(%s, %s)", [name, suffix]).fetchone()
