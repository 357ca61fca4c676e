"""The definitions of docs/guides/scheduling/dagster.md, run by Dagster; `make schedulers` installs it."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest
from support.recipes import PATH, Deployment, needs, program

# Its programs take long to start; on a busy machine, several times as long.
pytestmark = [pytest.mark.timeout(900), needs("dagster")]
PAGE = "scheduling/dagster"
WHOLE, BY_MODEL = "dpe run", "dagster-dbt"
# What Dagster's log says of each asset.
MATERIALIZED = re.compile(r"ASSET_MATERIALIZATION - Materialized value ([^.]+)\.")
MODELS = {"intermediate int_orders", "marts fct_orders", "staging stg_shop__orders"}


@pytest.fixture
def prepared(deployment: Deployment) -> Deployment:
    """Follow the guide: write the manifest and the script."""
    # Before the first of its sections.
    commands = re.search(r"```bash\n(.*?)```", _introduction(deployment), re.DOTALL)
    assert commands
    ran = deployment.run(commands[1])
    assert ran.returncode == 0, ran.stdout + ran.stderr
    script = deployment.directory / "dbt.sh"
    script.write_text(deployment.code(PAGE, BY_MODEL, "sh"), encoding="utf-8")
    script.chmod(0o755)
    return deployment


def _introduction(deployment: Deployment) -> str:
    page = Path(__file__).parents[3] / "docs/guides" / f"{PAGE}.md"
    return page.read_text(encoding="utf-8").partition("\n## ")[0].replace("/srv/shop", str(deployment.directory))


def dagster(deployment: Deployment, heading: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a command of Dagster on the definitions under a heading, with short pauses between attempts."""
    code = deployment.code(PAGE, heading, "python")
    assert "delay=300" in code
    definitions = deployment.home / "definitions.py"
    definitions.write_text(code.replace("delay=300", "delay=1"), encoding="utf-8")
    executable = program("dagster")
    variables = {"PATH": f"{executable.parent}:{PATH}", "DAGSTER_HOME": str(deployment.home), "DAGSTER_DISABLE_TELEMETRY": "1"}
    ran = subprocess.run(
        [executable, *arguments, "-f", definitions],
        env=deployment.environment | variables,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    print(ran.stdout)
    return ran


def materialize(deployment: Deployment, heading: str) -> subprocess.CompletedProcess[str]:
    """Let Dagster materialize all assets."""
    return dagster(deployment, heading, "asset", "materialize", "--select", "*")


def test_dpe_run_materializes_all_models(prepared: Deployment) -> None:
    """Which are published, and each reported as an asset."""
    ran = materialize(prepared, WHOLE)

    assert 0 == ran.returncode
    assert set(MATERIALIZED.findall(ran.stdout)) == MODELS
    assert [1, 2, 3, 4, 5, 6] == prepared.orders()


def test_dpe_run_that_fails_materializes_nothing(prepared: Deployment) -> None:
    """After three attempts, which load nothing twice."""
    prepared.deliver()

    ran = materialize(prepared, WHOLE)

    assert 0 != ran.returncode
    assert 2 == ran.stdout.count("STEP_RESTARTED")
    assert [] == MATERIALIZED.findall(ran.stdout)
    assert ([], [6, 1]) == (prepared.orders(), sorted(prepared.loads(), reverse=True))


def test_dpe_run_is_scheduled(prepared: Deployment) -> None:
    """As soon as the definitions are deployed."""
    listed = dagster(prepared, WHOLE, "schedule", "list").stdout

    assert "Schedule: nightly [RUNNING]" in listed
    assert "Cron Schedule: 15 5 * * *" in listed


def test_dagster_dbt_materializes_after_the_extract(prepared: Deployment) -> None:
    """The source's asset comes first; each test is a check of an asset."""
    ran = materialize(prepared, BY_MODEL)

    assert 0 == ran.returncode
    assert "shop orders" == MATERIALIZED.findall(ran.stdout)[0]
    assert set(MATERIALIZED.findall(ran.stdout)) == {*MODELS, "shop orders"}
    assert "Asset check 'orders_have_an_amount' on 'marts/fct_orders' passed" in ran.stdout
    assert [1, 2, 3, 4, 5, 6] == prepared.orders()


def test_dagster_dbt_publishes_before_it_tests(prepared: Deployment) -> None:
    """Readers see the row that broke the rule, which dpe run would have kept from them."""
    prepared.deliver()

    ran = materialize(prepared, BY_MODEL)

    assert 0 != ran.returncode
    assert "Asset check 'orders_have_an_amount' on 'marts/fct_orders' did not pass" in ran.stdout
    assert [1, 2, 3, 4, 5, 6, 7] == prepared.orders()
