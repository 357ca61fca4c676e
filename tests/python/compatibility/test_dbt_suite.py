"""
dbt's own tests of an adapter, in projects that use the package dpe: what works in dbt works with dpe, or is refused for a reason.

dbt_suite.yml lists them. `make test` runs a few classes, and `make compatibility` all of them.
"""

from __future__ import annotations

import importlib
import inspect
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import replace
from functools import wraps
from pathlib import Path
from typing import Any

import pytest
import yaml
from conftest import Cluster
from dbt.adapters.factory import reset_adapters
from dbt.cli.main import dbtRunner
from dbt.tests import util
from dbt.tests.fixtures.project import *  # noqa: F403 the suite's own fixtures, of which some are replaced here
from dbt.version import __version__
from psycopg import sql
from support import dbt_projects
from support.long_tests import runs_long_tests

from dpe_cli.project import package
from dpe_cli.server.server import Server

# An error, which pytest would take for a class of tests.
globals().pop("TestProcessingException", None)
# Fixtures of the suite are methods of a class that have its scope.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestRemovedIn10Warning")

SUITE: Mapping[str, Any] = yaml.safe_load(Path(__file__).with_name("dbt_suite.yml").read_text(encoding="utf-8"))
CLASSES = {name: module for module, names in SUITE["classes"].items() for name in names}
DIFFERENT: Mapping[str, Mapping[str, str]] = {test: difference for difference in SUITE["differences"] for test in difference["tests"]}
# What the tests expect: the name of the database, and logins to grant to.
LOGIN = "dpe_transformer"
DATABASES = ("dbt", "dbtMixedCase")
USERS = tuple(f"dbt_test_user_{number}" for number in (1, 2, 3))


class ExpectedError(Exception):
    """A test failed, and dbt reported the expected sentence."""


def _expected(test: Callable[..., None], sentence: str) -> Callable[..., None]:
    """Return a test that raises ExpectedError if it fails because of what this sentence reports."""

    @wraps(test)
    def run(*arguments: Any, **fixtures: Any) -> None:
        try:
            test(*arguments, **fixtures)
        except Exception as error:
            log = Path(os.environ["DBT_LOG_PATH"], "dbt.log").read_text(encoding="utf-8")
            if sentence not in f"{log}{error}":
                raise
            raise ExpectedError(sentence) from error

    return run


def _make_class(name: str) -> type:
    """Return a class of the suite as pytest collects it; tests of what differs with dpe are expected to fail."""
    base = getattr(importlib.import_module(f"dbt.tests.adapter.{CLASSES[name]}"), name)
    members: dict[str, object] = {"__module__": __name__, "base": base}
    for test_name, test in inspect.getmembers(base, inspect.isfunction):
        if difference := DIFFERENT.get(f"{name}.{test_name}"):
            fails = pytest.mark.xfail(strict=True, raises=ExpectedError, reason=difference["reason"])
            members[test_name] = fails(_expected(test, difference["says"]))
    if hasattr(base, "get_ctx_vars"):
        members["get_ctx_vars"] = _with_login_of_suite(base.get_ctx_vars)
    if hasattr(base, "get_grants_on_relation"):
        members["get_grants_on_relation"] = _without_administrators(base.get_grants_on_relation)
    return type(f"Test{name}", (base,), members)


def _with_login_of_suite(context_variables: Callable[..., Any]) -> Callable[..., Any]:
    """Return what hooks saw as if they had run as the login that the suite takes for granted."""

    def seen(*arguments: Any, **options: Any) -> Any:
        variables = context_variables(*arguments, **options)
        for row in [variables] if isinstance(variables, dict) else variables:
            row["target_user"] = {LOGIN: "root"}.get(row["target_user"], row["target_user"])
        return variables

    return seen


def _without_administrators(grants: Callable[..., Any]) -> Callable[..., Any]:
    """Return the grants on a relation without that to dpe's administrators, which every relation has."""

    def named(*arguments: Any) -> dict[str, list[str]]:
        granted = {privilege: [name for name in names if name != "dpe_owner"] for privilege, names in grants(*arguments).items()}
        return {privilege: names for privilege, names in granted.items() if names}

    return named


for _name in CLASSES if runs_long_tests() else SUITE["in_every_run"]:
    if _name in SUITE["since_1_12"] and __version__.startswith("1.11."):
        continue
    globals()[f"Test{_name}"] = _make_class(_name)


@pytest.mark.parametrize("test", DIFFERENT)
def test_each_difference_is_shown_by_a_test(test: str) -> None:
    """By one of the suite, which then is expected to fail, or by one of dpe's own."""
    file, _, function = test.partition("::")
    if function:
        assert f"\ndef {function}(" in (Path(__file__).parents[1] / file).read_text(encoding="utf-8")
    else:
        name, _, method = test.partition(".")
        assert hasattr(_make_class(name), method)
        assert DIFFERENT[test]["says"]


@pytest.fixture(scope="module")
def servers(cluster_18: Cluster) -> Iterator[Mapping[str, Server]]:
    """Give the databases that the tests expect, and the logins that they grant to."""
    with ExitStack() as stack:
        made = {name: stack.enter_context(cluster_18.new_database(name)) for name in DATABASES}
        with made["dbt"].connect("admin", autocommit=True) as connection:
            for server in made.values():
                # The tests write months before days, as where dbt is from; the order is otherwise that of the machine.
                connection.execute(sql.SQL("alter database {} set datestyle = 'ISO, MDY'").format(sql.Identifier(server.database)))
            for user in USERS:
                connection.execute(sql.SQL("create role {}").format(sql.Identifier(user)))
            yield made
            for user in USERS:
                connection.execute(sql.SQL("drop owned by {0}; drop role {0}").format(sql.Identifier(user)))


@pytest.fixture(scope="class")
def variables(base: Any) -> Iterator[pytest.MonkeyPatch]:
    """Set environment variables, and adapt what the tests count, until the class has run."""
    # Tests of dpe may have run dbt in this process before, in a database that is gone.
    reset_adapters()
    with pytest.MonkeyPatch.context() as patch:
        # The tests read the artifacts of dbt.
        patch.delenv("DBT_WRITE_JSON", raising=False)
        patch.setattr(util, "dbtRunner", Runner)
        if hasattr(module := importlib.import_module(base.__module__), "get_manifest"):
            patch.setattr(module, "get_manifest", manifest_without_hooks)
        for number, user in enumerate(USERS, 1):
            patch.setenv(f"DBT_TEST_USER_{number}", user)
        yield patch


class Runner(dbtRunner):  # type: ignore[misc]
    """Runs dbt, and omits the hooks of dpe from the results, which the tests count."""

    def invoke(self, *arguments: Any, **options: Any) -> Any:
        """Run a command."""
        outcome = super().invoke(*arguments, **options)
        results = getattr(outcome.result, "results", None)
        if isinstance(results, list):
            results[:] = [result for result in results if not _is_of_dpe(getattr(result, "node", None))]
        return outcome


def _is_of_dpe(node: Any) -> bool:
    return getattr(node, "package_name", None) == "dpe"


def manifest_without_hooks(directory: Any) -> Any:
    """Read dbt's manifest as the suite does, without the hooks of dpe, because tests count its nodes."""
    manifest = util.get_manifest(directory)
    for unique_id, node in list(manifest.nodes.items()):
        if _is_of_dpe(node):
            del manifest.nodes[unique_id]
    return manifest


@pytest.fixture(scope="class")
def base(request: pytest.FixtureRequest) -> Any:
    """Give the class of the suite."""
    return request.cls.base


@pytest.fixture(scope="class")
def unique_schema(base: Any, prefix: str) -> str:
    """Name the schema after the file of the suite, as tests expect."""
    return f"{prefix}_{base.__module__.rpartition('.')[2]}"


@pytest.fixture(scope="class")
def test_data_dir(base: Any) -> Path:
    """Give the suite's own data."""
    return Path(inspect.getfile(base)).parent / "data"


@pytest.fixture(scope="class")
def logs_dir(tmp_path_factory: pytest.TempPathFactory, variables: pytest.MonkeyPatch) -> str:
    """Write dbt's log to a directory of the class's own."""
    directory = str(tmp_path_factory.mktemp("logs"))
    variables.setenv("DBT_LOG_PATH", directory)
    return directory


@pytest.fixture(scope="class")
def dbt_profile_target() -> dict[str, Any]:
    """Give what a class changes in the profile."""
    return {"type": "postgres", "threads": 4, "dbname": "dbt"}


@pytest.fixture(scope="class")
def dbt_profile_data(
    servers: Mapping[str, Server], unique_schema: str, dbt_profile_target: dict[str, Any], profiles_config_update: dict[str, Any]
) -> dict[str, Any]:
    """Give the profile, for the login of the pipeline."""
    server = servers[dbt_profile_target["dbname"]]
    dbt_profile_target |= {"host": server.host, "port": server.port, "user": LOGIN, "pass": "", "schema": unique_schema}
    return {"test": {"outputs": {"default": dbt_profile_target}, "target": "default"}, **profiles_config_update}


@pytest.fixture(scope="class")
def dbt_project_yml(
    project_root: Any,
    project_config_update: dict[str, Any] | str,
    dbt_profile_target: dict[str, Any],
    servers: Mapping[str, Server],
    variables: pytest.MonkeyPatch,
) -> dict[str, Any]:
    """Write the project's settings as a user of dpe has them, install the package, and set the variables of `dpe env`."""
    changes = yaml.safe_load(project_config_update) if isinstance(project_config_update, str) else project_config_update
    settings = {"name": "test", "profile": "test", "flags": {"send_anonymous_usage_stats": False}} | (changes or {})
    settings["dispatch"] = [{"macro_namespace": "dbt", "search_order": ["dpe", settings["name"], "dbt"]}]
    util.write_file(yaml.safe_dump(settings), project_root, "dbt_project.yml")
    util.write_file(yaml.safe_dump({"packages": [{"local": str(package.PLACE)}]}), project_root, "packages.yml")
    dbt_projects.install_package(Path(project_root))
    server = replace(servers[dbt_profile_target["dbname"]], project=settings["name"], target="default")
    for name, value in server.environment().items():
        variables.setenv(name, value)
    return settings


@pytest.fixture(scope="class")
def project(project_setup: Any, project_files: None, base: Any) -> Any:
    """Give the project to the tests, and the files next to them."""
    del project_files
    project_setup.test_dir = str(Path(inspect.getfile(base)).parent)
    return project_setup
