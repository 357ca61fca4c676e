"""The wheel alone, without this repository, makes a project's pipeline: it carries the command line and the dbt package."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import Cluster
from support import dbt_projects, demo_project, wheel

from dpe_cli.project import package


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the wheel, and install it into a directory, next to the packages that the tests have."""
    directory = tmp_path_factory.mktemp("wheel")
    built = wheel.build(directory)
    subprocess.run([*wheel.PIP, "install", "--no-deps", "--no-index", "--target", directory / "site", built], check=True)
    return directory / "site"


def test_the_wheel_makes_a_project_and_runs_it(site: Path, cluster_18: Cluster, tmp_path: Path) -> None:
    """With nothing but the wheel: `dpe init`, from own data and one answer, then `dpe run`; each tenant sees its own rows."""
    (tmp_path / "orders.csv").write_text("order_id,shop,amount\n1,UA,10\n2,UA,20\n3,HA,5\n")
    directory = tmp_path / "mine"
    with cluster_18.new_database() as server:
        environment = demo_project.variables_of(server, PYTHONPATH=str(site))

        def dpe(place: Path, *arguments: str) -> str:
            ran = subprocess.run(
                [sys.executable, "-P", "-m", "dpe_cli", *arguments], cwd=place, env=environment, capture_output=True, text=True, check=False
            )
            assert ran.returncode == 0, ran.stdout + ran.stderr
            return ran.stdout

        dpe(tmp_path, "init", "mine", "--from", "orders.csv", "--rls", "shop", "--docker")
        assert dpe(directory, "run", "--no-docs").rstrip().endswith("DPE SUCCESS")
        assert "PASS=" in dpe(directory, "dbt", "build")

        assert site in (directory / package.PLACE).readlink().parents
        with server.connect("admin") as connection:
            connection.execute("insert into dpe.tenant_access (role_name, tenant_id) values ('dpe_reader', 'UA')")
            connection.commit()
            connection.execute("set local role dpe_reader")
            assert [(1,), (2,)] == connection.execute("select order_id from mine_marts.orders order by order_id").fetchall()
        assert str(dbt_projects.REPOSITORY) not in os.fspath((directory / "dbt_packages" / package.NAME).resolve())


@pytest.mark.parametrize("place", ["patterns", "specs/kinds", "specs/wording"])
def test_the_wheel_has_what_specs_are_checked_with(site: Path, place: str) -> None:
    """The registered patterns, the kinds of question, and the words by which specs are understood."""

    def files(directory: Path) -> set[str]:
        return {str(path.relative_to(directory)) for path in directory.rglob("*") if path.is_file()}

    assert files(dbt_projects.REPOSITORY / "dpe_cli" / place) == files(site / "dpe_cli" / place)
