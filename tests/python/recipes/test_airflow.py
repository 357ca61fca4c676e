"""The DAGs of docs/guides/scheduling/airflow.md, run by Airflow on a database of its own; `make schedulers` installs it."""

from __future__ import annotations

import sqlite3
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from support.recipes import PATH, Deployment, needs, program

# Its programs take long to start; on a busy machine, several times as long.
pytestmark = [pytest.mark.timeout(900), needs("airflow")]
PAGE = "scheduling/airflow"
COSMOS = "Cosmos: a task per model"
# What a task has after its last attempt: its state, and the number of attempts.
States = dict[str, tuple[str | None, int]]


@pytest.fixture(scope="module")
def airflow_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make Airflow's database."""
    home = tmp_path_factory.mktemp("airflow")
    airflow(home, "db", "migrate")
    return home


def airflow(home: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run Airflow, whose tasks inherit its environment."""
    executable = program("airflow")
    return subprocess.run(
        [executable, *arguments],
        env={
            "PATH": f"{executable.parent}:{PATH}",
            "HOME": str(home),
            "AIRFLOW_HOME": str(home),
            "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
            "AIRFLOW__CORE__DAGS_FOLDER": str(home / "dags"),
            "AIRFLOW__COSMOS__ENABLE_TELEMETRY": "False",
        },
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture
def run_dag(deployment: Deployment, airflow_home: Path) -> Callable[[str, str], States]:
    """Return a function that runs the DAG under a heading, with short pauses between attempts, and returns how its tasks ended."""

    def run(dag: str, heading: str) -> States:
        (airflow_home / "dags").mkdir(exist_ok=True)
        code = deployment.code(PAGE, heading, "python")
        assert "timedelta(minutes=5)" in code
        (airflow_home / "dags" / f"{dag}.py").write_text(code.replace("timedelta(minutes=5)", "timedelta(seconds=1)"), encoding="utf-8")
        ran = airflow(airflow_home, "dags", "test", dag)
        print(ran.stdout, ran.stderr, sep="\n")
        with sqlite3.connect(airflow_home / "airflow.db") as database:
            [(last,)] = database.execute("select run_id from dag_run where dag_id = ? order by id desc limit 1", [dag])
            tasks = database.execute("select task_id, state, try_number from task_instance where dag_id = ? and run_id = ?", [dag, last])
            return {task: (state, attempts) for task, state, attempts in tasks}

    return run


def test_one_task_publishes(run_dag: Callable[[str, str], States], deployment: Deployment) -> None:
    """At its first attempt."""
    assert {"run": ("success", 1)} == run_dag("shop", "One task")
    assert [1, 2, 3, 4, 5, 6] == deployment.orders()


def test_one_task_is_repeated_after_a_failure(
    run_dag: Callable[[str, str], States], deployment: Deployment, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each attempt builds again and loads nothing twice; the log names the rule, and readers see nothing of it."""
    deployment.deliver()

    assert {"run": ("failed", 3)} == run_dag("shop", "One task")

    assert "- rule SHOP-1-01 failed: orders_have_an_amount (1 failing)" in capsys.readouterr().out
    assert ([], [6, 1]) == (deployment.orders(), sorted(deployment.loads(), reverse=True))


def test_three_tasks_publish(run_dag: Callable[[str, str], States], deployment: Deployment) -> None:
    """One after the other; a publication that is repeated has nothing to do, and says so."""
    assert {"extract": ("success", 1), "build": ("success", 1), "publish": ("success", 1)} == run_dag("shop_in_steps", "Three tasks")
    assert [1, 2, 3, 4, 5, 6] == deployment.orders()

    repeated = deployment.run(".venv/bin/dpe publish")
    assert (1, True) == (repeated.returncode, "no build is waiting to be published" in repeated.stderr)


def test_a_rule_that_fails_stops_three_tasks(run_dag: Callable[[str, str], States], deployment: Deployment) -> None:
    """Before the publication."""
    deployment.deliver()

    states = run_dag("shop_in_steps", "Three tasks")

    assert (("success", 1), ("failed", 3), "upstream_failed") == (states["extract"], states["build"], states["publish"][0])
    assert [] == deployment.orders()


@pytest.fixture
def by_model(deployment: Deployment) -> Deployment:
    """Follow the guide to Cosmos: write the script and the manifest."""
    script = deployment.directory / "dbt.sh"
    script.write_text(deployment.code(PAGE, COSMOS, "sh"), encoding="utf-8")
    script.chmod(0o755)
    prepared = deployment.run(deployment.code(PAGE, COSMOS, "bash"))
    assert prepared.returncode == 0, prepared.stdout + prepared.stderr
    return deployment


MODELS = ("stg_shop__orders_run", "int_orders_run", "fct_orders.run", "fct_orders.test")


def test_cosmos_runs_a_task_per_model(run_dag: Callable[[str, str], States], by_model: Deployment) -> None:
    """Between the extract and the checks; readers see their rows under the policies that dpe's macros made."""
    tasks = ["extract", *(f"models.{model}" for model in MODELS), "validate"]

    assert dict.fromkeys(tasks, ("success", 1)) == run_dag("shop_by_model", COSMOS)

    assert [1, 2, 3, 4, 5, 6] == by_model.orders()


def test_cosmos_publishes_before_it_tests(run_dag: Callable[[str, str], States], by_model: Deployment) -> None:
    """Readers see the row that broke the rule, which dpe run would have kept from them."""
    by_model.deliver()

    states = run_dag("shop_by_model", COSMOS)

    assert (("success", 1), "failed", "upstream_failed") == (
        states["models.fct_orders.run"],
        states["models.fct_orders.test"][0],
        states["validate"][0],
    )
    assert [1, 2, 3, 4, 5, 6, 7] == by_model.orders()


def test_replacing_a_view_drops_those_that_are_built_on_it(by_model: Deployment) -> None:
    """Until their own tasks have run; this is lost as well."""
    view = "select to_regclass('shop_intermediate.int_orders') is not null"
    assert by_model.run(".venv/bin/dpe run --no-docs").returncode == 0
    with by_model.server.connect("admin", autocommit=True) as connection:
        assert (True,) == connection.execute(view).fetchone()

        ran = by_model.run("./dbt.sh run --select stg_shop__orders")

        assert ran.returncode == 0, ran.stdout
        assert (False,) == connection.execute(view).fetchone()
