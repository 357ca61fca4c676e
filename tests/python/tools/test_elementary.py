"""Elementary's dbt package in a project from `dpe init`, and the report of its program edr."""

from __future__ import annotations

import base64
import json
import re
from pathlib import Path

import pytest
from psycopg import sql
from support import tools
from support.long_tests import LONG
from support.recipes import Deployment

pytestmark = [pytest.mark.timeout(900), LONG, tools.needs_packages("elementary", "dbt_utils")]

SCHEMA = "shop_elementary"
# Tests of Elementary's own, next to those of the project.
TESTS = """\
    data_tests:
      - elementary.schema_changes
      - elementary.volume_anomalies: {arguments: {timestamp_column: ordered_on}}
      - elementary.all_columns_anomalies: {arguments: {timestamp_column: ordered_on}}
      - elementary.dimension_anomalies: {arguments: {timestamp_column: ordered_on, dimensions: [branch]}}
    columns:
      - name: order_id
"""
PROFILE = f"""\
elementary:
  target: dev
  outputs:
    dev:
      type: postgres
      host: "{{{{ env_var('PGHOST') }}}}"
      port: "{{{{ env_var('PGPORT') | as_number }}}}"
      dbname: "{{{{ env_var('PGDATABASE') }}}}"
      user: "{{{{ env_var('PGUSER') }}}}"
      password: "{{{{ env_var('DPE_TRANSFORMER_PASSWORD', '') }}}}"
      schema: {SCHEMA}
      threads: 1
"""


@pytest.fixture
def observed(deployment: Deployment) -> Deployment:
    """Install Elementary as its documentation says: a schema of its own, and the flag with which it keeps the results of all tests."""
    tools.install(deployment, "dbt_utils", "elementary")
    flag = "  require_explicit_package_overrides_for_builtin_materializations: false\n"
    tools.change(deployment, "dbt_project.yml", "flags:\n", f"flags:\n{flag}")
    tools.change(deployment, "dbt_project.yml", "models:\n  +persist", "models:\n  elementary: {+schema: elementary}\n  +persist")
    tools.change(deployment, "models/marts/_marts__models.yml", "    columns:\n      - name: order_id\n", TESTS)
    return deployment


def results(deployment: Deployment) -> dict[str, str]:
    """Return the status of the tests of dbt and of Elementary that Elementary has stored last."""
    query = "select distinct on (test_name) test_name, status from {} order by test_name, detected_at desc, created_at desc"
    with deployment.server.connect("admin") as connection:
        connection.execute("set local role dpe_transformer")
        connection.execute("select set_config('dpe.actor', 'test', true)")
        return dict(connection.execute(sql.SQL(query).format(sql.Identifier(SCHEMA, "elementary_test_results"))).fetchall())


def unprotected(deployment: Deployment) -> list[str]:
    """Return the tables of Elementary that have no enforced policies, or that readers may read."""
    with deployment.server.connect("admin") as connection:
        query = (
            "select relname from pg_class where relnamespace = to_regnamespace(%s) and relkind in ('r', 'v') "
            "and ((relkind = 'r' and not (relrowsecurity and relforcerowsecurity)) or has_table_privilege('dpe_reader', oid, 'select'))"
        )
        return [name for (name,) in connection.execute(query, [SCHEMA])]


def test_elementary_records_what_dpe_run_builds(observed: Deployment) -> None:
    """Its models are private tables, its temporary ones are gone, and it knows the results of the project's rules and of its own tests."""
    assert tools.dpe(observed, "run --no-docs").endswith("DPE SUCCESS\n")

    found = results(observed)
    assert {"schema_changes", "volume_anomalies", "dimension_anomalies"} <= {
        name.removeprefix("elementary_").partition("_fct")[0] for name in found
    }
    assert "pass" == found["orders_have_an_amount"]
    assert {"pass"} == set(found.values())
    assert [] == unprotected(observed)
    assert [1, 2, 3, 4, 5, 6] == observed.orders()
    assert tools.dpe(observed, "run --no-docs").endswith("DPE SUCCESS\n")


def test_elementary_forgets_a_run_that_is_not_published(observed: Deployment) -> None:
    """Its tables are published with all others. Built once in place and then excluded, they keep what failed."""
    tools.dpe(observed, "run --no-docs")
    observed.deliver()

    tools.dpe(observed, "run --no-docs", status=1)
    assert "pass" == results(observed)["orders_have_an_amount"]

    tools.dpe(observed, "run --no-docs --exclude package:elementary", status=1)
    assert "fail" == results(observed)["orders_have_an_amount"]
    assert [1, 2, 3, 4, 5, 6] == observed.orders()


@tools.needs_programs("elementary")
def test_edr_reports(observed: Deployment) -> None:
    """From its tables, in the session of `dpe env`, with a profile named elementary."""
    tools.dpe(observed, "dbt run --select package:elementary")
    tools.dpe(observed, "run --no-docs --exclude package:elementary")
    # The packages that edr would install from the hub.
    [place] = (tools.ENVIRONMENTS / "elementary").glob("lib/python*/site-packages/elementary/monitor/dbt_project")
    installed = place / "dbt_packages"
    installed.mkdir(exist_ok=True)
    for name in ("dbt_utils", "elementary"):
        (installed / name).unlink(missing_ok=True)
        (installed / name).symlink_to(observed.directory.parent / "packages" / name, target_is_directory=True)
    profiles = observed.home / "profiles"
    profiles.mkdir()
    (profiles / "profiles.yml").write_text(PROFILE, encoding="utf-8")
    (profiles / "config.yml").write_text("anonymous_usage_tracking: false\n", encoding="utf-8")
    report = observed.home / "report.html"

    options = f"--profiles-dir {profiles} --config-dir {profiles} --target-path {observed.home / 'target'} --file-path {report}"
    tools.run(observed, "elementary", f"edr report {options} --open-browser false")

    assert "orders_have_an_amount" in _data(report)


def _data(report: Path) -> str:
    """Return what the page shows, which it holds in base 64."""
    [data] = re.findall(r"window\.elementaryData ?= ?[^'\"]*['\"]([A-Za-z0-9+/=]+)['\"]", report.read_text(encoding="utf-8"))
    return json.dumps(json.loads(base64.b64decode(data)))
