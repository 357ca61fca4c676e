"""`dpe init --here` adopts an existing dbt project, shaped like real ones (tests/python/init/existing), without guessing."""

from __future__ import annotations

import io
import json
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import nullcontext, redirect_stdout
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from conftest import Cluster, numbers
from psycopg import sql
from support import dbt_parsing, dbt_projects, guides
from support.dbt_projects import Silence
from support.long_tests import LONG
from support.result_schemas import check

from dpe_cli.access import checks
from dpe_cli.cli import main
from dpe_cli.errors import BuildError, ProjectError
from dpe_cli.init.adopt import adoption, present
from dpe_cli.pipeline import protection, run
from dpe_cli.pipeline.options import RunOptions
from dpe_cli.project import dbt
from dpe_cli.project.dbt_runner import run_dbt
from dpe_cli.project.project import Project
from dpe_cli.server.bootstrap import bootstrap_server
from dpe_cli.server.programs import wheel_programs
from dpe_cli.server.server import Server

EXISTING = Path(__file__).with_name("existing")
ANSWERS = ("--rls", "fct_orders=country", "--rls", "country_names=shared", "--readers", "dev")
KEPT = {".dpe", "dbt_packages", "target", "logs", "package-lock.yml", ".user.yml"}


@dataclass(frozen=True)
class Warehouse:
    """
    The project, and the database in which plain dbt built it as the role `analytics`; the role `dashboard` reads its orders.

    `parsed` is a directory with what dbt parsed.
    """

    directory: Path
    server: Server
    parsed: Path

    def init(self, *arguments: str) -> dict[str, Any]:
        """Run `dpe init --here`, and return its result."""
        shown = io.StringIO()
        with redirect_stdout(shown):
            exit_status = main.run(["init", "--here", "--output", "json", *arguments])
        assert 0 == exit_status, shown.getvalue()
        check("init", json.loads(shown.getvalue()))
        return json.loads(shown.getvalue())  # type: ignore[no-any-return]

    def adopt(self, *answers: str) -> Project:
        """Make the changes, and follow the plan."""
        return self.follow(self.init("--write", *answers))

    def follow(self, plan: dict[str, Any]) -> Project:
        """Install the package, and run as an administrator what the plan says."""
        dbt_projects.install_package(self.directory)
        bootstrap_server(self.server)
        with self.server.connect("admin", autocommit=True) as connection:
            for statement in plan["statements"]:
                connection.execute(statement.encode())
        return Project(self.directory)

    def rows(self) -> dict[str, int]:
        """Count all rows of all relations in the project's schemas."""
        with self.server.connect("admin") as connection:
            names = connection.execute(
                "select relnamespace::regnamespace::text, relname from pg_class where relkind in ('r', 'v') "
                "and relnamespace::regnamespace::text ~ '^dbt_dev_[a-z]+$'"
            ).fetchall()
            count = sql.SQL("select count(*) from {}")
            return {
                f"{schema}.{name}": connection.execute(count.format(sql.Identifier(schema, name))).fetchall()[0][0]
                for schema, name in names
            }

    def files(self) -> dict[str, str]:
        """Return the text of each file that belongs to the project."""
        paths = [path for path in self.directory.rglob("*") if path.is_file() and not KEPT & {*path.relative_to(self.directory).parts}]
        return {str(path.relative_to(self.directory)): path.read_text() for path in sorted(paths)}


@pytest.fixture(scope="module")
def built(cluster_18: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Warehouse]:
    """Load the sources with another tool into a database that does not know dpe, and build the project with plain dbt."""
    dbt_parsing.reuse_across_databases()
    directory = tmp_path_factory.mktemp("existing") / "bicycles"
    shutil.copytree(EXISTING, directory)
    server = replace(cluster_18.template, database=f"bicycles_{next(numbers)}", project="bicycles")
    administrator = replace(server, database="postgres")
    name = sql.Identifier(server.database)
    with administrator.connect("admin", autocommit=True) as connection:
        connection.execute("create role analytics login; create role dashboard login")
        connection.execute(sql.SQL("create database {} owner analytics").format(name))
    with server.connect("analytics", autocommit=True) as connection:
        connection.execute((EXISTING / "warehouse.sql").read_bytes())
    try:
        with pytest.MonkeyPatch.context() as patch:
            _set_variables(patch, server)
            dbt.invoke(["deps"], ["--project-dir", str(directory)])
            results = dbt.invoke(["build"], ["--project-dir", str(directory), "--profiles-dir", str(directory)]).result
        assert {"success", "pass"} >= {str(result.status) for result in results} - {"no-op"}
        parsed = directory.with_name("parsed")
        parsed.mkdir()
        (directory / "target/partial_parse.msgpack").rename(parsed / "partial_parse.msgpack")
        shutil.rmtree(directory / "target")
        yield Warehouse(directory, server, parsed)
    finally:
        with administrator.connect("admin", autocommit=True) as connection:
            connection.execute(sql.SQL("drop database {} with (force)").format(name))
            connection.execute("drop role analytics, dashboard")


@pytest.fixture
def warehouse(built: Warehouse, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Warehouse]:
    """Copy the project and its database, and enter it."""
    directory = tmp_path / "bicycles"
    shutil.copytree(built.directory, directory)
    # Adoption has dbt parse into a directory that is empty at first; with what was parsed before, dbt parses only the files that a test changed.
    parsed = shutil.copytree(built.parsed, tmp_path / "parsed")
    monkeypatch.setattr(adoption, "TemporaryDirectory", lambda **_: nullcontext(str(parsed)))
    server = replace(built.server, database=f"bicycles_{next(numbers)}")
    names = sql.Identifier(server.database), sql.Identifier(built.server.database)
    with replace(server, database="postgres").connect("admin", autocommit=True) as connection:
        connection.execute(sql.SQL("create database {} template {} owner analytics strategy file_copy").format(*names))
        _set_variables(monkeypatch, server)
        monkeypatch.chdir(directory)
        yield Warehouse(directory, server, parsed)
        connection.execute(sql.SQL("drop database {} with (force)").format(names[0]))


def _set_variables(patch: pytest.MonkeyPatch, server: Server) -> None:
    for name, value in (("HOST", server.host), ("PORT", str(server.port)), ("DATABASE", server.database)):
        patch.setenv(f"WAREHOUSE_{name}", value)


def _refused(plan: dict[str, Any]) -> dict[str, str]:
    return {refusal["what"]: refusal["where"] for refusal in plan["refused"]}


def test_an_existing_project_is_adopted(warehouse: Warehouse) -> None:
    """By three answers: dpe and plain dbt build it, the numbers of rows are what they were, and each relation is protected."""
    before = warehouse.rows()
    project = warehouse.adopt(*ANSWERS)

    summary = run.run(project, warehouse.server, (), (), Silence(), RunOptions(documents=False))

    assert summary.holds, summary
    assert before == warehouse.rows()
    assert summary.validation is not None
    assert {"DE": 120, "FR": 136, "NL": 120, "a stranger": 0, "its owner, no context": 0} == {
        visible.who: visible.rows for visible in summary.validation.visibility
    }
    for command in (["build"], ["test"], ["docs", "generate"]):
        assert [] == [result.name for result in run_dbt(project, warehouse.server, command) if result.has_failed]
    assert before == warehouse.rows()
    with warehouse.server.connect("admin") as connection:
        found = checks.check(connection, protection.protected_schemas(connection, project))
        assert [] == [str(finding) for finding in found if finding.severity == "error"]
        readable = "select relation::regclass::text from unnest(%s::text[]) as relation where has_table_privilege('dpe_reader', relation, 'select')"
        assert [("dbt_dev_finance.fct_orders",), ("dbt_dev_shared.country_names",)] == connection.execute(
            readable, [sorted(before)]
        ).fetchall()


@pytest.mark.skipif(shutil.which("jq") is None, reason="jq is not installed")
@LONG
def test_the_database_is_prepared_as_the_guide_says(warehouse: Warehouse) -> None:
    """The statements of the plan in one transaction, a grant before anything is published, a run, and plain dbt."""
    login, server = f"desk_{next(numbers)}", warehouse.server
    warehouse.init("--write", *ANSWERS)
    dbt_projects.install_package(warehouse.directory)
    page = "../start/your-existing-project.md"
    first, *others = [step.command for heading in ("3. Prepare the database", "4. Run") for step in guides.steps(page, heading)]
    assert first.startswith("cp .env.example .env ")
    given = {"LOGIN TENANT": f"{login} DE", "PGUSER=admin PGPASSWORD=…": f"PGUSER={server.admin_user}"}
    commands = "\n".join(others)
    for what, value in given.items():
        assert what in commands
        commands = commands.replace(what, value)
    (warehouse.directory / ".env").write_text(f"PGHOST={server.host}\nPGPORT={server.port}\nPGDATABASE={server.database}\n")
    name = sql.Identifier(login)
    with server.connect("admin", autocommit=True) as connection:
        connection.execute(sql.SQL("create role {} login").format(name))
        try:
            ran = guides.run(commands, warehouse.directory, programs=wheel_programs(), variables={})

            assert 0 == ran.returncode, ran.stdout + ran.stderr
            assert "DPE SUCCESS" in ran.stdout
            with server.connect(login) as session:
                assert [(120,)] == session.execute("select count(*) from dbt_dev_finance.fct_orders").fetchall()
        finally:
            connection.execute(sql.SQL("drop owned by {0}; drop role {0}").format(name))


def test_the_plan_changes_nothing(warehouse: Warehouse) -> None:
    """No file of the project, and nothing in the database; the same answers with --write change what was shown."""
    before = warehouse.files()
    everything = {path: path.stat().st_mtime_ns for path in warehouse.directory.rglob("*")}

    plan = warehouse.init(*ANSWERS)

    assert everything == {path: path.stat().st_mtime_ns for path in warehouse.directory.rglob("*")}
    with warehouse.server.connect("admin") as connection:
        assert [(0,)] == connection.execute("select count(*) from pg_namespace where nspname = 'dpe'").fetchall()
    done = warehouse.init("--write", *ANSWERS)
    assert (plan["diff"], False, True) == (done["diff"], plan["written"], done["written"])
    patch = "\n".join(plan["diff"]) + "\n"
    changed = warehouse.files()
    shutil.rmtree(warehouse.directory)
    for name, text in before.items():
        dbt_projects.write(warehouse.directory, {name: ""})
        (warehouse.directory / name).write_text(text)
    subprocess.run(["patch", "-p1", "--silent"], input=patch, text=True, cwd=warehouse.directory, check=True)
    assert changed == warehouse.files()


def test_only_what_was_asked_for_changes(warehouse: Warehouse) -> None:
    """Comments, order and everything else of the files stay; only the connection in profiles.yml is replaced."""
    before = warehouse.files()
    warehouse.init("--write", *ANSWERS)
    after = warehouse.files()

    changed = {name for name in after if before.get(name) != after[name]}
    assert changed == {
        ".env.example",
        ".gitignore",
        "dbt_project.yml",
        "models/marts/finance/_finance__models.yml",
        "packages.yml",
        "profiles.yml",
    }
    for name in changed - {".env.example", "profiles.yml"}:
        lines = iter(after[name].splitlines())
        assert all(line in lines for line in before[name].splitlines()), name
    replaced = {line.split(":")[0].strip() for line in before["profiles.yml"].splitlines() if line not in after["profiles.yml"]}
    assert {"host", "port", "user", "password", "dbname"} == replaced


def test_it_may_be_repeated(warehouse: Warehouse) -> None:
    """It finds nothing more to change; more answers add what they say, and nothing else."""
    warehouse.init("--write", *ANSWERS)
    before = warehouse.files()

    assert [] == warehouse.init("--write", *ANSWERS)["changes"]
    assert before == warehouse.files()
    again = warehouse.init("--write", "--rls", "dim_customers=country")
    assert [{"path": "models/marts/customers/_customers__models.yml", "is_new": False}] == again["changes"]
    assert {"dim_customers.v1": "country", "dim_customers.v2": "country"} == {
        question["model"]: question["answer"] for question in again["questions"] if "customers" in question["model"]
    }


def test_what_only_a_person_can_decide_is_listed(warehouse: Warehouse) -> None:
    """Who reads each model today, who may want to, and which columns could say whose a row is; nothing is answered by itself."""
    plan = warehouse.init()

    questions = {question["model"]: question for question in plan["questions"]}
    assert {"fct_orders", "revenue_by_country", "calendar", "dim_customers.v1", "dim_customers.v2"} == set(questions)
    orders = questions["fct_orders"]
    assert (["dashboard"], ["exposure revenue"], ["country", "status"]) == (
        orders["read_by"],
        orders["wanted_by"],
        orders["tenant_columns"],
    )
    assert ["access: public", "no model reads it"] == questions["dim_customers.v2"]["wanted_by"]
    assert {None} == {question["answer"] for question in questions.values()}
    assert (["dev", "prod"], {}) == (plan["targets"], plan["readers"])


def test_unanswered_means_private(warehouse: Warehouse) -> None:
    """Without an answer, the project runs, and no reader sees a row."""
    project = warehouse.adopt()

    summary = run.run(project, warehouse.server, (), (), Silence(), RunOptions(documents=False))

    assert summary.holds, summary
    with warehouse.server.connect("admin") as connection:
        readable = "select count(*) from pg_class where relnamespace::regnamespace::text like 'dbt\\_dev%' and has_table_privilege('dpe_reader', oid, 'select')"
        assert [(0,)] == connection.execute(readable.encode()).fetchall()


def test_relations_of_others_are_named_before_a_run(warehouse: Warehouse) -> None:
    """As long as plain dbt's role owns what it built, dpe could not replace it; nothing is built then."""
    plan = warehouse.init("--write", *ANSWERS)
    dbt_projects.install_package(warehouse.directory)
    bootstrap_server(warehouse.server)
    with warehouse.server.connect("admin", autocommit=True) as connection:
        for statement in plan["statements"]:
            if not statement.startswith("alter table"):
                connection.execute(statement.encode())

    with pytest.raises(
        ProjectError, match=r"fct_orders .*belongs to analytics.*`alter table \"dbt_dev_finance\".\"fct_orders\" owner to dpe_tran"
    ):
        run.run(Project(warehouse.directory), warehouse.server, (), (), Silence(), RunOptions(documents=False))


# A change of the project that dpe refuses: the file, its text, where the plan finds it, and what dbt says when it is built.
REFUSED = {
    "a hook that grants": (
        "models/marts/finance/revenue_by_country.sql",
        "{{ config(post_hook='grant select on {{ this }} to dashboard') }}\nselect 1 as one",
        "models/marts/finance/revenue_by_country.sql, line 1",
        "revenue_by_country: a hook",
    ),
    "a macro that a hook calls": (
        "macros/open_up.sql",
        "{% macro open_up(relation) %}\ngrant select on {{ relation }} to dashboard\n{% endmacro %}",
        "macros/open_up.sql, line 2",
        "revenue_by_country: a hook",
    ),
    "a macro with the name of one of dbt's": (
        "macros/overrides.sql",
        "{% macro postgres__get_columns_in_relation(relation) %}{% endmacro %}",
        "macros/overrides.sql",
        "overrides a macro or a variable of dbt",
    ),
    "a materialized view": (
        "models/marts/finance/revenue_by_country.sql",
        "{{ config(materialized='materialized_view') }}\nselect 1 as one",
        "models/marts/finance/revenue_by_country.sql",
        "materialized view",
    ),
    "a privilege other than select": (
        "models/marts/finance/revenue_by_country.sql",
        "{{ config(grants={'insert': ['dashboard']}) }}\nselect 1 as one",
        "models/marts/finance/revenue_by_country.sql",
        "only select is allowed",
    ),
    "a schema that is open to all": (
        "macros/generate_schema_name.sql",
        "{% macro generate_schema_name(custom_schema_name, node) %}public{% endmacro %}",
        "models/marts/customers/dim_customers_v1.sql",
        "the schema public is not for models",
    ),
}


# One that adoption finds in a model, and one of a macro.
SHORT = ("a hook that grants", "a macro with the name of one of dbt's")


@pytest.mark.parametrize("name", [name if name in SHORT else pytest.param(name, marks=LONG) for name in REFUSED])
def test_what_dpe_will_refuse_is_found_with_its_place(warehouse: Warehouse, name: str) -> None:
    """The plan says so, and it is true: dbt refuses it once the project uses dpe."""
    path, text, where, refused_with = REFUSED[name]
    (warehouse.directory / path).write_text(text)
    if path == "macros/open_up.sql":
        model = warehouse.directory / "models/marts/finance/revenue_by_country.sql"
        model.write_text("{{ config(post_hook='{{ open_up(this) }}') }}\nselect 1 as one")

    plan = warehouse.init("--write")

    assert [where] == [*dict.fromkeys(_refused(plan).values())][:1], plan["refused"]
    project = warehouse.follow(plan)
    with warehouse.server.connect("admin", autocommit=True) as connection:
        connection.execute("drop table dbt_dev_finance.revenue_by_country")
    select = ["--select", "revenue_by_country"]
    try:
        messages = " ".join(str(result.message) for result in run_dbt(project, warehouse.server, ["run", *select]) if result.has_failed)
    except (BuildError, ProjectError) as error:
        messages = str(error)
    assert refused_with in messages


def test_files_and_names_that_dpe_refuses_are_found(warehouse: Warehouse) -> None:
    """A version in a file that may be another model's, a name that PostgreSQL would fold, a misspelt one; `dpe run` refuses all."""
    models = warehouse.directory / "models/marts/customers"
    (models / "dim_customers_v1.sql").rename(models / "dim_clients.sql")
    described = models / "_customers__models.yml"
    described.write_text(described.read_text().replace("- v: 1\n", "- v: 1\n        defined_in: dim_clients\n"))
    (models / "folded.sql").write_text("{{ config(alias='Folded') }} select 1 as one")
    (models / "folded.yml").write_text("models:\n  - {name: foldde, config: {contract: {enforced: true}}}\n")
    settings = warehouse.directory / "dbt_project.yml"
    settings.write_text(f"{settings.read_text()}\nquoting: {{identifier: false}}\n")

    refused = _refused(warehouse.init())

    paths = {"models/marts/customers/dim_clients.sql", "models/marts/customers/folded.sql", "models/marts/customers/folded.yml, line 2"}
    assert paths == set(refused.values())
    assert "version 1 of dim_customers is in a file that may be another model's" in refused


def test_nothing_is_refused_of_a_project_that_is_fine(warehouse: Warehouse) -> None:
    """Its hooks, its schema macro, its grants and its package are none of those."""
    assert [] == warehouse.init()["refused"]


def test_sources_that_run_code_of_their_owner_are_named(warehouse: Warehouse) -> None:
    """A policy or a view of another tool's login, but not those of the database's owner."""
    with warehouse.server.connect("admin", autocommit=True) as connection:
        for table in ("customers", "orders", "order_lines"):
            connection.execute(f"alter table raw_shop.{table} enable row level security".encode())
            connection.execute(f"create policy mine on raw_shop.{table} using (length(current_user) > 1)".encode())
        connection.execute("alter table raw_shop.customers owner to dashboard")
        connection.execute("alter table raw_shop.orders rename to orders_loaded")
        connection.execute(
            "create view raw_shop.orders as select * from raw_shop.orders_loaded; alter view raw_shop.orders owner to dashboard"
        )

    assert {
        "the source raw_shop.customers belongs to dashboard and has policies, which would run as dpe_transformer",
        "the source raw_shop.orders belongs to dashboard and is a view, which would run as dpe_transformer",
    } == set(_refused(warehouse.init()))


def test_a_profile_from_elsewhere_is_copied_without_its_password(
    warehouse: Warehouse, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Into the project, with the connection from the environment; the password is not shown either."""
    profiles = (warehouse.directory / "profiles.yml").read_text().replace("\"{{ env_var('WAREHOUSE_PASSWORD', '') }}\"", "hunter2-of-anna")
    (tmp_path / "home/.dbt").mkdir(parents=True)
    (tmp_path / "home/.dbt/profiles.yml").write_text(profiles)
    (warehouse.directory / "profiles.yml").unlink()
    monkeypatch.setenv("HOME", str(tmp_path / "home"))

    plan = warehouse.init("--write")

    written = (warehouse.directory / "profiles.yml").read_text()
    outputs = yaml.safe_load(written)["warehouse"]["outputs"]
    assert ("dbt_dev", "analytics", 30) == (outputs["dev"]["schema"], outputs["prod"]["schema"], outputs["prod"]["keepalives_idle"])
    assert "{{ env_var('PGHOST', 'warehouse.internal') }}" == outputs["prod"]["host"]
    assert "hunter2" not in written + json.dumps(plan)
    assert profiles == (tmp_path / "home/.dbt/profiles.yml").read_text()


def test_a_password_in_the_profile_is_not_shown(warehouse: Warehouse) -> None:
    """The diff has the line, with the password hidden."""
    path = warehouse.directory / "profiles.yml"
    path.write_text(path.read_text().replace("\"{{ env_var('WAREHOUSE_PASSWORD', '') }}\"", "hunter2-of-anna"))

    plan = warehouse.init()

    assert "hunter2" not in json.dumps(plan)
    assert "-      password: ***" in plan["diff"]


def test_a_database_that_cannot_be_asked_is_said(warehouse: Warehouse, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who reads what is known from dbt's grants only then."""
    monkeypatch.setenv("WAREHOUSE_PORT", "1")

    plan = warehouse.init()

    assert "cannot be asked" in plan["not_asked"]
    assert ["dashboard"] == next(question["read_by"] for question in plan["questions"] if question["model"] == "fct_orders")
    assert [] == plan["statements"]


def test_an_administrator_asks_with_the_own_password(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not with that of dpe_transformer, which the changed profile has for dbt."""
    monkeypatch.setenv("PGUSER", "admin")
    monkeypatch.setenv("PGPASSWORD", "of the administrator")

    assert "of the administrator" == present._password({"user": "admin", "password": "of dpe_transformer"})
    assert "of the profile" == present._password({"user": "analytics", "password": "of the profile"})


WRONG = {
    "--rls fct_order=country": "--rls: fct_order: the project has no such model, seed or snapshot; did you mean fct_orders?",
    "--rls fct_orders=countri": "--rls: fct_orders: countri is not a column of it that could say whose row it is; did you mean country?",
    "--rls fct_orders": "--rls: fct_orders: names no model and answer; write MODEL=ANSWER",
    "--readers prot": "--readers: prot: the profile has no such target; did you mean prod?",
    "--from orders.csv": "--from: is about a new project",
    "--docker": "--docker: is about a new project",
    "elsewhere": "elsewhere: --here adopts the project in this directory",
}


@pytest.mark.parametrize("arguments", WRONG)
def test_a_wrong_answer_is_refused(warehouse: Warehouse, capsys: pytest.CaptureFixture[str], arguments: str) -> None:
    """With what it should have been; nothing is written."""
    before = warehouse.files()

    assert 2 == main.run(["init", "--here", "--write", *arguments.split()])

    assert WRONG[arguments] in capsys.readouterr().err
    assert before == warehouse.files()


def test_an_answer_for_a_model_is_for_no_other(warehouse: Warehouse, capsys: pytest.CaptureFixture[str]) -> None:
    """In dbt_project.yml, the name of a model may be that of a folder: then it has to be described in YAML."""
    models = warehouse.directory / "models"
    (models / "orders/orders").mkdir(parents=True)
    (models / "orders/orders.sql").write_text("select 'DE' as country")
    (models / "orders/late.sql").write_text("select 'DE' as country")
    warehouse.init("--write", "--rls", "orders=country")
    assert {"orders": "country", "late": None} == {
        question["model"]: question["answer"] for question in warehouse.init()["questions"] if question["model"] in {"orders", "late"}
    }

    (models / "late.sql").write_text("select 'DE' as country")
    (models / "orders/late.sql").rename(models / "orders/orders.txt")
    (models / "late").mkdir()
    (models / "late/very_late.sql").write_text("select 'DE' as country")
    assert 1 == main.run(["init", "--here", "--write", "--rls", "late=country"])
    assert "models/late.sql: dbt_project.yml would declare very_late as well, in a folder called late" in capsys.readouterr().err


@pytest.mark.usefixtures("warehouse")
def test_an_ephemeral_model_needs_no_answer(capsys: pytest.CaptureFixture[str]) -> None:
    """It is part of the models that read it."""
    assert 2 == main.run(["init", "--here", "--rls", "int_order_totals=shared"])

    assert (
        "--rls: int_order_totals: is ephemeral, so it has no relation that readers could see, and needs no answer; "
        "answer for the models that read it" in capsys.readouterr().err
    )


def test_a_grant_without_the_schema_lets_nobody_read(warehouse: Warehouse) -> None:
    """Only roles that can really read are counted: by a table or a column, with the schema, as a member of another role, or as PUBLIC."""
    names = [f"{kind}_{next(numbers)}" for kind in ("blind", "by_column", "group")]
    blind, by_column, group = map(sql.Identifier, names)
    with warehouse.server.connect("admin", autocommit=True) as connection:
        table = sql.Identifier("dbt_dev_shared", "country_names")
        try:
            for role in (blind, by_column, group):
                connection.execute(sql.SQL("create role {}").format(role))
            connection.execute(sql.SQL("grant select on {} to {}, {}").format(table, blind, group))
            connection.execute(sql.SQL("grant select (country) on {} to {}").format(table, by_column))
            connection.execute(sql.SQL("grant usage on schema dbt_dev_shared to {}, {}").format(by_column, group))
            read_by = {question["model"]: question["read_by"] for question in warehouse.init()["questions"]}
            assert sorted(names[1:]) == read_by["country_names"]

            connection.execute(sql.SQL("grant select on {} to public").format(table))
            read_by = {question["model"]: question["read_by"] for question in warehouse.init()["questions"]}
            assert sorted(names[1:]) == read_by["country_names"]

            connection.execute("grant usage on schema dbt_dev_shared to public")
            read_by = {question["model"]: question["read_by"] for question in warehouse.init()["questions"]}
            assert sorted(["PUBLIC", *names]) == read_by["country_names"]
        finally:
            for role in (blind, by_column, group):
                connection.execute(sql.SQL("drop owned by {0}; drop role {0}").format(role))


def test_a_name_of_two_packages_is_refused(warehouse: Warehouse, capsys: pytest.CaptureFixture[str]) -> None:
    """Which one is meant is not guessed."""
    (warehouse.directory / "models/calendar.sql").write_text("{{ config(alias='days') }} select 'DE' as country")

    assert 2 == main.run(["init", "--here", "--rls", "calendar=shared"])

    err = capsys.readouterr().err
    assert "--rls: calendar: is the name of model." in err
    warehouse.init("--rls", "model.bicycles.calendar=shared")


def test_a_hook_of_the_project_is_found_and_refused(warehouse: Warehouse) -> None:
    """One that grants at the end of a run, with its line; readers see nothing of such a run."""
    path = warehouse.directory / "dbt_project.yml"
    hook = "{% for schema in schemas %}grant select on all tables in schema {{ schema }} to dashboard; {% endfor %}"
    path.write_text(f'{path.read_text()}\non-run-end: "{hook}"\n')
    line = len(path.read_text().splitlines())

    assert {f"a hook changes who sees rows: {hook}": f"dbt_project.yml, line {line}"} == _refused(warehouse.init())

    project = warehouse.adopt(*ANSWERS)
    with pytest.raises(BuildError, match="its protection was changed after it was built .privileges of dashboard: select"):
        run.run(project, warehouse.server, (), (), Silence(), RunOptions(documents=False))


def test_settings_that_outputs_share_are_changed_for_each(warehouse: Warehouse) -> None:
    """YAML's merge keys, which many profiles have."""
    (warehouse.directory / "profiles.yml").write_text(
        """warehouse:
  target: dev
  outputs:
    dev: &common
      type: postgres
      host: "{{ env_var('WAREHOUSE_HOST') }}"
      port: "{{ env_var('WAREHOUSE_PORT') | int }}"
      user: analytics
      pass: ''
      dbname: "{{ env_var('WAREHOUSE_DATABASE') }}"
      schema: dbt_dev
      threads: 2
    prod:
      <<: *common
      schema: analytics
"""
    )

    plan = warehouse.init("--write")

    outputs = yaml.safe_load((warehouse.directory / "profiles.yml").read_text())["warehouse"]["outputs"]
    assert {"{{ env_var('PGHOST', '') or env_var('WAREHOUSE_HOST') }}"} == {output["host"] for output in outputs.values()}
    assert {"{{ (env_var('PGPORT', '') or env_var('WAREHOUSE_PORT')) | as_number }}"} == {output["port"] for output in outputs.values()}
    assert ["dev", "prod"] == plan["targets"]
    assert [] == warehouse.init()["changes"]


def test_another_answer_than_the_declared_one_is_refused(warehouse: Warehouse, capsys: pytest.CaptureFixture[str]) -> None:
    """What a person wrote is not overwritten."""
    warehouse.init("--write", "--rls", "fct_orders=country")

    assert 2 == main.run(["init", "--here", "--write", "--rls", "fct_orders=shared"])

    assert "country is declared already (models/marts/finance/_finance__models.yml); change it there" in capsys.readouterr().err


SETTINGS = {
    "a search order of its own": (
        "dispatch:\n  - macro_namespace: dbt\n    search_order: [bicycles, house_rules, dbt]\n",
        [{"macro_namespace": "dbt", "search_order": ["dpe", "bicycles", "house_rules", "dbt"]}],
    ),
    "one for another package": (
        "dispatch:\n  - macro_namespace: dbt_utils\n    search_order:\n      - bicycles\n      - dbt_utils\n",
        [
            {"macro_namespace": "dbt_utils", "search_order": ["bicycles", "dbt_utils"]},
            {"macro_namespace": "dbt", "search_order": ["dpe", "bicycles", "dbt"]},
        ],
    ),
}


@pytest.mark.parametrize("name", SETTINGS)
def test_dispatch_is_extended(warehouse: Warehouse, name: str) -> None:
    """What a project says there stays."""
    text, dispatch = SETTINGS[name]
    path = warehouse.directory / "dbt_project.yml"
    path.write_text(f"{path.read_text()}\n{text}")

    warehouse.init("--write")

    assert dispatch == yaml.safe_load(path.read_text())["dispatch"]


def test_what_cannot_be_extended_safely_is_refused(warehouse: Warehouse, capsys: pytest.CaptureFixture[str]) -> None:
    """With the file; nothing is written."""
    path = warehouse.directory / "packages.yml"
    path.write_bytes(b"# ours\r\npackages:\n  - local: packages/house_rules\n")
    before = warehouse.files()

    assert 1 == main.run(["init", "--here", "--write"])

    assert "packages.yml: has line ends of two kinds; nothing was written" in capsys.readouterr().err
    assert before == warehouse.files()


def test_a_file_that_changes_meanwhile_is_not_overwritten(warehouse: Warehouse) -> None:
    """Between the plan and its changes."""
    from dpe_cli.init.adopt import changes

    path = warehouse.directory / "packages.yml"
    change = changes.Change("packages.yml", path.read_text(), "packages: []\n")
    path.write_text("# of a colleague\n")

    with pytest.raises(ProjectError, match=r"packages.yml: was changed in the meantime; repeat the command"):
        changes.write(warehouse.directory, [change])

    assert "# of a colleague\n" == path.read_text()


def test_plain_dbt_is_refused_until_it_connects_as_dpe_does(warehouse: Warehouse) -> None:
    """The project's own role may not build any more what has to be protected."""
    project = warehouse.adopt(*ANSWERS)

    with pytest.raises(BuildError, match=r"run `dpe dbt …` instead of `dbt …`, or `eval"):
        dbt.invoke(["build"], project.dbt_options)
