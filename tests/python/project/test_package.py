"""Any dbt project uses dpe by naming the package and putting it first in `dispatch`; without that, nothing is built for readers."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import psycopg
import pytest
import yaml
from support import dbt_projects

from dpe_cli import __version__
from dpe_cli.errors import BuildError, ProjectError
from dpe_cli.pipeline import macros
from dpe_cli.project import dbt, package
from dpe_cli.project.dbt_runner import run_dbt
from dpe_cli.project.project import Project
from dpe_cli.server.server import Server

ORDERS = "select * from (values (1, 'UA'), (2, 'HA')) as orders (order_id, shop)"
SHARED = "contract={'enforced': false}, meta={'rls': {'shared': true}}"
MODEL = {"models/finance/fct_orders.sql": f"{{{{ config({SHARED}) }}}} {ORDERS}"}

PACKAGES = {"packages.yml": dbt_projects.CONFIGURATION["packages.yml"]}


def test_the_package_has_the_version_of_the_command_line() -> None:
    """They come together, and each calls what the other brings."""
    settings = yaml.safe_load((package.DIRECTORY / "dbt_project.yml").read_text(encoding="utf-8"))

    assert (package.NAME, __version__) == (settings["name"], settings["version"])


def test_the_package_is_linked_to_where_projects_name_it(tmp_path: Path) -> None:
    """Outside version control, and by a path that is the same on each machine."""
    dbt_projects.write(tmp_path, PACKAGES)
    for _ in range(2):
        package.keep(tmp_path)

        assert package.DIRECTORY == (tmp_path / package.PLACE).readlink()
        assert "*\n" == (tmp_path / package.PLACE.parent / ".gitignore").read_text()


def test_a_project_that_does_not_name_the_package_gets_no_link(tmp_path: Path) -> None:
    """Nothing is written into it."""
    dbt_projects.write(tmp_path, {"packages.yml": "packages: [{local: ../other}]", "dependencies.yml": "projects: []"})

    package.keep(tmp_path)

    assert not (tmp_path / package.PLACE.parent).exists()


@pytest.mark.parametrize("before", ["a link to another environment", "a link to nothing", "a copy of the package"])
def test_a_link_that_is_not_right_is_replaced(tmp_path: Path, before: str) -> None:
    """A project moves between environments, and some tools copy what a link leads to."""
    link = dbt_projects.write(tmp_path, PACKAGES) / package.PLACE
    link.parent.mkdir()
    if before == "a copy of the package":
        shutil.copytree(package.DIRECTORY, link)
    else:
        link.symlink_to(tmp_path if before == "a link to another environment" else tmp_path / "gone")

    package.keep(tmp_path)

    assert package.DIRECTORY == link.readlink()


def test_files_of_a_user_in_the_place_of_the_link_are_kept(tmp_path: Path) -> None:
    """And named."""
    dbt_projects.write(tmp_path, PACKAGES | {f"{package.PLACE}/notes.txt": "mine"})

    with pytest.raises(ProjectError, match="was not created by dpe, which keeps the link to its dbt package there; move it elsewhere"):
        package.keep(tmp_path)

    assert "mine" == (tmp_path / package.PLACE / "notes.txt").read_text()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere; run the tests as another user")
def test_a_project_that_is_read_only_gets_no_link(tmp_path: Path) -> None:
    """Because commands that need none work there."""
    dbt_projects.write(tmp_path, PACKAGES).chmod(0o500)
    package.keep(tmp_path)
    assert not (tmp_path / package.PLACE).exists()


def test_a_fresh_clone_gets_its_packages(tmp_path: Path) -> None:
    """Commands that read the project have dbt install them; the lock file has no path of this machine."""
    directory = dbt_projects.make(tmp_path / "clone", MODEL)
    shutil.rmtree(directory / "dbt_packages")
    shutil.rmtree(directory / ".dpe")

    macros.check(Project(directory))

    lock = (directory / "package-lock.yml").read_text()
    assert [{"local": str(package.PLACE), "name": package.NAME}] == yaml.safe_load(lock)["packages"]
    assert package.DIRECTORY.samefile(directory / "dbt_packages" / package.NAME)


def test_the_packages_are_installed_without_a_server(tmp_path: Path) -> None:
    """Nor with a profile: as the first command in a fresh clone, before plain dbt."""
    directory = dbt_projects.write(tmp_path / "clone", dbt_projects.CONFIGURATION)
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PG", "DPE_", "DBT_"))}

    subprocess.run([sys.executable, "-m", "dpe_cli", "dbt", "deps"], cwd=directory, env=environment, check=True, capture_output=True)

    assert package.DIRECTORY.samefile(directory / "dbt_packages" / package.NAME)
    assert {".gitignore", package.PLACE.name} == {path.name for path in (directory / package.PLACE.parent).iterdir()}


def test_a_project_without_the_package_is_refused(tmp_path: Path) -> None:
    """Before a run extracts anything, with the lines to write."""
    directory = dbt_projects.make(tmp_path / "without", MODEL)
    (directory / "packages.yml").unlink()
    shutil.rmtree(directory / "dbt_packages")

    with pytest.raises(
        ProjectError, match=r"does not use the dbt package dpe, .*: \.dpe/package\}\]`, .*search_order: \[dpe, shops, dbt\]"
    ):
        macros.check(Project(directory))


# What a project may have for `dispatch`, apart from what it should have: none, and the project's own macros first.
DISPATCHES = {"none": None, "the project first": "[shops, dpe, dbt]", "without dpe": "[shops, dbt]"}


@pytest.mark.parametrize("dispatch", DISPATCHES)
def test_a_project_that_does_not_dispatch_to_dpe_builds_nothing(server: Server, tmp_path: Path, dispatch: str) -> None:
    """A macro of the project could come before dpe's without a word."""
    files = {"macros/own.sql": "{% macro default__apply_grants(relation, grant_config, should_revoke) %}{% endmacro %}"}
    directory = dbt_projects.make(tmp_path / "other", MODEL | files)
    settings = yaml.safe_load((directory / "dbt_project.yml").read_text())
    order = DISPATCHES[dispatch]
    settings["dispatch"] = [] if order is None else [{"macro_namespace": "dbt", "search_order": yaml.safe_load(order)}]
    (directory / "dbt_project.yml").write_text(yaml.safe_dump(settings))

    with pytest.raises(BuildError, match=re.escape("write `dispatch: [{macro_namespace: dbt, search_order: [dpe, shops, dbt]}]`")):
        run_dbt(Project(directory), server, ["build"])

    with server.connect("admin") as connection:
        assert [(None,)] == connection.execute("select to_regclass('finance.fct_orders')").fetchall()


# Macros that a project has for its own purposes: two that dbt looks for, and some with names of dpe's, which raise if they are called.
OWN = {
    "macros/own.sql": """
        {% macro default__create_view_as(relation, sql) %}
        create view {{ relation }} as select own.*, 'the project' as made_by from ({{ sql }}) as own;
        {% endmacro %}

        {% macro postgres__create_table_as(temporary, relation, sql) %}
        create {{ 'temporary' if temporary }} table {{ relation }} as select own.*, 'the project' as made_by from ({{ sql }}) as own;
        {% endmacro %}

        {% macro default__get_test_sql(main_sql, fail_calc, warn_if, error_if, limit) %}
        select 7 as failures, true as should_warn, false as should_error
        {% endmacro %}

        {% macro ref(name) %}{{ return(builtins.ref(name)) }}{% endmacro %}
        """,
    "macros/homonyms.sql": "".join(
        f"{{% macro {name}() %}}{{{{ exceptions.raise_compiler_error('{name} is the project\\'s') }}}}{{% endmacro %}}\n"
        for name in ("quoted", "literal_of", "protect_table", "rls_declaration", "schema_suffix", "remember_rules")
    ),
    "models/finance/fct_orders.yml": """
        models:
          - name: fct_orders
            columns:
              - name: order_id
                data_tests:
                  - dpe.accepted_range: {name: in_range, arguments: {min_value: 1}, config: {severity: warn}}
        """,
    "models/finance/all_orders.sql": f"{{{{ config(materialized='view', {SHARED}) }}}} select order_id from {{{{ ref('fct_orders') }}}}",
}


def test_the_macros_of_a_project_stay_its_own(server: Server, tmp_path: Path) -> None:
    """Those that dbt looks for are called, and what they create is protected; those with a name of dpe's change nothing."""
    results = run_dbt(Project(dbt_projects.make(tmp_path / "own", MODEL | OWN)), server, ["build"])

    assert {"fct_orders": "success", "all_orders": "success", "in_range": "warn"} == {result.name: result.status for result in results}
    assert [7] == [result.failures for result in results if result.name == "in_range"]
    with server.connect("admin") as connection:
        connection.execute("set local role dpe_reader")
        for name in ("fct_orders", "all_orders"):
            made_by = connection.execute(f"select distinct made_by from finance.{name}".encode()).fetchall()
            assert [("the project",)] == made_by
        connection.execute("set local role dpe_owner")
        found = connection.execute(
            "select relname::text, relforcerowsecurity or reloptions = '{security_invoker=true}' from pg_class "
            "where relnamespace = 'finance'::regnamespace and relkind in ('r', 'v') order by relname"
        ).fetchall()
    assert [("all_orders", True), ("fct_orders", True)] == found


def test_a_build_for_shadow_schemas_is_not_done_in_published_ones(server: Server, tmp_path: Path) -> None:
    """As with the variable of `dpe run`, but without the schemas that it gives to dbt."""
    project = Project(dbt_projects.make(tmp_path / "in_place", MODEL))

    with pytest.raises(BuildError, match="would be built in finance, which readers see, instead of finance__next; run `dpe run`"):
        run_dbt(project, server, ["build"], variables={"dpe_schema_suffix": "__next"})


@pytest.mark.parametrize("quoting", ["{}", "{database: false, schema: false, identifier: false}", "{schema: false}"])
def test_dbt_builds_what_is_selected_in_shadow_schemas(tmp_path: Path, quoting: str) -> None:
    """However the project has names quoted. What is not selected is read where it is published."""
    files = MODEL | {"models/finance/all_orders.sql": "select order_id from {{ ref('fct_orders') }}"}
    directory = dbt_projects.make(tmp_path / "shadow", files)
    settings = yaml.safe_load((directory / "dbt_project.yml").read_text())
    (directory / "dbt_project.yml").write_text(yaml.safe_dump(settings | {"quoting": yaml.safe_load(quoting)}))
    manifest = dbt.invoke(["parse"], Project(directory).dbt_options).result

    dbt.build_in_shadow(manifest, {"model.shops.all_orders"}, "__next")

    names = {name: manifest.nodes[f"model.shops.{name}"].relation_name.replace('"', "") for name in ("all_orders", "fct_orders")}
    database = manifest.nodes["model.shops.fct_orders"].database
    assert {"all_orders": f"{database}.finance__next.all_orders", "fct_orders": f"{database}.finance.fct_orders"} == names


def test_who_leaves_dpe_keeps_the_policies(server: Server, tmp_path: Path) -> None:
    """
    Published relations stay protected without the package, and PostgreSQL refuses to drop what their policies call.

    What dbt builds without it has no policies, and no reader may read it.
    """
    tenants = f"{{{{ config(contract={{'enforced': false}}, meta={{'rls': {{'tenant_column': 'shop'}}}}) }}}} {ORDERS}"
    directory = dbt_projects.make(
        tmp_path / "leaving", {"models/finance/fct_orders.sql": tenants, "models/finance/fct_others.sql": tenants}
    )
    run_dbt(Project(directory), server, ["build"])
    (directory / "packages.yml").unlink()
    shutil.rmtree(directory / "dbt_packages")
    settings = yaml.safe_load((directory / "dbt_project.yml").read_text())
    del settings["dispatch"]
    (directory / "dbt_project.yml").write_text(yaml.safe_dump(settings))

    built = run_dbt(Project(directory), server, ["build", "--select", "fct_others"])

    assert ["success"] == [result.status for result in built]
    with server.connect("admin") as connection:
        connection.execute("insert into dpe.tenant_access (role_name, tenant_id) values ('dpe_reader', 'UA')")
        connection.commit()
        connection.execute("set local role dpe_reader")
        assert [(1,)] == connection.execute("select order_id from finance.fct_orders").fetchall()
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute("select from finance.fct_others")
    with server.connect("admin") as connection, pytest.raises(psycopg.errors.DependentObjectsStillExist):
        connection.execute("drop schema dpe")
